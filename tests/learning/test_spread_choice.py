"""What is chosen counts much and differs: no doubles, every cluster, the heaviest first where all are alike."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xsam_backend.learning.spread_choice import spread_choice

NONE = np.zeros((0, 2), np.float32)


def clusters(count: int, each: int, seed: int = 0) -> np.ndarray:
    """float32 (count * each, 2): tight ones on a wide circle, one after the other."""
    angles = np.arange(count) * 2 * np.pi / count
    centres = np.repeat(np.stack([np.cos(angles), np.sin(angles)], 1), each, axis=0)
    return (centres + np.random.default_rng(seed).normal(0, 0.001, centres.shape)).astype(np.float32)


@given(
    st.lists(st.tuples(st.floats(0.01, 1), st.integers(0, 3), st.integers(0, 3)), max_size=20),
    st.integers(0, 25),
    st.integers(0, 3),
)
def test_none_twice_and_as_many_as_asked(tasks: list[tuple[float, int, int]], count: int, taken: int) -> None:
    weights = np.array([weight for weight, _, _ in tasks])
    vectors = np.array([(x, y) for _, x, y in tasks], np.float32).reshape(-1, 2)
    chosen = spread_choice(weights, vectors, np.arange(2 * taken, dtype=np.float32).reshape(-1, 2), count)
    assert len(chosen) == len(set(chosen)) == min(count, len(tasks))


@pytest.mark.parametrize("seed", range(5))
def test_every_cluster_gets_one_before_any_gets_two(seed: int) -> None:
    vectors = clusters(6, 20, seed)
    weights = np.random.default_rng(seed).uniform(0.5, 1, len(vectors))
    chosen = spread_choice(weights, vectors, NONE, 6)
    assert sorted(index // 20 for index in chosen) == list(range(6))


def test_what_is_labelled_already_is_left_for_later() -> None:
    vectors = clusters(4, 5)
    taken = clusters(4, 1, seed=9)[:3]
    assert spread_choice(np.ones(20), vectors, taken, 1)[0] // 5 == 3


def test_of_alike_pictures_the_least_certain_comes_first() -> None:
    weights = np.array([0.2, 0.9, 0.5, 0.9])
    assert spread_choice(weights, np.ones((4, 2), np.float32), NONE, 4) == [1, 3, 2, 0]
    assert spread_choice(weights, np.ones((4, 2), np.float32), np.ones((1, 2), np.float32), 4) == [1, 3, 2, 0]


def test_the_least_certain_is_the_first_where_nothing_is_labelled() -> None:
    weights = np.array([0.2, 0.4, 0.9, 0.1])
    assert spread_choice(weights, clusters(4, 1), NONE, 1) == [2]


def test_sure_ones_wait_though_they_are_far_away() -> None:
    """Weight and distance multiply: a nearer one that is ten times less certain goes before."""
    vectors = np.array([[0, 0], [1, 0], [0, 2]], np.float32)
    assert spread_choice(np.array([1.0, 0.5, 0.05]), vectors, NONE, 3) == [0, 1, 2]
    assert spread_choice(np.array([1.0, 0.5, 0.5]), vectors, NONE, 3) == [0, 2, 1]


def test_many_labelled_ones_are_all_heeded() -> None:
    """More than are computed with at once; the last is next to all but one."""
    taken = np.concatenate([np.full((1000, 2), 5.0), [[0.0, 0.0]]]).astype(np.float32)
    vectors = np.array([[0, 0.1], [5, 5.1], [2.5, 2.5]], np.float32)
    assert spread_choice(np.ones(3), vectors, taken, 1) == [2]
