"""Post-processing where the recordings don't reach: ties, empties, dtypes, chunks, small rules."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xsam_backend.geometry.cropped_masks import CroppedMask
from xsam_backend.model import postprocess
from xsam_backend.model.mask_boxes import box_iou, boxes_xyxy
from xsam_backend.model.picture_frame import PictureFrame, unframe_masks, upscale
from xsam_backend.model.postprocess import Detections

FRAME = PictureFrame(padded_hw=(16, 16), scaled_hw=(16, 12), size_hw=(32, 24))
HIGH, LOW = 20.0, -20.0


def class_logits(*scores: tuple[float, ...]) -> torch.Tensor:
    """Logits whose softmax gives these scores; what is missing to 1 is background."""
    rows = torch.tensor([(*row, 1 - sum(row)) for row in scores])
    return rows.clamp(min=1e-30).log()


def box_logits(*boxes: tuple[int, int, int, int]) -> torch.Tensor:
    """(Q, 8, 8) logits, high in x0, y0, x1, y1 cells."""
    logits = torch.full((len(boxes), 8, 8), LOW)
    for index, (x0, y0, x1, y1) in enumerate(boxes):
        logits[index, y0:y1, x0:x1] = HIGH
    return logits


def random_sample(seed: int, queries: int = 9, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return (
        3 * torch.randn(queries, classes + 1, generator=generator),
        3 * torch.randn(queries, 8, 8, generator=generator),
    )


def test_upscaling_cuts_the_padding_before_it_resizes() -> None:
    logits = torch.full((1, 8, 8), LOW)
    logits[:, :, 6:] = HIGH  # the padding, from padded column 12 on
    up = upscale(logits, FRAME)
    assert up.shape == (1, 32, 24)
    assert up.max() < 0
    assert upscale(logits[:0], FRAME).shape == (0, 32, 24)


def test_class_scores_leave_out_background() -> None:
    scores = postprocess.class_scores(class_logits((0.2, 0.5), (0.0, 0.1)))
    assert torch.allclose(scores, torch.tensor([[0.2, 0.5], [0.0, 0.1]]), atol=1e-6)


def test_semantic_takes_the_likeliest_class_without_a_threshold() -> None:
    ours = postprocess.semantic(
        class_logits((0.02, 0.01), (0.01, 0.02)), box_logits((0, 0, 8, 4), (0, 4, 8, 8)), FRAME
    )
    assert ours.dtype == torch.int32
    assert (ours[:14] == 0).all()
    assert (ours[-14:] == 1).all()


@pytest.mark.parametrize(
    ("scores", "stuff", "expected"),
    [
        # Two things of a class stay two; void is 0.
        ([(0.9, 0.0), (0.8, 0.0), (0.1, 0.2)], (), [(1, 0), (2, 0)]),
        # Two pieces of stuff are one id.
        ([(0.9, 0.0), (0.8, 0.0), (0.0, 0.0)], (0,), [(1, 0), (1, 0)]),
        # The reference's quirk: after the second piece counting goes on from the stuff's id, so 2 comes twice.
        ([(0.9, 0.0), (0.0, 0.8), (0.9, 0.0), (0.0, 0.7)], (0,), [(1, 0), (2, 1), (1, 0), (2, 1)]),
        # Below 0.5 none survives, whatever the threshold.
        ([(0.49, 0.0), (0.0, 0.0)], (), []),
    ],
)
def test_panoptic_ids(
    scores: list[tuple[float, ...]], stuff: tuple[int, ...], expected: list[tuple[int, int]]
) -> None:
    strips = [(0, 2 * index, 8, 2 * index + 2) for index in range(len(scores))]
    ours = postprocess.panoptic(class_logits(*scores), box_logits(*strips), FRAME, stuff=stuff, threshold=0.0)
    assert [(segment.id, segment.class_index) for segment in ours.segments] == expected
    assert set(ours.segmentation.unique().tolist()) - {0} == {segment_id for segment_id, _ in expected}
    assert set(ours.owners.unique().tolist()) - {-1} == set(range(len(expected)))
    found = ours.detections()
    fused = {class_index for _, class_index in expected if class_index in stuff}
    assert len(found) == len([1 for _, class_index in expected if class_index not in stuff]) + len(fused)
    assert found.masks.sum() == (ours.owners >= 0).sum(), "disjoint, nothing lost"
    assert (found.scores.diff() <= 0).all()


def test_panoptic_drops_what_is_mostly_covered() -> None:
    scores = class_logits((0.9,), (0.8,))
    boxes = box_logits((0, 0, 8, 6), (0, 0, 8, 8))
    assert len(postprocess.panoptic(scores, boxes, FRAME).segments) == 1
    assert len(postprocess.panoptic(scores, boxes, FRAME, overlap=0.1).segments) == 2


@pytest.mark.parametrize("seed", range(4))
def test_results_do_not_depend_on_how_many_are_upscaled_at_once(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sample = random_sample(seed)
    region = torch.ones(16, 16, dtype=torch.bool)

    def results() -> list[torch.Tensor]:
        found = postprocess.instances(*sample, FRAME, threshold=0.1)
        panoptic = postprocess.panoptic(*sample, FRAME, threshold=0.0, overlap=0.2)
        single = postprocess.interactive(*sample, FRAME, region)
        semantic = postprocess.semantic(*sample, FRAME)
        return [found.masks, found.scores, panoptic.segmentation, single.masks, single.scores, semantic]

    together = results()
    monkeypatch.setattr(postprocess, "_CHUNK_PIXELS", 1)
    for one, other in zip(together, results(), strict=True):
        assert torch.allclose(one.float(), other.float(), atol=1e-6)


def test_of_equal_queries_the_first_wins_however_many_are_upscaled_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postprocess, "_CHUNK_PIXELS", 1)
    ours = postprocess.panoptic(class_logits((0.9,), (0.9,)), box_logits((0, 0, 8, 8), (0, 0, 8, 8)), FRAME)
    assert [segment.query_index for segment in ours.segments] == [0]


def test_a_sure_mask_just_above_the_threshold_is_kept() -> None:
    found = postprocess.instances(class_logits((0.5,)), box_logits((0, 0, 8, 8)), FRAME, threshold=0.49)
    assert found.scores.tolist() == pytest.approx([0.5], abs=1e-4)


@given(st.integers(0, 1000), st.floats(0, 0.9))
def test_skipping_pairs_below_the_threshold_changes_nothing(seed: int, threshold: float) -> None:
    sample = random_sample(seed)
    everything = postprocess.instances(*sample, FRAME, threshold=0.0)
    ours = postprocess.instances(*sample, FRAME, threshold=threshold)
    assert torch.equal(ours.scores, everything.scores[everything.scores >= threshold])


@given(st.integers(0, 1000), st.floats(0, 1))
def test_interactive_equals_scoring_every_query(seed: int, threshold: float) -> None:
    logits, masks = random_sample(seed, classes=1)
    region = torch.zeros(16, 16, dtype=torch.bool)
    region[3:9, 2:7] = True
    ours = postprocess.interactive(logits, masks, FRAME, region, threshold=threshold)
    up = upscale(masks, FRAME)
    inside = (up > 0).flatten(1).float()
    worth = (
        postprocess.class_scores(logits)[:, 0] * (up.sigmoid().flatten(1) * inside).sum(1) / (inside.sum(1) + 1e-6)
    )
    kept = (worth >= threshold) | (worth == worth.max())
    iou = box_iou(boxes_xyxy(up > 0), boxes_xyxy(unframe_masks(region[None], FRAME)))[:, 0]
    assert kept[ours.query_indices].all()
    assert iou[ours.query_indices] == iou[kept].max()


def test_no_candidate_gives_no_instance() -> None:
    nothing = postprocess.instances(class_logits((0.9,), (0.9,)), torch.full((2, 8, 8), LOW), FRAME)
    assert len(nothing) == 0
    assert nothing.masks.shape == (0, 32, 24)
    below = postprocess.instances(class_logits((0.1,)), box_logits((0, 0, 8, 8)), FRAME)
    assert len(below) == 0
    assert len(postprocess.panoptic(class_logits((0.1,)), box_logits((0, 0, 8, 8)), FRAME).detections()) == 0


def test_one_query_may_come_with_two_classes_until_duplicates_go() -> None:
    masks = box_logits((0, 0, 4, 4), (0, 0, 4, 4), (4, 4, 6, 8))
    found = postprocess.instances(class_logits((0.5, 0.45), (0.0, 0.3), (0.4, 0.0)), masks, FRAME, threshold=0.25)
    assert list(zip(found.query_indices.tolist(), found.class_indices.tolist(), strict=True)) == [
        (0, 0),
        (0, 1),
        (2, 0),
    ]
    unique = postprocess.without_duplicates(found, masks)
    assert list(zip(unique.query_indices.tolist(), unique.class_indices.tolist(), strict=True)) == [(0, 0), (2, 0)]
    assert len(postprocess.without_duplicates(found[torch.zeros(0, dtype=torch.int64)], masks)) == 0


def test_the_best_query_of_each_phrase_comes_in_the_order_of_phrases() -> None:
    found = postprocess.phrase_masks(
        class_logits((0.1, 0.8), (0.6, 0.1)), box_logits((0, 0, 2, 2), (4, 4, 6, 6)), FRAME
    )
    assert found.query_indices.tolist() == [1, 0]
    assert found.class_indices.tolist() == [0, 1]
    assert found.scores.tolist() == pytest.approx([0.6, 0.8])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_any_floating_dtype_goes_in_and_float32_comes_out(dtype: torch.dtype) -> None:
    logits, masks = class_logits((0.9, 0.0), (0.0, 0.8)), box_logits((0, 0, 8, 4), (0, 4, 8, 8))
    expected = postprocess.instances(logits, masks, FRAME)
    ours = postprocess.instances(logits.to(dtype), masks.to(dtype), FRAME)
    assert ours.scores.dtype == torch.float32
    assert torch.equal(ours.masks, expected.masks)
    assert torch.allclose(ours.scores, expected.scores, atol=1e-2)
    labels = postprocess.semantic(logits, masks, FRAME)
    assert torch.equal(postprocess.semantic(logits.to(dtype), masks.to(dtype), FRAME), labels)
    segments = postprocess.panoptic(logits, masks, FRAME).segmentation
    assert torch.equal(postprocess.panoptic(logits.to(dtype), masks.to(dtype), FRAME).segmentation, segments)


@pytest.mark.parametrize(
    ("ours", "theirs", "iou"),
    [
        ((0, 0, 2, 2), (0, 0, 2, 2), 1.0),
        ((0, 0, 2, 2), (1, 0, 3, 2), 1 / 3),
        ((0, 0, 2, 2), (2, 2, 3, 3), 0.0),  # touching corners
        ((0, 0, 0, 0), (0, 0, 0, 0), 0.0),  # both empty
    ],
)
def test_box_iou(ours: tuple[float, ...], theirs: tuple[float, ...], iou: float) -> None:
    assert box_iou(torch.tensor([ours]).float(), torch.tensor([theirs]).float()).item() == pytest.approx(iou)


def test_boxes_of_masks() -> None:
    masks = torch.zeros(3, 5, 7, dtype=torch.bool)
    masks[0, 1:3, 2:6] = True
    masks[1, 4, 6] = True  # one pixel, in the last corner
    boxes = boxes_xyxy(masks)
    assert boxes.tolist() == [[2, 1, 6, 3], [6, 4, 7, 5], [0, 0, 0, 0]]
    assert boxes_xyxy(masks[:0]).shape == (0, 4)


def test_detections_can_be_chosen_from() -> None:
    masks = tuple(map(CroppedMask.of, np.eye(3, dtype=np.bool_)[:, None]))
    found = Detections(masks, torch.rand(3), torch.arange(3), torch.arange(3), (1, 3))
    assert found[torch.tensor([2, 0])].query_indices.tolist() == [2, 0]
    assert len(found[torch.tensor([True, False, False])]) == 1
    assert torch.equal(found.masks[:, 0], torch.eye(3, dtype=torch.bool))
