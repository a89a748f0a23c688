"""The tags of a label config that matter to us, as values: pictures, controls, their labels and their options.

A *control tag* (``PolygonLabels name="poly"``) draws on an *object tag* (``Image name="image"``). A region names the
first as ``from_name`` and the second as ``to_name``.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from xsam_backend.errors import LabelConfigError, RequestError
from xsam_backend.prompts import Category, Form, Task

GEOMETRIES = ("polygon", "brush", "bitmask", "rectangle", "ellipse", "keypoint")
"""Shapes we can write, best first. Polygons stay editable and light; a brush of thirty regions freezes the editor."""

PROMPT_GEOMETRIES = frozenset({"keypoint", "rectangle", "brush", "bitmask"})
"""Shapes of which Label Studio offers a smart copy; polygons and ellipses never prompt."""

UNSENT_GEOMETRIES = frozenset({"brush", "bitmask"})
"""Of those, the ones whose smart copy Label Studio 1.23 offers and never sends; other clients may."""

CONTROL_TAGS: Mapping[str, tuple[str, str]] = {
    "polygonlabels": ("PolygonLabels", "polygon"),
    "brushlabels": ("BrushLabels", "brush"),
    "bitmasklabels": ("BitmaskLabels", "bitmask"),
    "rectanglelabels": ("RectangleLabels", "rectangle"),
    "ellipselabels": ("EllipseLabels", "ellipse"),
    "keypointlabels": ("KeyPointLabels", "keypoint"),
    "polygon": ("Polygon", "polygon"),
    "brush": ("Brush", "brush"),
    "bitmask": ("Bitmask", "bitmask"),
    "rectangle": ("Rectangle", "rectangle"),
    "ellipse": ("Ellipse", "ellipse"),
    "keypoint": ("KeyPoint", "keypoint"),
    "textarea": ("TextArea", "text"),
}
"""Tag in lower case -> (tag as it is written, what it draws). The key is also the ``type`` of its regions."""

TASK_NAMES: Mapping[str, Task] = {
    **{task.value: task for task in Task},
    **{task.value.removesuffix("seg"): task for task in Task},
    **{task.name.lower(): task for task in Task},
}
"""What ``model_task`` may say: ``vgdseg``, ``vgd`` or ``open_vocabulary``; or, of the generic task, its form."""


_FORMS: Mapping[str, Form] = {form.value: form for form in Form}


@dataclass(frozen=True)
class Label:
    """One choice of a control tag.

    Attributes:
        name: what regions carry; the ``alias`` attribute where there is one, as in Label Studio, else ``value``.
        phrases: the words that the model reads: ``predicted_values``, else the label itself, cleaned.
        background: the colour given in the config, or None.
        is_thing: countable object rather than stuff; ``model_stuff="true"`` on the Label says stuff.
        score_threshold: 0..1, ``model_score_threshold`` on the Label; None: the control's.
        is_rest: nothing to look for, but what is left where all else was found; ``model_background="true"``.
        labels_name: the ``Labels`` tag that it is in; None where it is in a tag that draws.
    """

    name: str
    phrases: tuple[str, ...]
    background: str | None = None
    is_thing: bool = True
    score_threshold: float | None = None
    is_rest: bool = False
    labels_name: str | None = None

    def answers_to(self, text: str) -> bool:
        """Whether ``text`` means this label: the name or one of its phrases, case and underscores aside."""
        wanted = clean_phrase(text)
        return wanted == clean_phrase(self.name) or wanted in (clean_phrase(phrase) for phrase in self.phrases)

    @property
    def categories(self) -> tuple[Category, ...]:
        """One category for each phrase; their instances all get this label. None of what is only the rest."""
        if self.is_rest:
            return ()
        return tuple(Category(phrase, self.name, self.is_thing, self.score_threshold) for phrase in self.phrases)


@dataclass(frozen=True)
class ControlOptions:
    """The ``model_*`` attributes of a control tag. Field ``task`` is attribute ``model_task``, and so on.

    Attributes:
        score_threshold: 0..1, instances below it are left out. None: the task's default.
        task: the X-SAM task asked through this tag. None: chosen by what the prompt is.
        form: ``model_task="panoptic"``, "semantic" or "instance": how the answer is cut, where all labels are asked
            for at once.
        output: True: answers are written here; False: never; None: the config's rule decides.
        rotated: rectangles of the smallest area, turned; otherwise parallel to the picture's sides.
        polygon_iou: 0.5..1, how much of a mask its polygon keeps; 1 keeps every pixel.
        says_why: of a TextArea: where a prompt, or a phrase of it, finds nothing, the reason is written here.
    """

    score_threshold: float | None = None
    task: Task | None = None
    form: Form = Form.OBJECTS
    output: bool | None = None
    rotated: bool = False
    polygon_iou: float = 0.98
    says_why: bool = False

    @classmethod
    def parse(cls, attributes: Mapping[str, str], where: str) -> ControlOptions:
        """Options from a tag's attributes (keys in lower case). ``where`` names the tag in messages.

        Raises:
            LabelConfigError: a known option has a value that cannot work.
        """
        return cls(
            score_threshold=_fraction(attributes, "model_score_threshold", None, 0.0, where),
            task=_task(attributes, where),
            form=_FORMS.get(attributes.get("model_task", "").strip().lower(), Form.OBJECTS),
            output=_flag(attributes, "model_output", None, where),
            rotated=bool(_flag(attributes, "model_rotated", False, where)),
            says_why=bool(_flag(attributes, "model_says_why", False, where)),
            polygon_iou=_fraction(attributes, "model_polygon_iou", cls.polygon_iou, 0.5, where) or cls.polygon_iou,
        )


@dataclass(frozen=True)
class ControlTag:
    """One control tag on a picture.

    Attributes:
        name: its ``name``, a region's ``from_name``.
        tag: as written, "PolygonLabels".
        geometry: what it draws, one of GEOMETRIES, or "text".
        to_name: the picture it draws on.
        labels: its choices; for a plain tag (``Polygon``) those of all ``Labels`` tags on its picture.
        labels_name: name of the first of those; None where the control has labels of its own, or none.
        has_dynamic_labels: the choices come with each task (``value="$labels"``): any label is taken as it is.
        smart: Label Studio offers its smart copy (the default), where there is one for this shape.
        smart_only: its plain tool is hidden (``smartOnly="true"``), so that all that is drawn with it asks.
        per_region: of a TextArea, ``perRegion="true"``: it speaks of one region each. It asks nothing, and no caption
            of a picture fits in.
        options: the ``model_*`` attributes.
    """

    name: str
    tag: str
    geometry: str
    to_name: str
    labels: tuple[Label, ...] = ()
    labels_name: str | None = None
    has_dynamic_labels: bool = False
    smart: bool = True
    smart_only: bool = False
    per_region: bool = False
    options: ControlOptions = ControlOptions()

    @property
    def region_type(self) -> str:
        """``type`` of its regions: "polygonlabels", "polygon", "textarea"."""
        return self.tag.lower()

    @property
    def label_key(self) -> str | None:
        """Key of the label list in a region's ``value``; None for plain tags, whose regions carry no label."""
        return self.region_type if self.region_type.endswith("labels") else None

    @property
    def is_prompt_tool(self) -> bool:
        """Whether what is drawn with it is sent to us as a question."""
        if self.geometry == "text":
            return self.smart and not self.per_region
        return self.smart and self.geometry in PROMPT_GEOMETRIES

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of its labels, in the config's order."""
        return tuple(label.name for label in self.labels)

    @property
    def categories(self) -> tuple[Category, ...]:
        """What to look for on behalf of this control: one category for each phrase of each label."""
        return tuple(category for label in self.labels for category in label.categories)

    @property
    def rest(self) -> str | None:
        """The label of what is left where all else was found; None without."""
        return next((label.name for label in self.labels if label.is_rest), None)

    def find_label(self, text: str) -> str | None:
        """The label that ``text`` means here: the exact name first, then names and phrases whatever their case."""
        if self.has_dynamic_labels or text in self.label_names:
            return text
        return next((label.name for label in self.labels if label.answers_to(text)), None)

    def label_within(self, text: str) -> str | None:
        """The label of the thing that a description is about: ``find_label``, else the one whose words come first in
        it, the longest of those; of several without a word between them the last: "a red car behind the tree" is a
        car, "a toy car" of Toy and Car a car, too."""
        whole = self.find_label(text)
        if whole is not None:
            return whole
        said = clean_phrase(text)
        spots = sorted(
            (match.start(), -match.end(), label.name)
            for label in self.labels
            for phrase in {clean_phrase(label.name), *label.phrases}
            for match in re.finditer(rf"\b{re.escape(phrase)}\b", said)
        )
        meant, end = None, 0
        for begin, minus_end, name in spots:
            if meant is None or (begin >= end and not said[end:begin].strip(" -")):
                meant, end = name, -minus_end
        return meant

    def labels_name_of(self, label: str) -> str | None:
        """The ``Labels`` tag that says this label of a region; None where the region itself does."""
        own = next((one.labels_name for one in self.labels if one.name == label), None)
        return own or self.labels_name

    def threshold_of(self, label: str | None) -> float | None:
        """The label's own score threshold, if it has one."""
        return next((one.score_threshold for one in self.labels if one.name == label), None)

    @property
    def only_label(self) -> str | None:
        """Its label, if there is exactly one."""
        return self.labels[0].name if len(self.labels) == 1 else None


