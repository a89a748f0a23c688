"""One label config: which gesture asks what, where the answer is written, what won't work, and the config mended.

What is so is known by ``labelstudio`` (gestures, output rule, config check); here it's put into words.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from xsam_backend.cli.checks import Finding
from xsam_backend.labelstudio.config_check.examination import Correction, examine
from xsam_backend.labelstudio.context import Question
from xsam_backend.labelstudio.gestures import Asked, Gesture, Plan
from xsam_backend.labelstudio.label_config import LabelConfig
from xsam_backend.labelstudio.output_rule import RULE
from xsam_backend.labelstudio.tags import GEOMETRIES, UNSENT_GEOMETRIES, ControlTag, clean_phrase
from xsam_backend.prompts import Category, Form, Prompt, Task

MOST_LABELS = 12
"""Longer lists of labels are cut."""

_TASKS = {
    (Gesture.CLICK, Task.INTERACTIVE): "the one object that is clicked on; with Alt: not this",
    (Gesture.CLICK, Task.VGD): "everything that looks like what is clicked on; with Alt: but not that one",
    (Gesture.BOX, Task.INTERACTIVE): "the object in each box",
    (Gesture.BOX, Task.VGD): "everything that looks like what is in the box",
    (Gesture.WORDS, Task.OPEN_VOCABULARY): "everything that is named, names parted by commas",
    (Gesture.WORDS, Task.GENERIC): "everything that is named, names parted by commas",
    (Gesture.WORDS, Task.REFERRING): "the one thing that the whole text describes",
    (Gesture.WORDS, Task.REASONING): "what is meant, by reasoning",
    (Gesture.WORDS, Task.GCG): "whatever is written: a caption of the picture, and a region of each thing in it",
    (Gesture.WORDS, Task.CONVERSATION): "an answer in words",
    (Gesture.QUESTION, Task.REASONING): "what a text with a question mark at its end asks for, by reasoning",
}
"""What is asked. A tool's questions are told of only where they ask something else than its words."""

_SHAPES = {
    "polygon": "polygons",
    "brush": "brush masks",
    "bitmask": "bitmasks",
    "rectangle": "rectangles",
    "ellipse": "ellipses",
    "keypoint": "keypoints",
}


def check_label_config(xml: str) -> Iterator[Finding]:
    """What a label config offers, its faults, and its correction."""
    found = examine(xml)
    if found.config is not None and found.plan is not None:
        yield from _told(found.config, found.plan)
    else:
        yield Finding("FAIL", "label config", "as it is, every request about it is refused:")
    for fault in found.faults:
        yield Finding("FAIL" if fault.breaks else "note", fault.where, fault.words)
    yield from _correction(found.correction, needed=not found.works)


def _told(config: LabelConfig, plan: Plan) -> Iterator[Finding]:
    for image in config.images:
        shown = f"the pictures in the list {image.value}, each by itself" if image.is_list else image.value
        yield Finding("ok", "image", f"Image '{image.name}' shows {shown}")
    if config.outputs:
        yield Finding("ok", "outputs", "; ".join(map(_output, config.outputs)))
        yield Finding("ok", "rule", f"{RULE}{_passed_over(config)}")
    for (gesture, tool), of_tool in groupby(plan.asked, lambda one: (one.gesture, one.tool)):
        asked = list(of_tool)
        if asked[0].is_sent and not (gesture is Gesture.QUESTION and _asks_like_words(asked, plan)):
            yield from _gesture(config, gesture, tool, asked)
    for question in plan.pre_labels:
        yield Finding("ok", "pre-labels", _pre_labels(config, question))
    for image in config.images:
        area = config.words_area(image.name, says_why=True)
        if area is not None:
            yield Finding("ok", "reasons", f"nothing found by a gesture -> why not -> words in {_named(area)}")


def _passed_over(config: LabelConfig) -> str:
    drawn = [
        control for control in config.controls if control.geometry in GEOMETRIES and control not in config.outputs
    ]
    by_hand = [control for control in drawn if not control.is_prompt_tool or control.geometry in UNSENT_GEOMETRIES]
    return f". Nothing is written to {', '.join(map(_named, by_hand))}" if by_hand else ""


def _asks_like_words(asked: Sequence[Asked], plan: Plan) -> bool:
    words = [one for one in plan.asked if one.tool == asked[0].tool and one.gesture is Gesture.WORDS]
    return _tasks(asked) <= _tasks(words)


def _tasks(asked: Sequence[Asked]) -> set[Task]:
    return {question.prompt.task for one in asked for question in one.questions}


def _gesture(config: LabelConfig, gesture: Gesture, tool: ControlTag, asked: Sequence[Asked]) -> Iterator[Finding]:
    """One line for each output that a tool's gesture is answered in. What is refused is told as a fault."""
    answered = [(one, question) for one in asked for question in one.questions]
    for output in dict.fromkeys(question.control for _, question in answered):
        here = [(one, question) for one, question in answered if question.control == output]
        task = here[0][1].prompt.task
        what = _TASKS.get((gesture, task)) or _TASKS[Gesture.WORDS, task]
        labels = [one.chosen for one, _ in here if one.chosen is not None]
        if tool.geometry == "text":
            with_tool, notes = _named(tool), _labels_of_words(here)
        else:
            with_tool = f"{_named(tool)} ({_list(labels) or 'no label'})"
            notes = _renamed(here)
        notes += _left_out({one.chosen or "other words": _threshold(question) for one, question in here})
        yield Finding("ok", str(gesture), f"{with_tool} -> {what} -> {_into(config, task, output)}{notes}")


