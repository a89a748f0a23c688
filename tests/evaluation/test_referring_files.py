"""RefCOCO in each form that goes around, phrases about nothing, and what is refused."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dataset_files import COCO, SQUARE, block, instances, rle, write_json, write_picture

from xsam_backend.errors import DatasetError
from xsam_backend.evaluation.datasets.records import Dataset, Wanted
from xsam_backend.evaluation.datasets.referring import open_referring, refs_file
from xsam_backend.ground_truth import Expression, GroundTruth

NAME = "COCO_train2014_000000581857"
CORNER = block(slice(0, 2), slice(7, 10))


def sentences(*texts: str) -> list[dict[str, Any]]:
    """As in refs(unc).p: ``raw`` is what was typed, ``sent`` is cleaned."""
    return [
        {"tokens": text.lower().split(), "raw": text.upper(), "sent_id": i, "sent": text}
        for i, text in enumerate(texts)
    ]


def ref(annotation: Any, split: str, *texts: str, image: int = 581857, **more: Any) -> dict[str, Any]:
    return {
        "sent_ids": list(range(len(texts))),
        "file_name": f"{NAME}_16.jpg",
        "ann_id": annotation,
        "ref_id": 0,
        "image_id": image,
        "split": split,
        "sentences": sentences(*texts),
        "category_id": 1,
        **more,
    }


REFS = [
    ref(1719310, "val", "the lady with the Blue shirt", "lady with back to us", "the lady with the blue shirt"),
    ref(18, "val", "the small dog"),
    ref(20, "train", "a dog elsewhere", image=2),
]


def coco() -> dict[str, Any]:
    content = instances(
        [{"id": 581857, "file_name": f"{NAME}.jpg"}, {"id": 2, "file_name": "COCO_train2014_000000000002.jpg"}],
        [
            {"id": 1719310, "image_id": 581857, "category_id": 1, "segmentation": SQUARE},
            {"id": 18, "image_id": 581857, "category_id": 2, "segmentation": rle(CORNER)},
            {"id": 19, "image_id": 581857, "category_id": 2, "segmentation": SQUARE},
            {"id": 20, "image_id": 2, "category_id": 2, "segmentation": SQUARE},
        ],
    )
    return content


def write(folder: Path, refs: Any, name: str = "refs(unc).json", content: dict[str, Any] | None = None) -> Path:
    """``refcoco/instances.json`` beside the refs, and the pictures where X-SAM has them."""
    data = folder / "refcoco"
    write_json(data / "instances.json", content or coco())
    for number in (581857, 2):
        write_picture(folder / "images" / "train2014" / f"COCO_train2014_{number:012d}.jpg")
    if name.endswith(".p"):
        (data / name).write_bytes(pickle.dumps(refs, 2))
    elif name.endswith(".jsonl"):
        (data / name).write_text("\n".join(json.dumps(one) for one in refs) + "\n")
    else:
        write_json(data / name, refs)
    return data


def only_truth(dataset: Dataset) -> GroundTruth:
    (record,) = dataset.records
    assert record.regions() == ()
    return record.load()


@pytest.mark.parametrize("name", ["refs(unc).p", "refs(unc).json", "refs(unc).jsonl"])
def test_the_authors_form(tmp_path: Path, name: str) -> None:
    dataset = open_referring(Wanted(write(tmp_path, REFS, name), split="val"))
    assert (dataset.name, dataset.split, dataset.categories) == ("refcoco (unc)", "val", ())
    truth = only_truth(dataset)
    assert truth.names == ("person", "dog"), "objects that no phrase is about are left out"
    assert truth.masks.sum((1, 2)).tolist() == [16, 6]
    np.testing.assert_array_equal(truth.masks[1], CORNER)
    assert truth.referring == (
        Expression("the lady with the blue shirt", (0,)),
        Expression("lady with back to us", (0,)),
        Expression("the small dog", (1,)),
    )
    assert truth.complete_for == frozenset()
    assert truth.source == f"{NAME}.jpg"


def test_phrases_about_several_and_about_nothing(tmp_path: Path) -> None:
    """gRefCOCO: lists of ids, [-1] for none."""
    refs = [
        ref([1719310, 18], "val", "the lady and the dog", no_target=False),
        ref([-1], "val", "the cat", no_target=True),
        ref(-1, "val", "the horse", no_target=True),
    ]
    truth = only_truth(open_referring(Wanted(write(tmp_path, refs, "grefs(unc).json"), split="val")))
    assert truth.referring == (
        Expression("the lady and the dog", (0, 1)),
        Expression("the cat", ()),
        Expression("the horse", ()),
    )


def test_a_picture_of_which_all_phrases_are_about_nothing(tmp_path: Path) -> None:
    refs = [ref([-1], "val", "the cat", no_target=True)]
    truth = only_truth(open_referring(Wanted(write(tmp_path, refs, "grefs(unc).json"))))
    assert truth.masks.shape == (0, 8, 10)
    assert truth.referring == (Expression("the cat", ()),)


def test_psalms_form(tmp_path: Path) -> None:
    content = coco()
    sample = {
        "image": f"{NAME}.jpg",
        "image_info": content["images"][0],
        "instruction": sentences("the Small dog"),
        "anns": [content["annotations"][1]],
        "new_img_id": 0,
    }
    file = write_json(write(tmp_path, REFS) / "testA_psalm.json", [sample])
    dataset = open_referring(Wanted(file, content=json.loads(file.read_text()), split="testA"))
    truth = only_truth(dataset)
    assert truth.referring == (Expression("the small dog", (0,)),)
    np.testing.assert_array_equal(truth.masks[0], CORNER)


def mdetr(masks: bool) -> dict[str, Any]:
    """A picture for each sentence; gRefCOCO's ``empty`` ones have an annotation without an object."""
    images = [
        {"file_name": f"{NAME}.jpg", **COCO, "id": i, "original_id": 581857, "caption": text, "tokens_negative": []}
        for i, text in enumerate(("the Lady", "blue shirt", "the cat"))
    ]
    own = {"area": 16, "iscrowd": 0, "category_id": 1, "bbox": [2, 2, 4, 4], "original_id": 1719310}
    annotations = [
        {**own, "image_id": 0, "id": 0, "tokens_positive": [[0, 8]]},
        {**own, "image_id": 1, "id": 1, "tokens_positive": [[5, 10]]},
        {**own, "image_id": 2, "id": 2, "empty": True, "original_id": -1, "category_id": -1, "bbox": [0, 0, 0, 0]},
    ]
    if masks:
        annotations = [{**one, "segmentation": SQUARE} for one in annotations]
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "person"}]}


