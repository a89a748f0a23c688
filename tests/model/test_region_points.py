"""Points of a region prompt, and the embedding made from them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xsam_backend.errors import PromptError
from xsam_backend.model.regions import region_points, sample_regions


def mask_of(pixels: list[tuple[int, int]], side: int = 8) -> torch.Tensor:
    mask = torch.zeros(side, side, dtype=torch.bool)
    for row, column in pixels:
        mask[row, column] = True
    return mask


pixels = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), min_size=1, max_size=64, unique=True)


@given(pixels, st.integers(1, 80))
def test_points_lie_on_the_region_and_cover_it(inside: list[tuple[int, int]], count: int) -> None:
    mask = mask_of(inside)
    (points,) = region_points(mask[None], count)
    assert points.shape == (count, 2)
    found = (points * 8).long()
    assert mask[found[:, 0], found[:, 1]].all()
    assert len(found.unique(dim=0)) == min(count, len(inside))
    assert torch.equal(points, region_points(mask[None], count)[0]), "the same each time"


def test_points_are_shares_of_height_and_width() -> None:
    mask = torch.zeros(1, 4, 10, dtype=torch.bool)
    mask[0, 3, 5] = True
    assert region_points(mask, 2).tolist() == [[[0.75, 0.5], [0.75, 0.5]]]


def test_training_draws_points() -> None:
    mask = torch.ones(1, 8, 8, dtype=torch.bool)
    drawn = [region_points(mask, 16, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert ((drawn[0] >= 0) & (drawn[0] < 1)).all()


def test_an_empty_region_is_refused_by_number() -> None:
    with pytest.raises(PromptError, match="region 1 is empty"):
        region_points(torch.stack([mask_of([(1, 1)]), mask_of([])]), 4)


def test_the_embedding_is_the_maximum_of_each_channel() -> None:
    token_map = torch.zeros(1, 2, 3, 3)
    token_map[0, 0, 0, 0] = 5  # at the very top left: corners are aligned
    token_map[0, 1, 2, 2] = 7
    corners = torch.tensor([[[0.0, 0.0], [1.0, 1.0]]])
    assert sample_regions(token_map, corners).tolist() == [[5, 7]]
    assert sample_regions(token_map, corners[:, :1]).tolist() == [[5, 0]]


def test_points_are_row_first() -> None:
    token_map = torch.zeros(1, 1, 3, 3)
    token_map[0, 0, 2, 0] = 1  # lower left
    assert sample_regions(token_map, torch.tensor([[[1.0, 0.0]]])).item() == 1
    assert sample_regions(token_map, torch.tensor([[[0.0, 1.0]]])).item() == 0


def test_each_region_has_its_own_map() -> None:
    maps = torch.stack([torch.full((2, 3, 3), value) for value in (1.0, 2.0)])
    points = torch.rand(2, 5, 2)
    assert torch.allclose(sample_regions(maps, points), torch.tensor([[1.0, 1.0], [2.0, 2.0]]))