@dataclass(frozen=True)
class ImageTag:
    """A picture of the task: ``<Image name value="$image"/>`` or, several in one, ``valueList="$images"``."""

    name: str
    value: str
    is_list: bool = False

    def sources(self, task_data: Mapping[str, object]) -> tuple[str, ...]:
        """Where the picture(s) of a task are, as they stand in its data: one, or as many as the list holds.

        Raises:
            LabelConfigError: the config reads a field that the task does not have.
            RequestError: the field holds something else than text, or than a list of texts.
        """
        found = self._read(task_data)
        if isinstance(found, str) and found.strip():
            return (found,)
        if self.is_list and isinstance(found, list) and found and all(isinstance(one, str) for one in found):
            return tuple(found)
        expected = "a list of image addresses" if self.is_list else "an image address"
        raise RequestError(
            f"task data for '{self.value}' (Image '{self.name}'): expected {expected}, got {_shorten(found)}: "
            "mend the task's data"
        )

    def source(self, task_data: Mapping[str, object], item_index: int | None = None) -> str:
        """The one address that ``item_index`` (None: the first) picks from ``sources``.

        Raises:
            LabelConfigError, RequestError: as ``sources``; also RequestError for an index beyond the list.
        """
        sources = self.sources(task_data)
        index = item_index or 0
        if not 0 <= index < len(sources):
            raise RequestError(
                f"item_index {index} of Image '{self.name}': the task has {len(sources)} picture(s), counted from 0"
            )
        return sources[index]

    def _read(self, task_data: Mapping[str, object]) -> object:
        whole = re.fullmatch(r"\$([\w.\[\]{}]+)", self.value)
        if whole:
            return _look_up(task_data, whole[1], self)
        return re.sub(r"\$(\w+)", lambda match: str(_look_up(task_data, match[1], self)), self.value)


