"""Boxes read from embeddings: what counts, what's left out, and that it can be learned."""

import numpy as np
import pytest
import torch

from xsam_backend.training.grounding import Grounding, box_of
from xsam_backend.training.losses import Target


def mask(x0: int, y0: int, x1: int, y1: int) -> torch.Tensor:
    drawn = torch.zeros(20, 40)
    drawn[y0:y1, x0:x1] = 1
    return drawn


def target(*boxes: tuple[tuple[int, int, int, int], int]) -> Target:
    masks = torch.stack([mask(*box) for box, _ in boxes]) if boxes else torch.zeros(0, 20, 40)
    return Target(masks, torch.tensor([condition for _, condition in boxes], dtype=torch.long))


@pytest.mark.parametrize(
    ("box", "shares"),
    [
        ((0, 0, 40, 20), (0.5, 0.5, 1.0, 1.0)),
        ((10, 5, 30, 10), (0.5, 0.375, 0.5, 0.25)),
        ((39, 19, 40, 20), (0.9875, 0.975, 0.025, 0.05)),
        ((0, 0, 0, 0), (0.0, 0.0, 0.0, 0.0)),
    ],
    ids=["whole frame", "wide", "last pixel", "empty"],
)
def test_boxes_are_shares_of_the_frame(box: tuple[int, int, int, int], shares: tuple[float, ...]) -> None:
    assert box_of(mask(*box)).tolist() == pytest.approx(shares)


def test_each_condition_is_asked_for_its_own_targets_and_seg_for_all() -> None:
    """Heads that say nothing but their bias: the error is that of (1/2, 1/2, 1/2, 1/2)."""
    two = target(((0, 0, 20, 10), 0), ((20, 10, 40, 20), 2))
    boxes = np.array([[0.5, 0.5, 1, 1], [0.25, 0.25, 0.5, 0.5], [0.75, 0.75, 0.5, 0.5]])
    loss = Grounding(8).loss(torch.randn(1, 3, 8), torch.randn(1, 8), [two])
    assert float(loss.detach()) == pytest.approx(np.abs(boxes - 0.5).mean())


def test_entries_without_targets_cost_nothing() -> None:
    grounding = Grounding(8)
    conditions = torch.randn(2, 1, 8, requires_grad=True)
    alone = grounding.loss(conditions[:1], torch.randn(1, 8), [target(((0, 0, 4, 4), 0))])
    both = grounding.loss(conditions, torch.randn(2, 8), [target(((0, 0, 4, 4), 0)), target()])
    assert float(alone.detach()) == pytest.approx(float(both.detach()))
    none = grounding.loss(conditions[1:], torch.randn(1, 8), [target()])
    assert float(none.detach()) == 0
    none.backward()


def test_places_that_are_in_the_embeddings_are_found() -> None:
    torch.manual_seed(0)
    targets = [target(((x, y, x + 10, y + 5), 0)) for x in range(0, 30, 3) for y in range(0, 15, 3)]
    embeddings = torch.stack([box_of(t.masks[0]) for t in targets]) @ torch.randn(4, 8)
    grounding = Grounding(8)
    optimizer = torch.optim.Adam(grounding.parameters(), 0.01)
    for _ in range(500):
        loss = grounding.loss(embeddings[:, None], embeddings, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.04
