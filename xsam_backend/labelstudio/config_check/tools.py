"""Gestures: tools of which Label Studio sends nothing, tasks that a gesture cannot ask, pictures without any tool."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from xsam_backend.labelstudio.config_check.copies import label_copies, split_off
from xsam_backend.labelstudio.config_check.fault import Checked, Fault, Mend, named
from xsam_backend.labelstudio.config_check.source import ConfigSource, tag_of
from xsam_backend.labelstudio.context import DRAWN_TASKS, TEXT_TASKS
from xsam_backend.labelstudio.label_config import LabelConfig
from xsam_backend.labelstudio.tags import PROMPT_GEOMETRIES, UNSENT_GEOMETRIES, ControlTag

_CLICKS_AND_BOXES = (("KeyPoint", "click"), ("Rectangle", "box"))
"""Tools of which Label Studio sends everything, and a name for each."""


def tool_faults(checked: Checked) -> Iterator[Fault]:
    """Faults of what an annotator can do."""
    for control in {control.name: control for control in checked.config.controls}.values():
        if control.geometry != "text":
            yield from _unsent(checked, control)
        if control.is_prompt_tool:
            yield from _misfit(checked, control)
    for image in checked.config.images:
        if checked.outputs_on(image.name):
            yield from _no_tool(checked, image.name)


def _unsent(checked: Checked, control: ControlTag) -> Iterator[Fault]:
    """Tools that can be had in Label Studio, or are wanted there, and ask nothing."""
    smart = checked.says(control, "smart")
    mend = checked.setting(control, "smart", "false")
    if control.geometry in UNSENT_GEOMETRIES and control.is_prompt_tool:
        if control not in checked.config.outputs and not _keeps_outputs(checked, mend.text()):
            # It would be taken for a better place to write to than the outputs there are.
            change = f'smart="false" and model_output="false" on {named(control)}'
            mend = Mend(change, partial(_silenced, checked, control))
        yield Fault(
            smart == "true",
            named(control),
            "Label Studio 1.23 offers a smart copy of this tool and sends nothing of what is drawn with it: take "
            'clicks or boxes to ask, and write smart="false" here',
            mend,
        )
    elif control.geometry not in PROMPT_GEOMETRIES and smart == "true":
        yield Fault(
            False,
            named(control),
            'Label Studio has no smart copy of this tool, whatever smart="true" says: what is drawn with it asks '
            "nothing. Take clicks or boxes to ask",
            mend,
        )
    elif not control.smart and checked.says(control, "smartonly") == "true":
        yield Fault(
            False,
            named(control),
            'smartOnly="true" hides the plain tool and smart="false" the smart one, so nobody can draw with it: take '
            "smartOnly away",
            checked.setting(control, "smartOnly", None),
        )


def _misfit(checked: Checked, tool: ControlTag) -> Iterator[Fault]:
    """A ``model_task`` that this gesture cannot ask."""
    fitting = TEXT_TASKS if tool.geometry == "text" else DRAWN_TASKS
    problems = [one.problem for one in checked.plan.asked if one.tool.name == tool.name and one.problem]
    if tool.options.task is None or tool.options.task in fitting or not problems:
        return
    if any(output.name == tool.name for output in checked.config.outputs):
        mend = Mend(f"an output beside {named(tool)}, with its model_task", partial(split_off, checked, tool, "tool"))
    else:
        mend = checked.setting(tool, "model_task", None)
    yield Fault(True, named(tool), problems[0].removeprefix(f"{named(tool)}: "), mend)


def _no_tool(checked: Checked, to_name: str) -> Iterator[Fault]:
    """A picture with outputs, and no gesture that reaches the model."""
    if any(one.is_sent for one in checked.plan.asked if one.tool.to_name == to_name):
        return
    words = (
        "no gesture asks anything: Label Studio sends clicks (KeyPointLabels), boxes (RectangleLabels) and texts "
        '(TextArea) of tags that don\'t say smart="false". Pictures are only labelled beforehand'
    )
    silent = [
        control
        for control in checked.controls_on(to_name)
        if control.geometry in ("keypoint", "rectangle")
        and not control.smart
        and control not in checked.config.outputs
    ]
    if silent:
        mend = checked.setting(silent[0], "smart", "true")
    else:
        mend = Mend("smart tools for clicks and boxes", partial(_with_tools, checked, to_name))
    yield Fault(False, f"Image '{to_name}'", words, mend)


def _with_tools(checked: Checked, to_name: str) -> str:
    outputs = checked.outputs_on(to_name)
    labelled = outputs[0].label_key is not None
    text = checked.source.text
    for tag, name in reversed(_CLICKS_AND_BOXES):  # each goes to the same place, the first one last
        source = ConfigSource(text)
        place = source.called(outputs[0].tag, outputs[0].name)
        assert place is not None
        attributes = {"name": source.free_name(name), "toName": to_name, "smart": "true", "smartOnly": "true"}
        if outputs[0].has_dynamic_labels:
            attributes["value"] = checked.element(outputs[0]).attributes["value"]
        copies = label_copies(checked, outputs) if labelled else []
        text = source.with_after(place, tag_of(f"{tag}Labels" if labelled else tag, attributes, copies))
    return text


def _keeps_outputs(checked: Checked, mended: str) -> bool:
    """Whether a mended config writes to the same tags as before."""
    before, after = checked.config.outputs, LabelConfig.parse(mended).outputs
    return [output.name for output in before] == [output.name for output in after]


def _silenced(checked: Checked, control: ControlTag) -> str:
    """A tool that neither asks nor is written to."""
    source = ConfigSource(checked.setting(control, "smart", "false").text())
    element = source.called(control.tag, control.name)
    assert element is not None
    return source.with_attribute(element, "model_output", "false")
