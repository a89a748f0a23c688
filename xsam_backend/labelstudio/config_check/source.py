"""A label config as its author wrote it: where each tag stands in the text, and the text with one thing changed.

Everything else stays as it was: comments, order, quotes, indentation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from xml.parsers import expat
from xml.sax.saxutils import quoteattr

_NAME = r"[^\s=<>/]+"
_START_TAG = re.compile(rf"<({_NAME})((?:\s+{_NAME}\s*=\s*(?:\"[^\"]*\"|'[^']*'))*)\s*(/?)>")
_ATTRIBUTE = re.compile(rf"\s+({_NAME})\s*=\s*(?:\"[^\"]*\"|'[^']*')")


@dataclass(frozen=True)
class Element:
    """One element and its place.

    Attributes:
        tag: in lower case.
        written: the tag as it is written.
        attributes: names in lower case, as Label Studio reads them.
        start, tag_end, end: characters of the text where its start tag begins, where that ends, where it ends itself.
        children: the elements directly inside.
    """

    tag: str
    written: str
    attributes: Mapping[str, str]
    start: int
    tag_end: int
    end: int
    children: tuple[Element, ...]

    @property
    def is_empty(self) -> bool:
        """Whether it is one tag, ``<Label/>``."""
        return self.tag_end == self.end

    def walk(self) -> Iterator[Element]:
        """Itself and everything inside, in the text's order."""
        waiting = [self]
        while waiting:
            element = waiting.pop()
            yield element
            waiting.extend(reversed(element.children))


class ConfigSource:
    """The text of a label config that is well-formed and has no DOCTYPE, as ``LabelConfig.parse`` makes sure."""

    def __init__(self, xml: str) -> None:
        self.text = xml
        self.root = _read(xml)
        self.elements = list(self.root.walk())

    def called(self, tag: str, name: str) -> Element | None:
        """The first element of a tag (in any case) with this ``name``."""
        return next(
            (one for one in self.elements if one.tag == tag.lower() and one.attributes.get("name") == name), None
        )

    def free_name(self, wanted: str) -> str:
        """``wanted``, or with a number behind it where an element is called so already."""
        taken = {element.attributes.get("name") for element in self.elements}
        names = (wanted if number == 1 else f"{wanted}_{number}" for number in range(1, len(taken) + 2))
        return next(name for name in names if name not in taken)

    def with_attribute(self, element: Element, name: str, value: str | None) -> str:
        """The text with one attribute set, or taken away (None)."""
        tag = self.text[element.start : element.tag_end]
        written = f" {name}={quoteattr(value)}" if value is not None else ""
        found = _attribute(tag, name)
        if found is not None:
            if value is not None:  # the space and the spelling stay as they are
                written = found[0][: found[0].index("=") + 1] + quoteattr(value)
            tag = tag[: found.start()] + written + tag[found.end() :]
        else:
            close = re.search(r"\s*/?>$", tag)
            assert close is not None, "a start tag ends with a bracket"
            tag = tag[: close.start()] + written + tag[close.start() :]
        return self.text[: element.start] + tag + self.text[element.tag_end :]

    def with_attribute_renamed(self, element: Element, name: str, new: str) -> str:
        """The text with an attribute called otherwise, its value as it is."""
        tag = self.text[element.start : element.tag_end]
        found = _attribute(tag, name)
        assert found is not None, f"no attribute {name}"
        tag = tag[: found.start(1)] + new + tag[found.end(1) :]
        return self.text[: element.start] + tag + self.text[element.tag_end :]

    def with_after(self, element: Element, xml: str) -> str:
        """The text with ``xml`` after an element, indented like it."""
        indent = self._indent(element)
        between = "" if indent is None else f"\n{indent}"
        return self.text[: element.end] + between + _indented(xml, indent) + self.text[element.end :]

    def with_inside(self, element: Element, inside: Sequence[str]) -> str:
        """The text with more elements at the end of an element."""
        if element.children:
            last = element.children[-1]
            indent = self._indent(last)
            between = "" if indent is None else f"\n{indent}"
            added = "".join(between + _indented(xml, indent) for xml in inside)
            return self.text[: last.end] + added + self.text[last.end :]
        indent = self._indent(element)
        tag = self.text[element.start : element.tag_end]
        between, after = ("", "") if indent is None else (f"\n{indent}  ", f"\n{indent}")
        deeper = None if indent is None else f"{indent}  "
        added = "".join(between + _indented(xml, deeper) for xml in inside)
        if element.is_empty:
            added = re.sub(r"\s*/>$", ">", tag) + added + after + f"</{element.written}>"
            return self.text[: element.start] + added + self.text[element.end :]
        closing = self.text.rindex("</", element.tag_end, element.end)
        held = self.text[element.tag_end : closing].rstrip()  # a comment
        return self.text[: element.tag_end] + held + added + after + self.text[closing:]

    def written(self, element: Element) -> str:
        """An element as it stands in the text."""
        return self.text[element.start : element.end]

    def _indent(self, element: Element) -> str | None:
        """The white space before an element that begins a line; None where something else stands before it."""
        before = self.text[self.text.rfind("\n", 0, element.start) + 1 : element.start]
        return before if not before.strip() and "\n" in self.text else None


def tag_of(written: str, attributes: Mapping[str, str], children: Sequence[str] = ()) -> str:
    """An element of our own, its children one a line."""
    opened = f"<{written}" + "".join(f" {name}={quoteattr(value)}" for name, value in attributes.items())
    if not children:
        return f"{opened}/>"
    return "\n".join([f"{opened}>", *(f"  {child}" for child in children), f"</{written}>"])


def _attribute(tag: str, name: str) -> re.Match[str] | None:
    return next((found for found in _ATTRIBUTE.finditer(tag) if found[1].lower() == name.lower()), None)


def _indented(xml: str, indent: str | None) -> str:
    """Lines under an indentation; one line where the text around has none."""
    lines = xml.split("\n")
    return "".join(line.strip() for line in lines) if indent is None else f"\n{indent}".join(lines)


def _read(xml: str) -> Element:
    """The tree with its places. Expat counts bytes of UTF-8."""
    data = xml.encode("utf-8")
    open_elements: list[tuple[int, str, dict[str, str], list[Element]]] = []
    found: list[Element] = []

    place = (0, 0)  # bytes and characters up to what was asked last; what is asked comes in the text's order

    def characters(byte: int) -> int:
        nonlocal place
        place = (byte, place[1] + len(data[place[0] : byte].decode("utf-8")))
        return place[1]

    def begin(name: str, attributes: dict[str, str]) -> None:
        open_elements.append((characters(parser.CurrentByteIndex), name, attributes, []))

    def end(name: str) -> None:
        start, written, attributes, children = open_elements.pop()
        tag = _START_TAG.match(xml, start)
        assert tag is not None, "well-formed XML"
        over = tag.end() if tag[3] else xml.index(">", characters(parser.CurrentByteIndex)) + 1
        lowered = {key.lower(): value for key, value in attributes.items()}
        element = Element(written.lower(), written, lowered, start, tag.end(), over, tuple(children))
        (open_elements[-1][3] if open_elements else found).append(element)

    parser = expat.ParserCreate("utf-8")
    parser.StartElementHandler = begin
    parser.EndElementHandler = end
    parser.Parse(data, True)
    return found[0]
