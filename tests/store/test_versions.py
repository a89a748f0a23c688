"""Versions and what is deployed: a history that only grows, and that can be walked back."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from sqlalchemy import Engine

from xsam_backend.errors import StoreError
from xsam_backend.store.versions import Version, Versions

PROJECT, OTHER = "local/21.5", "local/22.6"


def version(name: str, project: str = PROJECT) -> Version:
    return Version(name, project, "tiny-1", "tiny-1", "promoted", 7, {"reasons": ["better"]})


@pytest.fixture
def versions(opened: Callable[..., Engine]) -> Versions:
    found = Versions(opened("store"))
    for name in ("a", "b", "c"):
        found.add(version(name))
    found.add(version("d", OTHER))
    return found


def test_a_version_comes_back_as_it_was_and_is_kept_once(versions: Versions) -> None:
    again = version("a")
    versions.add(again)
    found = versions.get("a")
    assert found is not None
    assert (found.report, found.job_id, found.state) == (again.report, 7, "promoted")
    assert {one.name for one in versions.all(PROJECT)} == {"a", "b", "c"}
    assert len(versions.all()) == 4
    assert versions.get("nobody") is None


def test_each_project_has_its_own(versions: Versions) -> None:
    assert versions.deployed() == {}
    versions.deploy(PROJECT, "a", "better")
    versions.deploy(OTHER, "d", "better")
    versions.deploy(PROJECT, "b", "better still")
    versions.deploy(PROJECT, "b", "again")
    assert versions.deployed() == {PROJECT: "b", OTHER: "d"}
    assert [(one.version, one.reason) for one in versions.history(PROJECT)] == [
        ("b", "better still"),
        ("a", "better"),
    ]


@pytest.mark.parametrize(
    ("steps", "leads_to"),
    [
        pytest.param(["a"], None, id="to the base"),
        pytest.param(["a", "b"], "a", id="to the one before"),
        pytest.param(["a", "b", "a"], None, id="twice back"),
        pytest.param(["a", "b", "a", "c"], "a", id="another way after a rollback"),
        pytest.param(["a", "b", None], None, id="nothing before the base"),
    ],
)
def test_where_a_rollback_leads(versions: Versions, steps: Sequence[str | None], leads_to: str | None) -> None:
    for name in steps:
        versions.deploy(PROJECT, name, "")
    assert versions.before(PROJECT) == leads_to


@pytest.mark.parametrize(
    ("project", "name", "words"),
    [
        pytest.param(PROJECT, "nobody", "expected a version of project", id="unknown"),
        pytest.param(PROJECT, "d", "expected a version of project", id="another project's"),
        pytest.param(PROJECT, "c", "pruned", id="its files are gone"),
    ],
)
def test_what_cannot_be_deployed(versions: Versions, project: str, name: str, words: str) -> None:
    versions.mark("c", "pruned")
    with pytest.raises(StoreError, match=words):
        versions.deploy(project, name, "")
    assert versions.deployed() == {}


def test_a_project_without_versions_has_nothing_to_go_back_to(versions: Versions) -> None:
    with pytest.raises(StoreError, match=r"base model, as it always was"):
        versions.before(PROJECT)
