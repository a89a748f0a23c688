"""GranD-f's four forms: phrases, their places in the caption, their masks, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dataset_files import COCO, SQUARE, block, rle, write_json, write_picture

from xsam_backend.errors import DatasetError
from xsam_backend.evaluation.datasets.grounded_captions import open_grounded_captions
from xsam_backend.evaluation.datasets.records import Wanted
from xsam_backend.ground_truth import GroundTruth

LEFT, RIGHT = block(slice(0, 8), slice(0, 3)), block(slice(0, 8), slice(7, 10))
CAPTION = "A man on a red chair."
MAN, CHAIR = (0, 5), (9, 20)


def grand(**groundings: Any) -> list[dict[str, Any]]:
    """GranDf_HA_GCG_train.json: the caption is in quotes there."""
    default = {
        "a red chair": {"token_positives": list(CHAIR), "rle_masks": [rle(RIGHT)]},
        "A man": {"token_positives": list(MAN), "rle_masks": [rle(LEFT), rle(block(slice(0, 1), slice(3, 5)))]},
    }
    return [
        {
            "file_name": "sa_1.jpg",
            "image_id": "sa_1",
            "caption": f'"{CAPTION}"',
            "groundings": groundings or default,
        }
    ]


def refcocog() -> list[dict[str, Any]]:
    refs = [
        {"sentence": "A Red Chair", "segmentation": SQUARE, "bbox": [2, 2, 4, 4]},
        {"sentence": "a man", "segmentation": [[0, 0, 3, 0, 3, 8, 0, 8]], "bbox": [0, 0, 3, 8]},
        {"sentence": "a dog", "segmentation": SQUARE, "bbox": [2, 2, 4, 4]},
    ]
    return [{"581857": {"img_file_name": "COCO_train2014_000000581857.jpg", "caption": CAPTION, "refs": refs}}]


def flickr() -> dict[str, Any]:
    return {
        "images": [
            {"id": 5, "file_name": "1000092795.jpg", "caption": CAPTION, **COCO},
            {"id": 6, "file_name": "2.jpg", "caption": "A man", **COCO},
        ],
        "annotations": [
            {"id": 1, "image_id": 5, "tokens_positive": [list(MAN)], "sam_mask": rle(LEFT), "bbox": [0, 0, 3, 8]},
            {"id": 2, "image_id": 5, "tokens_positive": [list(CHAIR)], "sam_mask": rle(RIGHT), "bbox": [7, 0, 3, 8]},
            {"id": 3, "image_id": 6, "tokens_positive": [[0, 5]], "sam_mask": rle(LEFT), "bbox": [0, 0, 3, 8]},
        ],
        "categories": [{"id": 1, "name": "object"}],
    }


def val_test(folder: Path, labels: tuple[str, ...] = ("A man", "a red chair"), caption: str = CAPTION) -> Path:
    images = [{"id": "sa_1", **COCO}]
    masks = [
        {"id": i, "image_id": "sa_1", "category_id": 1, "iscrowd": 0, "area": 24, "segmentation": rle(mask)}
        for i, mask in enumerate((LEFT, RIGHT))
    ]
    captions = [{"id": 0, "image_id": "sa_1", "caption": caption, "labels": list(labels)}]
    part = folder / "annotations" / "val_test"
    write_json(part / "val_gcg_coco_caption_gt.json", {"images": images, "annotations": captions})
    content = {"images": images, "annotations": masks, "categories": [{"id": 1, "name": "object"}]}
    return write_json(part / "val_gcg_coco_mask_gt.json", content)


def truth_of(file: Path) -> GroundTruth:
    (record,) = open_grounded_captions(Wanted(file, content=json.loads(file.read_text()))).records
    assert record.regions() == ()
    return record.load()


def check(truth: GroundTruth, left: int, chair: int, names: set[str]) -> None:
    """Each span of the caption leads to the mask of its phrase."""
    (caption,) = truth.captions
    assert caption.text == CAPTION
    assert [(start, end) for start, end, _ in caption.spans] == [MAN, CHAIR]
    (man,), (red,) = (segments for _, _, segments in caption.spans)
    assert (truth.masks[man].sum(), truth.masks[red].sum()) == (left, chair)
    assert set(truth.names) == names
    assert caption.text[slice(*MAN)].lower() == truth.names[man].lower()


def test_grand_f(tmp_path: Path) -> None:
    """X-SAM's layout: pictures in ``images/GranDf_HA_images/train`` beside ``annotations/train``."""
    file = write_json(tmp_path / "annotations" / "train" / "GranDf_HA_GCG_train.json", grand())
    write_picture(tmp_path / "images" / "GranDf_HA_images" / "train" / "sa_1.jpg")
    truth = truth_of(file)
    check(truth, 26, 24, {"A man", "a red chair"})
    np.testing.assert_array_equal(truth.masks[0], RIGHT)


def test_refcocog(tmp_path: Path) -> None:
    """Phrases are found in the caption, whatever their case; those that aren't in it are not of it."""
    file = write_json(tmp_path / "RefCOCOg_GCG_val.json", refcocog())
    write_picture(tmp_path / "COCO_train2014_000000581857.jpg")
    check(truth_of(file), 24, 16, {"A Red Chair", "a man"})


def test_flickr(tmp_path: Path) -> None:
    file = write_json(tmp_path / "flickr_mergedGT_GCG_val.json", flickr())
    write_picture(tmp_path / "1000092795.jpg")
    check(truth_of(file), 24, 24, {"A man", "a red chair"})
    notes = open_grounded_captions(Wanted(file)).notes
    assert notes == ("1 pictures without a grounded phrase left out",), "captions of two words are passed over"


