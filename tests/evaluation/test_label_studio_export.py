"""Label Studio's export and API as ground truth: which annotation counts, every kind of region, texts, pictures."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from web_server import WebServer, web_server

from xsam_backend.errors import DatasetError, LabelConfigError, LabelStudioError
from xsam_backend.evaluation.datasets.label_studio import RULE, open_export, open_project
from xsam_backend.evaluation.datasets.records import Dataset, Wanted
from xsam_backend.geometry.brush_rle import mask_to_brush_rle
from xsam_backend.geometry.raster import box_to_mask, ellipse_to_mask, polygon_to_mask
from xsam_backend.ground_truth import Caption, Expression, GroundTruth
from xsam_backend.labelstudio.client import LabelStudioClient
from xsam_backend.labelstudio.images import FetchPolicy, ImageSource
from xsam_backend.labelstudio.label_config import LabelConfig
from xsam_backend.prompts import Task

HW = (24, 40)
RECORDED = Path(__file__).parents[1] / "recorded/label_studio/webhook_ANNOTATION_UPDATED.json"

CONFIG = LabelConfig.parse(
    """<View>
      <Image name="image" value="$image"/>
      <PolygonLabels name="poly" toName="image" smart="false">
        <Label value="cat"/><Label value="sofa" predicted_values="sofa, couch"/>
        <Label value="floor" model_stuff="true"/>
      </PolygonLabels>
      <KeyPointLabels name="point" toName="image"><Label value="cat"/></KeyPointLabels>
      <TextArea name="look_for" toName="image"/>
      <TextArea name="caption" toName="image" smart="false"/>
      <TextArea name="phrase" toName="image" perRegion="true"/>
      <TextArea name="why" toName="image" smart="false" model_says_why="true"/>
    </View>"""
)


def png(size_hw: tuple[int, int] = HW, colour: int = 90) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (size_hw[1], size_hw[0]), (colour, colour, colour)).save(file, "PNG")
    return file.getvalue()


PICTURE = "data:image/png;base64," + base64.b64encode(png()).decode()


def region(number: str, kind: str, value: dict[str, Any], label: str | None = "cat", **more: Any) -> dict[str, Any]:
    """As Label Studio 1.23 writes them."""
    labelled = {kind: [label]} if label and kind.endswith("labels") else {}
    return {
        "id": number,
        "type": kind,
        "from_name": "poly",
        "to_name": "image",
        "original_width": HW[1],
        "original_height": HW[0],
        "image_rotation": 0,
        "origin": "manual",
        "value": {**value, **labelled},
        **more,
    }


def polygon(number: str = "p", label: str | None = "cat", x: float = 0.0, **more: Any) -> dict[str, Any]:
    """20 x 50 per cent, from ``x`` per cent on: 8 x 12 px."""
    points = [[x, 0], [x + 20, 0], [x + 20, 50], [x, 50]]
    return region(number, "polygonlabels", {"points": points, "closed": True}, label, **more)


def annotation(*result: Any, **more: Any) -> dict[str, Any]:
    times = {"created_at": "2026-11-22T11:00:00.000000Z", "updated_at": "2026-11-22T12:00:00.000000Z"}
    return {"id": 10, "was_cancelled": False, "ground_truth": False, **times, "result": list(result), **more}


def task(*annotations: dict[str, Any], number: int = 5, **data: Any) -> dict[str, Any]:
    given = data or {"image": PICTURE}
    return {
        "id": number,
        "annotations": list(annotations),
        "drafts": [],
        "predictions": [],
        "data": given,
        "project": 3,
    }


def opened(*tasks: Any, config: LabelConfig | None = None, images: Path | None = None) -> Dataset:
    return open_export(Wanted(Path("export.json"), content=list(tasks), images=images), config)


def truth_of(*tasks: Any, config: LabelConfig | None = None) -> GroundTruth:
    (record,) = opened(*tasks, config=config).records
    assert record.regions() == ()
    return record.load()


BRUSH = ellipse_to_mask(20, 12, 9, 6, HW)


def bitmask(mask: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(np.stack([mask * np.uint8(255)] * 4, -1)).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


@pytest.mark.parametrize(
    ("drawn", "expected"),
    [
        (polygon(), polygon_to_mask([[0, 0], [8, 0], [8, 12], [0, 12]], HW)),
        (region("b", "brushlabels", {"format": "rle", "rle": mask_to_brush_rle(BRUSH)}), BRUSH),
        (region("m", "bitmasklabels", {"imageDataURL": bitmask(BRUSH)}), BRUSH),
        (
            region("r", "rectanglelabels", {"x": 10, "y": 25, "width": 50, "height": 50, "rotation": 0}),
            box_to_mask(4, 6, 20, 12, HW),
        ),
        (
            region("e", "ellipselabels", {"x": 50, "y": 50, "radiusX": 25, "radiusY": 25, "rotation": 0}),
            ellipse_to_mask(20, 12, 10, 6, HW),
        ),
    ],
    ids=["polygon", "brush", "bitmask", "rectangle", "ellipse"],
)
def test_every_kind_of_region(drawn: dict[str, Any], expected: np.ndarray) -> None:
    truth = truth_of(task(annotation(drawn)))
    assert (truth.names, truth.complete_for) == (("cat",), {"cat"})
    np.testing.assert_array_equal(truth.masks[0], expected)
    assert truth.image[0, 0].tolist() == [90, 90, 90]


def test_a_background_is_no_object() -> None:
    config = LabelConfig.parse(
        """<View><Image name="image" value="$image"/><PolygonLabels name="poly" toName="image" model_task="semantic">
        <Label value="cat"/><Label value="other" model_background="true"/></PolygonLabels></View>"""
    )
    dataset = opened(task(annotation(polygon(), polygon("q", "other", 40.0))), config=config)
    assert [category.label for category in dataset.categories] == ["cat"]
    truth = dataset.records[0].load()
    assert (truth.names, truth.complete_for) == (("cat",), {"cat"})


KEYPOINT = region("k", "keypointlabels", {"x": 10, "y": 10, "width": 1})


def test_what_is_left_out_is_counted() -> None:
    prompt = region("q", "rectanglelabels", {"x": 1, "y": 1, "width": 9, "height": 9}, is_positive=True)
    choice = region("c", "choices", {"choices": ["blurred"]})
    box = region("r", "rectanglelabels", {"x": 10, "y": 25, "width": 50, "height": 50, "rotation": 0}, "dog")
    unfinished = region("u", "polygonlabels", {"points": [[1, 1], [9, 1], [9, 9]], "closed": False}, "bird")
    done = annotation(polygon(), KEYPOINT, prompt, choice, box, unfinished)
    dataset = opened(task(done), task(), task(annotation(was_cancelled=True)))
    assert dataset.records[0].load().names == ("cat", "dog")
    assert [category.label for category in dataset.categories] == ["cat", "dog"]
    assert dataset.notes == (
        RULE,
        "2 tasks without an annotation left out",
        "1 of type choices left out",
        "1 of type keypoint left out",
        "1 of type polygon left out",
        "1 of type prompt left out",
        "1 objects are boxes or ellipses, whose masks are as rough as they are",
    )


def test_what_was_drawn_with_a_tool_that_only_asks_is_no_object() -> None:
    """Label Studio marks a submitted box as little as an accepted one."""
    config = LabelConfig.parse(
        """<View><Image name="image" value="$image"/>
        <PolygonLabels name="poly" toName="image" smart="false"><Label value="cat"/></PolygonLabels>
        <RectangleLabels name="box" toName="image" smartOnly="true"><Label value="cat"/></RectangleLabels></View>"""
    )
    box = region("q", "rectanglelabels", {"x": 1, "y": 1, "width": 9, "height": 9, "rotation": 0}, "cat")
    dataset = opened(task(annotation(polygon(), box | {"from_name": "box"})), config=config)
    assert dataset.records[0].load().names == ("cat",)
    assert dataset.notes == (RULE, "1 of type prompt left out")


EARLY, LATE = {"updated_at": "2026-11-22T12:00:00Z"}, {"updated_at": "2026-11-23T01:00:00Z"}


@pytest.mark.parametrize(
    ("annotations", "label", "reason"),
    [
        ([("a", LATE), ("b", EARLY)], "a", "changed last"),
        ([("a", EARLY), ("b", LATE)], "b", "changed last"),
        ([("a", EARLY), ("b", EARLY)], "b", "of equals the last"),
        ([("a", {**EARLY, "ground_truth": True}), ("b", LATE)], "a", "ground truth before others"),
        ([("a", {**EARLY, "ground_truth": True}), ("b", {**LATE, "ground_truth": True})], "b", "the last of those"),
        ([("a", EARLY), ("b", {**LATE, "was_cancelled": True})], "a", "skipped ones never"),
        (
            [("a", EARLY), ("b", {**LATE, "was_cancelled": True, "ground_truth": True})],
            "a",
            "skipped ones never, whatever they are marked",
        ),
        (
            [("a", {"updated_at": None, "created_at": "2026-11-24"}), ("b", LATE)],
            "a",
            "never changed: when it was made",
        ),
    ],
)
def test_which_annotation_counts(annotations: list[tuple[str, dict[str, Any]]], label: str, reason: str) -> None:
    made = [annotation(polygon(label=name), **more) for name, more in annotations]
    assert truth_of(task(*made)).names == (label,), reason


def test_an_empty_annotation_says_that_nothing_is_there() -> None:
    (full, empty) = opened(task(annotation(polygon())), task(annotation(), number=6)).records
    truth = empty.load()
    assert truth.masks.shape == (0, *HW)
    assert truth.complete_for == {"cat"}
    assert (full.source, empty.source) == ("task 5", "task 6")


def test_labels_of_the_config() -> None:
    """All are asked for, each in its words; stuff is one segment."""
    result = [polygon("1", "floor"), polygon("2", "cat", 30), polygon("3", "floor", 60), polygon("4", "gone", 80)]
    dataset = opened(task(annotation(*result)), config=CONFIG)
    assert [(c.phrase, c.label, c.is_thing) for c in dataset.categories] == [
        ("cat", "cat", True),
        ("sofa", "sofa", True),
        ("couch", "sofa", True),
        ("floor", "floor", False),
        ("gone", "gone", True),
    ]
    truth = dataset.records[0].load()
    assert truth.names == ("floor", "cat", "gone")
    assert truth.is_thing.tolist() == [False, True, True]
    assert truth.masks.sum((1, 2)).tolist() == [192, 96, 96]
    assert truth.complete_for == {"cat", "sofa", "floor", "gone"}


def test_labels_beside_and_none() -> None:
    """Plain tags with a Labels tag write the label as a result of its own; without one a region has no label."""
    plain = region("b", "brush", {"format": "rle", "rle": mask_to_brush_rle(BRUSH)}, None)
    beside = region("b", "labels", {"labels": ["cat"]}, None)
    assert truth_of(task(annotation(plain, beside))).names == ("cat",)
    dataset = opened(task(annotation(plain)))
    assert [category.label for category in dataset.categories] == ["object"]
    assert dataset.records[0].load().names == ("object",)


def textarea(number: str, *texts: str, name: str = "caption", **value: Any) -> dict[str, Any]:
    return region(number, "textarea", {"text": list(texts), **value}, None, from_name=name)


RELATION = {"type": "relation", "from_id": "1", "to_id": "2", "direction": "right", "labels": ["on"]}


def test_texts_and_relations() -> None:
    result = [
        polygon("1", "cat"),
        polygon("2", "sofa", 40),
        textarea("1", " the  sleepy cat ", name="phrase", x=0, y=0),
        textarea("c", "A cat on a sofa."),
        textarea("q", "cat", name="look_for"),
        RELATION,
        {**RELATION, "direction": "left", "labels": ["under", "near"]},
        {**RELATION, "labels": []},
        {**RELATION, "to_id": "gone"},
    ]
    dataset = opened(task(annotation(*result)), config=CONFIG)
    assert Task.REFERRING in dataset.tasks
    truth = dataset.records[0].load()
    assert truth.referring == (Expression("the sleepy cat", (0,)),)
    assert truth.captions == (
        Caption("A cat on a sofa."),
        Caption("cat on sofa", ((0, 3, (0,)), (7, 11, (1,)))),
        Caption("sofa under cat", ((0, 4, (1,)), (11, 14, (0,)))),
        Caption("sofa near cat", ((0, 4, (1,)), (10, 13, (0,)))),
    )


def test_a_caption_is_linked_by_what_its_regions_are_called() -> None:
    result = [
        polygon("1", "cat"),
        textarea("1", "a sleepy cat", name="phrase", x=0, y=0),
        {**polygon("2", "sofa", 40), "meta": {"text": ["the sofa", 5]}},
        textarea("c", "On the sofa sleeps a sleepy cat."),
        textarea("w", "nothing found", name="why"),
    ]
    truth = opened(task(annotation(*result)), config=CONFIG).records[0].load()
    assert truth.captions == (Caption("On the sofa sleeps a sleepy cat.", ((3, 11, (1,)), (19, 31, (0,)))),)


def test_without_a_config_nobody_knows_a_caption_from_a_question() -> None:
    truth = truth_of(task(annotation(polygon(), textarea("c", "A cat."))))
    assert truth.captions == ()
    assert Task.REFERRING not in opened(task(annotation(polygon()))).tasks


def test_several_pictures_in_a_task(tmp_path: Path) -> None:
    """``valueList``: a record each, regions by item_index."""
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(png())
    result = [polygon("1", "cat", item_index=1), polygon("2", "dog", 40, item_index=0), polygon("3", "dog", 70)]
    images = ["/data/upload/3/a.png", "/data/upload/3/b.png"]
    dataset = opened(task(annotation(*result), images=images), images=tmp_path)
    assert [record.source for record in dataset.records] == ["task 5, 0 (a.png)", "task 5, 1 (b.png)"]
    assert [record.load().names for record in dataset.records] == [("dog", "dog"), ("cat",)]
    config = LabelConfig.parse('<View><Image name="image" valueList="$images"/></View>')
    assert len(opened(task(annotation(*result), images=images), config=config, images=tmp_path)) == 2


def test_two_image_tags() -> None:
    config = LabelConfig.parse('<View><Image name="left" value="$a"/><Image name="right" value="$b"/></View>')
    result = [polygon("1", "cat", to_name="right"), polygon("2", "dog", to_name="left")]
    dataset = opened(task(annotation(*result), a=PICTURE, b=PICTURE), config=config)
    assert [record.load().names for record in dataset.records] == [("dog",), ("cat",)]


@pytest.mark.parametrize(
    ("address", "file", "source"),
    [
        ("/data/upload/3/8f-cat%201.png", "8f-cat 1.png", "task 5 (8f-cat 1.png)"),
        ("/data/upload/3/cat.png", "3/cat.png", "task 5 (cat.png)"),
        ("upload/3/cat.png", "3/cat.png", "task 5 (cat.png)"),
        ("/data/local-files/?d=set/cat.png", "set/cat.png", "task 5 (cat.png)"),
        ("s3://bucket/some/cat.png", "cat.png", "task 5 (cat.png)"),
        ("https://example.org/cat.png?size=1", "cat.png", "task 5 (cat.png)"),
    ],
)
def test_pictures_from_a_folder(tmp_path: Path, address: str, file: str, source: str) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_bytes(png(colour=7))
    (record,) = opened(task(annotation(polygon()), image=address), images=tmp_path).records
    assert record.source == source
    assert record.load().image[0, 0, 0] == 7


def test_never_a_file_outside_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(png())
    inside = tmp_path / "pictures"
    inside.mkdir()
    for address in ("/data/local-files/?d=../secret.png", "/data/upload/../secret.png", "/data/upload/3/link.png"):
        if "link" in address:
            (inside / "link.png").symlink_to(tmp_path / "secret.png")
        (record,) = opened(task(annotation(polygon()), image=address), images=inside).records
        with pytest.raises(DatasetError, match="lies in Label Studio"):
            record.load()


def test_a_smaller_copy_of_the_picture_will_do() -> None:
    half = "data:image/png;base64," + base64.b64encode(png((12, 20))).decode()
    brush = region("b", "brushlabels", {"format": "rle", "rle": mask_to_brush_rle(BRUSH)}, "dog")
    truth = truth_of(task(annotation(polygon(), brush), image=half))
    assert truth.masks.shape == (2, 12, 20)
    assert truth.masks[0].sum() == 24
    assert abs(int(truth.masks[1].sum()) * 4 - int(BRUSH.sum())) < 30


def damaged(case: str) -> None:
    tasks: list[Any] = [task(annotation(polygon()))]
    config = None
    if case == "damaged brush":
        tasks = [task(annotation(polygon(), region("b7", "brushlabels", {"format": "rle", "rle": [1, 2, 3]})))]
    elif case == "another picture":
        wrong = "data:image/png;base64," + base64.b64encode(png((24, 24))).decode()
        tasks = [task(annotation(polygon()), image=wrong)]
    elif case == "not a picture":
        tasks = [task(annotation(polygon()), image="data:image/png;base64,aGVsbG8=")]
    elif case == "JSON-MIN":
        tasks = [{"id": 5, "image": PICTURE, "label": [{"x": 1, "polygonlabels": ["cat"]}]}]
    elif case == "nobody annotated":
        tasks = [task(), task(annotation(was_cancelled=True))]
    elif case == "result is no list":
        tasks = [task({**annotation(), "result": "polygon"})]
    elif case == "two pictures without a config":
        tasks = [task(annotation(polygon()), left="/data/upload/1/a.png", right="/data/upload/1/b.png")]
    elif case == "no picture without a config":
        tasks = [task(annotation(polygon()), text="hello")]
    elif case == "config reads another field":
        tasks, config = [task(annotation(polygon()), photo=PICTURE)], CONFIG
    elif case == "no such split":
        open_export(Wanted(Path("export.json"), content=tasks, split="val"))
    elif case == "text that is none":
        tasks = [task(annotation(polygon("1"), region("1", "textarea", {"text": 5}, None)))]
    for record in opened(*tasks, config=config).records:
        record.load()


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("damaged brush", "task 5: region 'b7': brush RLE.*mend or delete the region"),
        ("another picture", "drawn on 40 x 24 px, the picture has 24 x 24: it is not the one"),
        ("not a picture", "task 5: .*expected a picture"),
        ("JSON-MIN", r"'annotations' is missing.*not JSON-MIN"),
        ("nobody annotated", "none of its 2 tasks has an annotation"),
        ("result is no list", "its result is no list of regions"),
        ("two pictures without a config", "task 5: expected one address.*got left, right of.*label config"),
        ("no picture without a config", "task 5: expected one address.*got none of text"),
        ("config reads another field", "task 5: .*image.*photo"),
        ("no such split", r"split 'val', there are '' \(1\)"),
        ("text that is none", "task 5: region '1': expected value.text"),
    ],
)
def test_refused(case: str, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        damaged(case)


def test_a_recorded_annotation() -> None:
    """The body that Label Studio 1.23 sent; an export holds the same."""
    body = json.loads(RECORDED.read_text())["request"]["body"]
    picture = "data:image/png;base64," + base64.b64encode(png((240, 320))).decode()
    truth = truth_of({**body["task"], "annotations": [body["annotation"]], "data": {"image": picture}})
    assert truth.names == ("cat", "cat")


TOKEN = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def server() -> Iterator[WebServer]:
    with web_server() as running:
        yield running


def serve(server: WebServer, tasks: list[Any], config: str) -> tuple[LabelStudioClient, ImageSource]:
    project = {"id": 21, "title": "Cats", "label_config": config}
    server.put("/api/projects/21/", json.dumps(project).encode(), Content_Type="application/json")
    server.put("/api/projects/21/export", json.dumps(tasks).encode(), Content_Type="application/json")
    server.put("/data/upload/21/cat.png", png(), Content_Type="image/png")
    policy = FetchPolicy(server.url, TOKEN, allowed_private_hosts=("127.0.0.1",))
    client = LabelStudioClient(server.url, TOKEN)
    return client, ImageSource(policy, client)


XML = """<View><Image name="image" value="$image"/>
  <PolygonLabels name="poly" toName="image"><Label value="cat"/></PolygonLabels></View>"""


def test_a_project_through_the_api(server: WebServer) -> None:
    tasks = [task(annotation(polygon()), image="/data/upload/21/cat.png"), task(number=6)]
    client, source = serve(server, tasks, XML)
    dataset = open_project(client, source, 21)
    assert dataset.name == "Label Studio, Cats (project 21)"
    assert not any(asked.target.startswith("/data") for asked in server.asked), "no picture before it's loaded"
    (record,) = dataset.records
    truth = record.load()
    assert (truth.names, truth.source) == (("cat",), "task 5 (cat.png)")
    picture = next(asked for asked in server.asked if asked.target.startswith("/data"))
    assert picture.token == f"Token {TOKEN}"


@pytest.mark.parametrize(
    ("case", "error", "message"),
    [
        ("no such project", LabelStudioError, "no such thing"),
        ("nothing annotated", DatasetError, "127.0.0.1.*, project 21: .*none of its 1 tasks"),
        ("no picture in the config", LabelConfigError, "add an Image tag"),
    ],
)
def test_a_project_that_cannot_be_read(server: WebServer, case: str, error: type, message: str) -> None:
    config = "<View><Text name='t' value='$text'/></View>" if case == "no picture in the config" else XML
    client, source = serve(server, [task()], config)
    with pytest.raises(error, match=message):
        open_project(client, source, 99 if case == "no such project" else 21)
