"""What is asked: an interactive context -> questions about one picture; a label config -> questions for a batch.

Rules for a context (Label Studio 1.23 sends the pending regions of one type and label; other clients may mix):

* The last region decides which picture is meant (``to_name``, ``item_index``); regions of others are left out. The
  last positive region decides the label; positive regions with another label are left out, negative clicks never are.
* Tools with another task than the last region's are left out, for Label Studio sends all of a type together; a
  negative click whose own task has nothing positive goes with the others. So are texts of text areas with another
  task: to ask those again would bring their answers twice.
* Clicks and strokes (brush, bitmask) together hint at one object. Each outline (rectangle, polygon, ellipse) is an
  object of its own. With outlines, a click or stroke joins the outline it lies in, or the only one; those in none
  make one more object. Negative clicks go with every object. Where each is an example (vgdseg), a negative click
  takes away what was found under it.
* What is said of one region (a TextArea with ``perRegion``) asks nothing.
* A TextArea as last region: each phrase, parted by comma, semicolon or line, is one thing to look for, all over the
  picture. A text that ends in "?" is a question to reason about. The label is the one that the phrase names or
  describes ("a red car"), else the output's only label, else none: then the phrase itself travels with the region. A
  label's name asks for all of its words (``predicted_values``).
* ``model_task`` on the control that prompts overrides the task: intseg, vgdseg for drawn prompts (vgdseg: everything
  that looks like the marked); ovseg, genseg, refseg, reaseg, gcgseg, imgconv for texts. refseg takes a text whole.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xsam_backend.errors import LabelConfigError, PromptError
from xsam_backend.labelstudio.label_config import LabelConfig
from xsam_backend.labelstudio.regions import geometry_of, read_region, region_labels, region_texts, with_labels_beside
from xsam_backend.labelstudio.tags import ControlTag, clean_phrase
from xsam_backend.prompts import Category, Exemplar, Form, Prompt, Region, Task, is_negative
from xsam_backend.region_masks import region_mask

MAX_REGIONS = 200
MAX_PHRASES = 50
MAX_PHRASE_CHARACTERS = 500

_OUTLINES = frozenset({"rectangle", "polygon", "ellipse"})

DRAWN_TASKS = (Task.INTERACTIVE, Task.VGD)
TEXT_TASKS = (Task.OPEN_VOCABULARY, Task.GENERIC, Task.REFERRING, Task.REASONING, Task.GCG, Task.CONVERSATION)
BATCH_TASKS = (Task.GENERIC, Task.OPEN_VOCABULARY, Task.VGD, Task.REFERRING, Task.REASONING, Task.GCG)
"""What ``model_task`` may say: where clicks, boxes and strokes ask, where texts do, and of an output."""


@dataclass(frozen=True)
class Question:
    """A prompt and the control tag that its instances are written to."""

    prompt: Prompt
    control: ControlTag


@dataclass(frozen=True)
class Target:
    """Which of a task's pictures a context is about, and the regions on it. ``item_index``: None outside of lists."""

    to_name: str
    item_index: int | None
    regions: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class InteractiveRequest:
    """What an interactive context asks.

    Attributes:
        questions: in the order drawn; none for an empty context.
        to_name: the picture asked about; every returned region repeats it.
        item_index: its place in a list of pictures, repeated on every returned region; None outside of lists.
        label: the label the annotator has chosen, as the prompting control names it; None without.
    """

    questions: tuple[Question, ...]
    to_name: str
    item_index: int | None = None
    label: str | None = None

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """The questions' prompts."""
        return tuple(question.prompt for question in self.questions)


def context_target(config: LabelConfig, context: Mapping[str, Any] | None) -> Target:
    """Which picture to fetch for a context; no pixels are needed yet. An empty context means the first picture.

    Raises:
        PromptError: the context is not ``{"result": [regions]}``, or an item_index is no whole number.
        LabelConfigError: the picture is not in the config.
    """
    told = [control.name for control in config.controls if control.per_region]
    regions = [region for region in _regions(context) if region.get("from_name") not in told]
    if not regions:
        return Target(config.image().name, None, ())
    last = regions[-1]
    to_name, item_index = _place(config, last)
    return Target(to_name, item_index, tuple(r for r in regions if _place(config, r) == (to_name, item_index)))


def interactive_request(
    config: LabelConfig, context: Mapping[str, Any] | None, size_hw: tuple[int, int]
) -> InteractiveRequest:
    """The questions in a context about a picture of (height, width), by the rules at the top of this file.

    Raises:
        PromptError: a region that cannot be read, only negative clicks, an empty or endless text.
        LabelConfigError: no output, a label that no output has, or a ``model_task`` that does not fit the prompt.
    """
    target = context_target(config, context)
    if not target.regions:
        return InteractiveRequest((), target.to_name)
    if geometry_of(target.regions[-1]) == "textarea":
        questions, label = _text_questions(config, target), None
    else:
        questions, label = _drawn_questions(config, target, size_hw)
    return InteractiveRequest(questions, target.to_name, target.item_index, label)