def clean_phrase(text: str) -> str:
    """A label or phrase as the model should read it: "Traffic_Light" -> "traffic light"."""
    return " ".join(text.replace("_", " ").lower().split()) or text.strip()


def parse_label(attributes: Mapping[str, str]) -> Label | None:
    """A ``<Label>``'s attributes (keys in lower case) -> Label; None if it has no value."""
    value = attributes.get("value", "").strip()
    if not value:
        return None
    phrases = tuple(dict.fromkeys(filter(None, map(clean_phrase, attributes.get("predicted_values", "").split(",")))))
    return Label(
        name=attributes.get("alias", "").strip() or value,
        phrases=phrases or (clean_phrase(value),),
        background=attributes.get("background"),
        is_thing=not _flag(attributes, "model_stuff", False, f"Label '{value}'"),
        score_threshold=_fraction(attributes, "model_score_threshold", None, 0.0, f"Label '{value}'"),
        is_rest=bool(_flag(attributes, "model_background", False, f"Label '{value}'")),
    )


CONTROL_OPTIONS = tuple(f"model_{field.name}" for field in fields(ControlOptions) if field.name != "form")
"""The ``model_*`` attributes of a control tag; the form is part of ``model_task``."""

_SAME_NAME = 0.75
"""How alike (0..1) an unknown option is to the one that it seems to be."""

