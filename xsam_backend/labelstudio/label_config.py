"""A project's label config (XML) -> which pictures there are, what can be asked, where answers go.

Which controls are outputs, for each picture, is the rule of ``output_rule``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any
from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree
from defusedxml import DefusedXmlException

from xsam_backend.errors import LabelConfigError, RequestError
from xsam_backend.labelstudio.output_rule import choose_outputs
from xsam_backend.labelstudio.tags import (
    CONTROL_OPTIONS,
    CONTROL_TAGS,
    LABEL_OPTIONS,
    ControlOptions,
    ControlTag,
    ImageTag,
    Label,
    option_notes,
    parse_label,
)

MAX_CHARACTERS = 1_000_000
"""Longest config read. Ten thousand labels fit in it."""


MAX_DEPTH = 50
"""Deepest nesting of tags. Label Studio's own templates have up to ten levels."""

MAX_TAGS = 1000
"""Most pictures, and most controls, counted on each of their pictures: some things are done for pairs of them."""

MAX_LABELS = 25_000
"""Most labels, counted for each control on each of its pictures."""

MAX_NOTES = 100
"""Of a config; no more is said about odd options, as what was meant takes time to find."""


@dataclass(frozen=True)
class LabelConfig:
    """What a label config says to us.

    Attributes:
        images: the pictures, at least one.
        controls: every control tag on a picture that we know, in the config's order.
        outputs: the controls that answers are written to, best first; may be empty.
        notes: sentences for the operator about things that were ignored.
    """

    images: tuple[ImageTag, ...]
    controls: tuple[ControlTag, ...]
    outputs: tuple[ControlTag, ...]
    notes: tuple[str, ...] = ()

    @classmethod
    def parse(cls, xml: str) -> LabelConfig:
        """Read a config. Entities and document type definitions are refused, so hostile XML cannot grow.

        Raises:
            LabelConfigError: not XML, hostile, too long, without an Image, or with an option that cannot work.
        """
        elements = _elements(read_xml(xml))
        images = tuple(image for tag, attributes, _ in elements if tag == "image" if (image := _image(attributes)))
        if not images:
            seen = ", ".join(sorted({tag for tag, _, _ in elements})) or "nothing"
            raise LabelConfigError(
                'the label config has no picture: expected <Image name="image" value="$image"/>, found only '
                f"{seen}: add an Image tag"
            )
        names = {image.name for image in images}
        _check_amounts(elements, names)
        beside = _labels_beside(elements)
        controls: list[ControlTag] = []
        notes: list[str] = []
        for tag, attributes, children in elements:
            if tag in CONTROL_TAGS and attributes.get("name"):
                where = f"{CONTROL_TAGS[tag][0]} '{attributes['name']}'"
                if len(notes) < MAX_NOTES:
                    notes += option_notes(attributes, CONTROL_OPTIONS, where)
                for label in children:
                    if len(notes) >= MAX_NOTES:
                        break
                    notes += option_notes(label, LABEL_OPTIONS, f"{where}, Label '{label.get('value', '')}'")
                controls += [
                    _control(tag, attributes, children, to_name, beside, where)
                    for to_name in _to_names(attributes)
                    if to_name in names
                ]
        outputs = tuple(output for image in images for output in choose_outputs(controls, image.name))
        return cls(images, tuple(controls), outputs, tuple(notes))

    @property
    def asks_only(self) -> frozenset[str]:
        """Names of the controls that only ask: what was drawn with them is a prompt, also where it was submitted
        without being accepted, which Label Studio marks on keypoints alone."""
        outputs = {output.name for output in self.outputs}
        asking = (one for one in self.controls if one.is_prompt_tool and one.smart_only and one.geometry != "text")
        return frozenset(control.name for control in asking if control.name not in outputs)

    def image(self, name: str | None = None) -> ImageTag:
        """The Image tag of that name; without a name, the one that outputs draw on, else the first.

        Raises:
            LabelConfigError: there is no such picture.
        """
        if name is None:
            name = self.outputs[0].to_name if self.outputs else self.images[0].name
        for image in self.images:
            if image.name == name:
                return image
        raise LabelConfigError(
            f"a region refers to the picture '{name}', the label config has {[image.name for image in self.images]}: "
            "reload the labeling page, or put the Image tag back"
        )

    def image_value(
        self, task_data: Mapping[str, object], name: str | None = None, item_index: int | None = None
    ) -> str:
        """Address of a task's picture as it stands in the task's data; ``item_index`` counts within a list.

        Raises:
            LabelConfigError: no such picture, or the config reads a field that the task does not have.
            RequestError: the field holds no address, or fewer than ``item_index`` asks for.
        """
        return self.image(name).source(task_data, item_index)

    def addresses(self, task_data: Mapping[str, object]) -> list[str]:
        """Of a task's pictures that a control is on; without those that can't be read, which whoever asks for one is
        told."""
        found: list[str] = []
        controlled = {control.to_name for control in self.controls}
        for image in (image for image in self.images if image.name in controlled):
            with suppress(LabelConfigError, RequestError):
                found += image.sources(task_data)
        return found

    def control(self, name: str) -> ControlTag:
        """The control tag of that name (a region's ``from_name``).

        Raises:
            LabelConfigError: there is no such control.
        """
        for control in self.controls:
            if control.name == name:
                return control
        raise LabelConfigError(
            f"a region comes from the control tag '{name}', the label config has "
            f"{[control.name for control in self.controls]}: reload the labeling page, or put the tag back"
        )

    def outputs_on(self, to_name: str | None = None) -> tuple[ControlTag, ...]:
        """The outputs that draw on a picture (on any, without a name), best first.

        Raises:
            LabelConfigError: there is none.
        """
        outputs = tuple(output for output in self.outputs if to_name in (None, output.to_name))
        if not outputs:
            found = ", ".join(f"{control.tag} '{control.name}'" for control in self.controls) or "none"
            raise LabelConfigError(
                f"no control tag can take masks for the picture '{to_name or self.images[0].name}' (found: {found}): "
                'add e.g. <PolygonLabels name="poly" toName="image" smart="false"> with your labels, or take '
                'model_output="false" away'
            )
        return outputs

    def output_for(self, label: str | None, to_name: str | None = None) -> tuple[ControlTag, str | None]:
        """Where an answer about ``label`` is written, and as which of that control's labels.

        An exact name wins over an alias (``predicted_values``) or another case. Without a label: the best output,
        and its label if it has only one. Outputs without any labels take everything, unlabelled.

        Raises:
            LabelConfigError: no output at all, or none that has the label.
        """
        outputs = self.outputs_on(to_name)
        if label is None:
            return outputs[0], outputs[0].only_label
        for output in outputs:
            if label in output.label_names:
                return output, label
        for output in outputs:
            if (meant := output.find_label(label)) is not None:
                return output, meant
        for output in outputs:
            if not output.labels:
                return output, None
        offered = "; ".join(f"{output.tag} '{output.name}': {list(output.label_names)}" for output in outputs)
        asked = "; ".join(
            f"{control.tag} '{control.name}': {list(control.label_names)}"
            for control in self.controls
            if control not in outputs and label in control.label_names
        )
        best = f"{outputs[0].tag} '{outputs[0].name}'"
        raise LabelConfigError(
            f"label '{label}' cannot be written: {offered}{f', asked through {asked}' if asked else ''}. Add "
            f'<Label value="{label}"/> to {best}, or an alias to one of its labels: predicted_values="{label}"'
        )

    def words_area(self, to_name: str, *, says_why: bool) -> ControlTag | None:
        """The TextArea on a picture that takes captions and answers in words, or reasons (``says_why``): the first
        that is no prompt itself and isn't about single regions. None where there is none."""
        for control in self.controls:
            if (
                control.geometry == "text"
                and control.to_name == to_name
                and not (control.smart or control.per_region)
                and control.options.says_why is says_why
            ):
                return control
        return None

    def phrase_area(self, to_name: str) -> ControlTag | None:
        """Where is said what a region on a picture is called: the first text area about regions; None without."""
        return next((one for one in self.controls if one.per_region and one.to_name == to_name), None)


