"""Losses on examples that can be checked by hand; parity with the reference is in tests/parity."""

from collections.abc import Sequence

import pytest
import torch

from xsam_backend.model.config import LossConfig
from xsam_backend.model.segmentor import Predictions
from xsam_backend.training.losses import (
    RandomPoints,
    Target,
    choose_points,
    language_loss,
    match,
    sample,
    segmentation_losses,
)

CONFIG = LossConfig(num_points=256)
SIDE = 16


def quarters() -> torch.Tensor:
    """Mask logits (4, SIDE, SIDE): query i is surely the i-th quarter."""
    logits = torch.full((4, SIDE, SIDE), -20.0)
    for index in range(4):
        row, column = divmod(index, 2)
        logits[index, row * 8 : row * 8 + 8, column * 8 : column * 8 + 8] = 20.0
    return logits


def predictions(logits: torch.Tensor, classes: torch.Tensor, pictures: Sequence[int] = (0,)) -> Predictions:
    """Two layers that say the same: query i's mask is channel i of the mask features."""
    entries, queries = classes.shape[:2]
    embeddings = torch.eye(queries).expand(entries, -1, -1).clone().requires_grad_(True)
    classes = classes.clone().requires_grad_(True)
    return Predictions(
        hidden=(embeddings, embeddings),
        mask_embeddings=(embeddings, embeddings),
        class_logits=(classes, classes),
        mask_features=logits[None].expand(max(pictures) + 1, -1, -1, -1),
        picture=torch.tensor(pictures),
    )


def right_classes() -> torch.Tensor:
    """(1, 4, 3): queries 0 and 1 say condition 0 and 1, the others background."""
    logits = torch.zeros(1, 4, 3)
    for query, condition in enumerate((0, 1, 2, 2)):
        logits[0, query, condition] = 20.0
    return logits


def target(*quarter_and_class: tuple[int, int]) -> Target:
    masks = (quarters() > 0).float()[[quarter for quarter, _ in quarter_and_class]]
    return Target(masks, torch.tensor([condition for _, condition in quarter_and_class], dtype=torch.long))


def points() -> RandomPoints:
    return RandomPoints(torch.device("cpu"), torch.Generator().manual_seed(0))


def values(given: Predictions, *targets: Target) -> dict[str, float]:
    losses = segmentation_losses(given, targets, CONFIG, points())
    return {name: float(term.detach()) for name, term in losses.items()}


def test_a_perfect_answer_costs_almost_nothing() -> None:
    losses = values(predictions(quarters(), right_classes()), target((0, 0), (1, 1)))
    assert set(losses) == {f"loss_{kind}{layer}" for kind in ("cls", "mask", "dice") for layer in ("", "_0")}
    assert losses["loss_cls"] < 1e-3
    assert losses["loss_dice"] < 1, "points beside an edge are sampled between inside and outside"


def test_wrong_classes_cost_class_loss() -> None:
    given = predictions(quarters(), right_classes())
    perfect, swapped = values(given, target((0, 0), (1, 1))), values(given, target((2, 0), (3, 1)))
    assert swapped["loss_cls"] > perfect["loss_cls"] + 5
    assert swapped["loss_dice"] == pytest.approx(perfect["loss_dice"], abs=0.5), "the masks are as good"


def test_wrong_masks_cost_mask_and_dice_loss() -> None:
    half = Target((quarters() > 0).float()[[0, 2]].sum(0, keepdim=True), torch.tensor([0]))
    given = predictions(quarters(), right_classes())
    right, wrong = values(given, target((0, 0))), values(given, half)
    assert wrong["loss_mask"] > right["loss_mask"] + 1
    assert wrong["loss_dice"] > right["loss_dice"] + 0.5


def test_the_cheapest_assignment_is_found() -> None:
    asked = [target((1, 1), (0, 0))]
    (found,) = match(predictions(quarters(), right_classes()), -1, asked, CONFIG, points())
    assert found.queries.tolist() == [0, 1]
    assert found.targets.tolist() == [1, 0]


