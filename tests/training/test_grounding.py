"""Boxes, cells and words read from embeddings and maps: what counts, what's left out, and that it can be learned."""

import numpy as np
import pytest
import torch

from xsam_backend.training.grounding import LEAST_LOOK, LOOKING_HEADS, Grounding, box_of
from xsam_backend.training.losses import Target


def mask(x0: int, y0: int, x1: int, y1: int) -> torch.Tensor:
    drawn = torch.zeros(20, 40)
    drawn[y0:y1, x0:x1] = 1
    return drawn


def target(*boxes: tuple[tuple[int, int, int, int], int]) -> Target:
    masks = torch.stack([mask(*box) for box, _ in boxes]) if boxes else torch.zeros(0, 20, 40)
    return Target(masks, torch.tensor([condition for _, condition in boxes], dtype=torch.long))


def grounding() -> Grounding:
    return Grounding(8, 4, 1, [[0], [1, 2], [3]])


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
    loss = grounding().box_loss(torch.randn(1, 3, 8), torch.randn(1, 8), [two])
    assert float(loss.detach()) == pytest.approx(np.abs(boxes - 0.5).mean())


def test_entries_without_targets_cost_nothing() -> None:
    heads = grounding()
    conditions = torch.randn(2, 1, 8, requires_grad=True)
    alone = heads.box_loss(conditions[:1], torch.randn(1, 8), [target(((0, 0, 4, 4), 0))])
    both = heads.box_loss(conditions, torch.randn(2, 8), [target(((0, 0, 4, 4), 0)), target()])
    assert float(alone.detach()) == pytest.approx(float(both.detach()))
    none = heads.box_loss(conditions[1:], torch.randn(1, 8), [target()])
    assert float(none.detach()) == 0
    none.backward()


