"""Copies of what a label config has: Labels for another tag, a tag beside itself."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Literal

from xsam_backend.labelstudio.config_check.fault import Checked, label_name
from xsam_backend.labelstudio.config_check.source import ConfigSource, tag_of
from xsam_backend.labelstudio.tags import LABEL_OPTIONS, ControlTag

_OF_ANY_LABEL = ("value", "alias", "background")
"""Attributes that a Label has in every tag; a hotkey belongs to one."""

_OF_OUTPUT_LABELS = (*_OF_ANY_LABEL, "predicted_values", *LABEL_OPTIONS)


def label_copies(
    checked: Checked,
    controls: Iterable[ControlTag],
    only: Collection[str] | None = None,
    *,
    for_output: bool = False,
) -> list[str]:
    """``<Label .../>`` for each label of the controls (of ``only`` these), each once."""
    copies: dict[str, str] = {}
    kept = _OF_OUTPUT_LABELS if for_output else _OF_ANY_LABEL
    for control in controls:
        for label in checked.labels_of(control):
            name = label_name(label)
            if name not in copies and (only is None or name in only):
                copies[name] = tag_of(
                    "Label", {key: label.attributes[key] for key in kept if key in label.attributes}
                )
    return list(copies.values())


def split_off(checked: Checked, control: ControlTag, loses_task: Literal["tool", "output"]) -> str:
    """The config with a tool that is an output as well as two tags: the tool, and below it an output like it.

    One of the two loses its ``model_task``.
    """
    copy = checked.source.written(checked.element(control))
    changes: dict[str, str | None] = {
        "name": checked.source.free_name(f"{control.name}_found"),
        "smart": "false",
        "smartOnly": None,
    }
    if loses_task == "output":
        changes["model_task"] = None
    for name, value in changes.items():
        own = ConfigSource(copy)
        copy = own.with_attribute(own.root, name, value)
    text = checked.source.with_after(checked.element(control), _dedented(copy))
    for name in ("model_output", *(["model_task"] if loses_task == "tool" else [])):
        source = ConfigSource(text)
        element = source.called(control.tag, control.name)
        assert element is not None, "only another one was added"
        text = source.with_attribute(element, name, None)
    return text


def _dedented(xml: str) -> str:
    """An element's lines as if it stood at the left rim."""
    first, *others = xml.split("\n")
    spaces = min((len(line) - len(line.lstrip()) for line in others if line.strip()), default=0)
    closing = others[-1] if others else ""
    rim = min(spaces, len(closing) - len(closing.lstrip())) if others else 0
    return "\n".join([first, *(line[rim:] for line in others)])