def test_more_targets_than_queries() -> None:
    """The queries take what suits them; the others are not asked for."""
    many = target(*[(0, 0), (1, 1), (2, 0), (3, 1), (0, 0), (1, 1)])
    given = predictions(quarters(), right_classes())
    (found,) = match(given, -1, [many], CONFIG, points())
    assert len(found.queries) == 4
    losses = segmentation_losses(given, [many], CONFIG, points())
    assert all(torch.isfinite(term) for term in losses.values())


NOTHING = Target(torch.zeros(0, SIDE, SIDE), torch.zeros(0, dtype=torch.long))


@pytest.mark.parametrize("others", [(), ((0, 0),)], ids=["alone", "beside another entry"])
def test_an_absent_phrase_teaches_background_and_nothing_else(others: tuple[tuple[int, int], ...]) -> None:
    """No target: class loss pulls every query to background; gradients are finite everywhere."""
    entries = 1 + bool(others)
    given = predictions(quarters(), right_classes().expand(entries, -1, -1), [0] * entries)
    targets = [NOTHING, *([target(*others)] if others else [])]
    losses = segmentation_losses(given, targets, CONFIG, points())
    assert all(torch.isfinite(term) for term in losses.values())
    if not others:
        assert float(losses["loss_mask"].detach()) == float(losses["loss_dice"].detach()) == 0
    assert float(losses["loss_cls"].detach()) > 0.1, "two queries claim to see something"
    torch.stack(list(losses.values())).sum().backward()
    for tensor in (given.class_logits[-1], given.mask_embeddings[-1]):
        assert tensor.grad is not None
        assert torch.isfinite(tensor.grad).all()
    classes = given.class_logits[-1].grad
    assert classes is not None
    assert (classes[0, :2, 2] < 0).all(), "more background there"


def test_logits_that_are_not_finite_do_not_stop_the_matching() -> None:
    broken = quarters()
    broken[2] = float("nan")
    (found,) = match(predictions(broken, right_classes()), -1, [target((0, 0), (1, 1))], CONFIG, points())
    assert found.queries.tolist() == [0, 1]


def test_unsure_places_are_looked_at() -> None:
    """All but the random remainder lie where the logit is nearest to nought."""
    slope = torch.linspace(-8, 8, SIDE).expand(1, 1, SIDE, SIDE)
    chosen = choose_points(slope, LossConfig(num_points=400), points())
    assert chosen.shape == (1, 400, 2)
    unsure = sample(slope, chosen)[0, 0].abs()
    assert float(unsure[:300].max()) < 2.5
    assert float(unsure[300:].max()) > 5


def test_sampling_is_bilinear_between_the_middles_of_cells() -> None:
    maps = torch.arange(4.0).reshape(1, 1, 2, 2)
    places = torch.tensor([[[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.5, 0.5]]])
    assert sample(maps, places)[0, 0].tolist() == [0, 1, 2, 1.5]


def test_random_points_are_shared_by_the_prompts_of_a_picture_and_renewed_for_each_prediction() -> None:
    source = points()
    first = source.matcher(0, 0, 5)
    assert source.matcher(1, 0, 5) is first
    assert source.matcher(2, 1, 5) is not first
    assert not torch.equal(source.matcher(0, 0, 5), first)
    for drawn in (source.candidates(3, 7), source.remainder(3, 7)):
        assert drawn.shape == (3, 7, 2)
        assert ((drawn >= 0) & (drawn < 1)).all()


def test_a_generator_makes_random_points_the_same() -> None:
    one, other = points(), points()
    assert torch.equal(one.matcher(0, 0, 5), other.matcher(0, 0, 5))
    assert torch.equal(one.candidates(2, 5), other.candidates(2, 5))


def test_language_loss() -> None:
    logits = torch.tensor([[9.0, 0.0], [0.0, 9.0]], requires_grad=True)
    assert float(language_loss(logits, torch.tensor([0, 1])).detach()) < 1e-3
    assert float(language_loss(logits, torch.tensor([1, 0])).detach()) == pytest.approx(9, abs=1e-3)


def test_language_loss_without_a_word_is_nought_and_has_a_gradient() -> None:
    logits = torch.zeros(0, 5, requires_grad=True)
    loss = language_loss(logits, torch.zeros(0, dtype=torch.long))
    assert float(loss.detach()) == 0
    loss.backward()
