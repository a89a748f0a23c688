"""A fault of a label config, and what the modules that look for faults are given."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from xsam_backend.labelstudio.config_check.source import ConfigSource, Element
from xsam_backend.labelstudio.gestures import Plan, plan_of
from xsam_backend.labelstudio.label_config import LabelConfig
from xsam_backend.labelstudio.tags import ControlTag


@dataclass(frozen=True)
class Mend:
    """One change of a config, in a few words, and the config's text with it."""

    change: str
    text: Callable[[], str]


@dataclass(frozen=True)
class Fault:
    """Something that won't work, or not as its author seems to think.

    Attributes:
        breaks: it cannot work; otherwise everything else works.
        where: the tag, as people read it.
        words: cause, and what to do.
        mend: None where only the config's author can tell what was meant.
    """

    breaks: bool
    where: str
    words: str
    mend: Mend | None = None


class Checked:
    """A config that can be read: its text, what it says, what it offers."""

    def __init__(self, xml: str) -> None:
        """Read all of it.

        Raises:
            LabelConfigError: it cannot be read.
        """
        self.config = LabelConfig.parse(xml)
        self.source = ConfigSource(xml)
        self.plan: Plan = plan_of(self.config)

    def element(self, control: ControlTag) -> Element:
        """Where a control stands in the text."""
        element = self.source.called(control.tag, control.name)
        assert element is not None, "controls are read from the text"
        return element

    def labels_of(self, control: ControlTag) -> list[Element]:
        """Its Labels as they stand in the text: its own, or those of the Labels tags that hold for it."""
        names = dict.fromkeys([control.labels_name, *(label.labels_name for label in control.labels)])
        beside = [self.source.called("Labels", name) for name in names if name is not None]
        return [label for tag in beside or [self.element(control)] if tag is not None for label in labels_of(tag)]

    def controls_on(self, to_name: str) -> list[ControlTag]:
        """The controls on one picture."""
        return [control for control in self.config.controls if control.to_name == to_name]

    def outputs_on(self, to_name: str) -> list[ControlTag]:
        """The outputs on one picture, best first; may be none."""
        return [output for output in self.config.outputs if output.to_name == to_name]

    def says(self, control: ControlTag, name: str) -> str | None:
        """An attribute of a control as it stands in the text, in lower case; None where it isn't there."""
        value = self.element(control).attributes.get(name)
        return None if value is None else value.strip().lower()

    def setting(self, control: ControlTag, name: str, value: str | None) -> Mend:
        """A mend that sets an attribute of a control, or takes it away."""
        return setting(self.source, self.element(control), name, value, named(control))


def setting(source: ConfigSource, element: Element, name: str, value: str | None, where: str) -> Mend:
    """A mend that sets an attribute of an element, which is called ``where``, or takes it away."""
    change = f"{name} taken away from {where}" if value is None else f'{name}="{value}" on {where}'
    return Mend(change, partial(source.with_attribute, element, name, value))


def named(control: ControlTag) -> str:
    """A control as people read it."""
    return f"{control.tag} '{control.name}'"


def labels_of(element: Element) -> Iterator[Element]:
    """The Labels inside a control."""
    return (inner for inner in element.walk() if inner.tag == "label" and inner.attributes.get("value", "").strip())


def label_name(label: Element) -> str:
    """What regions carry of a Label."""
    return label.attributes.get("alias", "").strip() or label.attributes["value"].strip()