def labels_by_example(config: LabelConfig) -> tuple[str, ...]:
    """The labels that a batch looks for by what was accepted of them: those of outputs with ``model_task="vgd"``."""
    controls = [control for control in config.outputs if control.options.task is Task.VGD]
    return tuple(dict.fromkeys(one.label for control in controls for one in control.categories))


def batch_prompts(config: LabelConfig, exemplars: Sequence[Exemplar] = ()) -> tuple[Question, ...]:
    """What to look for on a picture that nobody has touched: for each output, its own labels.

    A label that an output before it on the same picture has is left to that one, so that an object is written once;
    ``model_output="true"`` says that it is wanted here as well. The task is the output's ``model_task``, generic
    segmentation without one. Referring and reasoning ask once for each phrase. VGD looks for what is like the
    exemplars, and by their names for labels that have none. A background label is not looked for; panoptic and
    semantic answers have it where nothing else is. Outputs without labels have nothing to look for and are left out.

    Args:
        exemplars: of the labels of ``labels_by_example``.

    Raises:
        LabelConfigError: no output, none with labels, or a ``model_task`` that needs a drawn prompt.
    """
    questions: list[Question] = []
    written: dict[str, set[str]] = {}
    for control in config.outputs_on():
        before = written.setdefault(control.to_name, set())
        wanted = tuple(one for one in control.categories if control.options.output or one.label not in before)
        before.update(control.label_names)
        task = _task(control, BATCH_TASKS, "a picture that nobody has touched", Task.GENERIC)
        threshold = control.options.score_threshold
        if task is Task.GCG:
            questions.append(Question(Prompt(task, score_threshold=threshold), control))
        elif task in (Task.REFERRING, Task.REASONING):
            questions += [
                Question(
                    Prompt(
                        task, phrase=one.phrase, label=one.label, score_threshold=_threshold(None, control, one.label)
                    ),
                    control,
                )
                for one in wanted
            ]
        elif task is Task.VGD:
            questions += _by_example(control, wanted, exemplars)
        elif wanted:
            form = control.options.form
            rest = control.rest if form is not Form.OBJECTS else None
            prompt = Prompt(task, categories=wanted, score_threshold=threshold, form=form, rest=rest)
            questions.append(Question(prompt, control))
    if not questions:
        raise LabelConfigError(
            'no output control has labels, so there is nothing to look for: add <Label value="..."/> to '
            + ", ".join(f"{control.tag} '{control.name}'" for control in config.outputs)
        )
    return tuple(questions)


def _by_example(control: ControlTag, wanted: Sequence[Category], exemplars: Sequence[Exemplar]) -> Iterator[Question]:
    """Like the exemplars where a label has some; the other labels by their names."""
    shown = {exemplar.label for exemplar in exemplars}
    mine = tuple(exemplar for exemplar in exemplars if exemplar.label in {one.label for one in wanted})
    seen = tuple({one.label: one for one in wanted if one.label in shown}.values())
    unseen = tuple(one for one in wanted if one.label not in shown)
    threshold = control.options.score_threshold
    if mine:
        prompt = Prompt(Task.VGD, categories=seen, exemplars=mine, score_threshold=threshold)
        yield Question(prompt, control)
    if unseen:
        yield Question(Prompt(Task.GENERIC, categories=unseen, score_threshold=threshold), control)