Attributes = Mapping[str, str]


def read_xml(xml: str) -> Element:
    """The root of a label config's XML.

    Raises:
        LabelConfigError: empty, too long, hostile, or not well-formed.
    """
    if not isinstance(xml, str) or not xml.strip():
        raise LabelConfigError("the label config is empty: set up the labeling interface of the project first")
    if len(xml) > MAX_CHARACTERS:
        raise LabelConfigError(f"the label config has {len(xml)} characters, at most {MAX_CHARACTERS} are read")
    try:
        root: Element = defusedxml.ElementTree.fromstring(xml, forbid_dtd=True)
    except DefusedXmlException as error:
        raise LabelConfigError(
            "the label config has a DOCTYPE or entities, which a label config never needs: remove them"
        ) from error
    except (ParseError, ValueError, LookupError) as error:
        raise LabelConfigError(f"the label config is not well-formed XML: {error}") from error
    level = [root]
    for _ in range(MAX_DEPTH):
        level = [inner for element in level for inner in element]
    if level:
        raise LabelConfigError(f"the label config is nested deeper than {MAX_DEPTH} tags: take tags away")
    return root


_Tag = tuple[str, Attributes, list[Attributes]]


def _elements(root: Element) -> list[_Tag]:
    """(tag, attributes, attributes of each Label inside) of every element, in order; Labels of controls only.

    Names are in lower case, for Label Studio does not heed their case either.

    Raises:
        LabelConfigError: there are too many of them.
    """
    found: list[_Tag] = []
    around: list[list[Attributes]] = []
    controls = labels = 0
    left: list[Element | None] = [root]
    while left:
        element = left.pop()
        if element is None:  # the end of a control
            around.pop()
            continue
        tag, attributes = element.tag.lower(), _lower(element.attrib)
        found.append((tag, attributes, []))
        if tag == "label":
            labels += len(around)
            for inside in around:
                inside.append(attributes)
        elif tag == "labels" or tag in CONTROL_TAGS:
            controls += 1
            around.append(found[-1][2])
            left.append(None)
        _demand_at_most(controls=controls, labels=labels)
        left += reversed(element)
    return found


