"""Text areas: which of them ask, and where captions, answers in words and reasons can be written."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from xsam_backend.labelstudio.config_check.fault import Checked, Fault, Mend, named
from xsam_backend.labelstudio.config_check.source import tag_of
from xsam_backend.labelstudio.tags import ControlTag
from xsam_backend.prompts import Task

_WORDS = {Task.CONVERSATION: "the answer, which is words and nothing else,", Task.GCG: "the caption"}
"""Tasks that are answered in words."""


def word_faults(checked: Checked) -> Iterator[Fault]:
    """Faults of text areas."""
    for control in checked.config.controls:
        if control.geometry == "text" and control.per_region and checked.says(control, "smart") == "true":
            yield Fault(
                True,
                named(control),
                'Label Studio sends nothing of a text area with perRegion="true", whatever smart="true" says: take '
                "perRegion away if it should ask about the picture",
                checked.setting(control, "smart", "false"),
            )
    for image in checked.config.images:
        yield from _nowhere_for_words(checked, image.name)
        asking = [one for one in checked.controls_on(image.name) if one.geometry == "text" and one.is_prompt_tool]
        if len(asking) > 1:
            yield Fault(
                False,
                ", ".join(map(named, asking)),
                'each of them is a prompt: write smart="false" on those that take notes, captions or answers',
            )


def _nowhere_for_words(checked: Checked, to_name: str) -> Iterator[Fault]:
    """Questions that are answered in words, and no text area for that."""
    if checked.config.words_area(to_name, says_why=False) is not None:
        return
    questions = [
        (one.tool, question)
        for one in checked.plan.asked
        for question in one.questions
        if one.tool.to_name == to_name
    ]
    questions += [(question.control, question) for question in checked.plan.pre_labels]
    for asking, question in questions:
        task = question.prompt.task
        if task in _WORDS and question.control.to_name == to_name:
            spare = _spare(checked, asking)
            if spare is not None:
                mend = checked.setting(spare, "smart", "false")
            else:
                mend = Mend("a TextArea for answers in words", partial(_with_area, checked, asking))
            yield Fault(
                task is Task.CONVERSATION,
                named(asking),
                f'{_WORDS[task]} has nowhere to go: add a second TextArea with smart="false"',
                mend,
            )
            return


def _spare(checked: Checked, asking: ControlTag) -> ControlTag | None:
    """A text area that asks without having been told to, beside one that asks."""
    areas = [one for one in checked.controls_on(asking.to_name) if one.geometry == "text" and one.is_prompt_tool]
    silent = [one for one in areas if one != asking and checked.says(one, "smart") is None]
    return silent[-1] if silent and len(areas) > 1 else None


def _with_area(checked: Checked, asking: ControlTag) -> str:
    attributes = {"name": checked.source.free_name("answer"), "toName": asking.to_name, "smart": "false"}
    return checked.source.with_after(checked.element(asking), tag_of("TextArea", attributes | {"editable": "true"}))
