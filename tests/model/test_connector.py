"""Pixel shuffles in both directions, projectors, and the connector's sizes."""

import pytest
import torch

from xsam_backend.model.config import ConnectorConfig
from xsam_backend.model.connector import ChannelNorm, Connector, Projector, enlarge, shrink, token_sequence


def numbered(height: int, width: int, channels: int) -> torch.Tensor:
    return torch.arange(height * width * channels).reshape(1, height, width, channels)


def test_shrink_puts_row_offset_first_then_column_then_channel() -> None:
    """Channel index of the result is (row offset, column offset, old channel)."""
    x = numbered(2, 4, 3)
    ours = shrink(x, 2)
    assert ours.shape == (1, 1, 2, 12)
    for row in range(2):
        for column in range(2):
            start = (row * 2 + column) * 3
            assert torch.equal(ours[0, 0, 1, start : start + 3], x[0, row, 2 + column])


def test_enlarge_reads_column_offset_first() -> None:
    x = numbered(1, 2, 12)
    ours = enlarge(x, 2)
    assert ours.shape == (1, 2, 4, 3)
    for row in range(2):
        for column in range(2):
            start = (column * 2 + row) * 3
            assert torch.equal(ours[0, row, 2 + column], x[0, 0, 1, start : start + 3])


def test_the_two_are_not_inverses() -> None:
    """As in the reference; an innocent simplification to torch's pixel_shuffle would break the released weights."""
    x = numbered(4, 4, 2)
    assert not torch.equal(enlarge(shrink(x, 2), 2), x)
    assert torch.equal(enlarge(shrink(x, 2), 2).sort().values.flatten().sort().values, x.flatten())


@pytest.mark.parametrize(
    ("scale", "size", "expected"),
    [
        (1.0, (6, 4), (6, 4)),
        (2.0, (3, 5), (6, 10)),
        (0.5, (6, 4), (3, 2)),
        (0.5, (5, 3), (3, 2)),  # odd sides are padded to even
    ],
)
def test_sizes_of_a_branch(scale: float, size: tuple[int, int], expected: tuple[int, int]) -> None:
    connector = Connector(ConnectorConfig((8,), (scale,), (16,), 4))
    (ours,) = connector([torch.randn(2, 8, *size)])
    assert ours.shape == (2, 16, *expected)


def test_connector_wants_as_many_maps_as_branches() -> None:
    connector = Connector(ConnectorConfig((8, 8), (1.0, 1.0), (16, 16), 4))
    with pytest.raises(ValueError, match="shorter"):
        connector([torch.randn(1, 8, 4, 4)])


def test_channel_norm_looks_at_one_place_only() -> None:
    x = torch.randn(1, 8, 3, 3)
    y = x.clone()
    y[..., 0, 0] += torch.randn(8)
    ours, other = ChannelNorm(8)(x), ChannelNorm(8)(y)
    assert torch.equal(ours[..., 1:, :], other[..., 1:, :])
    assert ours.mean(1).abs().max() < 1e-5


def test_token_sequence_is_row_major() -> None:
    tokens = token_sequence(numbered(4, 6, 1).permute(0, 3, 1, 2).float(), 0.5)
    assert tokens.shape == (1, 6, 4)
    assert tokens[0, 1].tolist() == [2, 3, 8, 9]
    assert tokens[0, 3].tolist() == [12, 13, 18, 19]


def test_token_sequence_does_not_pad() -> None:
    with pytest.raises(RuntimeError, match="shape"):
        token_sequence(torch.zeros(1, 1, 5, 4), 0.5)


def test_projector_is_two_layers_with_a_bend() -> None:
    projector = Projector(4, 6)
    x = torch.randn(5, 4)
    assert projector(x).shape == (5, 6)
    straight = (projector(x) + projector(-x)) / 2
    assert not torch.allclose(straight, projector(torch.zeros(4)).expand(5, -1), atol=1e-4)
