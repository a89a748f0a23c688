"""Scenes as records: only held-out ones, with every kind of truth."""

from __future__ import annotations

import numpy as np
import pytest

from xsam_backend.errors import DatasetError
from xsam_backend.evaluation.datasets.drawn_scenes import open_scenes
from xsam_backend.scenes.scene import draw_scene, is_held_out


def test_only_held_out_scenes() -> None:
    dataset = open_scenes(50)
    seeds = [int(record.source.removeprefix("scene ")) for record in dataset.records]
    assert all(is_held_out(seed) for seed in seeds)
    assert len(set(seeds)) == 50
    assert {record.split for record in dataset.records} == {dataset.split}
    assert len(open_scenes()) == 200


def test_a_record_is_its_scene() -> None:
    record = open_scenes(3).records[2]
    truth, drawn = record.load(), draw_scene(1_000_002)
    assert truth.source == record.source == drawn.source
    np.testing.assert_array_equal(truth.image, drawn.image)
    assert truth.names == drawn.names
    assert record.regions() == ()


def test_every_kind_of_truth() -> None:
    dataset = open_scenes(4)
    truths = [record.load() for record in dataset.records]
    names = {category.label: category.is_thing for category in dataset.categories}
    for truth in truths:
        assert [names[name] for name in truth.names] == truth.is_thing.tolist()
        assert (truth.masks.sum(0) == 1).all(), "every pixel is in exactly one segment"
    assert all(truth.captions for truth in truths)
    assert any(truth.questions for truth in truths)
    expressions = [expression for truth in truths for expression in truth.referring]
    assert any(expression.segments for expression in expressions)
    assert any(not expression.segments for expression in expressions), "phrases about absent things"


@pytest.mark.parametrize(
    ("count", "split", "message"), [(0, None, "at least one"), (5, "train", "'held-out' or none")]
)
def test_refused(count: int, split: str | None, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        open_scenes(count, split)
