"""How the tags of a label config hang together: names, which picture each draws on, what a picture reads."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from functools import partial

from xsam_backend.labelstudio.config_check.fault import Checked, Fault, Mend, setting
from xsam_backend.labelstudio.config_check.source import Element
from xsam_backend.labelstudio.tags import CONTROL_TAGS

_UNREAD = {"vectorlabels": "VectorLabels", "vector": "Vector", "magicwand": "MagicWand"}
"""Tags that draw on pictures in Label Studio, and that we neither read nor write."""


def link_faults(checked: Checked) -> Iterator[Fault]:
    """Faults of names and of what refers to them."""
    yield from _twins(checked)
    yield from _fields(checked)
    for element in checked.source.elements:
        if element.tag in CONTROL_TAGS:
            yield from _loose(checked, element)
        elif element.tag in _UNREAD:
            yield Fault(
                False,
                f"{_UNREAD[element.tag]} '{element.attributes.get('name', '')}'",
                "what is drawn with it is neither asked about nor learned from, and no answer is written to it",
            )


def _twins(checked: Checked) -> Iterator[Fault]:
    seen: set[str] = set()
    for element in checked.source.elements:
        name = element.attributes.get("name", "")
        if not name or element.tag not in {*CONTROL_TAGS, "image", "labels"}:
            continue
        if name in seen:
            free = checked.source.free_name(name)
            yield Fault(
                True,
                f"{element.written} '{name}'",
                "another tag before it has the same name, so a region of one is taken for the other's: give each a "
                "name of its own",
                setting(checked.source, element, "name", free, f"the second {element.written} '{name}'"),
            )
        seen.add(name)


def _fields(checked: Checked) -> Iterator[Fault]:
    """Pictures that read a word, not a field."""
    for image in checked.config.images:
        element = checked.source.called("Image", image.name)
        if element is not None and re.fullmatch(r"\w+", image.value):
            attribute = "valueList" if image.is_list else "value"
            yield Fault(
                True,
                f"Image '{image.name}'",
                f'{attribute}="{image.value}" is taken for an address: write "${image.value}" for the field of that '
                "name",
                setting(checked.source, element, attribute, f"${image.value}", f"Image '{image.name}'"),
            )


def _loose(checked: Checked, element: Element) -> Iterator[Fault]:
    """A control without a name, or on nothing, or on no picture."""
    written = CONTROL_TAGS[element.tag][0]
    name = element.attributes.get("name", "")
    where = f"{written} '{name}'"
    source, picture = checked.source, checked.config.image().name
    if not name:
        free = source.free_name(CONTROL_TAGS[element.tag][1])
        yield Fault(
            True,
            written,
            "it has no name, so nothing can be written to it or asked with it: give it one",
            setting(source, element, "name", free, f"the {written}"),
        )
        return
    targets = {target.strip() for target in element.attributes.get("toname", "").split(",") if target.strip()}
    others = {other.attributes.get("name") for other in source.elements}
    pictures = {image.name for image in checked.config.images}
    if targets & pictures:
        return
    asks = element.tag == "textarea" and element.attributes.get("smart", "").strip().lower() == "true"
    if asks or not targets & others:
        misspelt = next(iter(difflib.get_close_matches("toname", [*element.attributes], 1)), "toname")
        if misspelt != "toname":
            rename = partial(source.with_attribute_renamed, element, misspelt, "toName")
            yield Fault(
                True, where, f"{misspelt} is no attribute: did you mean toName?", Mend(f"toName on {where}", rename)
            )
            return
        on = f'toName="{element.attributes["toname"]}"' if "toname" in element.attributes else "it has no toName"
        yield Fault(
            True,
            where,
            f'{on}: it is on no picture, so it is passed over: write toName="{picture}"',
            setting(source, element, "toName", picture, where),
        )
    elif element.tag == "textarea":
        yield Fault(
            False,
            where,
            f"it is on '{', '.join(sorted(targets))}', which is no picture: what is written there asks nothing, and "
            "no caption is written to it",
        )
