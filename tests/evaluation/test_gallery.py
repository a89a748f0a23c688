from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xsam_backend.evaluation.gallery import Gallery
from xsam_backend.evaluation.results import Case


def case(title: str, score: float) -> Case:
    return Case("random", title, "IoU", score, "", "", b"", b"")


def shown(scores: list[float], each: int, seed: int = 0) -> tuple[list[Case], int]:
    """The cases of a gallery, and how many were drawn."""
    gallery = Gallery(each, seed)
    drawn: list[int] = []

    def draw(number: int) -> Case:
        drawn.append(number)
        return case(str(number), scores[number])

    for number, score in enumerate(scores):
        gallery.offer(score, lambda number=number: draw(number))  # type: ignore[misc]
    return list(gallery.cases()), len(drawn)


@given(st.lists(st.floats(0, 1), max_size=30), st.integers(1, 4), st.integers(0, 5))
def test_the_best_and_the_worst_are_kept(scores: list[float], each: int, seed: int) -> None:
    cases, _ = shown(scores, each, seed)
    by_kind = {kind: [one for one in cases if one.kind == kind] for kind in ("best", "worst", "random")}
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    assert [int(one.title) for one in by_kind["best"]] == order[:each]
    left = set(order[:each])
    worst = sorted(range(len(scores)), key=lambda i: scores[i])[:each]
    assert [int(one.title) for one in by_kind["worst"]] == [i for i in worst if i not in left]
    titles = [one.title for one in cases]
    assert len(titles) == len(set(titles)), "no case twice"
    assert len(cases) >= min(len(scores), each)
    assert len(by_kind["random"]) <= each


def test_random_cases_come_from_everywhere() -> None:
    scores = [0.5] * 200
    places = [int(one.title) for seed in range(60) for one in shown(scores, 2, seed)[0] if one.kind == "random"]
    assert 60 < sum(places) / len(places) < 140
    assert max(places) > 150


def test_few_of_many_are_drawn() -> None:
    """Scores in no order: what is drawn grows with their logarithm."""
    scores = [(number * 7919 % 1000) / 1000 for number in range(1000)]
    assert shown(scores, 3)[1] < 120


@pytest.mark.parametrize(("score", "each"), [(float("nan"), 3), (0.5, 0)], ids=["no score", "no gallery"])
def test_what_is_no_case_is_not_drawn(score: float, each: int) -> None:
    gallery = Gallery(each)
    gallery.offer(score, lambda: pytest.fail("drawn"))
    assert gallery.cases() == ()
