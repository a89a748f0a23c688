"""Of everything that was kept of a project, what is to be learned from: one choice per picture, by stated rules.

- Of a task's annotations that aren't deleted or skipped, those marked as ground truth come first, then the one that
  was changed last: whoever corrects somebody else comes later.
- A task that only was skipped teaches that nothing is there of what had been predicted there, and no more.
- Where a region came from is told by the prediction log: Label Studio calls an accepted suggestion "manual".
- What was drawn with a tool that only asks is a prompt that was submitted, no object.
- A task whose pictures aren't all copied yet, or that was deleted in Label Studio, is left out.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from xsam_backend.labelstudio.regions import region_labels
from xsam_backend.store.annotations import KeptAnnotation, ShownRegion
from xsam_backend.store.tasks import KeptTask, TaskPicture

Origin = Literal["drawn", "accepted", "corrected"]
"""By hand; ours, untouched; ours, changed by the annotator."""

_GEOMETRY = frozenset(
    ("points", "x", "y", "width", "height", "rotation", "radiusX", "radiusY", "rle", "imageDataURL", "vertices")
)
"""Keys of a region's ``value`` that say where it is; the others hold labels and texts."""


@dataclass(frozen=True)
class Choice:
    """One picture and what was accepted on it.

    Attributes:
        task_id: of the task, which may have several pictures.
        annotation_id: the one that counts; None for a task that only was skipped.
        picture: a copied one.
        result: Label Studio's regions on this picture, texts and relations among them.
        origins: of the regions that are objects, by region id.
        refused: labels of regions of ours that the annotator deleted, or skipped the task over.
        number: the how-manieth picture of the project, in the order in which tasks came.
        is_alone: the task has no other picture, so that all regions are on this one, whatever its tag was called.
    """

    task_id: int
    annotation_id: int | None
    picture: TaskPicture
    result: tuple[Mapping[str, Any], ...]
    origins: Mapping[str, Origin]
    refused: tuple[str, ...]
    number: int
    is_alone: bool = True


@dataclass(frozen=True)
class Chosen:
    """All choices of a project, and how many tasks were left out, by reason."""

    choices: tuple[Choice, ...]
    left_out: Mapping[str, int]


def choose(
    tasks: Sequence[KeptTask], annotations: Iterable[KeptAnnotation], asks_only: Collection[str] = ()
) -> Chosen:
    """Apply the rules above.

    Args:
        tasks: in the order in which they came, none deleted.
        annotations: of these tasks, any states.
        asks_only: names of controls whose regions are prompts, no objects: ``LabelConfig.asks_only``.
    """
    by_task: dict[int | None, list[KeptAnnotation]] = defaultdict(list)
    for annotation in annotations:
        by_task[annotation.task_id].append(annotation)
    choices: list[Choice] = []
    left_out: Counter[str] = Counter()
    for task in tasks:
        counting = _counting(by_task[task.task_id])
        if counting is None:
            left_out["no annotation left"] += 1
        elif counting.state == "skipped" and not any(region.label for region in counting.shown):
            left_out["skipped, and nothing had been predicted"] += 1
        elif any(picture.sha256 is None for picture in task.pictures) or not task.pictures:
            left_out["a picture could not be copied yet"] += 1
        else:
            for picture in task.pictures:
                choices.append(_choice(task, picture, counting, len(choices), asks_only))
    return Chosen(tuple(choices), dict(left_out))


def _counting(annotations: Sequence[KeptAnnotation]) -> KeptAnnotation | None:
    accepted = [one for one in annotations if one.state == "accepted"]
    skipped = [one for one in annotations if one.state == "skipped"]
    return max(
        accepted or skipped,
        key=lambda one: (one.ground_truth, one.changed_at, one.annotation_id),
        default=None,
    )


def _choice(
    task: KeptTask, picture: TaskPicture, annotation: KeptAnnotation, number: int, asks_only: Collection[str]
) -> Choice:
    drawn = [region for region in annotation.result if region.get("from_name") not in asks_only]
    here = [region for region in drawn if _is_on(region, picture, task)]
    shown = {region.region_id: region for region in annotation.shown}
    kept = annotation.result if annotation.state == "accepted" else ()
    ids = {str(region.get("id")) for region in kept}
    refused = {region.label for key, region in shown.items() if key not in ids and region.label}
    return Choice(
        task_id=task.task_id,
        annotation_id=annotation.annotation_id if annotation.state == "accepted" else None,
        picture=picture,
        result=tuple(here) if annotation.state == "accepted" else (),
        origins={
            str(region.get("id")): _origin(region, shown)
            for region in here
            if region.get("type") not in ("relation", "labels")
        },
        refused=tuple(sorted(refused)),
        number=number,
        is_alone=len(task.pictures) == 1,
    )


def _is_on(region: Mapping[str, Any], picture: TaskPicture, task: KeptTask) -> bool:
    """Relations have no picture of their own: their ends decide."""
    if region.get("type") == "relation" or len(task.pictures) == 1:
        return True
    index = 0 if picture.item_index is None else picture.item_index
    return region.get("to_name") == picture.to_name and region.get("item_index", 0) == index


def _origin(region: Mapping[str, Any], shown: Mapping[str, ShownRegion]) -> Origin:
    ours = shown.get(str(region.get("id")))
    if ours is not None:
        labels = region_labels(region)
        same_label = ours.label is None or not labels or labels[0] == ours.label
        same_shape = _shape(region.get("value")) == _shape(ours.value)
        return "accepted" if same_label and same_shape else "corrected"
    # Pre-annotations of others, imported with the tasks: Label Studio itself tells.
    origins: Mapping[object, Origin] = {"prediction": "accepted", "prediction-changed": "corrected"}
    return origins.get(region.get("origin"), "drawn")


def _shape(value: object) -> Any:
    """A region's geometry alone, numbers rounded: what went through a browser may differ in the last digit."""
    if isinstance(value, Mapping):
        return {key: _shape(one) for key, one in value.items() if key in _GEOMETRY and one not in (0, None)}
    if isinstance(value, list):
        return [_shape(one) for one in value]
    return round(float(value), 4) if isinstance(value, int | float) else value
