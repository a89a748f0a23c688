"""COCO folders: every kind of mask and picture, what is complete, and what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dataset_files import instances, write_json, write_picture
from PIL import Image
from pycocotools import mask as coco_mask

from xsam_backend.errors import DatasetError
from xsam_backend.evaluation.datasets.coco_folder import CocoFolder, CocoRecord, open_coco, split_in_name
from xsam_backend.evaluation.datasets.records import Wanted
from xsam_backend.evaluation.datasets.segmentations import segmentation_to_mask
from xsam_backend.geometry.masks import mask_iou

PHOTOS = [Path(__file__).parents[3] / "shared" / "data" / name for name in ("photos", "photos_more", "domain")]

SQUARE = [[2.0, 2.0, 6.0, 2.0, 6.0, 6.0, 2.0, 6.0]]
"""16 px: columns and rows 2 to 5."""


def write_folder(
    folder: Path,
    images: list[dict[str, Any]],
    annotations: list[dict[str, Any]],
    names: tuple[str, ...] = ("person", "dog", "sky"),
    captions: list[dict[str, Any]] | None = None,
) -> CocoFolder:
    """A folder whose pictures are 10 x 8 px (width x height) unless they are there already."""
    (folder / "images").mkdir(exist_ok=True)
    for image in images:
        image.setdefault("file_name", f"images/{image['id']}.png")
        image.setdefault("width", 10)
        image.setdefault("height", 8)
        path = folder / image["file_name"]
        if not path.exists():
            Image.new("RGB", (10, 8), (10, 20, 30)).save(path)
    content = {
        "images": images,
        "annotations": [{"id": index, "iscrowd": 0, **a} for index, a in enumerate(annotations)],
        "categories": [{"id": index, "name": name} for index, name in enumerate(names)],
    }
    (folder / "instances.json").write_text(json.dumps(content))
    if captions is not None:
        (folder / "captions.json").write_text(json.dumps({"annotations": captions}))
    return CocoFolder(folder)


def annotation(category: int = 0, segmentation: object = None, **more: object) -> dict[str, Any]:
    return {"image_id": 1, "category_id": category, "segmentation": segmentation or SQUARE, **more}


def test_polygons_rles_and_crowds(tmp_path: Path) -> None:
    block = np.zeros((8, 10), np.uint8)
    block[1:4, 5:9] = 1
    compressed = coco_mask.encode(np.asfortranarray(block))
    compressed["counts"] = compressed["counts"].decode()
    plain = {"size": [8, 10], "counts": [40, 8, 32]}
    folder = write_folder(
        tmp_path,
        [{"id": 1}],
        [annotation(0), annotation(1, compressed), annotation(0, plain, iscrowd=1)],
        captions=[{"image_id": 1, "caption": " A dog\nand a person. "}],
    )
    (record,) = folder.records()
    assert record.names == ("person", "dog", "person")
    truth = record.load()
    assert truth.names == ("person", "dog", "person")
    assert truth.masks.sum((1, 2)).tolist() == [16, 12, 8]
    assert truth.masks[0, 2:6, 2:6].all()
    assert np.array_equal(truth.masks[1], block.astype(bool))
    assert truth.masks[2, :, 5].all()
    assert truth.is_crowd.tolist() == [False, False, True]
    assert truth.is_thing.all()
    assert [caption.text for caption in truth.captions] == ["A dog and a person."]
    assert truth.source == "1.png"
    assert truth.image.tolist()[0][0] == [10, 20, 30]


def test_parts_are_united(tmp_path: Path) -> None:
    other = [7.0, 0.0, 9.0, 0.0, 9.0, 2.0, 7.0, 2.0]
    assert segmentation_to_mask([*SQUARE, other, SQUARE[0]], (8, 10)).sum() == 20


def test_regions_of_stuff_become_one_segment_per_name(tmp_path: Path) -> None:
    top = [[0.0, 0.0, 10.0, 0.0, 10.0, 1.0, 0.0, 1.0]]
    low = [[0.0, 7.0, 10.0, 7.0, 10.0, 8.0, 0.0, 8.0]]
    sky = [annotation(2, top, region=True), annotation(0, region=True), annotation(2, low, region=True)]
    truth = write_folder(tmp_path, [{"id": 1}], [*sky, annotation(0, region=True)]).records()[0].load()
    assert truth.names == ("sky", "person", "person"), "things stay apart"
    assert truth.masks.sum((1, 2)).tolist() == [20, 16, 16]
    assert truth.is_thing.tolist() == [False, True, True]


def test_an_annotation_outside_the_picture_is_left_out(tmp_path: Path) -> None:
    outside = [[20.0, 20.0, 30.0, 20.0, 30.0, 30.0]]
    truth = write_folder(tmp_path, [{"id": 1}], [annotation(1, outside), annotation(0)]).records()[0].load()
    assert truth.names == ("person",)


def test_a_picture_without_annotations(tmp_path: Path) -> None:
    truth = write_folder(tmp_path, [{"id": 1}], []).records()[0].load()
    assert truth.masks.shape == (0, 8, 10)
    assert truth.names == ()


@pytest.mark.parametrize(
    ("split", "commercial_only", "expected"),
    [
        (None, False, ["1.png", "2.png", "3.png"]),
        ("train", False, ["1.png", "2.png"]),
        ("val", False, ["3.png"]),
        ("train", True, ["2.png"]),
        ("test", False, []),
    ],
)
def test_choosing_records(tmp_path: Path, split: str | None, commercial_only: bool, expected: list[str]) -> None:
    images = [
        {"id": 1, "split": "train", "noncommercial_only": True},
        {"id": 2, "split": "train", "noncommercial_only": False},
        {"id": 3, "split": "val"},
    ]
    records = write_folder(tmp_path, images, []).records(split, commercial_only)
    assert [record.path.name for record in records] == expected


NAMES = ("person", "sky", "road", "balloon", "deer", "tiger", "car")


@pytest.mark.parametrize(
    ("labelled", "present", "complete"),
    [
        (None, ["person"], set(NAMES)),
        ("one person only; other objects unlabelled", ["person"], set()),
        ("one animal species", ["deer"], {"deer", "tiger", "turtle", "otter"}),
        ("balloons", ["balloon"], {"balloon"}),
        ("mushrooms", [], set()),
        ("connected regions of 10 semantic classes", ["sky", "car"], {"sky"}),
        ("something new", ["person"], set()),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_complete(tmp_path: Path, labelled: str | None, present: list[str], complete: set[str]) -> None:
    image = {"id": 1} if labelled is None else {"id": 1, "labelled": labelled}
    folder = write_folder(tmp_path, [image], [annotation(NAMES.index(name)) for name in present], NAMES)
    assert folder.records()[0].complete_for == complete
    assert folder.records()[0].load().complete_for == complete


@pytest.mark.parametrize(
    ("captions", "complete"),
    [
        (["A man rides a wave.", "A surfer on his board."], {"person"}),
        (["A man rides a wave.", "Two men in the sea."], set()),
        (["A man rides a wave."], set()),
        ([], set()),
    ],
)
def test_a_person_whom_captions_know_alone_is_everybody(
    tmp_path: Path, captions: list[str], complete: set[str]
) -> None:
    image = {"id": 1, "labelled": "one person only; other objects unlabelled"}
    write_folder(tmp_path, [image], [annotation(NAMES.index("person"))], NAMES)
    said = [{"image_id": 1, "caption": text} for text in captions]
    (tmp_path / "captions.json").write_text(json.dumps({"annotations": said}))
    assert CocoFolder(tmp_path).records()[0].complete_for == complete


def test_names_that_captions_rule_out_are_known_to_be_absent(tmp_path: Path) -> None:
    image = {"id": 1, "labelled": "one person only; other objects unlabelled"}
    write_folder(tmp_path, [image], [annotation(NAMES.index("person"))], NAMES)
    said = [{"image_id": 1, "caption": text} for text in ("Two men on a wave.", "Two surfers.") * 2]
    (tmp_path / "captions.json").write_text(json.dumps({"annotations": said}))
    complete = CocoFolder(tmp_path).records()[0].complete_for
    assert "zebra" in complete
    assert not {"person", "surfboard"} & complete


def test_pictures_are_turned_upright_and_grey_becomes_rgb(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    grey = np.zeros((10, 8), np.uint8)
    grey[:, :2] = 200
    exif = Image.Exif()
    exif[0x0112] = 6  # stored on its side: the left columns are the upright picture's top rows
    Image.fromarray(grey).save(tmp_path / "images" / "1.png", exif=exif)
    truth = write_folder(tmp_path, [{"id": 1}], [annotation()]).records()[0].load()
    assert truth.image.shape == (8, 10, 3)
    assert (truth.image[:2] == 200).all()
    assert (truth.image[2:] == 0).all()


def broken(tmp_path: Path, case: str) -> CocoRecord | None:
    images, annotations = [{"id": 1}], [annotation()]
    if case == "not json":
        (tmp_path / "instances.json").write_text("{")
        CocoFolder(tmp_path)
    elif case == "unknown picture":
        annotations[0]["image_id"] = 7
    elif case == "unknown category":
        annotations[0]["category_id"] = 7
    elif case == "other size":
        images[0]["width"] = 11
    elif case == "damaged polygon":
        annotations[0]["segmentation"] = [[1.0, 2.0, 3.0]]
    elif case == "damaged rle":
        annotations[0]["segmentation"] = {"size": [8, 10], "counts": [1, 2]}
    elif case == "rle of another size":
        annotations[0]["segmentation"] = {"size": [2, 2], "counts": [4]}
    elif case == "no folder":
        CocoFolder(tmp_path / "nowhere")
    folder = write_folder(tmp_path, images, annotations)
    if case == "picture gone":
        (tmp_path / "images" / "1.png").unlink()
    if case == "picture truncated":
        path = tmp_path / "images" / "1.png"
        path.write_bytes(path.read_bytes()[:40])
    return folder.records()[0]


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("no folder", "expected .*instances.json, it isn't there"),
        ("not json", "expected JSON"),
        ("unknown picture", "7 is missing or unknown"),
        ("unknown category", "7 is missing or unknown"),
        ("other size", r"expected \(height, width\) \(8, 11\).*got \(8, 10\)"),
        ("damaged polygon", "at least 6 values, got 3"),
        ("damaged rle", "damaged"),
        ("rle of another size", "expected size"),
        ("picture gone", "expected a picture"),
        ("picture truncated", "expected a picture"),
    ],
)
def test_refused(tmp_path: Path, case: str, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        broken(tmp_path, case).load()  # type: ignore[union-attr]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools on numpy 2
@pytest.mark.parametrize("path", PHOTOS, ids=lambda path: path.name)
def test_masks_agree_with_pycocotools(path: Path) -> None:
    """Pixels by their centres against pycocotools' outline: IoU 0.92 from 100 px on, 0.96 from 1,000 px on."""
    if not path.exists():
        pytest.skip(f"needs ../shared/data/{path.name} beside the repository")
    content = json.loads((path / "instances.json").read_text())
    sizes = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
    checked = 0
    for entry in content["annotations"][::7]:
        size_hw, segmentation = sizes[entry["image_id"]], entry["segmentation"]
        height, width = size_hw
        if isinstance(segmentation, list):
            theirs = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width)))
        elif isinstance(segmentation["counts"], list):
            theirs = coco_mask.decode(coco_mask.frPyObjects(segmentation, height, width))
        else:
            theirs = coco_mask.decode(segmentation)
        area = int(theirs.sum())
        if area >= 100:
            ours = segmentation_to_mask(segmentation, size_hw)
            assert mask_iou(ours, theirs.astype(bool)) >= (0.96 if area >= 1000 else 0.92), entry["id"]
            checked += 1
    assert checked > 100