def _check_amounts(elements: Sequence[_Tag], images: set[str]) -> None:
    """Refuse what would take minutes: several things are done for each pair of what is counted here."""
    controls = labels = 0
    for tag, attributes, children in elements:
        if tag in CONTROL_TAGS:
            pictures = sum(name in images for name in _to_names(attributes))
            controls, labels = controls + pictures, labels + pictures * len(children)
    _demand_at_most(len(images), controls, labels)


def _demand_at_most(images: int = 0, controls: int = 0, labels: int = 0) -> None:
    if max(images, controls) > MAX_TAGS or labels > MAX_LABELS:
        raise LabelConfigError(
            f"the label config has too much in it: at most {MAX_TAGS} pictures, {MAX_TAGS} controls on pictures and "
            f"{MAX_LABELS} labels of controls are read"
        )


def _lower(attributes: Mapping[str, Any]) -> dict[str, str]:
    return {name.lower(): value for name, value in attributes.items()}


def _image(attributes: Attributes) -> ImageTag | None:
    listed = attributes.get("valuelist", "").strip()
    value = listed or attributes.get("value", "").strip()
    name = attributes.get("name", "").strip()
    return ImageTag(name, value, is_list=bool(listed)) if name and value else None


def _to_names(attributes: Attributes) -> list[str]:
    return [name.strip() for name in attributes.get("toname", "").split(",") if name.strip()]


def _labels(children: Sequence[Attributes]) -> tuple[Label, ...]:
    labels = [label for child in children if (label := parse_label(child))]
    return tuple({label.name: label for label in labels}.values())


_Beside = Mapping[str, tuple[str, Mapping[str, Label]]]


def _labels_beside(elements: Sequence[_Tag]) -> _Beside:
    """Picture -> the first Labels tag on it, and the labels of all such tags, which hold for whatever plain tag draws
    there. Of two with one name, the first counts."""
    found: dict[str, tuple[str, dict[str, Label]]] = {}
    for tag, attributes, children in elements:
        name = attributes.get("name", "")
        if tag == "labels" and name:
            labels = [replace(label, labels_name=name) for label in _labels(children)]
            for to_name in _to_names(attributes):
                _, known = found.setdefault(to_name, (name, {}))
                for label in labels:
                    known.setdefault(label.name, label)
    return found


def _control(
    tag: str,
    attributes: Attributes,
    children: Sequence[Attributes],
    to_name: str,
    beside: _Beside,
    where: str,
) -> ControlTag:
    written, geometry = CONTROL_TAGS[tag]
    labels, labels_name = _labels(children), None
    if not tag.endswith("labels") and geometry != "text" and to_name in beside:
        labels_name, known = beside[to_name]
        labels = tuple(known.values())
    return ControlTag(
        name=attributes["name"],
        tag=written,
        geometry=geometry,
        to_name=to_name,
        labels=labels,
        labels_name=labels_name,
        has_dynamic_labels=tag.endswith("labels") and attributes.get("value", "").startswith("$"),
        smart=attributes.get("smart", "true").strip().lower() != "false",
        smart_only=attributes.get("smartonly", "false").strip().lower() == "true",
        per_region=geometry == "text" and attributes.get("perregion", "false").strip().lower() == "true",
        options=ControlOptions.parse(attributes, where),
    )
