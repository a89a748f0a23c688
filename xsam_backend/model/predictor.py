"""The one door to the model: a picture becomes an ``ImageState``, a state and a prompt become an ``Answer``.

States are immutable values; nothing about a picture is kept here, so threads and annotators can't mix theirs up.

Where calibrations came with the model, what is found by its label or like an exemplar has calibrated scores, and a
threshold that somebody states is one on these: 0.5 keeps what is more likely right than not. Where none is stated,
what is likely wrong is left out, besides what the default leaves out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from xsam_backend.errors import CheckpointError, PromptError, SettingsError
from xsam_backend.geometry.cropped_masks import CroppedMask
from xsam_backend.instances import Answer, Instances
from xsam_backend.model import checkpoint
from xsam_backend.model.candidates import Candidates, Thresholds
from xsam_backend.model.compiling import compile_parts
from xsam_backend.model.dialogue import Dialogue
from xsam_backend.model.folders import WEIGHTS, model_folder
from xsam_backend.model.four_bits import put_in_four_bits
from xsam_backend.model.image_state import ImageState
from xsam_backend.model.language import Prefix
from xsam_backend.model.pointing import FirstLook, Pointing
from xsam_backend.model.precision import choose_dtype, count_of, main_dtype, stored_layout
from xsam_backend.model.score_calibration import Calibration
from xsam_backend.model.searching import Searching
from xsam_backend.model.unwanted_finds import without_unwanted
from xsam_backend.model.vision import EncoderOutputs
from xsam_backend.model.wording import Wording
from xsam_backend.model.xsam import XSam
from xsam_backend.prompts import Exemplar, Form, Prompt, Region, Task

DEFAULT_THRESHOLDS = {
    Task.GENERIC: 0.3,
    Task.OPEN_VOCABULARY: 0.3,
    Task.VGD: 0.3,
}
"""Instances with a lower score are left out, unless the prompt says otherwise. A model's config has one for phrases,
other tasks have none."""

CALIBRATED = {Task.GENERIC: Task.GENERIC, Task.OPEN_VOCABULARY: Task.GENERIC, Task.VGD: Task.VGD}
"""What searches a picture for all of a kind, and by which task's calibration its scores are read. Clicks and phrases
have one answer, and scores of other kinds."""

LEAST_PANOPTIC = 0.5
"""The reference's panoptic results hold nothing that scores less, whatever the threshold."""

LIKELY_ENOUGH = 1 / 3
"""Where it is known what scores mean, what is right with a smaller chance is left out, unless the prompt says
otherwise: a missing region is taken to cost an annotator twice as much as a wrong one."""


def load_predictor(
    name_or_path: str,
    device: str = "auto",
    dtype: str = "auto",
    models: Path | None = None,
    *,
    compiled: bool = False,
) -> Predictor:
    """A predictor from ``tiny``, a name in the models folder or a model folder.

    Args:
        device: "auto": a GPU if there is one.
        dtype: number format to run in, or "auto" (see ``precision.choose_dtype``), or "four-bits": the language model
            is, the rest in bfloat16.
        models: where pulled models lie by their names.
        compiled: see ``compiling``; takes minutes.

    Raises:
        CheckpointError: no such model, or its files don't fit together.
        SettingsError: four bits aren't to be had here, or are to be compiled.
    """
    if compiled and dtype == "four-bits":
        raise SettingsError("compile isn't for a model in four bits: set compile to false, or dtype to auto")
    folder = model_folder(name_or_path, models)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    weights = folder / WEIGHTS
    layout = stored_layout(weights) if weights.is_file() else {}
    try:
        if dtype == "four-bits":
            model = put_in_four_bits(checkpoint.load_model(folder, torch.bfloat16), torch.device(device))
        else:
            chosen = choose_dtype(dtype, main_dtype(layout), device, count_of(layout))
            model = checkpoint.load_model(folder, chosen, torch.device(device))
    except (RuntimeError, AssertionError) as error:  # the latter where torch was built without that device
        raise CheckpointError(f"{folder}: cannot be put on device {device!r}: {error}") from error
    predictor = Predictor(model, checkpoint.load_tokenizer(folder), checkpoint.model_version(folder))
    if compiled:
        black = np.zeros((64, 64, 3), np.uint8)
        compile_parts(model, lambda: predictor.state(black, predictor.look(black)))
    return predictor