def test_places_that_are_in_the_embeddings_are_found() -> None:
    torch.manual_seed(0)
    targets = [target(((x, y, x + 10, y + 5), 0)) for x in range(0, 30, 3) for y in range(0, 15, 3)]
    embeddings = torch.stack([box_of(t.masks[0]) for t in targets]) @ torch.randn(4, 8)
    heads = grounding()
    optimizer = torch.optim.Adam(heads.parameters(), 0.01)
    for _ in range(500):
        loss = heads.box_loss(embeddings[:, None], embeddings, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.04


def test_cells_ask_seg_for_all_targets_and_each_valid_condition_for_its_own() -> None:
    """Heads that say 1/2 everywhere: ln 2 each, and the dice of 1/2 with a quarter, twice, and with a half."""
    heads = grounding()
    for parameter in heads.parameters():
        torch.nn.init.zeros_(parameter)
    two = target(((0, 0, 20, 10), 0), ((20, 10, 40, 20), 2))  # a quarter of the frame each
    valid = torch.tensor([[True, False, True]])
    loss = heads.cell_loss(
        torch.randn(1, 3, 8),
        valid,
        torch.randn(1, 8),
        [two],
        torch.randn(1, 4, 10, 20),
        torch.zeros(1, dtype=torch.long),
    )
    half = 1 - (2 * 50 + 1) / (100 + 100 + 1)
    quarter = 1 - (2 * 25 + 1) / (100 + 50 + 1)
    assert float(loss.detach()) == pytest.approx(np.log(2) + (half + 2 * quarter) / 3, abs=1e-5)


def test_cells_of_what_is_absent_are_none() -> None:
    """No dice term, and the less is said the better."""
    heads = grounding()
    arguments = (torch.zeros(1, 1, 8), torch.ones(1, 1, dtype=torch.bool), torch.zeros(1, 8), [target()])
    where = (torch.zeros(1, 4, 5, 10), torch.zeros(1, dtype=torch.long))
    torch.nn.init.zeros_(heads.cell_of_seg.bias), torch.nn.init.zeros_(heads.cell_of_condition.bias)
    losses = []
    for bias in (-8.0, 0.0, 8.0):
        torch.nn.init.constant_(heads.cell_bias, bias)
        losses.append(float(heads.cell_loss(*arguments, *where).detach()))
    assert losses == sorted(losses)
    assert losses[0] == pytest.approx(0, abs=1e-3)


def test_pictures_are_compared_with_their_own_map() -> None:
    heads = grounding()
    maps = torch.randn(2, 4, 5, 10)
    one, two = target(((0, 0, 8, 8), 0)), target(((20, 0, 40, 8), 0))
    conditions, seg, valid = torch.randn(2, 1, 8), torch.randn(2, 8), torch.ones(2, 1, dtype=torch.bool)

    def loss(rows: list[int], pictures: list[int]) -> float:
        chosen = [(one, two)[row] for row in rows]
        return float(
            heads.cell_loss(conditions[rows], valid[rows], seg[rows], chosen, maps, torch.tensor(pictures)).detach()
        )

    assert loss([0, 1], [0, 1]) == pytest.approx((loss([0], [0]) + loss([1], [1])) / 2, abs=1e-5)
    assert loss([0], [0]) != pytest.approx(loss([0], [1]), abs=1e-4)


NOT_SAID = torch.zeros(1, 4, dtype=torch.bool)


def test_looking_at_the_targets_costs_least() -> None:
    """Two tokens of a condition and <SEG>; a row of 4 x 4 picture tokens behind two others. Other heads are free."""
    heads = grounding()
    left = target(((0, 0, 10, 20), 0))
    cond_ids, seg_ids = torch.tensor([[-1, 0, 0, -1]]), torch.tensor([[-1, -1, -1, 0]])

    def loss(column: int, asked: Target = left) -> float:
        cells = torch.zeros(4, 4)
        cells[:, column] = 0.25
        attention = torch.zeros(1, 4, 4, 2 + 16 + 4)
        attention[0, :LOOKING_HEADS, 1:, 2:18] = cells.flatten()
        attention[0, LOOKING_HEADS:, :, 0] = 1
        attention[0, :, 0, 1] = 1
        seen = attention[..., 2:18]
        return float(heads.look_loss([seen], 4, cond_ids, seg_ids, NOT_SAID, [asked]).detach())

    assert loss(0) == pytest.approx(np.log(4), abs=1e-3), "as even as the target itself"
    assert loss(3) == pytest.approx(-np.log(LEAST_LOOK), abs=1e-3), "nothing where the target is"
    assert loss(3, target()) == 0, "nothing to look for"


@pytest.mark.parametrize(
    ("said", "first"),
    [
        pytest.param(False, 1, id="asked for: the first token can't know yet what is meant"),
        pytest.param(True, 4, id="said by the model: the first token must know what comes"),
    ],
)
def test_the_token_that_knows_what_is_meant_counts_most(said: bool, first: int) -> None:
    """Two tokens of a condition (the second one weighs 4) and <SEG> (4), of which one looks away from its target."""
    heads = grounding()
    cond_ids, seg_ids = torch.tensor([[0, 0, -1]]), torch.tensor([[-1, -1, 0]])

    def loss(astray: int) -> float:
        attention = torch.zeros(1, LOOKING_HEADS, 3, 4)
        attention[..., [0, 2]] = 0.5  # the left half of a 2 x 2 picture
        attention[:, :, astray] = torch.tensor([0, 1.0, 0, 0])
        asked = target(((0, 0, 10, 20), 0))
        itself = torch.full_like(cond_ids, said, dtype=torch.bool)
        return float(heads.look_loss([attention[..., :4]], 2, cond_ids, seg_ids, itself, [asked]))

    right, wrong = -np.log(0.5 + LEAST_LOOK), -np.log(LEAST_LOOK)
    total = first + 8
    assert loss(0) == pytest.approx((8 * right + first * wrong) / total, rel=1e-4)
    assert loss(1) == pytest.approx(((total - 4) * right + 4 * wrong) / total, rel=1e-4)
    assert loss(2) == pytest.approx(loss(1), rel=1e-6)


def test_words_are_learned_from_what_lies_under_a_segment() -> None:
    """Cells that differ in what they hold; two maps of different grain."""
    torch.manual_seed(0)
    heads = grounding()
    fine, coarse = torch.zeros(1, 6, 4, 8), torch.zeros(1, 4, 2, 4)
    table = torch.nn.Embedding(4, 6)
    fine[0, 0, :, :4], fine[0, 1, :, 4:] = 1, 1
    coarse[0, 2, :, :2], coarse[0, 3, :, 2:] = 1, 1
    cells = torch.zeros(2, 4, 8)
    cells[0, :, :4], cells[1, :, 4:] = 1, 1
    words = torch.tensor([[True, False, False], [False, True, True]])
    optimizer = torch.optim.Adam([*heads.parameters(), *table.parameters()], 0.1)
    for _ in range(200):
        loss = heads.token_word_loss(fine, [cells], [words], table) + heads.level_word_loss(
            [coarse], [cells], [words]
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    # Two words of one segment are equally likely: ln 2 is the least, for half of the segments, on either map.
    assert float(loss.detach()) == pytest.approx(np.log(2), abs=0.02)
    assert float(heads.token_word_loss(fine, [cells[:0]], [words[:0]], table).detach()) == 0
    assert float(heads.level_word_loss([coarse], [cells[:0]], [words[:0]]).detach()) == 0