def _renamed(here: Sequence[tuple[Asked, Question]]) -> str:
    renamed = [
        f"'{one.chosen}' is written as '{question.prompt.label}'"
        for one, question in here
        if one.chosen is not None and question.prompt.label not in (None, one.chosen)
    ]
    return f". {_list(renamed)}" if renamed else ""


def _labels_of_words(here: Sequence[tuple[Asked, Question]]) -> str:
    """Which label the regions get that are found by words."""
    task, output = here[0][1].prompt.task, here[0][1].control
    if task in (Task.GCG, Task.CONVERSATION):
        return ""
    if output.only_label is not None:
        return f". The label is always '{output.only_label}'"
    named = [one.chosen for one, _ in here if one.chosen is not None]
    words = {label.name: _with_words(label.name, label.phrases) for label in output.labels}
    notes = (
        f". What is called or described as {_list([words[name] for name in named])} gets that label" if named else ""
    )
    if any(one.chosen is None for one, _ in here):
        as_note = ", and the words as a note" if task in (Task.OPEN_VOCABULARY, Task.GENERIC) else ""
        notes += f". {'Anything else' if named else 'What is found'} gets no label{as_note}"
    return notes


def _pre_labels(config: LabelConfig, question: Question) -> str:
    prompt = question.prompt
    if prompt.task is Task.GCG:
        what = "a caption of the picture, and a region of each thing in it"
    elif prompt.task in (Task.REFERRING, Task.REASONING):
        what = f"the one thing that '{prompt.phrase}' means, as {prompt.label}"
    elif prompt.task is Task.VGD:
        what = f"what looks like the objects accepted last, by name until some are: {_kinds(prompt)}"
    else:
        what = _kinds(prompt)
    of_labels = {category.label: _threshold(question, category) for category in prompt.categories}
    notes = _left_out(of_labels or {"all": _threshold(question)})
    return f"before anybody looks -> {what} -> {_into(config, prompt.task, question.control)}{notes}"


def _kinds(prompt: Prompt) -> str:
    """The labels that are looked for, with the words that the model reads where those are others."""
    names = {
        label: _with_words(label, [category.phrase for category in categories])
        for label, categories in groupby(prompt.categories, lambda category: category.label)
    }
    rest = f"; the rest of the picture is {prompt.rest}" if prompt.rest is not None else ""
    if prompt.form is Form.PANOPTIC:
        return f"segments that share no pixel: {_list([*names.values()])}{rest}"
    if prompt.form is Form.SEMANTIC:
        return f"one area for each label: {_list([*names.values()])}{rest}"
    things = dict.fromkeys(category.label for category in prompt.categories if category.is_thing)
    stuff = dict.fromkeys(category.label for category in prompt.categories if not category.is_thing)
    parts = [f"each object of {_list([names[label] for label in things])}"] if things else []
    parts += [f"one area each of {_list([names[label] for label in stuff])}"] if stuff else []
    return "; ".join(parts)


def _with_words(label: str, phrases: Sequence[str]) -> str:
    """A label, with the words that the model reads where those are others."""
    return label if list(phrases) == [clean_phrase(label)] else f"{label} ({', '.join(phrases)})"


def _threshold(question: Question, category: Category | None = None) -> float | None:
    """The label's own score threshold, else the question's."""
    own = [one.score_threshold for one in (category, *question.prompt.categories) if one is not None]
    first = own[0] if own else None
    return first if first is not None else question.prompt.score_threshold


def _left_out(thresholds: Mapping[str, float | None]) -> str:
    """A sentence about scores, where the config states any."""
    stated = {name: score for name, score in thresholds.items() if score is not None}
    if not stated:
        return ""
    if len(set(thresholds.values())) == 1:
        return f". What scores below {next(iter(stated.values())):g} is left out"
    return f". Left out is what scores below {_list([f'{score:g} ({name})' for name, score in stated.items()])}"


def _into(config: LabelConfig, task: Task, output: ControlTag) -> str:
    area = config.words_area(output.to_name, says_why=False)
    words = f"words in {_named(area)}" if area is not None else "words that go nowhere"
    if task is Task.CONVERSATION:
        return words
    shapes = f"{_shape(output)} in {_named(output)}"
    phrases = config.phrase_area(output.to_name)
    if phrases is not None and task is Task.GCG:
        shapes += f", what the caption calls each in {_named(phrases)}"
    return f"{words}, {shapes}" if task is Task.GCG else shapes


def _output(output: ControlTag) -> str:
    labels = "the task's own labels" if output.has_dynamic_labels else _list(output.label_names) or "no label"
    return f"{_shape(output)} in {_named(output)} ({labels})"


def _shape(output: ControlTag) -> str:
    turned = output.geometry == "rectangle" and output.options.rotated
    return f"turned {_SHAPES[output.geometry]}" if turned else _SHAPES[output.geometry]


def _named(control: ControlTag) -> str:
    return f"{control.tag} '{control.name}'"


def _list(names: Sequence[str]) -> str:
    shown = ", ".join(names[:MOST_LABELS])
    return f"{shown} and {len(names) - MOST_LABELS} more" if len(names) > MOST_LABELS else shown


def _correction(correction: Correction | None, *, needed: bool) -> Iterator[Finding]:
    if correction is not None:
        yield Finding(
            "note",
            "corrected",
            f"{'; '.join(correction.changes)}. Paste it into Settings, Labeling Interface, Code:",
            correction.xml,
        )
    elif needed:
        yield Finding(
            "note",
            "corrected",
            "what was meant can't be told: mend what is said above, or begin with one of label_configs/",
        )
    else:
        yield Finding("ok", "corrected", "nothing needs a change")
