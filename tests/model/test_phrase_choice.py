"""The mask that the queries vote for, given a phrase."""

import pytest
import torch

from xsam_backend.model.phrase_choice import SURE, vote_on_phrases
from xsam_backend.model.picture_frame import PictureFrame
from xsam_backend.model.postprocess import phrase_masks
from xsam_backend.model.query_worth import query_worth

# Four times the cells of the decoder; two of the eight columns are padding.
FRAME = PictureFrame(padded_hw=(16, 16), scaled_hw=(16, 12), size_hw=(32, 24))


def queries(*boxes: tuple[int, int, int, int], logit: float = 20.0) -> torch.Tensor:
    logits = torch.full((len(boxes), 8, 8), -20.0)
    for index, (x0, y0, x1, y1) in enumerate(boxes):
        logits[index, y0:y1, x0:x1] = logit
    return logits


def scored(*scores: tuple[float, ...]) -> torch.Tensor:
    """Class logits whose softmax gives each query's scores, the rest being background."""
    shares = torch.tensor(scores)
    return torch.cat([shares, 1 - shares.sum(1, keepdim=True)], 1).clamp(min=1e-9).log()


OBJECT, SPECK, NEXT = (0, 0, 4, 8), (5, 5, 6, 6), (1, 0, 5, 8)


def test_a_speck_that_is_sure_of_its_name_but_not_of_its_pixels_is_outvoted() -> None:
    masks = torch.cat([queries(OBJECT), queries(SPECK, logit=0.2)])
    logits = scored((0.8,), (0.95,))
    assert phrase_masks(logits, masks, FRAME).query_indices.tolist() == [1], "the reference takes it"
    found = vote_on_phrases(logits, masks, FRAME, 6.0)
    assert found.query_indices.tolist() == [0]
    assert found.scores.tolist() == [pytest.approx(0.8)]
    assert found.masks[0, :, :12].all(), "the object but for its rim, where rows are interpolated"
    assert not found.masks[0, 20:, 20:].any()


@pytest.mark.parametrize(
    ("sharpness", "columns"),
    [
        pytest.param(0.5, 5, id="everybody is heard: all that either holds"),
        pytest.param(60.0, 4, id="the best alone"),
    ],
)
def test_sharpness(sharpness: float, columns: int) -> None:
    found = vote_on_phrases(scored((0.9,), (0.8,)), queries(OBJECT, NEXT), FRAME, sharpness)
    cells = found.masks[0].float().unfold(0, 4, 4).unfold(1, 4, 4).mean((2, 3)) > 0.5
    assert cells.any(0).sum() == columns


def test_a_sharp_vote_among_hardly_likely_queries_still_has_a_result() -> None:
    found = vote_on_phrases(scored((2e-4,), (1e-4,)), queries(OBJECT, NEXT), FRAME, 60.0)
    assert found.masks[0, :, :12].all(), "powers as small as these are 0 in float32"


def test_each_condition_has_its_own_vote() -> None:
    masks = queries(OBJECT, (4, 0, 6, 8))
    found = vote_on_phrases(scored((0.9, 0.02), (0.03, 0.7)), masks, FRAME, 6.0)
    assert found.class_indices.tolist() == [0, 1]
    assert found.query_indices.tolist() == [0, 1]
    assert found.scores.tolist() == [pytest.approx(0.9), pytest.approx(0.7)]
    assert not (found.masks[0] & found.masks[1])[:, :14].any()
    assert SURE < 0.5


def test_where_nothing_is_seen_the_mask_is_empty() -> None:
    found = vote_on_phrases(scored((0.0,), (0.0,)), torch.full((2, 8, 8), -20.0), FRAME, 6.0)
    assert len(found) == 1
    assert not found.masks.any()


def test_worth_heeds_the_picture_not_its_padding() -> None:
    half_sure = queries((0, 0, 4, 4), logit=0.0001)
    half_sure[0, :, 6:] = 20.0  # sure of the padding
    worth = query_worth(torch.tensor([0.8]), half_sure, FRAME)
    assert worth.tolist() == [pytest.approx(0.4, abs=1e-3)]
    both = query_worth(torch.tensor([[0.8, 0.2]]), half_sure, FRAME)
    assert both.tolist() == [[pytest.approx(0.4, abs=1e-3), pytest.approx(0.1, abs=1e-3)]]
    assert query_worth(torch.ones(1), torch.full((1, 8, 8), -1.0), FRAME).tolist() == [0.0]
