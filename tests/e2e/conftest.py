from __future__ import annotations

from collections.abc import Iterator

import pytest
from ls_client import LsClient
from ls_server import BINARY_VARIABLE, LabelStudio, find_binary


@pytest.fixture(scope="session")
def label_studio() -> Iterator[LabelStudio]:
    """A running Label Studio; skipped where none is installed."""
    binary = find_binary()
    if binary is None:
        pytest.skip(
            f"Label Studio is not installed: set {BINARY_VARIABLE} to its script (see the README's test command)"
        )
    with LabelStudio(binary) as server:
        yield server


@pytest.fixture(scope="session")
def ls_client(label_studio: LabelStudio) -> Iterator[LsClient]:
    client = LsClient(label_studio.url, label_studio.token)
    yield client
    client.close()