@pytest.mark.parametrize("masks", [True, False])
def test_mdetrs_form(tmp_path: Path, masks: bool) -> None:
    """Without masks they are looked up in COCO's file beside it."""
    file = write_json(write(tmp_path, REFS) / "finetune_refcoco_val.json", mdetr(masks))
    truth = only_truth(open_referring(Wanted(file, content=json.loads(file.read_text()), split="val")))
    assert truth.names == ("person",)
    assert truth.masks.sum() == 16
    assert truth.referring == (
        Expression("the lady", (0,)),
        Expression("blue shirt", (0,)),
        Expression("the cat", ()),
    )


def test_who_split_the_data(tmp_path: Path) -> None:
    data = write(tmp_path, REFS, "refs(google).p")
    write(tmp_path, REFS, "refs(unc).p")
    assert refs_file(data).name == "refs(unc).p"
    write(tmp_path, REFS, "refs(umd).p")
    assert refs_file(data).name == "refs(umd).p"
    assert open_referring(Wanted(data / "refs(google).p", split="val")).name == "refcoco (google)"


def damaged(tmp_path: Path, case: str) -> None:
    content, refs, split, name = coco(), [dict(one) for one in REFS], "val", "refs(unc).json"
    if case == "unknown annotation":
        refs[0]["ann_id"] = 4711
    elif case == "unknown picture":
        refs[0]["image_id"] = 4711
    elif case == "no sentences":
        del refs[0]["sentences"]
    elif case == "no such split":
        split = "testC"
    elif case == "no split chosen":
        split = None  # type: ignore[assignment]
    elif case == "damaged mask":
        content["annotations"][1]["segmentation"] = {"size": [8, 10], "counts": "0"}
    elif case == "empty mask":
        content["annotations"][1]["segmentation"] = [[20.0, 20.0, 30.0, 20.0, 30.0, 30.0]]
    elif case == "other size":
        content["images"][0]["height"] = 9
    elif case == "hostile pickle":
        refs, name = [{"split": Path("a")}], "refs(unc).p"  # type: ignore[list-item]
    elif case == "another kind of JSON":
        refs = {"a": 1}  # type: ignore[assignment]
    data = write(tmp_path, refs, name, content)
    if case == "no instances":
        (data / "instances.json").unlink()
    elif case == "no refs":
        (data / name).unlink()
    elif case == "no pictures":
        (tmp_path / "images").rename(tmp_path / "gone")
    elif case == "damaged lines":
        (data / name).rename(data / "refs(unc).jsonl")
        (data / "refs(unc).jsonl").write_text('{"ref_id": 1}\n{')
    elif case == "boxes without masks":
        (data / "instances.json").unlink()
        file = write_json(data / "finetune_refcoco_val.json", mdetr(False))
        open_referring(Wanted(file, content=mdetr(False)))
    for record in open_referring(Wanted(data, split=split)).records:
        record.load()


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("unknown annotation", "4711 is missing or unknown"),
        ("unknown picture", "4711 is missing or unknown"),
        ("no sentences", "'sentences' is missing or unknown: expected RefCOCO's refs"),
        ("no such split", "split 'testC', there are train, val"),
        ("damaged mask", r"a dog that phrases are about: COCO RLE.*damaged"),
        ("empty mask", "a dog that phrases are about covers no pixel"),
        ("other size", r"expected \(height, width\) \(9, 10\)"),
        ("hostile pickle", "could run anything"),
        ("another kind of JSON", "expected RefCOCO's refs"),
        ("no instances", "expected .*instances.json, it isn't there"),
        ("no refs", r"expected refs\(unc\).p.*found none"),
        ("no pictures", f"such as {NAME}.jpg in .*train2014.*found none"),
        ("no split chosen", "expected one split to be chosen, there are train, val"),
        ("damaged lines", "expected one JSON object a line"),
        ("boxes without masks", "holds boxes and no masks: put COCO's instances_train2014.json beside"),
    ],
)
def test_refused(tmp_path: Path, case: str, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        damaged(tmp_path, case)
