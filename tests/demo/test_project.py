from __future__ import annotations

import io

from fake_label_studio import FakeLabelStudio

from xsam_backend.demo.pictures import Picture
from xsam_backend.demo.progress import Progress
from xsam_backend.demo.project import (
    TITLE,
    add_pictures,
    connect_backend,
    find_or_create_project,
    label_config,
    prelabel,
)

PICTURES = [Picture("a.png", b"a", "drawn"), Picture("b.jpg", b"b", "somebody, CC0")]


def test_a_project_is_made_once() -> None:
    server = FakeLabelStudio()
    first = find_or_create_project(server, 0)
    assert find_or_create_project(server, first) == first
    assert find_or_create_project(server, 0) == first, "found by its title where nothing is remembered"
    assert [row["title"] for row in server.made] == [TITLE]
    assert server.made[0]["label_config"] == label_config()


def test_a_renamed_project_is_known_by_its_id() -> None:
    server = FakeLabelStudio()
    first = find_or_create_project(server, 0)
    server.made[0]["title"] = "mine"
    assert find_or_create_project(server, first) == first


def test_a_deleted_project_is_made_anew() -> None:
    server = FakeLabelStudio()
    find_or_create_project(server, 99)
    assert len(server.made) == 1


def test_pictures_are_uploaded_once_and_missing_ones_are_added(progress: Progress, said: io.StringIO) -> None:
    server = FakeLabelStudio()
    add_pictures(server, 1, PICTURES[:1], progress)
    add_pictures(server, 1, PICTURES, progress)
    add_pictures(server, 1, PICTURES, progress)
    assert [row["data"] for row in server.rows] == [
        {"image": "/data/upload/1/abc-a.png", "picture": "a.png", "credit": "drawn"},
        {"image": "/data/upload/1/abc-b.jpg", "picture": "b.jpg", "credit": "somebody, CC0"},
    ]
    assert said.getvalue().count("done in") == 2, "nothing is said where nothing is to do"


def test_the_backend_is_connected_once_and_follows_its_address() -> None:
    server = FakeLabelStudio()
    connect_backend(server, 1, "http://127.0.0.1:9090")
    connect_backend(server, 1, "http://127.0.0.1:9090")
    assert len(server.backends) == 1
    connect_backend(server, 1, "http://127.0.0.1:9191")
    assert [row["url"] for row in server.backends] == ["http://127.0.0.1:9191"]
    assert [row["url"] for row in server.hooks] == ["http://127.0.0.1:9191/webhook"]


def test_a_backend_of_the_users_is_left_alone() -> None:
    server = FakeLabelStudio()
    server.backends.append({"id": 1, "title": "mine", "url": "http://other"})
    connect_backend(server, 1, "http://127.0.0.1:9090")
    assert [row["url"] for row in server.backends] == ["http://other", "http://127.0.0.1:9090"]


def test_pre_labelling_asks_one_by_one_for_what_this_version_has_not_labelled(
    progress: Progress, said: io.StringIO
) -> None:
    server = FakeLabelStudio(lost=("b.jpg",))
    add_pictures(server, 1, PICTURES, progress)
    assert prelabel(server, 1, "tiny-1", progress) == 1
    assert server.asked == [[1], [2]]
    assert prelabel(server, 1, "tiny-1", progress) == 1
    assert server.asked == [[1], [2], [2]]
    assert "pre-labelling 2 pictures" in said.getvalue()


def test_a_new_version_labels_again(progress: Progress) -> None:
    server = FakeLabelStudio()
    add_pictures(server, 1, PICTURES, progress)
    assert prelabel(server, 1, "tiny-1", progress) == 0
    server.model_version = "tiny-2"
    assert prelabel(server, 1, "tiny-2", progress) == 0
    assert [len(row["predictions"]) for row in server.rows] == [2, 2]
