"""The one door to the model: a picture becomes an ``ImageState``, a state and a prompt become an ``Answer``.

States are immutable values; nothing about a picture is kept here, so threads and annotators can't mix theirs up.

Where a calibration came with the model, what is found by its label has calibrated scores, and a threshold that
somebody states is one on these: 0.5 keeps what is more likely right than not. Where none is stated, what is likely
wrong is left out, besides what the default leaves out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from xsam_backend.errors import CheckpointError, PromptError
from xsam_backend.geometry.masks import parts_touching, without_crumbs
from xsam_backend.instances import Answer, Instances
from xsam_backend.model import checkpoint, postprocess
from xsam_backend.model.candidates import Candidates, Pass, named
from xsam_backend.model.chat_templates import CHAT_TEMPLATES, stop_ids
from xsam_backend.model.close_up import close_up_window, reaches_beyond, shift_region, typical_window
from xsam_backend.model.closer_looks import CloserLooks
from xsam_backend.model.conversation import (
    TokenizedConversation,
    generated_ids_to_phrases,
    phrase_text,
    special_ids,
    split_phrases,
    tokenize,
)
from xsam_backend.model.encoded import Encoded
from xsam_backend.model.generation import generate
from xsam_backend.model.hints import clicks, covers, named_pixels, outlines
from xsam_backend.model.image_processor import ImageProcessorConfig, frame_regions, process_image
from xsam_backend.model.image_state import ImageState
from xsam_backend.model.interactive_choice import vote
from xsam_backend.model.phrase_choice import vote_on_phrases
from xsam_backend.model.postprocess import PictureFrame
from xsam_backend.model.precision import choose_dtype, main_dtype, stored_layout
from xsam_backend.model.regions import region_points
from xsam_backend.model.score_calibration import Calibration
from xsam_backend.model.tiles import SMALL_SHARE, Window, many_small, tile_windows
from xsam_backend.model.turns import (
    Turn,
    conversation_turn,
    gcg_turn,
    generic_turn,
    interactive_turn,
    reasoning_turn,
    referring_turn,
    vgd_turn,
)
from xsam_backend.model.xsam import XSam, pool_by_id
from xsam_backend.prompts import Category, Point, Prompt, Region, Task
from xsam_backend.region_masks import region_mask, regions_mask

Logits = tuple[Tensor, Tensor]
"""Of one picture: class logits (Q, C + 1) and mask logits (Q, h, w)."""

Look = Callable[[Encoded, Sequence[PictureFrame]], list[Candidates]]
"""Asks one question about each of several pictures."""

MAX_NEW_TOKENS = 512
DEFAULT_THRESHOLDS = {
    Task.GENERIC: 0.3,
    Task.OPEN_VOCABULARY: 0.3,
    Task.VGD: 0.3,
}
"""Instances with a lower score are left out, unless the prompt says otherwise. A model's config has one for phrases,
other tasks have none."""

CALIBRATED = (Task.GENERIC, Task.OPEN_VOCABULARY)
"""What pre-labelling asks. Clicks, exemplars and phrases have scores of other kinds."""

LIKELY_ENOUGH = 1 / 3
"""Where it is known what scores mean, what is right with a smaller chance is left out unless the prompt says otherwise:
a missing region is taken to cost an annotator twice as much as a wrong one."""

CRUMB_SHARE = 0.05
"""What a negative click leaves of an object in separate parts smaller than this share of the largest is left out."""


def load_predictor(
    name_or_path: str, device: str = "auto", dtype: str = "auto", models: Path | None = None
) -> Predictor:
    """A predictor from ``tiny``, a name in the models folder or a model folder.

    Args:
        device: "auto": a GPU if there is one.
        dtype: number format to run in, or "auto"; see ``precision.choose_dtype``.
        models: where pulled models lie by their names.

    Raises:
        CheckpointError: no such model, or its files don't fit together.
    """
    folder = checkpoint.model_folder(name_or_path, models)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    weights = folder / checkpoint.WEIGHTS
    stored = main_dtype(stored_layout(weights)) if weights.is_file() else "float32"
    try:
        model = checkpoint.load_model(folder, choose_dtype(dtype, stored, device), torch.device(device))
    except (RuntimeError, AssertionError) as error:  # the latter where torch was built without that device
        raise CheckpointError(f"{folder}: cannot be put on device {device!r}: {error}") from error
    return Predictor(model, checkpoint.load_tokenizer(folder), checkpoint.model_version(folder))


class Predictor:
    """Answers prompts about pictures with one model. Safe to share between threads.

    Args:
        calibration: what the scores of ``CALIBRATED`` tasks mean; None: they stay as they are.
        typical_sizes: label -> longer side of its objects, as share of the picture's longer side, where it is known.
    """

    def __init__(
        self,
        model: XSam,
        tokenizer: PreTrainedTokenizerBase,
        model_version: str,
        calibration: Calibration | None = None,
        typical_sizes: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.model_version = model_version
        self.calibration = calibration
        self.typical_sizes = typical_sizes
        self.special = special_ids(tokenizer)
        self.template = CHAT_TEMPLATES[model.config.chat_template]
        self.stop_ids = stop_ids(tokenizer, self.template)
        self.processor = ImageProcessorConfig.of_model(model.config)

    @property
    def queries(self) -> int:
        """How many masks the decoder proposes."""
        return self.model.config.segmentor.num_queries

    def threshold(self, task: Task) -> float:
        """The score, as the decoder gives it, below which a task's instances are left out by default."""
        if task in (Task.REFERRING, Task.REASONING):
            return self.model.config.phrase_threshold
        default = DEFAULT_THRESHOLDS.get(task, 0.0)
        calibration = self._calibration(task)
        return default if calibration is None else max(default, calibration.least_score(LIKELY_ENOUGH))

    def _calibration(self, task: Task) -> Calibration | None:
        return self.calibration if task in CALIBRATED else None

    @torch.inference_mode()
    def encode(self, image: NDArray[np.uint8], *, keeps_looks: bool = False) -> ImageState:
        """The picture's half.

        Args:
            image: uint8 (H, W, 3) RGB.
            keeps_looks: what closer looks at the picture encode is kept with the state, for whoever asks about it
                again and again, and one question after the other. Takes as much memory as a few dozen states.

        Raises:
            ImageError: not such a picture.
        """
        encoded, (frame,) = self._encoded([image])
        pixels = image.copy()
        pixels.setflags(write=False)
        return ImageState(encoded, frame, pixels, CloserLooks(pixels, self._encoded, keeps=keeps_looks))

    def _encoded(self, images: Sequence[NDArray[np.uint8]]) -> tuple[Encoded, tuple[PictureFrame, ...]]:
        processed = [process_image(image, self.processor) for image in images]
        vision, segmentor = (
            torch.stack(pixels).to(self.model.device, self.model.dtype)
            for pixels in ([one.vision_pixels for one in processed], [one.seg_pixels for one in processed])
        )
        features = self.model.encode(vision, segmentor)
        opening = self._tokenize(conversation_turn("?"), with_answer=False).through_image()
        prefix = self.model.image_prefix([self.model.merge_tokens(opening, tokens) for tokens in features.tokens])
        side = self.processor.seg_size
        frames = tuple(PictureFrame((side, side), one.scaled_hw, one.size_hw) for one in processed)
        return Encoded(features, prefix), frames

    def answer(self, state: ImageState, prompt: Prompt) -> Answer:
        """The prompt's half.

        Raises:
            PromptError: a region outside the picture, or more words than the model reads.
        """
        threshold = self._least_score(prompt)
        if prompt.task is Task.INTERACTIVE:
            return self._interactive(state, prompt, threshold)
        if prompt.task in (Task.GENERIC, Task.OPEN_VOCABULARY, Task.VGD):
            instances = self.candidates(state, prompt).answered(threshold)
            calibration = self._calibration(prompt.task)
            if calibration is not None:
                instances = replace(instances, scores=calibration(instances.scores))
            if len(instances):
                return Answer(instances)
            if prompt.score_threshold is not None:
                least = prompt.score_threshold
            elif calibration is not None and threshold > DEFAULT_THRESHOLDS[prompt.task]:
                least = LIKELY_ENOUGH
            else:
                least = threshold
            return Answer(instances, reason=f"nothing scored {least:.2f} or more")
        if prompt.task in (Task.REFERRING, Task.REASONING):
            return self._phrase(state, prompt, threshold)
        return self._written(state, prompt, threshold)

    def _least_score(self, prompt: Prompt) -> float:
        """The prompt's threshold, for scores as the decoder gives them."""
        if prompt.score_threshold is None:
            return self.threshold(prompt.task)
        calibration = self._calibration(prompt.task)
        return prompt.score_threshold if calibration is None else calibration.least_score(prompt.score_threshold)

    def _interactive(self, state: ImageState, prompt: Prompt, threshold: float) -> Answer:
        """One object from clicks, boxes and strokes together.

        Negative clicks first have their say in the queries' vote; what they still hit is answered as an object
        of its own and taken away, and in any case the spot that was clicked. Of what is left, crumbs go, unless a
        positive click or a stroke is on them.
        """
        mask, score = self._object(state, prompt.regions, self._typical_size(prompt.label))
        if not mask.any():
            return Answer(Instances.empty(state.size_hw), reason="the model sees no object where the prompt points")
        for point in (r for r in prompt.regions if isinstance(r, Point) and not r.positive):
            if not covers(mask, point):
                continue
            spot = Point(point.x_px, point.y_px)
            unwanted, _ = self._object(state, [spot], keep_clear_of=prompt.regions)
            left = mask & ~unwanted & ~region_mask(spot, state.size_hw)
            mask = without_crumbs(left, named_pixels(prompt.regions, state.size_hw), CRUMB_SHARE)
        if not mask.any():
            return Answer(Instances.empty(state.size_hw), reason="nothing is left after the negative clicks")
        if score < threshold:
            return Answer(Instances.empty(state.size_hw), reason=f"best score {score:.2f} is below {threshold:.2f}")
        return Answer(Instances(mask[None], np.array([score], np.float32), (prompt.label,)))

    def _typical_size(self, label: str | None) -> float | None:
        """Of small objects, where it is known that the hints mean one: longer side, as share of the picture's."""
        of_label = self.typical_sizes if label is None else {label: self.typical_sizes.get(label, 1.0)}
        sizes = list(of_label.values())
        return float(np.median(sizes)) if sizes and max(sizes) < SMALL_SHARE else None

    def _object(
        self,
        state: ImageState,
        regions: Sequence[Region],
        typical_size: float | None = None,
        keep_clear_of: Sequence[Region] = (),
    ) -> tuple[NDArray[np.bool_], float]:
        """Mask, bool (H, W), and score of the one object that the hints mean.

        A small object is answered a second time in a close-up of its surroundings, where it has more of the model's
        pixels. Where it is known to be small, the first look is a close-up already: in the whole picture, a click may
        mean anything. ``keep_clear_of`` are hints whose positive clicks the object must not hold.
        """
        hinted = regions_mask(regions, state.size_hw)
        mask, score = None, 0.0
        if typical_size is not None and not outlines(regions) and self.model.config.close_up_share:
            window = typical_window(hinted, typical_size)
            mask, score = self._close_up(state, window, regions, keep_clear_of)
            if reaches_beyond(mask, window):
                mask = None
        if mask is None or not mask.any():
            mask, score = self._seen_object(state, regions, keep_clear_of)
        extent = hinted if outlines(regions) else mask | hinted
        nearer = close_up_window(extent, self.model.config.close_up_share)
        return (mask, score) if nearer is None else self._close_up(state, nearer, regions, keep_clear_of)

    def _close_up(
        self, state: ImageState, window: Window, regions: Sequence[Region], keep_clear_of: Sequence[Region]
    ) -> tuple[NDArray[np.bool_], float]:
        """``_seen_object`` in a window of the picture, enlarged."""
        rows, columns = window
        nearer = self.encode(np.ascontiguousarray(state.pixels[rows, columns]))
        shifted = [shift_region(region, rows, columns) for region in regions]
        others = [shift_region(region, rows, columns) for region in keep_clear_of]
        cut, score = self._seen_object(nearer, shifted, others)
        closer = np.zeros(state.size_hw, np.bool_)
        closer[rows, columns] = cut
        return closer, score

    def _seen_object(
        self, state: ImageState, regions: Sequence[Region], keep_clear_of: Sequence[Region]
    ) -> tuple[NDArray[np.bool_], float]:
        """``_object`` in one look."""
        region = regions_mask(regions, state.size_hw)
        framed = frame_regions(region[None], self.processor.seg_size)
        class_logits, mask_logits = self._ask(state, interactive_turn(), self._embedded(state.encoded, framed))
        chosen, score = vote(
            postprocess.class_scores(class_logits)[:, 0],
            mask_logits,
            state.frame,
            framed[0],
            is_outline=outlines(regions),
            positives_xy=clicks(regions, positive=True),
            negatives_xy=np.concatenate([clicks(regions, positive=False), clicks(keep_clear_of, positive=True)]),
        )
        mask = chosen.cpu().numpy()
        # An outline says how far the object goes; without one, what lies apart from all clicks is another object.
        return (mask & region if outlines(regions) else parts_touching(mask, region)), score

    @torch.inference_mode()
    def candidates(self, state: ImageState, prompt: Prompt) -> Candidates:
        """All that the decoder proposes for a list of categories, exemplars, or one object: for measures.

        Raises:
            PromptError: as ``answer``, or a prompt of another task.
        """
        if prompt.task in (Task.GENERIC, Task.OPEN_VOCABULARY):
            return self._named(state, prompt)
        if prompt.task is Task.VGD:
            return self._alike(state, prompt)
        if prompt.task is Task.INTERACTIVE:
            region = regions_mask(prompt.regions, state.size_hw)
            framed = frame_regions(region[None], self.processor.seg_size)
            logits = self._ask(state, interactive_turn(), self._embedded(state.encoded, framed))
            return Candidates([Pass(*logits, (prompt.label,), region=framed[0])], state.frame)
        raise PromptError(f"{prompt.task} has one answer and no candidates: ask for the answer")

    def _named(self, state: ImageState, prompt: Prompt) -> Candidates:
        groups = self._groups(prompt.categories)

        def look(encoded: Encoded, frames: Sequence[PictureFrame]) -> list[Candidates]:
            of_groups = [self._categories(encoded, group) for group in groups]
            return [Candidates([of[row] for of in of_groups], frame) for row, frame in enumerate(frames)]

        (found,) = look(state.encoded, (state.frame,))
        labels = [category.label for category in prompt.categories if category.is_thing]
        windows = self._windows(state, prompt, labels, found)
        return self._with_looks(found, look, state.looks, windows)

    def _alike(self, state: ImageState, prompt: Prompt) -> Candidates:
        """Where there are closer looks, each exemplar is taken from the window that shows most of it."""
        masks = np.stack([region_mask(region, state.size_hw) for region in prompt.regions])
        labels: list[str | None] = [category.label for category in prompt.categories]
        labels = labels if len(labels) == len(masks) else [prompt.label] * len(masks)
        exemplars = self._embedded(state.encoded, frame_regions(masks, self.processor.seg_size))

        def look(encoded: Encoded, frames: Sequence[PictureFrame]) -> list[Candidates]:
            asked = self._ask_each(encoded, vgd_turn(len(masks)), exemplars)
            return [
                Candidates([Pass(*logits, tuple(labels))], frame) for logits, frame in zip(asked, frames, strict=True)
            ]

        (found,) = look(state.encoded, (state.frame,))
        windows = self._windows(state, prompt, labels, found)
        if windows:
            exemplars = torch.cat([self._nearest(state.looks, windows, mask) for mask in masks])
        return self._with_looks(found, look, state.looks, windows)

    def _categories(self, encoded: Encoded, group: Sequence[Category]) -> list[Pass]:
        """One for each picture."""
        labels = tuple(category.label for category in group)
        stuff = tuple(i for i, category in enumerate(group) if not category.is_thing)
        asked = self._ask_each(encoded, generic_turn([category.phrase for category in group]))
        return [Pass(*logits, labels, stuff) for logits in asked]

    def _nearest(self, looks: CloserLooks, windows: Sequence[Window], mask: NDArray[np.bool_]) -> Tensor:
        """An exemplar's embedding (1, W), as the window that shows most of it shows it."""
        best = max(windows, key=lambda window: int(mask[window].sum()))
        encoded, row = looks.at(best)
        shown = np.ascontiguousarray(mask[best])[None]
        return self._embedded(encoded, frame_regions(shown, self.processor.seg_size), row)

    def _windows(
        self, state: ImageState, prompt: Prompt, labels: Sequence[str | None], found: Candidates
    ) -> list[Window]:
        """The windows that deserve a closer look: where one of the labels is known to be of small objects, or none is
        known and many small ones were found."""
        most = self.model.config.closest_tiles
        if most < 2:
            return []
        known = [self.typical_sizes[label] for label in labels if label is not None and label in self.typical_sizes]
        share = min(known) if known else many_small(found.answered(self._least_score(prompt)))
        return [] if share is None else tile_windows(share, state.size_hw, most)

    def _with_looks(self, found: Candidates, look: Look, looks: CloserLooks, windows: Sequence[Window]) -> Candidates:
        closer: list[tuple[Window, Candidates]] = []
        for batch in looks.through(windows):
            closer.extend(zip(batch.windows, look(batch.encoded, batch.frames), strict=True))
        return found.with_closer_looks(
            closer, large=[label for label, share in self.typical_sizes.items() if share >= SMALL_SHARE]
        )

    def _embedded(self, encoded: Encoded, framed: Tensor, row: int = 0) -> Tensor:
        """(R, W): what the language model gets for each region, bool (R, P, P) in that picture's padded frame."""
        points = region_points(framed, self.model.config.region_points).to(self.model.device)
        maps = encoded.features.token_map[row].expand(len(points), -1, -1, -1)
        return self.model.region_embeddings(maps, points)

    def _phrase(self, state: ImageState, prompt: Prompt, threshold: float) -> Answer:
        turn = (referring_turn if prompt.task is Task.REFERRING else reasoning_turn)(prompt.phrase)
        class_logits, mask_logits = self._ask(state, turn)
        found = self._best_masks(class_logits, mask_logits, state.frame)
        score = float(found.scores[0])
        if score < threshold or not found.masks[0].any():
            return Answer(
                Instances.empty(state.size_hw),
                reason=f"{prompt.phrase!r}: best score {score:.2f}, {threshold:.2f} needed",
            )
        return Answer(named(found, [prompt.label]))

    def _best_masks(self, class_logits: Tensor, mask_logits: Tensor, frame: PictureFrame) -> postprocess.Detections:
        """One mask for each condition, by the model's rule."""
        sharpness = self.model.config.phrase_sharpness
        if sharpness == 0:
            return postprocess.phrase_masks(class_logits, mask_logits, frame)
        return vote_on_phrases(class_logits, mask_logits, frame, sharpness)

    def _written(self, state: ImageState, prompt: Prompt, threshold: float) -> Answer:
        """Captions with masks, and conversation: the words are generated."""
        turn = gcg_turn() if prompt.task is Task.GCG else conversation_turn(prompt.phrase)
        asked = self._tokenize(turn, with_answer=False).after_image()
        merged = self.model.merge_tokens(asked)
        room = min(MAX_NEW_TOKENS, self.model.config.max_text_tokens - len(asked))
        if room < 1:
            raise PromptError(
                f"a question of {len(asked)} tokens leaves the model none for its answer: ask in fewer words"
            )
        written = generate(
            self.model.language, merged.embeddings, state.encoded.prefix, stop_ids=self.stop_ids, max_new_tokens=room
        )
        decoded = cast(str, self.tokenizer.decode(list(written.token_ids)))
        words = phrase_text(decoded, self.template, keep_tags=True)
        text, spans = split_phrases(words)
        empty = Instances.empty(state.size_hw)
        if prompt.task is Task.CONVERSATION:
            return Answer(empty, text=text)
        cond_ids, seg_ids = generated_ids_to_phrases(written.token_ids, self.special)
        if not (cond_ids >= 0).any() or (seg_ids >= 0).sum() != 1:
            return Answer(empty, text=text, reason="the caption names nothing that it also segments")
        projected = self.model.project(written.states[:, len(merged.embeddings) :])
        ((class_logits, mask_logits),) = self._segment(state.encoded, projected, cond_ids, seg_ids)
        found = self._best_masks(class_logits, mask_logits, state.frame)
        instances = named(found, [text[start:end] for start, end in spans])
        # A closing tag before its opening one counts as a pair, but has no words: its mask means nothing.
        said = np.isin(np.arange(len(instances)), cond_ids)
        kept = np.flatnonzero(said & instances.masks.any((1, 2)) & (instances.scores >= threshold))
        return Answer(instances.select(kept), text=text, phrase_spans=tuple(spans[i] for i in kept))

    def _ask(self, state: ImageState, turn: Turn, regions: Tensor | None = None) -> Logits:
        """``_ask_each`` about one picture."""
        return self._ask_each(state.encoded, turn, regions)[0]

    def _ask_each(self, encoded: Encoded, turn: Turn, regions: Tensor | None = None) -> list[Logits]:
        """One pass over question and fixed answer, about each picture.

        Args:
            regions: (R, W), as ``_embedded`` gives them, for the turn's region placeholders.
        """
        tokens = self._tokenize(turn, with_answer=True).after_image()
        merged = self.model.merge_tokens(tokens, regions=regions)
        rows = torch.arange(len(encoded), device=self.model.device)
        projected = self.model.project(self.model.text_states([merged] * len(encoded), encoded.prefix, rows))
        return self._segment(encoded, projected, merged.cond_ids.cpu().numpy(), merged.seg_ids.cpu().numpy())

    def _segment(
        self, encoded: Encoded, projected: Tensor, cond_ids: NDArray[np.int64], seg_ids: NDArray[np.int64]
    ) -> list[Logits]:
        """What the decoder says of each picture; all are asked the same, so ids are those of one."""
        pictures = torch.arange(len(encoded), device=self.model.device)
        (conditions, valid), (seg, _) = (
            pool_by_id(projected, torch.from_numpy(ids).to(self.model.device).expand(len(encoded), -1))
            for ids in (cond_ids, seg_ids)
        )
        laid_out = self.model.with_background(conditions, valid)
        predictions = self.model.segmentor(
            encoded.features.pixels, pictures, seg[:, 0], laid_out.embeddings, laid_out.valid
        )
        return list(zip(predictions.class_logits[-1], predictions.mask_logits(), strict=True))

    def _groups(self, categories: Sequence[Category]) -> list[list[Category]]:
        """Categories in lists that the model can read."""
        room = self.model.config.max_text_tokens
        groups: list[list[Category]] = [[]]
        for category in categories:
            trial = [*groups[-1], category]
            length = len(self._tokenize(generic_turn([c.phrase for c in trial]), with_answer=True, bounded=False))
            if length > room and groups[-1]:
                groups.append([category])
            elif length > room:
                raise PromptError(f"category {category.phrase[:80]!r} is longer than the model reads: shorten it")
            else:
                groups[-1] = trial
        return groups

    def _tokenize(self, turn: Turn, *, with_answer: bool, bounded: bool = True) -> TokenizedConversation:
        return tokenize(
            [turn],
            self.tokenizer,
            self.template,
            with_answer=with_answer,
            bos=self.model.config.use_bos,
            max_length=self.model.config.max_text_tokens if bounded else None,
            overlong="refuse",
        )
