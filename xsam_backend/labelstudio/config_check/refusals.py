"""Why a label config cannot be read at all: no picture in it, or an option that says what cannot be."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from functools import partial

from xsam_backend.errors import LabelConfigError
from xsam_backend.labelstudio.config_check.fault import Fault, Mend, labels_of, setting
from xsam_backend.labelstudio.config_check.source import ConfigSource, Element, tag_of
from xsam_backend.labelstudio.label_config import LabelConfig, read_xml
from xsam_backend.labelstudio.tags import (
    CONTROL_OPTIONS,
    CONTROL_TAGS,
    LABEL_OPTIONS,
    TASK_NAMES,
    ControlOptions,
    parse_label,
)
from xsam_backend.prompts import Form

_SAME_WORD = 0.8
"""How alike (0..1) a wrong value is to the one that is taken to be meant."""

_TRUE, _FALSE = frozenset({"yes", "1", "on", "y", "t"}), frozenset({"no", "0", "off", "n", "f"})


def refusals(xml: str) -> list[Fault]:
    """Everything for which a config is refused; none where it can be read."""
    try:
        read_xml(xml)
    except LabelConfigError as error:
        return [Fault(True, "label config", str(error))]
    source = ConfigSource(xml)
    found = [*_no_picture(source), *_impossible_options(source)]
    if not found:
        try:
            LabelConfig.parse(xml)
        except LabelConfigError as error:
            found = [Fault(True, "label config", str(error))]
    return found


def _pictures(source: ConfigSource) -> list[Element]:
    return [element for element in source.elements if element.tag == "image"]


def _address(picture: Element) -> str:
    return picture.attributes.get("valuelist", "").strip() or picture.attributes.get("value", "").strip()


def _no_picture(source: ConfigSource) -> Iterator[Fault]:
    pictures = _pictures(source)
    if any(_address(picture) and picture.attributes.get("name", "").strip() for picture in pictures):
        return
    for picture in pictures:
        if not picture.attributes.get("name", "").strip():
            name = _wanted_name(source)
            yield Fault(
                True,
                "Image",
                "it has no name, so no control tag can draw on it: give it one",
                setting(source, picture, "name", name, "the Image"),
            )
        elif not _address(picture):
            yield Fault(
                True,
                f"Image '{picture.attributes['name']}'",
                'it does not say which field of a task holds the picture: write value="$image", with your field\'s '
                "name",
                setting(source, picture, "value", "$image", "the Image"),
            )
    if not pictures:
        name = _wanted_name(source)
        tag = tag_of("Image", {"name": name, "value": "$image"})
        yield Fault(
            True,
            "label config",
            "it has no Image tag, and only pictures are answered: add one, with the field of your tasks that holds "
            "the picture's address",
            Mend(f"an Image '{name}' that reads the field 'image'", partial(source.with_inside, source.root, [tag])),
        )


def _wanted_name(source: ConfigSource) -> str:
    """The name that control tags draw on and no tag has."""
    names = {element.attributes.get("name") for element in source.elements}
    wanted = [
        name.strip()
        for element in source.elements
        if element.tag in CONTROL_TAGS
        for name in element.attributes.get("toname", "").split(",")
        if name.strip() and name.strip() not in names
    ]
    return wanted[0] if wanted else source.free_name("image")


def _impossible_options(source: ConfigSource) -> Iterator[Fault]:
    pictures = {picture.attributes.get("name", "").strip() for picture in _pictures(source)}
    for element in source.elements:
        if element.tag in CONTROL_TAGS and element.attributes.get("name"):
            drawn_on = {name.strip() for name in element.attributes.get("toname", "").split(",")}
            if not pictures or drawn_on & pictures:
                where = f"{CONTROL_TAGS[element.tag][0]} '{element.attributes['name']}'"
                for name in CONTROL_OPTIONS:
                    yield from _impossible_option(source, element, name, where)
        if element.tag in CONTROL_TAGS or element.tag == "labels":
            for label in labels_of(element):
                for name in LABEL_OPTIONS:
                    yield from _impossible_option(source, label, name, f"Label '{label.attributes['value']}'")


def _impossible_option(source: ConfigSource, element: Element, name: str, where: str) -> Iterator[Fault]:
    text = element.attributes.get(name)
    if text is None or (problem := _problem(element, name, text)) is None:
        return
    likely = _likely(element, name, text.strip().lower())
    yield Fault(True, where, problem, setting(source, element, name, likely, where))


def _problem(element: Element, name: str, text: str) -> str | None:
    """Why an option cannot have this value, in the parser's words."""
    try:
        if element.tag == "label":
            parse_label({"value": "x", name: text})
        else:
            ControlOptions.parse({name: text}, "x")
    except LabelConfigError as error:
        return str(error).partition(": ")[2]
    return None


def _likely(element: Element, name: str, text: str) -> str | None:
    """The value that seems to be meant; None where none does."""
    if name == "model_task":
        known = [*TASK_NAMES, *(form.value for form in Form)]
        return next(iter(difflib.get_close_matches(text, known, 1, _SAME_WORD)), None)
    if text in _TRUE | _FALSE:
        guess = str(text in _TRUE).lower()
    else:
        digits = text.removesuffix("%").strip().replace(",", ".")
        try:
            number = float(digits)
        except ValueError:
            return None
        guess = f"{number / 100 if number > 1 or text.endswith('%') else number:g}"
    return guess if _problem(element, name, guess) is None else None