def test_val_and_test(tmp_path: Path) -> None:
    file = val_test(tmp_path)
    write_picture(tmp_path / "images" / "GranDf_HA_images" / "val_test" / "sa_1.jpg")
    check(truth_of(file), 24, 24, {"A man", "a red chair"})
    captions = file.with_name("val_gcg_coco_caption_gt.json")
    dataset = open_grounded_captions(Wanted(captions, split="val"))
    assert dataset.split == "val"
    np.testing.assert_array_equal(dataset.records[0].load().masks, np.stack([LEFT, RIGHT]))


def test_the_same_phrase_twice(tmp_path: Path) -> None:
    file = val_test(tmp_path, ("a man", "a man"), "Here is a man, there is a man.")
    write_picture(tmp_path / "images" / "GranDf_HA_images" / "val_test" / "sa_1.jpg")
    assert truth_of(file).captions[0].spans == ((8, 13, (0,)), (24, 29, (1,)))


@pytest.mark.parametrize(
    ("labels", "names"),
    [(("A man",), ("A man", "object")), (("A man", "a red chair", "a dog"), ("A man", "a red chair"))],
)
def test_more_masks_than_labels_and_the_reverse(
    tmp_path: Path, labels: tuple[str, ...], names: tuple[str, ...]
) -> None:
    file = val_test(tmp_path, labels)
    write_picture(tmp_path / "images" / "GranDf_HA_images" / "val_test" / "sa_1.jpg")
    truth = truth_of(file)
    assert truth.names == names
    np.testing.assert_array_equal(truth.masks, np.stack([LEFT, RIGHT]))


@pytest.mark.parametrize(
    ("groundings", "spans", "reason"),
    [
        (
            {"a red chair": [9, 20], "chair": [15, 20]},
            ((9, 20, (0,)),),
            "the later of two that overlap loses its span",
        ),
        ({"a red chair": [-1, -1]}, ((9, 20, (0,)),), "a place outside the caption: found by its words"),
        ({"a red chair": [9, 99]}, ((9, 20, (0,)),), "a place beyond the end"),
        ({"a dog": [-1, 4]}, (), "not in the caption: a segment without a span"),
    ],
)
def test_places_in_the_caption(tmp_path: Path, groundings: dict[str, Any], spans: Any, reason: str) -> None:
    content = grand(**{p: {"token_positives": span, "rle_masks": [rle(LEFT)]} for p, span in groundings.items()})
    file = write_json(tmp_path / "OpenPsgGCG_val.json", content)
    write_picture(tmp_path / "sa_1.jpg")
    truth = truth_of(file)
    assert truth.captions[0].spans == spans, reason
    assert truth.names == tuple(groundings)


def test_a_phrase_without_a_pixel_is_left_out(tmp_path: Path) -> None:
    empty = {"token_positives": list(MAN), "rle_masks": [rle(np.zeros_like(LEFT))]}
    chair = {"token_positives": list(CHAIR), "rle_masks": [rle(RIGHT)]}
    file = write_json(tmp_path / "OpenPsgGCG_val.json", grand(**{"A man": empty, "a red chair": chair}))
    write_picture(tmp_path / "sa_1.jpg")
    truth = truth_of(file)
    assert (truth.names, truth.captions[0].spans) == (("a red chair",), ((9, 20, (0,)),))


def damaged(tmp_path: Path, case: str) -> None:
    file = tmp_path / "OpenPsgGCG_val.json"
    content: Any = grand()
    if case == "no token_positives":
        del content[0]["groundings"]["A man"]["token_positives"]
    elif case == "no caption":
        del content[0]["caption"]
    elif case == "damaged mask":
        content[0]["groundings"]["A man"]["rle_masks"] = [{"size": [8, 10], "counts": "0"}]
    elif case == "mask of another size":
        content[0]["groundings"]["A man"]["rle_masks"] = [rle(np.ones((4, 4), bool))]
    elif case == "picture of another size":
        content[0].update(height=9, width=10)
    elif case == "unknown picture":
        content = flickr()
        content["annotations"][0]["image_id"] = 77
    elif case == "an empty list":
        content = []
    write_json(file, content)
    if case == "captions of other pictures":
        file = val_test(tmp_path)
        write_json(file.with_name("val_gcg_coco_caption_gt.json"), {"annotations": []})
    elif case == "no captions":
        file = val_test(tmp_path)
        file.with_name("val_gcg_coco_caption_gt.json").unlink()
    if case != "no picture":
        write_picture(tmp_path / "sa_1.jpg")
    for record in open_grounded_captions(Wanted(file)).records:
        record.load()


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("no token_positives", "'token_positives' is missing or unknown: expected a form of GranD-f"),
        ("no caption", "'caption' is missing"),
        ("damaged mask", "the mask of 'A man': COCO RLE.*damaged"),
        ("mask of another size", r"the mask of 'A man': RLE: expected size \(8, 10\), got \(4, 4\)"),
        ("picture of another size", r"expected \(height, width\) \(9, 10\)"),
        ("unknown picture", "77 is missing or unknown"),
        ("an empty list", "expected a form of GranD-f"),
        ("captions of other pictures", "'sa_1' is missing or unknown: expected GranD-f's captions"),
        ("no captions", "expected .*val_gcg_coco_caption_gt.json, it isn't there"),
        ("no picture", "such as sa_1.jpg in .*found none"),
    ],
)
def test_refused(tmp_path: Path, case: str, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        damaged(tmp_path, case)