def _regions(context: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    if context is None:
        return []
    regions = context.get("result", []) if isinstance(context, Mapping) else None
    if not isinstance(regions, list) or not all(isinstance(region, Mapping) for region in regions):
        raise PromptError('expected the context to be {"result": [regions]}, each region an object')
    if len(regions) > MAX_REGIONS:
        raise PromptError(
            f"the context has {len(regions)} regions, at most {MAX_REGIONS} are read: accept some first"
        )
    return with_labels_beside(regions)


def _place(config: LabelConfig, region: Mapping[str, Any]) -> tuple[str, int | None]:
    """(to_name, item_index) of a region. A region without to_name is taken to be on the only picture."""
    name = region.get("to_name")
    if name is not None and not isinstance(name, str):
        raise PromptError(f"region '{region.get('id', '?')}': expected to_name to be a text, got {name!r}")
    item_index = region.get("item_index")
    if item_index is not None and (isinstance(item_index, bool) or not isinstance(item_index, int) or item_index < 0):
        raise PromptError(f"region '{region.get('id', '?')}': expected item_index 0, 1, ..., got {item_index!r}")
    return config.image(name).name, item_index


def _prompting_control(config: LabelConfig, region: Mapping[str, Any]) -> ControlTag | None:
    name = region.get("from_name")
    return next((control for control in config.controls if control.name == name), None)


def _task(control: ControlTag | None, fitting: Sequence[Task], asked: str, default: Task) -> Task:
    task = control.options.task if control else None
    if control is None or task is None:
        return default
    if task not in fitting:
        written = control.options.form if control.options.form is not Form.OBJECTS else task
        raise LabelConfigError(
            f"{control.tag} '{control.name}': model_task=\"{written}\" does not fit {asked}, expected one of "
            f"{', '.join(one.value for one in fitting)}: change or remove it"
        )
    return task


def _drawn_questions(
    config: LabelConfig, target: Target, size_hw: tuple[int, int]
) -> tuple[tuple[Question, ...], str | None]:
    drawn = _of_one_task(config, [region for region in target.regions if geometry_of(region) != "textarea"])
    positive = [region for region in drawn if region.get("is_positive") is not False]
    if not positive:
        raise PromptError("all clicks are negative: click on the object itself first, without Alt")
    last = positive[-1]
    chosen = region_labels(last)
    asking = _prompting_control(config, last)
    task = _task(asking, DRAWN_TASKS, "a click, box or stroke", Task.INTERACTIVE)
    output, label = config.output_for(chosen[0] if chosen else None, target.to_name)
    threshold = _threshold(asking, output, label)

    meant = [r for r in drawn if r.get("is_positive") is False or region_labels(r) == chosen]
    read = [(read_region(region, size_hw), geometry_of(region) in _OUTLINES) for region in meant]
    negative = [shape for shape, _ in read if is_negative(shape)]
    shapes = [(shape, is_outline) for shape, is_outline in read if not is_negative(shape)]
    if task is Task.VGD:
        category = (Category(clean_phrase(label), label, score_threshold=threshold),) if label else ()
        in_order = tuple(shape for shape, _ in read)
        prompts = [Prompt(task, in_order, category * len(shapes), label=label, score_threshold=threshold)]
    else:
        prompts = [
            Prompt(task, _in_order(read, (*regions, *negative)), label=label, score_threshold=threshold)
            for regions in _objects(shapes, size_hw)
        ]
    return tuple(Question(prompt, output) for prompt in prompts), chosen[0] if chosen else None


def _of_one_task(config: LabelConfig, drawn: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The regions whose tools have the task that is asked: the last region's, where anything positive has it."""
    tasks = [_task_name(_prompting_control(config, region)) for region in drawn]
    is_positive = [region.get("is_positive") is not False for region in drawn]
    shown = [task for task, positive in zip(tasks, is_positive, strict=True) if positive]
    if not shown:
        return list(drawn)
    asked = tasks[-1] if tasks[-1] in shown else shown[-1]
    return [
        region
        for region, task, positive in zip(drawn, tasks, is_positive, strict=True)
        if task == asked or not (positive or task in shown)
    ]


def _task_name(tool: ControlTag | None) -> Task:
    """What a tool that draws asks, whether or not it can."""
    return (tool.options.task if tool is not None else None) or Task.INTERACTIVE


def _objects(shapes: Sequence[tuple[Region, bool]], size_hw: tuple[int, int]) -> list[list[Region]]:
    """Group the hints by the object they are about. Each shape comes with whether it is an outline."""
    outlines = [[shape] for shape, is_outline in shapes if is_outline]
    loose: list[Region] = []
    for hint in (shape for shape, is_outline in shapes if not is_outline):
        inside = [group for group in outlines if len(outlines) == 1 or _overlap(hint, group[0], size_hw)]
        (inside[0] if inside else loose).append(hint)
    return [*outlines, loose] if loose else outlines


def _in_order(drawn: Sequence[tuple[Region, bool]], chosen: Sequence[Region]) -> tuple[Region, ...]:
    """Those of ``drawn`` that are chosen, as they were drawn: each click corrects what came before it."""
    wanted = {id(shape) for shape in chosen}
    return tuple(shape for shape, _ in drawn if id(shape) in wanted)


def _overlap(hint: Region, outline: Region, size_hw: tuple[int, int]) -> bool:
    return bool((region_mask(hint, size_hw, 0.0) & region_mask(outline, size_hw)).any())


def _text_questions(config: LabelConfig, target: Target) -> tuple[Question, ...]:
    areas = [region for region in target.regions if geometry_of(region) == "textarea"]
    asking = _prompting_control(config, areas[-1])
    areas = [area for area in areas if _text_task(_prompting_control(config, area)) == _text_task(asking)]
    texts = [text.strip() for region in areas for text in region_texts(region) if text.strip()]
    if not texts:
        raise PromptError("the text prompt is empty: write what to look for")
    if any(len(text) > MAX_PHRASE_CHARACTERS for text in texts):
        raise PromptError(f"a text prompt may have {MAX_PHRASE_CHARACTERS} characters: write a shorter one")
    questions = [text for text in texts if text.endswith("?")]
    phrases = [text for text in texts if not text.endswith("?")]
    prompts: list[Question] = []
    if questions:
        task = _task(asking, TEXT_TASKS, "a text", Task.REASONING)
        prompts += _ask_texts(config, target.to_name, asking, task, questions)
    if phrases:
        task = _task(asking, TEXT_TASKS, "a text", Task.OPEN_VOCABULARY)
        prompts += _ask_texts(config, target.to_name, asking, task, phrases)
    return tuple(prompts)


def _text_task(area: ControlTag | None) -> tuple[Task | None, Form]:
    """What a text area asks, as far as it says so."""
    return (area.options.task, area.options.form) if area is not None else (None, Form.OBJECTS)


def _ask_texts(
    config: LabelConfig, to_name: str, asking: ControlTag | None, task: Task, texts: Sequence[str]
) -> list[Question]:
    """The questions that texts put as one task. Phrases with labels of different outputs are asked separately."""
    if task in (Task.OPEN_VOCABULARY, Task.GENERIC):
        texts = [phrase.strip() for text in texts for phrase in re.split(r"[,;\n]", text) if phrase.strip()]
    texts = list(dict.fromkeys(texts))
    if not texts or len(texts) > MAX_PHRASES:
        raise PromptError(f"the text prompt has {len(texts)} phrases, expected 1 to {MAX_PHRASES}")
    if task is Task.GCG:
        output = config.outputs_on(to_name)[0]
        return [Question(Prompt(task, score_threshold=_threshold(asking, output)), output)]
    placed = [(text, *_label_of_phrase(config, to_name, text)) for text in texts]
    if task in (Task.OPEN_VOCABULARY, Task.GENERIC):
        asked: dict[ControlTag, list[Category]] = {}
        for text, output, label in placed:
            asked.setdefault(output, []).extend(_categories(output, label, text))
        return [
            Question(
                Prompt(
                    task,
                    categories=_each_once(categories),
                    score_threshold=_threshold(asking, output),
                    form=asking.options.form if asking is not None else Form.OBJECTS,
                ),
                output,
            )
            for output, categories in asked.items()
        ]
    return [
        Question(Prompt(task, phrase=text, label=label, score_threshold=_threshold(asking, output, label)), output)
        for text, output, label in placed
    ]


def _label_of_phrase(config: LabelConfig, to_name: str, phrase: str) -> tuple[ControlTag, str | None]:
    """The output whose label the phrase names or describes ("a red car"), and that label; else the best output and
    its only label, if one. What a question names is not what it asks for."""
    outputs = config.outputs_on(to_name)
    ways = (ControlTag.find_label, *([] if phrase.endswith("?") else [ControlTag.label_within]))
    for finds in ways:
        for output in outputs:
            if not output.has_dynamic_labels and (label := finds(output, phrase)) is not None:
                return output, label
    return outputs[0], outputs[0].only_label


def _categories(output: ControlTag, label: str | None, text: str) -> tuple[Category, ...]:
    """What a phrase looks for: all of a label's words where it is the label's name, else only itself, as the thing or
    stuff that the label is."""
    known = next((one for one in output.labels if one.name == label), None)
    if known is None:
        return (Category(clean_phrase(text), label or text, typed=text),)
    phrases = known.phrases if clean_phrase(text) == clean_phrase(known.name) else (clean_phrase(text),)
    return tuple(Category(one, known.name, known.is_thing, known.score_threshold, text) for one in phrases)


def _each_once(categories: Sequence[Category]) -> tuple[Category, ...]:
    """Without phrases that are asked already; a text that asks for most goes first."""
    count = Counter(one.typed for one in categories)
    widest: dict[tuple[str, str], Category] = {}
    for one in categories:
        known = widest.setdefault((one.phrase, one.label), one)
        if count[one.typed] > count[known.typed]:
            widest[one.phrase, one.label] = one
    return tuple(widest.values())


def _threshold(asking: ControlTag | None, output: ControlTag, label: str | None = None) -> float | None:
    """The label's own threshold, else the control's; of the prompting control first, then of the output."""
    controls = [control for control in (asking, output) if control is not None]
    stated = [*(one.threshold_of(label) for one in controls), *(one.options.score_threshold for one in controls)]
    return next((threshold for threshold in stated if threshold is not None), None)
