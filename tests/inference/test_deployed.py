"""Which predictor answers which project, while versions come and go."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import pytest

from xsam_backend.errors import CheckpointError, StoreError
from xsam_backend.inference import deployed as deployed_module
from xsam_backend.inference.deployed import AGAIN_AFTER_S, Deployed


class Named:
    """A predictor as far as its name."""

    def __init__(self, model_version: str) -> None:
        self.model_version = model_version

    def encode(self, image: Any, /) -> Any:
        raise AssertionError("only its name is asked for")

    def answers(self, state: Any, prompts: Any, /) -> Any:
        raise AssertionError("only its name is asked for")


class Store:
    """What is deployed, and files that may be missing."""

    def __init__(self) -> None:
        self.wanted: dict[str, str | None] = {}
        self.loaded: list[str] = []
        self.missing: set[str] = set()
        self.is_down = False
        self.problems: list[tuple[str, str]] = []

    def read(self) -> dict[str, str | None]:
        if self.is_down:
            raise StoreError("database is locked")
        return self.wanted

    def load(self, name: str) -> Named:
        if name in self.missing:
            raise CheckpointError(f"{name} has no files")
        self.loaded.append(name)
        return Named(name)

    def deployed(self, loaded: int = 16) -> Deployed:
        return Deployed(Named("base"), self.load, self.read, lambda e, p: self.problems.append((str(e), p)), loaded)


@pytest.fixture
def store() -> Store:
    return Store()


def versions(deployed: Deployed, *projects: str | None) -> list[str]:
    return [deployed.predictor_of(project).model_version for project in projects]


def test_projects_without_a_version_of_their_own_get_the_base(store: Store) -> None:
    store.wanted = {"a": "v1", "b": None}
    deployed = store.deployed()
    assert deployed.refresh()
    assert versions(deployed, "a", "b", "c", None) == ["v1", "base", "base", "base"]
    assert deployed.versions == ["base", "v1"]
    assert not deployed.refresh(), "nothing new"
    assert store.loaded == ["v1"]


def test_a_promotion_and_a_rollback_are_seen(store: Store) -> None:
    deployed = store.deployed()
    for wanted, expected in (("v1", "v1"), ("v2", "v2"), ("v1", "v1"), (None, "base")):
        store.wanted = {"a": wanted}
        assert deployed.refresh()
        assert versions(deployed, "a") == [expected]
    assert store.loaded == ["v1", "v2", "v1"]


def test_what_answers_no_project_any_more_gives_its_memory_back(store: Store) -> None:
    store.wanted = {"a": "v1", "b": "v1"}
    deployed = store.deployed()
    deployed.refresh()
    under_way = deployed.predictor_of("a")
    gone = weakref.ref(under_way)
    for wanted, is_there in (({"a": "v2", "b": "v1"}, True), ({"a": "v2", "b": None}, True)):
        store.wanted = dict(wanted)
        deployed.refresh()
        assert (gone() is not None) is is_there
    del under_way
    gc.collect()
    assert gone() is None, "its last request is done"


def test_what_cannot_be_loaded_changes_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr(deployed_module.time, "monotonic", lambda: clock[0])
    store.wanted = {"a": "v1", "b": "v1"}
    deployed = store.deployed()
    deployed.refresh()
    store.wanted, store.missing = {"a": "v2", "b": "v3"}, {"v2"}
    deployed.refresh()
    assert versions(deployed, "a", "b") == ["v1", "v3"]
    assert store.problems == [("v2 has no files", "a")]
    store.missing.clear()
    deployed.refresh()
    assert versions(deployed, "a") == ["v1"], "not at once: it may take seconds to fail"
    clock[0] += AGAIN_AFTER_S + 1
    deployed.refresh()
    assert versions(deployed, "a") == ["v2"], "tried again"


def test_a_database_that_cannot_be_read_changes_nothing(store: Store) -> None:
    store.wanted = {"a": "v1"}
    deployed = store.deployed()
    deployed.refresh()
    store.is_down = True
    assert not deployed.refresh()
    assert versions(deployed, "a") == ["v1"]
    assert store.problems == [("database is locked", "")]


def test_versions_make_room_and_come_back(store: Store) -> None:
    store.wanted = {"a": "v1", "b": "v2", "c": "v3"}
    deployed = store.deployed(loaded=2)
    deployed.refresh()
    assert versions(deployed, "a", "b", "c", "c") == ["v1", "v2", "v3", "v3"]
    assert len(store.loaded) > 3
    assert store.loaded.count("v3") <= 2
    store.missing = {"v1"}
    for _ in range(2):
        assert versions(deployed, "a") == ["base"], "its files went away meanwhile"
    assert store.problems == [("v1 has no files", "a")], "not tried at each request"


def test_requests_are_answered_while_a_version_is_loaded(store: Store) -> None:
    store.wanted = {"a": "v1"}
    deployed = store.deployed()
    deployed.refresh()
    loading, go_on = threading.Event(), threading.Event()
    slowly = store.load

    def load(name: str) -> Named:
        loading.set()
        assert go_on.wait(10)
        return slowly(name)

    deployed._load = load
    store.wanted = {"a": "v2"}
    thread = threading.Thread(target=deployed.refresh)
    thread.start()
    assert loading.wait(10)
    assert versions(deployed, "a") == ["v1"]
    go_on.set()
    thread.join(10)
    assert versions(deployed, "a") == ["v2"]


def test_a_version_can_be_asked_for_by_name(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that answers is the same object, another is loaded for whoever asks, and isn't kept."""
    clock = [100.0]
    monkeypatch.setattr(deployed_module.time, "monotonic", lambda: clock[0])
    store.wanted = {"p": "new"}
    deployed = store.deployed()
    deployed.refresh()
    assert deployed.predictor_named("base") is deployed.predictor_of(None)
    assert deployed.predictor_named("new") is deployed.predictor_of("p")
    old = deployed.predictor_named("old")
    assert old is not None
    assert (old.model_version, store.loaded) == ("old", ["new", "old"])
    assert deployed.versions == ["base", "new"]
    gone = weakref.ref(old)
    del old
    gc.collect()
    assert gone() is None
    store.missing = {"old"}
    assert [deployed.predictor_named("old") for _ in range(2)] == [None, None]
    assert store.problems == [("old has no files", "")], "tried once, then after a pause"
    clock[0] += AGAIN_AFTER_S
    store.missing = set()
    assert deployed.predictor_named("old") is not None
