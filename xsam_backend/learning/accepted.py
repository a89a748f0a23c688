"""Annotations and tasks as Label Studio writes them -> what the store keeps.

Webhooks, the API and exports write the same objects with small differences: who completed an annotation is a number
or an object, an annotation names its task or lies inside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from xsam_backend.errors import LabelConfigError, RequestError
from xsam_backend.labelstudio.label_config import LabelConfig
from xsam_backend.store.annotations import KeptAnnotation, ShownRegion
from xsam_backend.store.predictions import LoggedRegion, PredictionLog
from xsam_backend.store.tasks import TaskPicture

Json = Mapping[str, Any]


def annotation_from(annotation: Json, project_key: str, task_id: int, log: PredictionLog) -> KeptAnnotation:
    """One annotation, with our regions that its annotator was shown.

    Raises:
        RequestError: it has no number, no time of its last change, or no list of regions.
    """
    number = number_of(annotation, "annotation")
    result = annotation.get("result")
    if not isinstance(result, list) or not all(isinstance(region, Mapping) for region in result):
        raise RequestError(f"annotation {number}: expected a list of regions as 'result'")
    return KeptAnnotation(
        project_key=project_key,
        annotation_id=number,
        task_id=task_id,
        state="skipped" if annotation.get("was_cancelled") else "accepted",
        changed_at=changed_at(annotation, number),
        annotator=_annotator(annotation.get("completed_by")),
        ground_truth=annotation.get("ground_truth") is True,
        result=tuple(result),
        shown=_shown(result, annotation.get("parent_prediction") is not None, project_key, task_id, log),
    )


def number_of(thing: object, what: str) -> int:
    """The id of an annotation, task or project; a bare number is one.

    Raises:
        RequestError: there is none.
    """
    number = thing.get("id") if isinstance(thing, Mapping) else thing
    if type(number) is not int or not 0 <= number < 2**63:
        raise RequestError(f"{what}: expected an object with a number as 'id', got {str(number)[:40]!r}")
    return number


def task_pictures(data: object, config: LabelConfig) -> tuple[TaskPicture, ...]:
    """The pictures that the label config shows of a task's data, none copied yet.

    An address that can't be read (no such key, no text) is kept as a problem: the other pictures are copied.
    """
    found: list[TaskPicture] = []
    for image in config.images:
        try:
            addresses = image.sources(data if isinstance(data, Mapping) else {})
        except (LabelConfigError, RequestError) as error:
            found.append(TaskPicture(image.name, None, None, problem=str(error)))
            continue
        found += [
            TaskPicture(image.name, index if image.is_list else None, address)
            for index, address in enumerate(addresses)
        ]
    return tuple(found)


def _shown(
    result: Sequence[Json], from_prediction: bool, project_key: str, task_id: int, log: PredictionLog
) -> tuple[ShownRegion, ...]:
    """Regions of ours by their ids, and the whole pre-annotation that one of them, or the annotation, came from:
    what is missing of it in the result was deleted by the annotator."""
    known = log.find(region["id"] for region in result if _may_be_ours(region.get("id")))
    batches: dict[datetime, list[LoggedRegion]] = {}
    for region in log.batch_of_task(project_key, task_id):
        batches.setdefault(region.created_at, []).append(region)
    used = [batch for batch in batches.values() if any(region.region_id in known for region in batch)]
    if not used and from_prediction:
        used = list(batches.values())[:1]  # the newest; all of it was deleted
    shown = known | {region.region_id: region for batch in used for region in batch}
    return tuple(
        ShownRegion(
            region.region_id,
            region.model_version,
            region.from_name,
            region.region_type,
            region.label,
            region.score,
            region.interactive,
            region.value,
        )
        for region in shown.values()
    )


def _may_be_ours(region_id: object) -> bool:
    """Ours are printable ASCII; what else people write there isn't fit for every database."""
    return isinstance(region_id, str) and region_id.isascii() and region_id.isprintable()


def changed_at(annotation: Json, number: int) -> datetime:
    """When an annotation was changed last, in UTC.

    Raises:
        RequestError: it has no such time.
    """
    said = annotation.get("updated_at") or annotation.get("created_at")
    try:
        moment = datetime.fromisoformat(str(said).replace("Z", "+00:00"))
        return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).astimezone(timezone.utc)
    except (ValueError, OverflowError):
        raise RequestError(f"annotation {number}: expected a time as 'updated_at', got {str(said)[:40]!r}") from None


def _annotator(completed_by: object) -> int | None:
    number = completed_by.get("id") if isinstance(completed_by, Mapping) else completed_by
    return number if type(number) is int and 0 <= number < 2**63 else None
