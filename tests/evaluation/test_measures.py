"""Measures against cases worked out by hand, and AP against pycocotools."""

import contextlib
import io
import math

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from xsam_backend.evaluation.measures import (
    AveragePrecision,
    Overlap,
    c_iou,
    g_iou,
    precision_at,
    silence_on_absent,
)
from xsam_backend.instances import Instances

SIZE_HW = (10, 20)


def strip(x0: int, x1: int) -> np.ndarray:
    """bool (10, 20): columns x0 to x1, 10 px each."""
    mask = np.zeros(SIZE_HW, np.bool_)
    mask[:, x0:x1] = True
    return mask


def found(*entries: tuple[np.ndarray, float, str]) -> Instances:
    masks = np.stack([mask for mask, _, _ in entries]) if entries else np.zeros((0, *SIZE_HW), np.bool_)
    scores = np.array([score for _, score, _ in entries], np.float32)
    return Instances(masks, scores, tuple(label for _, _, label in entries))


@pytest.mark.parametrize(
    ("predicted", "target", "iou"),
    [
        (strip(0, 10), strip(0, 10), 1.0),
        (strip(0, 10), strip(5, 15), 50 / 150),
        (strip(0, 4), strip(10, 14), 0.0),
        (strip(0, 0), strip(0, 5), 0.0),
        (strip(0, 0), strip(0, 0), 1.0),
        (strip(0, 1), strip(0, 0), 0.0),
    ],
    ids=["equal", "half", "apart", "nothing found", "rightly nothing", "found where nothing is"],
)
def test_iou(predicted: np.ndarray, target: np.ndarray, iou: float) -> None:
    assert Overlap.of(predicted, target).iou == pytest.approx(iou)


def test_phrase_measures_with_absent_objects() -> None:
    overlaps = [
        Overlap.of(strip(0, 10), strip(0, 10)),  # 100 of 100
        Overlap.of(strip(0, 1), strip(0, 2)),  # 10 of 20
        Overlap.of(strip(0, 0), strip(0, 0)),  # absent, and said so
        Overlap.of(strip(0, 4), strip(0, 0)),  # absent, 40 px of false alarm
    ]
    assert g_iou(overlaps) == pytest.approx((1 + 0.5 + 1 + 0) / 4)
    assert c_iou(overlaps) == pytest.approx((100 + 10) / (100 + 20 + 40))
    assert precision_at(overlaps, 0.5) == 1.0
    assert precision_at(overlaps, 0.6) == 0.5
    assert silence_on_absent(overlaps) == 0.5


def test_no_cases_have_no_measure() -> None:
    assert math.isnan(g_iou([]))
    assert math.isnan(c_iou([Overlap(0, 0, 0)]))
    assert math.isnan(precision_at([Overlap(0, 5, 0)], 0.5))
    assert math.isnan(silence_on_absent([Overlap(1, 1, 1)]))
    assert math.isnan(AveragePrecision().at())


def test_masks_of_different_size_are_refused() -> None:
    with pytest.raises(ValueError, match="one size"):
        Overlap.of(strip(0, 1), np.zeros((3, 3), np.bool_))


def ap50(predicted: Instances, masks: list[np.ndarray], labels: list[str], crowd: list[bool] | None = None) -> float:
    measure = AveragePrecision()
    stack = np.stack(masks) if masks else np.zeros((0, *SIZE_HW), np.bool_)
    measure.add(predicted, stack, labels, None if crowd is None else np.array(crowd))
    return measure.at(0.5)


A, B = strip(0, 5), strip(10, 15)


@pytest.mark.parametrize(
    ("predicted", "expected"),
    [
        (found((A, 0.9, "x"), (B, 0.8, "x")), 1.0),
        (found(), 0.0),
        (found((A, 0.9, "x")), 51 / 101),
        (found((strip(16, 20), 0.9, "x"), (A, 0.8, "x"), (B, 0.7, "x")), 2 / 3),
        (found((A, 0.9, "x"), (A, 0.8, "x"), (B, 0.7, "x")), (51 + 50 * 2 / 3) / 101),
        (found((A, 0.9, "y"), (B, 0.8, "y")), 0.0),
        (found((strip(0, 3), 0.9, "x"), (B, 0.8, "x")), 1.0),
        (found((strip(0, 2), 0.9, "x"), (B, 0.8, "x")), 51 / 101 * 0.5),
    ],
    ids=[
        "all found",
        "nothing found",
        "one of two: precision 1 up to recall 0.5, which is 51 of 101 points",
        "a miss first: precision rises to 2/3 at the end",
        "found twice: the second is a miss",
        "another label",
        "IoU 0.6 is enough",
        "IoU 0.4 is not: precision 1/2 up to recall 0.5",
    ],
)
def test_ap50_of_two_targets(predicted: Instances, expected: float) -> None:
    assert ap50(predicted, [A, B], ["x", "x"]) == pytest.approx(expected)


