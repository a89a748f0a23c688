"""What a label config offers: each gesture that an annotator can make with it, and what that asks.

Nothing is decided here. A gesture is written down as the region that Label Studio sends for it, and handed to
``interactive_request``, which answers real requests; pre-labels are those of ``batch_prompts``. So what is told about
a config is what happens.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from xsam_backend.errors import XSamBackendError
from xsam_backend.instances import Instances
from xsam_backend.labelstudio.context import Question, batch_prompts, interactive_request, labels_by_example
from xsam_backend.labelstudio.label_config import LabelConfig
from xsam_backend.labelstudio.results import RegionDict, write_regions, write_text
from xsam_backend.labelstudio.tags import UNSENT_GEOMETRIES, ControlTag
from xsam_backend.prompts import Exemplar

ANY_LABEL = "any label of the task"
"""Stands for labels that come with each task."""

ANY_PHRASE = "something that is no label"
ANY_QUESTION = "which of these?"

_SIZE_HW = (12, 16)
"""Of the picture that the gestures are tried on; no answer depends on it."""


class Gesture(str, Enum):
    """What an annotator does."""

    CLICK = "click"
    BOX = "box"
    STROKE = "stroke"
    WORDS = "words"
    QUESTION = "question"

    def __str__(self) -> str:
        return self.value


_DRAWN = {"keypoint": Gesture.CLICK, "rectangle": Gesture.BOX, "brush": Gesture.STROKE, "bitmask": Gesture.STROKE}


@dataclass(frozen=True)
class Asked:
    """One gesture with one label or text, and what comes of it.

    Attributes:
        tool: the control tag it is made with.
        chosen: the label chosen before a drawn gesture, or the phrase written; None for a gesture without a label,
            and for words that name no label.
        questions: what the model is asked, and where its answer is written; none where there is a ``problem``.
        problem: why the request is refused.
    """

    gesture: Gesture
    tool: ControlTag
    chosen: str | None
    questions: tuple[Question, ...] = ()
    problem: str | None = None

    @property
    def is_sent(self) -> bool:
        """Whether Label Studio 1.23 sends it; it offers smart brushes, and sends nothing of them."""
        return self.tool.geometry not in UNSENT_GEOMETRIES


@dataclass(frozen=True)
class Plan:
    """Everything that a label config offers.

    Attributes:
        asked: what each gesture asks, tool by tool in the config's order.
        pre_labels: what is looked for on a picture that nobody has touched, once something of each label is accepted.
        pre_labels_problem: why pre-labelling is refused, or has nothing to look for.
    """

    asked: tuple[Asked, ...]
    pre_labels: tuple[Question, ...] = ()
    pre_labels_problem: str | None = None


def plan_of(config: LabelConfig) -> Plan:
    """Try every gesture that the config offers, and a batch."""
    asked = tuple(one for tool in config.controls if tool.is_prompt_tool for one in _gestures(config, tool))
    seen = np.zeros(1, np.float32)
    exemplars = [Exemplar(label, seen, seen) for label in labels_by_example(config)]
    try:
        return Plan(asked, batch_prompts(config, exemplars))
    except XSamBackendError as error:
        return Plan(asked, pre_labels_problem=str(error))


def _gestures(config: LabelConfig, tool: ControlTag) -> Iterator[Asked]:
    if tool.geometry in _DRAWN:
        for label in _offered(config, tool):
            yield _tried(config, _DRAWN[tool.geometry], tool, label, _drawn(tool, label))
        return
    phrases = [label for label in _output_labels(config, tool) if not re.search(r"[,;\n?]", label)]
    for phrase in phrases:
        yield _tried(config, Gesture.WORDS, tool, phrase, [write_text(phrase, tool)])
    yield _tried(config, Gesture.WORDS, tool, None, [write_text(ANY_PHRASE, tool)])
    yield _tried(config, Gesture.QUESTION, tool, None, [write_text(ANY_QUESTION, tool)])


def _tried(
    config: LabelConfig, gesture: Gesture, tool: ControlTag, chosen: str | None, regions: Sequence[RegionDict]
) -> Asked:
    try:
        request = interactive_request(config, {"result": list(regions)}, _SIZE_HW)
    except XSamBackendError as error:
        return Asked(gesture, tool, chosen, problem=str(error))
    return Asked(gesture, tool, chosen, request.questions)


def _offered(config: LabelConfig, tool: ControlTag) -> Sequence[str | None]:
    """The labels that can be chosen for a tool; None where there are none."""
    if tool.has_dynamic_labels:
        return _output_labels(config, tool) or [ANY_LABEL]
    return tool.label_names or (None,)


def _output_labels(config: LabelConfig, tool: ControlTag) -> list[str]:
    outputs = [output for output in config.outputs if output.to_name == tool.to_name]
    return list(dict.fromkeys(name for output in outputs for name in output.label_names))


def _drawn(tool: ControlTag, label: str | None) -> list[RegionDict]:
    """A region in the picture's middle, as Label Studio has one of this tool."""
    masks = np.zeros((1, *_SIZE_HW), np.bool_)
    masks[:, 4:8, 4:12] = True
    return write_regions(Instances.of(masks, np.ones(1, np.float32), (label,)), tool)