class Predictor:
    """Answers prompts about pictures with one model. Safe to share between threads.

    Args:
        calibrations: what scores mean, by the tasks that ``CALIBRATED`` leads to; others stay as they are.
        typical_sizes: label -> longer side of its objects, as share of the picture's longer side, where it is known.
        encoders_of: the version whose encoders this one has unchanged; "": its own.
    """

    def __init__(
        self,
        model: XSam,
        tokenizer: PreTrainedTokenizerBase,
        model_version: str,
        calibrations: Mapping[Task, Calibration] = MappingProxyType({}),
        typical_sizes: Mapping[str, float] = MappingProxyType({}),
        encoders_of: str = "",
    ) -> None:
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.model_version = model_version
        self._encoders_of = encoders_of or model_version
        self.calibrations = calibrations
        self.typical_sizes = typical_sizes
        self.dialogue = Dialogue(self.model, tokenizer)
        self._pointing = Pointing(self.dialogue, typical_sizes)
        self._searching = Searching(self.dialogue, typical_sizes)
        self._wording = Wording(self.dialogue)

    @property
    def queries(self) -> int:
        """How many masks the decoder proposes."""
        return self.model.config.segmentor.num_queries

    def threshold(self, task: Task, form: Form = Form.OBJECTS) -> float:
        """The score, as the decoder gives it, below which a task's instances are left out by default."""
        if task in (Task.REFERRING, Task.REASONING):
            return self.model.config.phrase_threshold
        default = DEFAULT_THRESHOLDS.get(task, 0.0)
        calibration = self._calibration(task, form)
        return default if calibration is None else max(default, calibration.least_score(LIKELY_ENOUGH))

    def _calibration(self, task: Task, form: Form) -> Calibration | None:
        return self.calibrations.get(CALIBRATED.get(task, task)) if form is Form.OBJECTS else None

    @torch.inference_mode()
    def encode(self, image: NDArray[np.uint8], *, keeps_looks: bool = False) -> ImageState:
        """The picture's half, ready to be asked. In parts, for whoever keeps them apart: ``look``, ``state``,
        ``prefix``.

        Args:
            image: uint8 (H, W, 3) RGB.
            keeps_looks: what closer looks at the picture encode is kept with the state, for whoever asks about it
                again and again, and one question after the other. Takes as much memory as a few dozen states.

        Raises:
            ImageError: not such a picture.
        """
        return self.dialogue.look_at(image, keeps_looks=keeps_looks)

    @property
    def encoder_version(self) -> str:
        """Names the encoders and the number format that they run in: those with equal names see the same."""
        return f"{self._encoders_of} {str(self.model.dtype).removeprefix('torch.')}"

    @torch.inference_mode()
    def look(self, image: NDArray[np.uint8]) -> EncoderOutputs:
        """The first part of ``encode``: what no fine-tuning changes, in main memory.

        Raises:
            ImageError: not a picture, uint8 (H, W, 3).
        """
        return self.dialogue.look([image]).on("cpu")

    @torch.inference_mode()
    def state(self, image: NDArray[np.uint8], outputs: EncoderOutputs) -> ImageState:
        """The second part: a state that can't be asked before it has its prefix (``with_prefix``).

        Args:
            outputs: what the same encoders have seen of this picture.
        """
        return self.dialogue.state(image, outputs)

    @torch.inference_mode()
    def prefix(self, state: ImageState) -> Prefix:
        """The third: what the language model keeps of a picture. Most of a state's memory at full size."""
        return self.dialogue.prefix(state.encoded.features)

    @torch.inference_mode()
    def exemplar(self, state: ImageState, region: Region, label: str) -> Exemplar:
        """What is in a region, for prompts about other pictures. Only this version of the model understands it.

        Raises:
            PromptError: a region outside the picture.
        """
        return self._searching.exemplar(state, region, label)

    def first_look(self, state: ImageState, prompt: Prompt) -> FirstLook:
        """Where the correction of an interactive answer by further clicks begins."""
        return self._pointing.first_look(state, prompt)

    def answer(self, state: ImageState, prompt: Prompt) -> Answer:
        """The prompt's half.

        Raises:
            PromptError: a region outside the picture, or more words than the model reads.
        """
        (answer,) = self.answers(state, [prompt])
        return answer

    @torch.inference_mode()
    def answers(self, state: ImageState, prompts: Sequence[Prompt]) -> list[Answer]:
        """One answer per prompt, as ``answer``; what points, and phrases, are asked in one pass each.

        Raises:
            PromptError: as ``answer``.
        """
        given: dict[int, Answer] = {}
        for tasks, ask in (
            ((Task.INTERACTIVE,), self._pointing.answers),
            ((Task.REFERRING, Task.REASONING), self._wording.phrases),
        ):
            mine = [number for number, prompt in enumerate(prompts) if prompt.task in tasks]
            asked = [prompts[number] for number in mine]
            thresholds = [self._least_score(prompt) for prompt in asked]
            given |= dict(zip(mine, ask(state, asked, thresholds), strict=True))
        for number, prompt in enumerate(prompts):
            if prompt.task in DEFAULT_THRESHOLDS:
                given[number] = self._searched(state, prompt)
            elif number not in given:
                given[number] = self._wording.written(state, prompt, self._least_score(prompt))
        return [given[number] for number in range(len(prompts))]

    def _searched(self, state: ImageState, prompt: Prompt) -> Answer:
        """All of some names, or like some examples; each label's own threshold holds for what has it."""
        own: dict[str | None, float] = {prompt.label: self._as_decoded(prompt, None)}
        own |= {one.label: self._as_decoded(prompt, None) for one in prompt.exemplars}
        own |= {one.label: self._as_decoded(prompt, one.score_threshold) for one in prompt.categories}
        instances = _cut(self.candidates(state, prompt), prompt.form, own)
        calibration = self._calibration(prompt.task, prompt.form)
        if calibration is not None:
            instances = replace(instances, scores=calibration(instances.scores))
        if len(instances) and prompt.task is Task.VGD:
            return without_unwanted(instances, prompt.regions)
        reason = self._why_not(prompt, instances)
        if len(instances) and prompt.rest is not None:
            instances = _with_rest(instances, prompt.rest)
        return Answer(instances, reason=reason)

    def _why_not(self, prompt: Prompt, found: Instances) -> str:
        """Why nothing was found, or nothing by some of the texts that were typed; empty where all of them did."""
        typed = dict.fromkeys(one.typed for one in prompt.categories if one.typed)
        if not typed:
            return "" if len(found) else f"nothing scored {self._told_least(prompt, _stated(prompt)):.2f} or more"
        missing: dict[str, list[str]] = {}
        for text in typed:
            asked = [one for one in prompt.categories if one.typed == text]
            # Areas of one label are one, whatever texts asked for it.
            labels = {one.label for one in asked} if prompt.form is Form.SEMANTIC else set()
            if text not in found.typed and labels.isdisjoint(found.labels):
                least = self._told_least(prompt, _stated(replace(prompt, categories=tuple(asked))))
                missing.setdefault(f"{least:.2f}", []).append(repr(text))
        nothing = "nothing else" if len(found) else "nothing"
        return "; ".join(f"{', '.join(texts)}: {nothing} scored {least} or more" for least, texts in missing.items())

    def _told_least(self, prompt: Prompt, stated: Sequence[float | None]) -> float:
        """The least score that would have been enough, as annotators see scores; of some categories' thresholds."""
        known = [score for score in stated if score is not None]
        least = min(known, default=self.threshold(prompt.task, prompt.form))
        calibrated = self._calibration(prompt.task, prompt.form) is not None
        if not known and calibrated and least > DEFAULT_THRESHOLDS[prompt.task]:
            least = LIKELY_ENOUGH
        return max(least, LEAST_PANOPTIC) if prompt.form is Form.PANOPTIC else least

    def _least_score(self, prompt: Prompt) -> float:
        """The least that any of the prompt's thresholds lets through, for scores as the decoder gives them."""
        return min(self._as_decoded(prompt, stated) for stated in _stated(prompt))

    def _as_decoded(self, prompt: Prompt, own: float | None) -> float:
        """A category's own threshold, the prompt's without one, the default without that; as the decoder scores."""
        stated = prompt.score_threshold if own is None else own
        if stated is None:
            return self.threshold(prompt.task, prompt.form)
        calibration = self._calibration(prompt.task, prompt.form)
        return stated if calibration is None else calibration.least_score(stated)

    @torch.inference_mode()
    def candidates(self, state: ImageState, prompt: Prompt) -> Candidates:
        """All that the decoder proposes for a list of categories, exemplars, or one object: for measures.

        Raises:
            PromptError: as ``answer``, or a prompt of another task.
        """
        if prompt.task in (Task.GENERIC, Task.OPEN_VOCABULARY):
            return self._searching.named(state, prompt, self._least_score(prompt))
        if prompt.task is Task.VGD:
            return self._searching.alike(state, prompt, self._least_score(prompt))
        if prompt.task is Task.INTERACTIVE:
            return self._pointing.candidates(state, prompt)
        raise PromptError(f"{prompt.task} has one answer and no candidates: ask for the answer")


def _stated(prompt: Prompt) -> list[float | None]:
    """Thresholds that somebody stated, one for each category, or the prompt's; None where nobody did."""
    own = [one.score_threshold for one in prompt.categories] or [None]
    return [prompt.score_threshold if score is None else score for score in own]


def _with_rest(instances: Instances, label: str) -> Instances:
    """Those, and all pixels on which none of them is, as sure as the least sure of them."""
    rest = np.ones(instances.size_hw, np.bool_)
    for mask in instances.cropped:
        rest[mask.window] &= ~mask.crop
    if not rest.any():
        return instances
    return Instances(
        (*instances.cropped, CroppedMask.of(rest)),
        np.append(instances.scores, instances.scores.min()),
        (*instances.labels, label),
        instances.size_hw,
        (*instances.typed, ""),
    )


def _cut(found: Candidates, form: Form, threshold: Thresholds) -> Instances:
    if form is Form.PANOPTIC:
        return found.segments(threshold)
    return found.semantic(threshold) if form is Form.SEMANTIC else found.answered(threshold)