@pytest.mark.parametrize("path", PHOTOS, ids=lambda path: path.name)
def test_real_folders_load(path: Path) -> None:
    if not path.exists():
        pytest.skip(f"needs ../shared/data/{path.name} beside the repository")
    folder = CocoFolder(path)
    records = folder.records()
    assert {record.split for record in records} <= {"train", "val"}
    assert 0 < len(folder.records(commercial_only=True)) <= len(records)
    for record in records[:: max(1, len(records) // 12)]:
        truth = record.load()
        assert truth.size_hw == record.size_hw
        assert set(truth.names) <= set(folder.categories)


def parts(tmp_path: Path) -> Path:
    """Two collections in one file: cells and facades, as in a folder of several domains."""
    images = [
        {"id": 1, "file_name": "images/cells_1.png", "split": "train", "source_repo": "someone/cells"},
        {"id": 2, "file_name": "images/cells_2.png", "split": "val", "source_repo": "someone/cells"},
        {"id": 3, "file_name": "images/street_3.png", "split": "val", "source_repo": "other/streets"},
    ]
    write_folder(tmp_path, images, [{**annotation(0), "image_id": 2}, {**annotation(2), "image_id": 3}])
    return tmp_path


@pytest.mark.parametrize(
    ("only", "split", "sources", "names"),
    [
        (None, None, ["cells_1.png", "cells_2.png", "street_3.png"], ["person", "dog", "sky"]),
        (None, "val", ["cells_2.png", "street_3.png"], ["person", "dog", "sky"]),
        ("cells_", "val", ["cells_2.png"], ["person"]),
        ("cells_", "train", ["cells_1.png"], ["person"]),
        ("other/streets", None, ["street_3.png"], ["sky"]),
    ],
)
def test_a_part_of_a_folder(
    tmp_path: Path, only: str | None, split: str | None, sources: list[str], names: list[str]
) -> None:
    dataset = open_coco(Wanted(parts(tmp_path), only=only, split=split))
    assert [record.source for record in dataset.records] == sources
    assert [category.label for category in dataset.categories] == names
    assert all(record.regions() == () for record in dataset.records)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"only": "nuclei"}, "begin with 'nuclei'.*like cells_1.png.*other/streets, someone/cells"),
        ({"split": "test"}, r"split 'test', there are 'train' \(1\), 'val' \(2\)"),
        ({"only": "other/streets", "split": "train"}, r"there are 'val' \(1\)"),
    ],
)
def test_no_such_part(tmp_path: Path, wanted: dict[str, Any], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        open_coco(Wanted(parts(tmp_path), **wanted))


def test_the_layout_of_cocos_own_archives(tmp_path: Path) -> None:
    """``annotations/instances_val2017.json`` beside ``val2017``: the split is in the name, captions are beside."""
    content = instances([{"id": 7}], [{"image_id": 7, "category_id": 2, "segmentation": SQUARE}])
    file = write_json(tmp_path / "annotations" / "instances_val2017.json", content)
    captions = {"annotations": [{"image_id": 7, "id": 1, "caption": "A dog. "}]}
    write_json(tmp_path / "annotations" / "captions_val2017.json", captions)
    write_picture(tmp_path / "val2017" / "7.jpg")
    (record,) = open_coco(Wanted(file, split="val")).records
    truth = record.load()
    assert (truth.names, truth.captions[0].text) == (("dog",), "A dog.")
    with pytest.raises(DatasetError, match=r"split 'train', there are 'val' \(1\)"):
        open_coco(Wanted(file, split="train"))
    (tmp_path / "val2017").rename(tmp_path / "elsewhere")
    with pytest.raises(DatasetError, match=r"such as 7.jpg in .*val2017.*found none: say in which folder"):
        open_coco(Wanted(file))
    assert open_coco(Wanted(file, images=tmp_path / "elsewhere")).records[0].load().names == ("dog",)
    with pytest.raises(DatasetError, match="found none: check the folder of pictures"):
        open_coco(Wanted(file, images=tmp_path))


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("instances_val2017.json", "val"),
        ("panoptic_train2017.json", "train"),
        ("ade20k_instance_val.json", "val"),
        ("val_gcg_coco_mask_gt.json", "val"),
        ("finetune_refcoco_testA.json", "testA"),
        ("instances.json", ""),
        ("instances_trainval2017.json", ""),
        ("valuable.json", ""),
    ],
)
def test_splits_by_file_name(name: str, split: str) -> None:
    assert split_in_name(Path(name)) == split


def test_a_name_with_regions_of_stuff_is_stuff(tmp_path: Path) -> None:
    write_folder(tmp_path, [{"id": 1}], [annotation(2, region=True), annotation(0, region=True)])
    dataset = open_coco(Wanted(tmp_path))
    assert {category.label: category.is_thing for category in dataset.categories} == {
        "person": True,
        "dog": True,
        "sky": False,
    }


@pytest.mark.parametrize(("prefix", "classes"), [("nuclei_", 1), ("facade_", 10)])
def test_real_domains_are_apart(prefix: str, classes: int) -> None:
    path = PHOTOS[2]
    if not path.exists():
        pytest.skip("needs ../shared/data/domain beside the repository")
    dataset = open_coco(Wanted(path, split="val", only=prefix))
    assert len(dataset.categories) == classes
    truth = dataset.records[0].load()
    assert truth.source.startswith(prefix)
    assert {category.label for category in dataset.categories} >= set(truth.names)
    if prefix == "facade_":
        assert (truth.masks.sum(0) > 1).any(), "windows lie in their facade: masks are nested"