def test_crowds_are_neither_targets_nor_misses() -> None:
    crowd = strip(8, 20)
    inside = found((strip(9, 12), 0.95, "x"), (strip(14, 16), 0.92, "x"), (A, 0.9, "x"))
    assert ap50(inside, [A, crowd], ["x", "x"], [False, True]) == 1.0
    assert ap50(inside, [A], ["x"]) == pytest.approx(1 / 3)
    assert math.isnan(ap50(inside, [crowd], ["x"], [True]))


def test_labels_count_alike_and_thresholds_are_averaged() -> None:
    measure = AveragePrecision()
    measure.add(found((A, 0.9, "x"), (strip(10, 13), 0.9, "y")), np.stack([A, B]), ["x", "y"])
    assert measure.per_label(0.5) == {"x": 1.0, "y": 1.0}
    assert measure.per_label(0.75) == {"x": 1.0, "y": 0.0}
    # IoU 0.6 reaches the thresholds 0.5, 0.55 and 0.6.
    assert measure.mean() == pytest.approx((1 + 3 / 10) / 2)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="as many labels as masks"):
        AveragePrecision().add(found(), np.stack([A]), [])


def test_ap_agrees_with_pycocotools() -> None:
    rng = np.random.default_rng(0)
    ours = AveragePrecision()
    images, annotations, detections = [], [], []

    def blob() -> np.ndarray:
        mask = np.zeros((40, 50), np.bool_)
        y, x = rng.integers(0, 30), rng.integers(0, 40)
        mask[y : y + rng.integers(4, 20), x : x + rng.integers(4, 20)] = True
        return mask

    def rle(mask: np.ndarray) -> dict[str, object]:
        encoded = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
        return {"size": encoded["size"], "counts": encoded["counts"].decode()}

    for image_id in range(1, 31):
        truths = [(blob(), int(rng.integers(1, 4)), bool(rng.random() < 0.15)) for _ in range(rng.integers(0, 7))]
        guesses = []
        for mask, label, _ in truths:
            for _ in range(int(rng.integers(0, 3))):
                guess = np.roll(mask, tuple(rng.integers(-1, 2, 2)), (0, 1))
                guesses.append((guess, float(rng.random()), label if rng.random() < 0.9 else 1))
        guesses += [(blob(), float(rng.random()), int(rng.integers(1, 4))) for _ in range(rng.integers(0, 3))]
        images.append({"id": image_id, "height": 40, "width": 50})
        for mask, label, crowd in truths:
            annotations.append(
                {"id": len(annotations) + 1, "image_id": image_id, "category_id": label, "iscrowd": int(crowd)}
                | {"area": int(mask.sum()), "bbox": [0, 0, 1, 1], "segmentation": rle(mask)}
            )
        for mask, score, label in guesses:
            detections.append({"image_id": image_id, "category_id": label, "score": score, "segmentation": rle(mask)})
        ours.add(
            Instances(
                np.stack([mask for mask, _, _ in guesses]) if guesses else np.zeros((0, 40, 50), np.bool_),
                np.array([score for _, score, _ in guesses], np.float32),
                tuple(str(label) for _, _, label in guesses),
            ),
            np.stack([mask for mask, _, _ in truths]) if truths else np.zeros((0, 40, 50), np.bool_),
            [str(label) for _, label, _ in truths],
            np.array([crowd for _, _, crowd in truths], np.bool_),
        )
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "info": {},
            "images": images,
            "annotations": annotations,
            "categories": [{"id": label, "name": str(label)} for label in (1, 2, 3)],
        }
        truth.createIndex()
        theirs = COCOeval(truth, truth.loadRes(detections), "segm")
        theirs.evaluate()
        theirs.accumulate()
        theirs.summarize()
    assert 0.1 < ours.mean() < 0.9
    assert ours.mean() == pytest.approx(theirs.stats[0], abs=1e-6)
    assert ours.at(0.5) == pytest.approx(theirs.stats[1], abs=1e-6)
    assert ours.at(0.75) == pytest.approx(theirs.stats[2], abs=1e-6)
