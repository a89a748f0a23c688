"""Files that are in a format but for one value: whatever it is, the reader says so, or reads what can be read."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dataset_forms import FORMS, read_all, write_pictures
from hypothesis import given, settings
from hypothesis import strategies as st

from xsam_backend.errors import XSamBackendError

VALUES = (None, [], {}, "x", "", -1, float("inf"), float("nan"), 10**30, [[]], {"a": 1}, [None], 1.5, "\0")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("hostile"))


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The ways to all values inside."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield from places(one, (*path, key))


def replaced(value: Any, path: tuple[Any, ...], by: Any) -> Any:
    if not path:
        return by
    changed = copy.deepcopy(value)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = by
    return changed


@pytest.mark.parametrize("form", FORMS)
def test_as_they_are_they_can_be_read(folder: Path, form: str) -> None:
    assert len(read_all(folder, form, FORMS[form].content)) == 1


@pytest.mark.parametrize(
    ("form", "path", "value", "said"),
    [
        ("COCO instances", ("annotations", 1, "segmentation", "counts"), [[]], "whole numbers of pixels as counts"),
        ("COCO instances", ("annotations", 1, "segmentation", "counts", 0), float("inf"), "expected whole numbers"),
        ("COCO instances", ("annotations", 1, "segmentation", "counts", 0), 10**30, "expected whole numbers"),
        ("COCO instances", ("annotations", 1, "segmentation", "counts"), [2**62] * 4 + [96], "got 46116860184273"),
        ("GranD-f", (0,), {}, "a form of GranD-f's grounded captions"),
        ("Label Studio", (0, "annotations", 0, "result", 0, "id"), [], "Label Studio's JSON export"),
        ("Label Studio", (0, "annotations", 0, "result", 2, "labels"), -1, "texts and relations"),
    ],
)
def test_words_for_one_wrong_value(folder: Path, form: str, path: tuple[Any, ...], value: Any, said: str) -> None:
    with pytest.raises(XSamBackendError, match=said):
        read_all(folder, form, replaced(FORMS[form].content, path, value))


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_no_value_ends_the_run(folder: Path, form: str, data: st.DataObject) -> None:
    """What goes wrong is an error of ours, which leaves out a picture, not one that ends hours of work."""
    content = FORMS[form].content
    path = data.draw(st.sampled_from(list(places(content))))
    value = data.draw(st.sampled_from(VALUES))
    with contextlib.suppress(XSamBackendError):
        read_all(folder, form, replaced(content, path, value))
