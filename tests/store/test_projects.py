from collections.abc import Callable
from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, event

from xsam_backend.errors import RequestError, StoreError
from xsam_backend.store import projects as projects_module
from xsam_backend.store.projects import ProjectKey, Projects


@pytest.fixture
def projects(opened: Callable[..., Engine]) -> Projects:
    return Projects(opened("store"))


def test_setup_and_webhook_name_one_project() -> None:
    """The two recorded forms of project 21."""
    setup = ProjectKey.from_uid("ls:8080", "21.1795347497")
    webhook = ProjectKey.from_webhook("ls:8080", {"id": 21, "created_at": "2026-11-22T11:38:17.732496Z"})
    assert setup == webhook
    assert str(setup) == "ls:8080/21.1795347497"


@given(st.integers(0, 10**9), st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2100, 1, 1)))
def test_both_forms_agree_for_any_moment(project_id: int, moment: datetime) -> None:
    created = moment.replace(tzinfo=timezone.utc)
    uid = f"{project_id}.{int(created.timestamp())}"  # as Label Studio writes it
    webhook = {"id": project_id, "created_at": created.isoformat().replace("+00:00", "Z")}
    assert ProjectKey.from_uid("a", uid) == ProjectKey.from_webhook("a", webhook)


def test_ids_of_two_label_studios_never_mix() -> None:
    assert ProjectKey.from_uid("a", "1.5") != ProjectKey.from_uid("b", "1.5")
    assert ProjectKey.from_uid("a", "1.5") != ProjectKey.from_uid("a", "1.6")


@pytest.mark.parametrize("uid", [None, 21, "21", "21.x", "-1.5", "1.5; DROP", "٢١.5", "1." + "9" * 40, ["1.5"]])
def test_another_form_of_uid_is_refused(uid: object) -> None:
    with pytest.raises(RequestError, match=r"project: expected '<id>\.<creation second>'"):
        ProjectKey.from_uid("a", uid)


@pytest.mark.parametrize(
    "project",
    [
        None,
        {"id": 21},
        {"id": "21", "created_at": "2026-11-22T11:38:17Z"},
        {"id": True, "created_at": "2026-11-22T11:38:17Z"},
        {"id": 21, "created_at": "yesterday"},
        {"id": 21, "created_at": 5},
    ],
    ids=["no object", "no time", "text id", "bool id", "no such time", "a number for a time"],
)
def test_another_form_of_webhook_project_is_refused(project: object) -> None:
    with pytest.raises(RequestError, match=r"'id' and a time 'created_at'"):
        ProjectKey.from_webhook("a", project)


def test_what_is_not_given_stays(projects: Projects) -> None:
    key = ProjectKey("a", 1, 2)
    projects.remember(key, label_config="<View/>")
    projects.remember(key, title="cells")
    project = projects.of("a/1.2")
    assert project is not None
    assert (project.key, project.title, project.label_config) == ("a/1.2", "cells", "<View/>")


def test_the_same_setup_again_writes_nothing(projects: Projects) -> None:
    key = ProjectKey("a", 1, 2)
    projects.remember(key, label_config="<View/>")
    before = projects.all()
    projects.remember(key, label_config="<View/>")
    assert projects.all() == before


def test_the_latest_changed_comes_first(projects: Projects) -> None:
    for number in (1, 2):
        projects.remember(ProjectKey("a", number, 0), title="t")
    projects.remember(ProjectKey("a", 1, 0), title="renamed")
    assert [project.key for project in projects.all()] == ["a/1.0", "a/2.0"]


def test_what_was_so_earlier_changes_nothing(projects: Projects) -> None:
    key = ProjectKey("a", 1, 2)
    for second, title in ((3, "as of 3"), (1, "as of 1"), (2, "as of 2"), (5, "as of 3"), (4, "as of 4")):
        projects.remember(key, title=title, as_of=datetime(2026, 11, 22, 12, 0, second, tzinfo=timezone.utc))
    assert [project.title for project in projects.all()] == ["as of 3"]
    projects.remember(key, title="now")
    assert [project.title for project in projects.all()] == ["now"]


def test_a_project_that_is_gone_may_come_back(projects: Projects) -> None:
    key = ProjectKey("a", 1, 2)
    projects.remember(key, title="t")
    projects.gone(str(key))
    assert not projects.knows(key)
    assert [one.gone_at is None for one in projects.all()] == [False]
    assert projects.sync_wanted() == []
    projects.remember(key, title="t")
    assert [one for one, _ in projects.sync_wanted()] == [str(key)], "Label Studio is to say whether it is there"
    projects.there(str(key))
    assert projects.knows(key)


def known(projects: Projects, key: ProjectKey) -> tuple[str | None, bool] | None:
    project = projects.of(str(key))
    return project and (project.label_config, project.confirmed)


def test_a_setup_changes_nothing_that_label_studio_has_confirmed(projects: Projects) -> None:
    """Anybody can send one."""
    key = ProjectKey("a", 1, 2)
    assert projects.hear_of(key, "<View>first</View>")
    assert not projects.hear_of(key, "<View>first</View>"), "a setup comes with every opened page"
    assert known(projects, key) == ("<View>first</View>", False)
    assert [one for one, _ in projects.sync_wanted()] == [str(key)], "Label Studio is to confirm it"
    projects.hear_of(key, None)
    assert known(projects, key) == ("<View>first</View>", False)
    projects.remember(key, title="cells", label_config="<View>true</View>")
    projects.hear_of(key, "<View>forged</View>")
    assert known(projects, key) == ("<View>true</View>", True)


def test_a_title_confirms_no_config_that_a_setup_has_said(projects: Projects) -> None:
    key = ProjectKey("a", 1, 2)
    projects.hear_of(key, "<View>forged</View>")
    projects.remember(key, title="cells")
    assert known(projects, key) == (None, True)


def test_a_confirmed_project_that_is_gone_is_asked_for_by_a_setup(projects: Projects) -> None:
    key = ProjectKey("a", 1, 2)
    projects.remember(key, label_config="<View>true</View>")
    projects.gone(str(key))
    projects.hear_of(key, "<View>forged</View>")
    assert known(projects, key) == ("<View>true</View>", True)
    assert [one for one, _ in projects.sync_wanted()] == [str(key)]


def test_made_up_projects_do_not_fill_the_disk(projects: Projects, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projects_module, "UNCONFIRMED_LIMIT", 3)
    for number in range(3):
        projects.hear_of(ProjectKey("a", number, 2), "<View/>")
    late = ProjectKey("a", 9, 2)
    with pytest.raises(StoreError, match="isn't kept: 3 projects have called that Label Studio hasn't confirmed"):
        projects.hear_of(late, "<View/>")
    projects.hear_of(ProjectKey("a", 0, 2), "<View>changed</View>")
    projects.remember(late, label_config="<View/>")
    assert projects.knows(late)
    projects.gone("a/1.2")
    assert projects.of("a/1.2") is None, "nothing was kept of it"
    projects.hear_of(ProjectKey("a", 8, 2), "<View/>")


def test_a_listing_reads_no_label_config(opened: Callable[..., Engine]) -> None:
    engine = opened("store")
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *said: statements.append(said[2]))
    projects = Projects(engine)
    projects.remember(ProjectKey("a", 1, 2), label_config="<View/>")
    statements.clear()
    assert [project.key for project in projects.all(5)] == ["a/1.2"]
    assert statements
    assert not [statement for statement in statements if "label_config" in statement]
