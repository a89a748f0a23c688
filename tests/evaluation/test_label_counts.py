"""Sums of counts per label, whole and drawn, against a table of all pictures."""

import pickle

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from xsam_backend.evaluation.label_counts import LabelCounts


@given(st.integers(0, 10**6), st.integers(0, 4), st.integers(0, 5))
def test_totals_are_those_of_the_whole_table(seed: int, labels: int, pictures: int) -> None:
    rng = np.random.default_rng(seed)
    table = rng.integers(0, 3, (pictures, labels, 2)) * rng.integers(0, 2, (pictures, labels, 1))
    counts = LabelCounts(labels, 2)
    for own in table:
        counts.add(own)
    assert len(counts) == pictures
    assert np.array_equal(counts.total(), table.sum(0))
    if pictures:
        drawn = rng.integers(pictures, size=pictures)
        assert np.array_equal(counts.total(drawn), table[drawn].sum(0))


def test_nothing_is_kept_of_labels_that_are_not_there() -> None:
    counts = LabelCounts(1000, 4)
    row = np.zeros((1000, 4))
    row[7] = (0.5, 1, 0, 0)
    for _ in range(100):
        counts.add(row)
    assert counts.total()[7].tolist() == [50, 100, 0, 0]
    assert len(pickle.dumps(counts)) < 100 * 64