LABEL_OPTIONS = ("model_stuff", "model_score_threshold", "model_background")
"""The ``model_*`` attributes of a Label."""


_MOST_UNKNOWN = 20
"""Of a tag, that are told; looking for the names that were meant takes time."""


def unknown_options(attributes: Mapping[str, str], known: Sequence[str]) -> dict[str, str | None]:
    """``model_*`` attributes that are not ours -> the one of ``known`` that seems to be meant, or None."""
    unknown = [name for name in attributes if name.startswith("model_") and name not in known][:_MOST_UNKNOWN]
    return {name: next(iter(difflib.get_close_matches(name, known, 1, _SAME_NAME)), None) for name in unknown}


def option_notes(attributes: Mapping[str, str], known: Sequence[str], where: str) -> tuple[str, ...]:
    """A sentence for each ``model_*`` attribute that is not ours. Not an error: another backend may read it."""
    return tuple(
        f"{where}: option '{name}' is not ours and is ignored; "
        + (f"did you mean '{meant}'?" if meant else f"known are {', '.join(known)}")
        for name, meant in unknown_options(attributes, known).items()
    )


def _look_up(task_data: Mapping[str, object], path: str, image: ImageTag) -> object:
    """``task_data[path]``, or down a dotted path. Uploads made before there was a config lie under "$undefined$"."""
    if path in task_data:
        return task_data[path]
    found: object = task_data
    for step in path.split("."):
        found = found.get(step) if isinstance(found, Mapping) else None
    if found is None:
        found = task_data.get("$undefined$")
    if found is None:
        raise LabelConfigError(
            f"Image '{image.name}' reads '{image.value}', but the task's data has only "
            f"{sorted(map(str, task_data)) or 'no fields'}: change value= in the label config or the task's data"
        )
    return found


def _fraction(
    attributes: Mapping[str, str], name: str, default: float | None, least: float, where: str
) -> float | None:
    text = attributes.get(name)
    if text is None:
        return default
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not least <= number <= 1:
        raise LabelConfigError(
            f'{where}: {name} must be a number from {least:g} to 1, got "{text}": write e.g. "0.9"'
        )
    return number


def _flag(attributes: Mapping[str, str], name: str, default: bool | None, where: str) -> bool | None:
    text = attributes.get(name)
    if text is None:
        return default
    if text.strip().lower() not in ("true", "false"):
        raise LabelConfigError(f'{where}: {name} must be "true" or "false", got "{text}"')
    return text.strip().lower() == "true"


def _task(attributes: Mapping[str, str], where: str) -> Task | None:
    text = attributes.get("model_task")
    if text is None:
        return None
    name = text.strip().lower()
    task = Task.GENERIC if name in _FORMS else TASK_NAMES.get(name)
    if task is None:
        known = ", ".join([*(task.value for task in Task), *(form.value for form in Form)])
        raise LabelConfigError(f'{where}: model_task="{text}" is no task of X-SAM: use one of {known}')
    return task


def _shorten(found: object) -> str:
    text = repr(found)
    return text if len(text) <= 80 else f"{text[:77]}..."
