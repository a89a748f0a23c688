"""Where training pictures come from: the same for one seed, mixed by share, nothing held out among them."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import SIDE, small_config, tokenizer

from xsam_backend.errors import DatasetError
from xsam_backend.evaluation.datasets.coco_folder import CocoRecord
from xsam_backend.ground_truth import GroundTruth
from xsam_backend.prompts import Task
from xsam_backend.scenes.scene import FIRST_HELD_OUT_SEED
from xsam_backend.training import sources
from xsam_backend.training.batch import AskedPicture
from xsam_backend.training.sources import Part, Photos, QuestionSet, Scenes, told_words

INTERACTIVE = {Task.INTERACTIVE: 2, Task.REFERRING: 1}


class Plain:
    """Pictures of one grey with one square; ``grey`` tells which source they come from."""

    names = ("square", "circle")

    def __init__(self, grey: int, squares: int = 1) -> None:
        self.grey = grey
        self.squares = squares
        self.drawn = 0

    def draw(self, rng: np.random.Generator) -> GroundTruth:
        self.drawn += 1
        masks = np.zeros((self.squares, 50, 60), bool)
        masks[:, 10:40, 10 : 10 + int(rng.integers(20, 40))] = True
        return GroundTruth(
            np.full((50, 60, 3), self.grey, np.uint8),
            masks,
            ("square",) * self.squares,
            np.ones(self.squares, bool),
            np.zeros(self.squares, bool),
            complete_for=frozenset(["square", "circle"]),
        )


def stream(*parts: Part, seed: int = 0, together: int | None = None, **config) -> QuestionSet:
    words = told_words(part.source for part in parts)
    return QuestionSet(parts, small_config(**config), tokenizer(), seed, 10, words, together)


def assert_same(ours: AskedPicture, theirs: AskedPicture) -> None:
    assert torch.equal(ours.segmentor_pixels, theirs.segmentor_pixels)
    assert torch.equal(ours.vision_pixels, theirs.vision_pixels)
    assert ours.tasks == theirs.tasks
    for one, other in zip(ours.conversations, theirs.conversations, strict=True):
        assert np.array_equal(one.input_ids, other.input_ids)
    for one, other in zip(ours.points, theirs.points, strict=True):
        assert torch.equal(one, other)
    for one, other in zip(ours.targets, theirs.targets, strict=True):
        assert torch.equal(one.masks, other.masks)
        assert torch.equal(one.classes, other.classes)


def test_picture_number_n_is_the_same_whenever_it_is_asked_for() -> None:
    first, again = (stream(Part(Plain(80), 1.0, INTERACTIVE)) for _ in range(2))
    for index in (7, 0, 7):
        assert_same(first[index], again[index])


def test_other_numbers_and_other_seeds_are_other_pictures() -> None:
    part = Part(Plain(80), 1.0, INTERACTIVE)
    pictures = [stream(part)[0], stream(part)[1], stream(part, seed=1)[0]]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert not torch.equal(pictures[one].targets[0].masks, pictures[other].targets[0].masks)


def test_parts_come_by_their_shares() -> None:
    rare, common = Plain(10), Plain(200)
    mixed = stream(Part(rare, 1.0, INTERACTIVE), Part(common, 4.0, INTERACTIVE))
    for index in range(50):
        mixed[index]
    assert rare.drawn + common.drawn == 50
    assert 3 <= rare.drawn <= 20


def test_pictures_that_answer_nothing_are_drawn_again() -> None:
    """One in two has no instance, and only instances are asked for."""
    barren, fertile = Plain(10, squares=0), Plain(200)
    only_instances = {Task.INTERACTIVE: 1}
    mixed = stream(Part(barren, 1.0, only_instances), Part(fertile, 1.0, only_instances))
    assert all(mixed[index].tasks == (Task.INTERACTIVE,) for index in range(10))
    assert barren.drawn > 0


def test_pictures_that_never_answer_are_told() -> None:
    """Instead of drawing for ever: none of these has a caption."""
    barren = Plain(10)
    with pytest.raises(DatasetError, match="300 pictures in a row had no answer to any question of gcgseg, reaseg"):
        stream(Part(barren, 1.0, {Task.GCG: 1, Task.REASONING: 1}))[0]
    assert barren.drawn == 300


MIX = {Task.INTERACTIVE: 3.0, Task.REFERRING: 1.0, Task.GENERIC: 0.5}


def test_pictures_of_a_step_share_part_and_task() -> None:
    """As the paper trains: whole steps of one data set and one of its tasks."""
    dark, bright = Plain(10), Plain(200)
    mixed = stream(Part(dark, 1.0, MIX), Part(bright, 2.0, {Task.VGD: 1.0}), together=2)
    asked: Counter[Task] = Counter()
    for step in range(60):
        before = dark.drawn, bright.drawn
        pictures = [mixed[index] for index in range(2 * step, 2 * step + 2)]
        tasks = {task for picture in pictures for task in picture.tasks}
        assert len(tasks) == 1
        (task,) = tasks
        assert (dark.drawn, bright.drawn)[task is Task.VGD] == before[task is Task.VGD] + 2
        assert {len(picture.tasks) for picture in pictures} == {3 if task is Task.INTERACTIVE else 1}
        asked[task] += 1
    assert set(asked) == {*MIX, Task.VGD}
    assert 30 < asked[Task.VGD] < 50, "by the parts' shares: two in three"
    assert asked[Task.INTERACTIVE] > asked[Task.GENERIC], "and by the part's own mix"


def test_a_step_of_one_task_is_the_same_whenever_it_is_asked_for() -> None:
    first, again = (stream(Part(Plain(80), 1.0, MIX), together=2) for _ in range(2))
    for index in (5, 0, 5):
        assert_same(first[index], again[index])


def test_words_are_those_of_all_parts() -> None:
    words = told_words([Plain(1), Scenes(("ball",), 64)])
    assert {"ball", "circle", "square", "red", "left"} < set(words)
    assert sorted(words.values()) == list(range(len(words)))


def test_questions_that_are_longer_than_the_model_reads_are_left_out() -> None:
    """A phrase alone is shorter than one with a region; cut, either would have no <SEG> to learn from."""
    part = Part(Plain(80), 1.0, {Task.INTERACTIVE: 2, Task.REFERRING: 2, Task.GENERIC: 2})
    lengths = sorted(len(conversation) for n in range(10) for conversation in stream(part)[n].conversations)
    limit = lengths[len(lengths) // 2]
    assert lengths[0] < limit < lengths[-1]
    short = stream(part, max_text_tokens=limit)
    kept = [conversation for n in range(10) for conversation in short[n].conversations]
    assert max(len(conversation) for conversation in kept) <= limit
    assert all((conversation.seg_ids >= 0).any() for conversation in kept)


def test_tensors_have_the_models_sizes() -> None:
    asked = stream(Part(Plain(80), 1.0, INTERACTIVE))[3]
    assert asked.segmentor_pixels.shape == (3, SIDE, SIDE)
    assert asked.points[0].shape == (1, small_config().region_points, 2)


def test_scenes_are_never_held_out_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds, sizes = [], Counter()

    def drawn(seed: int, size_hw: tuple[int, int]) -> GroundTruth:
        seeds.append(seed)
        sizes[size_hw] += 1
        return Plain(1).draw(np.random.default_rng(0))

    monkeypatch.setattr(sources, "draw_scene", drawn)
    rng = np.random.default_rng(0)
    for _ in range(200):
        Scenes(("ball",), 96).draw(rng)
    assert max(seeds) < FIRST_HELD_OUT_SEED
    assert len(set(seeds)) > 190
    assert {max(size) for size in sizes} == {96}
    assert len(sizes) == 3, "square, wide and high"


def test_real_scenes_answer_questions() -> None:
    mix = {task: 1 for task in Task if task is not Task.OPEN_VOCABULARY}
    asked = stream(Part(Scenes(("ball", "box"), SIDE), 1.0, mix))[0]
    assert {Task.INTERACTIVE, Task.REFERRING} <= set(asked.tasks)


def test_photos_are_all_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    records = [CocoRecord(**{**_record_fields(), "path": Path(f"{index}.jpg")}) for index in range(5)]
    loaded = Counter()

    def load(self: CocoRecord) -> GroundTruth:
        loaded[self.path.name] += 1
        return Plain(1).draw(np.random.default_rng(0))

    monkeypatch.setattr(CocoRecord, "load", load)
    rng = np.random.default_rng(0)
    for _ in range(100):
        Photos(records, ("square",)).draw(rng)
    assert len(loaded) == 5
    assert min(loaded.values()) > 5


def _record_fields() -> dict:
    import dataclasses

    empty = {"path": Path("x.jpg"), "size_hw": (4, 4), "split": "train", "noncommercial_only": False, "names": ()}
    for field in dataclasses.fields(CocoRecord):
        if field.name not in empty and field.default is dataclasses.MISSING:
            empty[field.name] = frozenset() if field.name == "complete_for" else ()
    return empty
