"""Average precision against cases worked out by hand, and against pycocotools."""

import contextlib
import io
import math
import pickle

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from xsam_backend.evaluation.average_precision import AveragePrecision
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
    return Instances.of(masks, scores, tuple(label for _, _, label in entries))


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
    assert measure.per_label(None) == {"x": pytest.approx(1.0), "y": pytest.approx(0.3)}


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="as many labels as masks"):
        AveragePrecision().add(found(), np.stack([A]), [])


def single_pixels(count: int) -> np.ndarray:
    masks = np.zeros((count, *SIZE_HW), np.bool_)
    masks.reshape(count, -1)[np.arange(count), np.arange(count)] = True
    return masks


@pytest.mark.parametrize(
    ("max_detections", "precision", "recall"),
    [(100, 67 / 101, 100 / 150), (500, 1.0, 1.0), (75, 51 / 101, 0.5)],
    ids=[
        "100 of 150 found: precision 1 up to recall 0.66, which is 67 of 101 points",
        "500 is enough for all",
        "half of them: 51 of 101 points",
    ],
)
def test_dense_pictures_need_more_detections(max_detections: int, precision: float, recall: float) -> None:
    masks = single_pixels(150)
    measure = AveragePrecision(max_detections)
    measure.add(found(*((mask, 1 - i / 200, "cell") for i, mask in enumerate(masks))), masks, ["cell"] * 150)
    assert measure.at(0.5) == pytest.approx(precision)
    assert measure.mean() == pytest.approx(precision)
    assert measure.recall() == pytest.approx(recall)


def test_recall_is_the_share_found_over_all_thresholds() -> None:
    measure = AveragePrecision()
    measure.add(found((A, 0.9, "x"), (strip(10, 13), 0.8, "x"), (strip(18, 20), 0.99, "x")), np.stack([A, B]), "xx")
    # IoU 0.6 counts at 0.5, 0.55 and 0.6: both found there, one of two at the other seven. Misses don't matter.
    assert measure.recall() == pytest.approx((3 * 1 + 7 * 0.5) / 10)


@pytest.mark.parametrize(
    ("pictures", "expected"),
    [
        ([0], 1.0),
        ([1], 0.0),
        ([0, 1], 51 / 101),
        ([1, 0, 0], 67 / 101),
        ([0, 0, 0, 0], 1.0),
    ],
    ids=["the good one", "the bad one", "one of two found", "two of three: up to recall 0.66", "repeats"],
)
def test_chosen_pictures_count_as_often_as_named(pictures: list[int], expected: float) -> None:
    measure = AveragePrecision()
    measure.add(found((A, 0.9, "x")), np.stack([A]), ["x"])
    measure.add(found(), np.stack([B]), ["x"])
    assert len(measure) == 2
    assert measure.at(0.5, np.array(pictures)) == pytest.approx(expected)
    assert measure.mean(np.array(pictures)) == pytest.approx(expected)


def test_labels_that_are_not_in_the_chosen_pictures_do_not_count() -> None:
    measure = AveragePrecision()
    measure.add(found((A, 0.9, "x")), np.stack([A]), ["x"])
    measure.add(found((A, 0.9, "x")), np.stack([B]), ["y"])
    assert measure.per_label() == {"x": pytest.approx(1.0), "y": 0.0}
    assert measure.at(0.5, np.array([0])) == pytest.approx(1.0), "only x is there"
    measure.add(found((A, 0.9, "x")), np.stack([A]), ["x"])
    assert len(measure) == 3, "adding goes on after reading"
    assert measure.at(0.5, np.array([2])) == pytest.approx(1.0)


def some_picture(rng: np.random.Generator) -> tuple[Instances, np.ndarray, list[str], np.ndarray]:
    """Detections with their truth: hits and misses of two labels, now and then a crowd; no two scores are equal."""
    true = [strip(x, x + int(rng.integers(2, 6))) for x in rng.integers(0, 15, 3)]
    labels = [str(label) for label in rng.choice(["x", "y"], 3)]
    guesses = [
        (np.roll(mask, int(rng.integers(-1, 2)), 1), float(rng.random()), label if rng.random() < 0.9 else "y")
        for mask, label in zip(true, labels, strict=True)
        for _ in range(int(rng.integers(0, 3)))
    ]
    return found(*guesses), np.stack(true), labels, rng.random(3) < 0.2


@pytest.mark.parametrize("max_detections", [1, 100])
def test_a_draw_is_what_its_pictures_give_when_they_are_added_as_often(max_detections: int) -> None:
    rng = np.random.default_rng(4)
    pictures = [some_picture(rng) for _ in range(8)]
    whole = AveragePrecision(max_detections)
    for picture in pictures:
        whole.add(*picture)
    for _ in range(20):
        drawn = rng.integers(8, size=8)
        anew = AveragePrecision(max_detections)
        for index in drawn:
            anew.add(*pictures[index])
        assert whole.summary(drawn) == pytest.approx(anew.summary(), nan_ok=True)
        assert whole.recall(drawn) == pytest.approx(anew.recall(), nan_ok=True)


def test_little_is_kept_of_a_picture() -> None:
    """50,000 pictures with 100 proposals each are to fit beside a model: some bytes for each proposal."""
    rng = np.random.default_rng(0)
    kept = []
    for pictures in (5, 25):
        measure = AveragePrecision()
        for _ in range(pictures):
            masks = rng.random((100, *SIZE_HW)) < 0.5
            labels = [str(label) for label in rng.integers(0, 40, 100)]
            measure.add(found(*zip(masks, rng.random(100), labels, strict=True)), masks[:5], labels[:5])
        kept.append(len(pickle.dumps(measure)))
    assert (kept[1] - kept[0]) / 20 < 20 * 100


def test_only_thresholds_of_coco_are_counted() -> None:
    with pytest.raises(ValueError, match="expected one of"):
        AveragePrecision().at(0.42)


@pytest.mark.parametrize("max_detections", [3, 100, 500])
def test_ap_agrees_with_pycocotools(max_detections: int) -> None:
    rng = np.random.default_rng(0)
    ours = AveragePrecision(max_detections)
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
            Instances.of(
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
        theirs.params.maxDets = [max_detections]
        theirs.evaluate()
        theirs.accumulate()
    # Its summary is of no use for other numbers of detections: the arrays are thresholds, recalls, labels, all areas.
    precision, recall = theirs.eval["precision"][:, :, :, 0, 0], theirs.eval["recall"][:, :, 0, 0]
    assert precision.min() >= 0
    assert 0.1 < ours.mean() < 0.9
    assert ours.mean() == pytest.approx(precision.mean())
    assert ours.at(0.5) == pytest.approx(precision[0].mean())
    assert ours.at(0.75) == pytest.approx(precision[5].mean())
    assert ours.summary() == (ours.mean(), ours.at(0.5), ours.at(0.75))
    assert ours.recall() == pytest.approx(recall.mean())
    assert ours.per_label(0.75) == {str(k + 1): pytest.approx(precision[5, :, k].mean()) for k in range(3)}
