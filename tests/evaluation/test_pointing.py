"""Which objects are asked about, and where prompts point: drawn by chance, the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest
from knowing_predictor import KnowingPredictor
from measured_pictures import Given, dataset_of, labelled

from xsam_backend.evaluation.asking import AskedPicture
from xsam_backend.evaluation.tasks.pointing import Pointing
from xsam_backend.evaluation.tasks.run import Options, Setting, chance, chosen_objects, objects_in_words
from xsam_backend.prompts import Box, MaskRegion, Point
from xsam_backend.region_masks import region_mask

TRUTH = labelled(0)


def pointing(seed: int = 0, own: str | None = None) -> Pointing:
    dataset = dataset_of([Given(TRUTH)])
    return Pointing(Setting(dataset, Options(seed=seed), 7, own))  # type: ignore[arg-type]


def picture(number: int = 0, regions: tuple[Box, ...] = ()) -> AskedPicture:
    return AskedPicture(KnowingPredictor([]), labelled(number), regions)


@pytest.mark.parametrize(
    ("least_px", "most", "chosen"),
    [
        (0, 0, (0, 1, 3, 4)),
        (50, 0, (0, 3, 4)),
        (0, 9, (0, 1, 3, 4)),
        (1000, 0, ()),
        (80, 1, None),
    ],
    ids=["all that may be", "large ones", "fewer than asked for", "none is so large", "drawn"],
)
def test_objects_are_large_enough_and_few_enough(least_px: int, most: int, chosen: tuple[int, ...] | None) -> None:
    areas, usable = [100, 20, 500, 80, 300, 0], [True, True, False, True, True, True]
    got = chosen_objects(areas, usable, least_px, most, np.random.default_rng(0))
    if chosen is None:
        assert len(got) == most
        assert set(got) <= {0, 3, 4}
    else:
        assert got == chosen


def test_every_object_is_drawn_now_and_then() -> None:
    drawn = [chosen_objects([9] * 5, [True] * 5, 0, 2, chance(seed, "a.jpg", "objects")) for seed in range(50)]
    assert {index for chosen in drawn for index in chosen} == set(range(5))
    assert all(chosen == tuple(sorted(set(chosen))) for chosen in drawn)


def test_the_rule_in_words() -> None:
    assert objects_in_words(0, 0) == "all"
    assert objects_in_words(0, 9) == "all, of at least 9 px"


def test_simulated_prompts_lie_on_their_object_and_say_how_far_it_goes() -> None:
    for segment in range(3):
        mask = TRUTH.masks[segment]
        regions = {kind: pointing().at(picture(), kind, segment) for kind in pointing().kinds}
        assert isinstance(regions["point"], Point)
        assert mask[int(regions["point"].y_px), int(regions["point"].x_px)]
        assert isinstance(regions["box"], Box)
        assert np.array_equal(region_mask(regions["box"], TRUTH.size_hw), mask), "the objects are rectangles"
        assert isinstance(regions["scribble"], MaskRegion)
        assert not regions["scribble"].is_outline
        assert (regions["scribble"].mask & ~mask).sum() == 0
        assert isinstance(regions["mask"], MaskRegion)
        assert regions["mask"].is_outline


def test_the_same_seed_points_at_the_same_place_whatever_was_asked_before() -> None:
    first = pointing()
    first.at(picture(), "scribble", 0)
    first.at(picture(1), "scribble", 2)
    again, other = pointing().at(picture(), "scribble", 2), pointing(seed=1).at(picture(), "scribble", 2)
    here = first.at(picture(), "scribble", 2)
    assert isinstance(here, MaskRegion)
    assert isinstance(again, MaskRegion)
    assert isinstance(other, MaskRegion)
    assert np.array_equal(here.mask, again.mask)
    assert not np.array_equal(here.mask, other.mask)


def test_a_data_sets_own_prompts_go_before_simulated_ones() -> None:
    boxes = tuple(Box(float(index), 1.0, 9.0, 9.0) for index in range(4))
    own = pointing(own="box")
    assert own.kinds == ("box",)
    assert own.at(picture(0, boxes), "box", 2) is boxes[2]
    assert own.words == "the data set's own"
    assert "most interior pixel" in pointing().words
