"""Panoptic quality against cases worked out by hand, and what holds for any picture."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xsam_backend.evaluation.panoptic import PanopticQuality, Quality
from xsam_backend.instances import Instances

SIZE_HW = (10, 20)
IS_THING = {"cat": True, "dog": True, "sky": False, "grass": False}

Strip = tuple[int, int, str]


def strips(entries: list[Strip]) -> np.ndarray:
    """bool (N, 10, 20): columns x0 to x1, 10 px each."""
    masks = np.zeros((len(entries), *SIZE_HW), np.bool_)
    for mask, (x0, x1, _) in zip(masks, entries, strict=True):
        mask[:, x0:x1] = True
    return masks


def found(entries: list[Strip]) -> Instances:
    scores = np.linspace(0.9, 0.5, len(entries), dtype=np.float32)
    return Instances.of(strips(entries), scores, tuple(label for _, _, label in entries))


def measured(*pictures: tuple[list[Strip], list[Strip], list[bool]]) -> PanopticQuality:
    """From predicted strips, true strips and which of the latter are crowds."""
    quality = PanopticQuality(IS_THING)
    for predicted, true, crowd in pictures:
        quality.add(found(predicted), strips(true), [label for _, _, label in true], np.array(crowd, np.bool_))
    return quality


CAT_AND_SKY: list[Strip] = [(0, 10, "cat"), (10, 20, "sky")]
NO_CROWD = [False, False]


@pytest.mark.parametrize(
    ("predicted", "true", "crowd", "expected"),
    [
        (CAT_AND_SKY, CAT_AND_SKY, NO_CROWD, {"cat": (1, 1, 1), "sky": (1, 1, 1)}),
        (
            [(0, 8, "cat"), (8, 20, "sky")],
            CAT_AND_SKY,
            NO_CROWD,
            {"cat": (0.8, 0.8, 1), "sky": (10 / 12, 10 / 12, 1)},
        ),
        ([(0, 5, "cat"), (10, 20, "sky")], CAT_AND_SKY, NO_CROWD, {"cat": (0, 0, 0), "sky": (1, 1, 1)}),
        (
            [(0, 8, "cat"), (12, 20, "cat")],
            [(0, 10, "cat"), (10, 12, "cat"), (12, 20, "sky")],
            [False, False, False],
            {"cat": (0.8 / 2, 0.8, 1 / 2), "sky": (0, 0, 0)},
        ),
        ([(0, 10, "dog")], [(0, 10, "cat")], [False], {"cat": (0, 0, 0), "dog": (0, 0, 0)}),
        ([(0, 20, "cat")], [(0, 10, "cat")], [False], {"cat": (1, 1, 1)}),
        ([(0, 10, "cat"), (10, 20, "dog")], [(0, 10, "cat")], [False], {"cat": (1, 1, 1)}),
        (
            [(0, 9, "cat"), (9, 11, "dog")],
            [(0, 10, "cat")],
            [False],
            {"cat": (0.9, 0.9, 1), "dog": (0, 0, 0)},
        ),
        ([(0, 4, "cat"), (4, 8, "cat")], [(0, 10, "cat")], [True], {}),
        ([(0, 4, "dog")], [(0, 10, "cat")], [True], {"dog": (0, 0, 0)}),
        ([(0, 4, "cat")], [(0, 2, "cat"), (3, 20, "sky")], [True, False], {"sky": (0, 0, 0)}),
        ([(0, 4, "cat")], [(0, 2, "cat"), (2, 20, "sky")], [True, False], {"cat": (0, 0, 0), "sky": (0, 0, 0)}),
        ([(0, 10, "cat"), (0, 20, "sky")], CAT_AND_SKY, NO_CROWD, {"cat": (1, 1, 1), "sky": (1, 1, 1)}),
        ([(0, 10, "cat"), (2, 8, "cat")], [(0, 10, "cat")], [False], {"cat": (1, 1, 1)}),
        ([], [(0, 10, "cat")], [False], {"cat": (0, 0, 0)}),
        ([], [(5, 5, "cat")], [False], {}),
        ([], [], [], {}),
    ],
    ids=[
        "all right",
        "cat: 80 of 100 px; sky: 100 of 120 px",
        "IoU 0.5 is no match: one missed and one invented",
        "one of two cats at IoU 80 / 100, one missed, one invented: PQ 0.8 / (1 + 1/2 + 1/2)",
        "another label: both count, the union of labels is judged",
        "what is void is taken out of the union: 100 / (200 + 100 - 100 - 100)",
        "an unmatched segment in the void is not invented",
        "half in the void is not enough: 10 of its 20 px lie in the cat",
        "segments in a crowd of their label are not invented, and the crowd is not missed",
        "in a crowd of another label they are",
        "crowd and void together: 20 + 10 of its 40 px, the last 10 lie in the sky",
        "half in the crowd is not enough: 20 of its 40 px lie in the sky",
        "a pixel claimed twice belongs to the surer one",
        "nothing is left of the second: it does not count",
        "nothing predicted",
        "a true segment without a pixel is not missed",
        "nothing at all",
    ],
)
def test_one_picture(
    predicted: list[Strip], true: list[Strip], crowd: list[bool], expected: dict[str, tuple[float, float, float]]
) -> None:
    qualities = measured((predicted, true, crowd)).per_label()
    assert set(qualities) == set(expected)
    for label, (pq, sq, rq) in expected.items():
        got = qualities[label]
        assert (got.pq, got.sq, got.rq) == pytest.approx((pq, sq, rq)), label


def test_means_over_labels_things_and_stuff() -> None:
    quality = measured(
        ([(0, 8, "cat"), (8, 20, "sky")], CAT_AND_SKY, NO_CROWD),
        ([(0, 5, "cat"), (5, 10, "dog"), (10, 20, "sky")], CAT_AND_SKY, NO_CROWD),
    )
    # cat: IoU 0.8 once, missed once and invented once (0.5 is no match). dog: invented. sky: IoU 10/12 and 1.
    cat, sky = Quality(0.8 / 2, 0.8, 0.5), Quality((10 / 12 + 1) / 2, (10 / 12 + 1) / 2, 1)
    assert quality.things().labels == 2
    assert quality.things().pq == pytest.approx((cat.pq + 0) / 2)
    assert quality.things().sq == pytest.approx((cat.sq + 0) / 2)
    assert quality.stuff() == Quality(pytest.approx(sky.pq), pytest.approx(sky.sq), 1.0, 1)
    assert quality.all().labels == 3, "grass is nowhere"
    assert quality.all().pq == pytest.approx((cat.pq + 0 + sky.pq) / 3)
    assert quality.all().rq == pytest.approx((cat.rq + 0 + sky.rq) / 3)


def test_chosen_pictures_count_as_often_as_named() -> None:
    quality = measured(([(0, 10, "cat")], [(0, 10, "cat")], [False]), ([], [(0, 10, "cat")], [False]))
    assert len(quality) == 2
    assert quality.all(np.array([0])).pq == 1
    assert quality.all(np.array([1])).pq == 0
    assert quality.all(np.array([0, 0, 1])).pq == pytest.approx(2 / 2.5)


def test_nothing_to_judge() -> None:
    quality = PanopticQuality(IS_THING)
    assert math.isnan(quality.all().pq)
    assert quality.all().labels == 0
    quality = measured(([(0, 10, "cat")], [(0, 10, "cat")], [False]))
    assert math.isnan(quality.stuff().sq)


@pytest.mark.parametrize(
    ("predicted", "true", "message"),
    [
        ([(0, 5, "bird")], [(0, 5, "cat")], r"got \['bird'\]"),
        ([(0, 5, "cat")], [(0, 5, "bird")], r"got \['bird'\]"),
        ([(0, 5, "cat")], [(0, 5, "cat"), (4, 9, "dog")], "got 10 px in several"),
    ],
    ids=["predicted label not asked for", "true label not asked for", "true segments overlap"],
)
def test_refused(predicted: list[Strip], true: list[Strip], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        measured((predicted, true, [False] * len(true)))


def test_counts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="as many labels as masks"):
        PanopticQuality(IS_THING).add(found([]), strips([(0, 5, "cat")]), [])


def reference(predicted: np.ndarray, true: np.ndarray, crowd: set[int]) -> dict[str, tuple[float, int, int, int]]:
    """The definition, pixel set by pixel set, over label maps: segment i has the i-th label, 0 is void."""
    labels = ["", *IS_THING]

    def pixels(owner_map: np.ndarray) -> dict[int, set[int]]:
        return {i: set(np.flatnonzero(owner_map == i)) for i in range(1, 5) if (owner_map == i).any()}

    ours, theirs, void = pixels(predicted), pixels(true), set(np.flatnonzero(true == 0))
    result = {}
    for i in range(1, 5):
        mine, other = ours.get(i, set()), theirs.get(i, set())
        is_crowd = i in crowd
        iou = len(mine & other) / len((mine | other) - (void - other)) if mine and other and not is_crowd else 0.0
        matched = iou > 0.5
        ignored = len(mine & void) + (len(mine & other) if is_crowd else 0)
        invented = bool(mine) and not matched and ignored * 2 <= len(mine)
        missed = bool(other) and not is_crowd and not matched
        result[labels[i]] = (iou if matched else 0.0, matched, invented, missed)
    return result


@settings(deadline=None, max_examples=200)
@given(st.integers(0, 10**6), st.floats(0, 0.6), st.sets(st.integers(1, 4), max_size=2))
def test_agrees_with_the_definition_on_any_maps(seed: int, noise: float, crowd: set[int]) -> None:
    """One segment per label, most pixels alike, so that there are matches near the threshold, misses and void."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, 5, SIZE_HW)
    predicted = np.where(rng.random(SIZE_HW) < noise, rng.integers(0, 5, SIZE_HW), true)
    labels = tuple(IS_THING)
    masks = np.stack([true == i for i in range(1, 5)])
    answer = Instances.of(np.stack([predicted == i for i in range(1, 5)]), np.ones(4, np.float32), labels)
    quality = PanopticQuality(IS_THING)
    quality.add(answer, masks, labels, np.array([i in crowd for i in range(1, 5)]))
    qualities = quality.per_label()
    for label, (iou, matched, invented, missed) in reference(predicted, true, crowd).items():
        weight = matched + (invented + missed) / 2
        if not weight:
            assert label not in qualities
        else:
            assert qualities[label].pq == pytest.approx(iou / weight)
            assert qualities[label].rq == pytest.approx(matched / weight)
            assert qualities[label].pq == pytest.approx(qualities[label].sq * qualities[label].rq)
