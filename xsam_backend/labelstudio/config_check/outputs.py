"""Where answers go: pictures without an output, labels that none has or that nothing asks for, pre-labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from xsam_backend.errors import LabelConfigError
from xsam_backend.labelstudio.config_check.copies import label_copies, split_off
from xsam_backend.labelstudio.config_check.fault import Checked, Fault, Mend, named
from xsam_backend.labelstudio.config_check.source import ConfigSource, tag_of
from xsam_backend.labelstudio.context import BATCH_TASKS, batch_prompts
from xsam_backend.labelstudio.tags import GEOMETRIES, ControlTag

DEFAULT_LABEL = "Object"
"""Of an output for a config without any labels."""


def output_faults(checked: Checked) -> Iterator[Fault]:
    """Faults of what is written."""
    for image in checked.config.images:
        if checked.outputs_on(image.name):
            yield from _unwritable_labels(checked, image.name)
            yield from _unasked_labels(checked, image.name)
            yield from _points_only(checked, image.name)
        else:
            yield from _no_output(checked, image.name)
    yield from _pre_labels(checked)


def _no_output(checked: Checked, to_name: str) -> Iterator[Fault]:
    controls = checked.controls_on(to_name)
    if not controls and checked.config.outputs:
        yield Fault(
            False,
            f"Image '{to_name}'",
            f"no tag draws on it: nothing is asked about it or written on it. If that should be, add tags with "
            f'toName="{to_name}"',
        )
        return
    try:
        checked.config.outputs_on(to_name)
    except LabelConfigError as error:
        yield Fault(True, f"Image '{to_name}'", str(error), _another_output(checked, to_name))


def _points_only(checked: Checked, to_name: str) -> Iterator[Fault]:
    """Clicks that come back as what they were."""
    outputs = checked.outputs_on(to_name)
    if all(one.geometry == "keypoint" and one.is_prompt_tool and not one.options.output for one in outputs):
        yield Fault(
            False,
            named(outputs[0]),
            "it asks, and for want of another tag the answers are keypoints in it: add a tag that takes outlines",
            _another_output(checked, to_name),
        )


def _another_output(checked: Checked, to_name: str) -> Mend:
    """What makes an output: a tag that was forbidden to be one, else a new one."""
    for control in checked.controls_on(to_name):
        if control.geometry in GEOMETRIES and control.options.output is False and not control.is_prompt_tool:
            return checked.setting(control, "model_output", None)
    return Mend(f"an output for the picture '{to_name}'", partial(_with_output, checked, to_name))


def _with_output(checked: Checked, to_name: str) -> str:
    """A polygon tag with the labels of the tools there are, below them."""
    source = checked.source
    controls = checked.controls_on(to_name)
    drawn = [control for control in controls if control.geometry in GEOMETRIES]
    place = checked.element(controls[-1]) if controls else source.called("Image", to_name)
    assert place is not None
    attributes = {"name": source.free_name("outline"), "toName": to_name, "smart": "false"}
    if any(control.label_key is None for control in drawn):
        return source.with_after(place, tag_of("Polygon", attributes))
    copies = label_copies(checked, drawn, for_output=True) or [tag_of("Label", {"value": DEFAULT_LABEL})]
    return source.with_after(place, tag_of("PolygonLabels", attributes, copies))


def _unwritable_labels(checked: Checked, to_name: str) -> Iterator[Fault]:
    for tool in (control for control in checked.controls_on(to_name) if control.is_prompt_tool):
        labels = [
            one.chosen
            for one in checked.plan.asked
            if one.tool == tool and one.problem and one.chosen and not _is_writable(checked, one.chosen, to_name)
        ]
        if labels:
            best = checked.outputs_on(to_name)[0]
            yield Fault(
                True,
                named(tool),
                f"no output has {_list(labels)}, so asking with {'it' if len(labels) == 1 else 'them'} is answered "
                f"with an error, which Label Studio shows nobody: give {named(best)} the same labels",
                Mend(f"{_list(labels)} in {named(best)}", partial(_with_labels, checked, [best], [tool], labels)),
            )


def _is_writable(checked: Checked, label: str, to_name: str) -> bool:
    try:
        checked.config.output_for(label, to_name)
    except LabelConfigError:
        return False
    return True


def _unasked_labels(checked: Checked, to_name: str) -> Iterator[Fault]:
    """Labels of outputs for which there is no click and no box, while there is for others."""
    drawn = [
        one
        for one in checked.plan.asked
        if one.tool.to_name == to_name and one.tool.label_key is not None and one.is_sent
    ]
    tools = list(dict.fromkeys(one.tool for one in drawn if not one.tool.has_dynamic_labels))
    if not tools:
        return
    asked = {question.prompt.label for one in drawn for question in one.questions}
    asked |= {one.chosen for one in drawn if one.problem}  # another fault
    for output in checked.outputs_on(to_name):
        labels = [label.name for label in output.labels if not (label.is_rest or label.name in asked)]
        if labels:
            yield Fault(
                False,
                named(output),
                f"no click and no box can ask for {_list(labels)}: give the tools the same labels",
                Mend(
                    f"{_list(labels)} in {', '.join(map(named, tools))}",
                    partial(_with_labels, checked, tools, [output], labels),
                ),
            )


def _with_labels(checked: Checked, to: list[ControlTag], of: list[ControlTag], labels: list[str]) -> str:
    """Copies of some labels at the end of other tags' lists."""
    text = checked.source.text
    for control in to:
        source = ConfigSource(text)
        beside = source.called("Labels", control.labels_name) if control.labels_name else None
        place = beside or source.called(control.tag, control.name)
        assert place is not None
        copies = label_copies(checked, of, labels, for_output=control in checked.config.outputs)
        text = source.with_inside(place, copies)
    return text


def _pre_labels(checked: Checked) -> Iterator[Fault]:
    misfits = [o for o in checked.config.outputs if o.options.task and o.options.task not in BATCH_TASKS]
    for output in misfits:
        try:
            batch_prompts(replace(checked.config, outputs=(output,)))
        except LabelConfigError as error:
            words = str(error).removeprefix(f"{named(output)}: ")
            if output.is_prompt_tool:
                change = f"an output beside {named(output)}, without model_task"
                mend = Mend(change, partial(split_off, checked, output, "output"))
            else:
                mend = checked.setting(output, "model_task", None)
            yield Fault(True, named(output), f"no picture can be labelled beforehand: {words}", mend)
    if checked.plan.pre_labels_problem and checked.config.outputs and not misfits:
        yield Fault(False, "pre-labels", checked.plan.pre_labels_problem)


def _list(labels: list[str]) -> str:
    return ", ".join(f"'{label}'" for label in labels)
