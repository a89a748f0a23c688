"""``model_*`` attributes that do nothing: misspelt, on a tag that doesn't read them, on the Label of a tool."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from xsam_backend.labelstudio.config_check.fault import Checked, Fault, Mend, label_name, labels_of, named, setting
from xsam_backend.labelstudio.config_check.source import Element
from xsam_backend.labelstudio.tags import (
    CONTROL_OPTIONS,
    GEOMETRIES,
    LABEL_OPTIONS,
    ControlTag,
    unknown_options,
)
from xsam_backend.prompts import Form

_Has = Callable[[ControlTag, bool], bool]

_EFFECTS: dict[str, tuple[_Has, str]] = {
    "model_rotated": (lambda control, out: out and control.geometry == "rectangle", "a rectangle that is an output"),
    "model_polygon_iou": (lambda control, out: out and control.geometry == "polygon", "a polygon that is an output"),
    "model_output": (lambda control, _: control.geometry in GEOMETRIES, "a tag that draws"),
    "model_says_why": (lambda control, _: control.geometry == "text", "a TextArea"),
    "model_task": (lambda control, out: out or control.is_prompt_tool, "an output or a prompt tool"),
    "model_score_threshold": (lambda control, out: out or control.is_prompt_tool, "an output or a prompt tool"),
}
"""Option -> where it does something, and how that is said."""

_OF_OUTPUTS = ("predicted_values", "model_stuff", "model_background")
"""Attributes of a Label that are read where its answers are written."""


def option_faults(checked: Checked) -> Iterator[Fault]:
    """Options without an effect."""
    for beside in checked.source.elements:
        if beside.tag == "labels":
            for label in labels_of(beside):
                yield from _misspelt(checked, label, LABEL_OPTIONS, f"Labels, Label '{label_name(label)}'")
    for control in {control.name: control for control in checked.config.controls}.values():
        element = checked.element(control)
        yield from _misspelt(checked, element, CONTROL_OPTIONS, named(control))
        for label in labels_of(element):
            yield from _misspelt(checked, label, LABEL_OPTIONS, f"{named(control)}, Label '{label_name(label)}'")
        is_output = any(output.name == control.name for output in checked.config.outputs)
        for name, (has_effect, place) in _EFFECTS.items():
            value = element.attributes.get(name, "false").strip().lower()
            if value != "false" and not has_effect(control, is_output):
                yield Fault(False, named(control), f"{name} does nothing here: it belongs on {place}")
        if control.geometry == "text" and control.options.says_why and control.is_prompt_tool:
            yield Fault(
                False,
                named(control),
                'model_says_why does nothing on a text area that asks itself: add smart="false"',
                checked.setting(control, "smart", "false"),
            )
        if is_output:
            yield from _unwritten_rest(control)
        elif control.is_prompt_tool:
            yield from _words_of_tools(checked, control, element)


def _misspelt(checked: Checked, element: Element, known: tuple[str, ...], where: str) -> Iterator[Fault]:
    for name, meant in unknown_options(element.attributes, known).items():
        if meant is None:
            belongs = " (it belongs on a control tag)" if name in CONTROL_OPTIONS else ""
            yield Fault(False, where, f"{name} is not ours and is ignored{belongs}; known are {', '.join(known)}")
        elif meant in element.attributes:
            yield Fault(False, where, f"{name} is not ours and is ignored; {meant} is there already")
        else:
            yield Fault(
                False,
                where,
                f"{name} is not ours and is ignored: did you mean {meant}?",
                Mend(
                    f"{name} is called {meant} on {where}",
                    partial(checked.source.with_attribute_renamed, element, name, meant),
                ),
            )


def _unwritten_rest(output: ControlTag) -> Iterator[Fault]:
    """Background labels that no pre-label will have."""
    rests = [label.name for label in output.labels if label.is_rest]
    if rests and output.options.form is Form.OBJECTS:
        yield Fault(
            False,
            f"{named(output)}, Label '{rests[0]}'",
            "a background is only written where a whole picture is shared out among the labels: add "
            f'model_task="panoptic" or model_task="semantic" to {named(output)}',
        )
    elif len(rests) > 1:
        yield Fault(
            False,
            f"{named(output)}, Label '{rests[1]}'",
            f"only one label can be the background, and '{rests[0]}' is: take model_background away",
        )


def _words_of_tools(checked: Checked, tool: ControlTag, element: Element) -> Iterator[Fault]:
    """What a tool's Label says of itself, and the same Label of the output doesn't."""
    for output in checked.outputs_on(tool.to_name):
        twins = {label_name(label): label for label in checked.labels_of(output)}
        for label in labels_of(element):
            name = label_name(label)
            for attribute in _OF_OUTPUTS:
                if attribute in label.attributes and name in twins and attribute not in twins[name].attributes:
                    yield Fault(
                        False,
                        f"{named(tool)}, Label '{name}'",
                        f"{attribute} is read where answers are written: it belongs on the same Label of "
                        f"{named(output)}",
                        setting(checked.source, twins[name], attribute, label.attributes[attribute], named(output)),
                    )
