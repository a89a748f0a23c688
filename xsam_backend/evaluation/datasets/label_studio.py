"""What annotators accepted in Label Studio, as ground truth: a JSON export, or a project through the API.

Of a task, one annotation is taken: among those marked as ground truth, else among all that weren't skipped
(``was_cancelled``), the one that was changed last. Drafts and predictions are nobody's truth. Annotators of a project
are taken to have labelled every object of its labels.

Polygons, brushes, bitmasks, rectangles and ellipses are objects, regions of a stuff label are one segment. Keypoints,
prompts that were submitted by mistake and everything else without an area are left out and counted. Text of a region
(``perRegion``) is a phrase for it, a relation that has a label is a caption ("cat on sofa"). Text about the whole
picture is a caption if the label config says that its TextArea is no prompt tool (``smart="false"``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from xsam_backend.errors import DatasetError
from xsam_backend.evaluation.datasets.label_studio_pictures import (
    ExportPictures,
    Fetch,
    TaskPicture,
    task_pictures,
)
from xsam_backend.evaluation.datasets.label_studio_record import UNLABELLED, LabelStudioRecord, is_object
from xsam_backend.evaluation.datasets.reading import in_format, read_json
from xsam_backend.evaluation.datasets.records import Dataset, Wanted, categories_of, of_split
from xsam_backend.labelstudio.client import LabelStudioClient
from xsam_backend.labelstudio.images import FetchPolicy, ImageSource
from xsam_backend.labelstudio.label_config import LabelConfig
from xsam_backend.labelstudio.regions import geometry_of, region_labels
from xsam_backend.prompts import Category, Task

RULE = "of each task the annotation changed last, ground truth before others, skipped ones never"

_ROUGH = frozenset({"rectangle", "ellipse"})
_NO_REGIONS = ("labels", "relation")


def open_export(
    wanted: Wanted, label_config: LabelConfig | None = None, source: ImageSource | None = None
) -> Dataset:
    """A project's JSON export ("JSON", not "JSON-MIN") as a data set.

    Args:
        wanted: ``images`` is a folder with the pictures; those that aren't there are fetched by ``source``.
        label_config: the project's; without it labels are those that occur, all taken as things.
        source: within whose policy pictures are fetched; without one, data URIs and public addresses are.

    Raises:
        DatasetError: not such an export, no picture or several in a task's data, or no task was annotated.
    """
    rows = read_json(wanted.path) if wanted.content is None else wanted.content
    fetch = ExportPictures(wanted.images, source or ImageSource(FetchPolicy()))
    return _dataset(rows, label_config, fetch, wanted.path.stem, str(wanted.path), wanted.split)


def open_project(client: LabelStudioClient, source: ImageSource, project_id: int) -> Dataset:
    """A project as it is now, through the API.

    Raises:
        LabelStudioError: Label Studio can't be reached or refuses.
        LabelConfigError: the project's label config has no picture.
        DatasetError: no task was annotated.
    """
    project = client.project(project_id)
    config = LabelConfig.parse(str(project.get("label_config", "")))
    title = f"{project.get('title') or 'project'} (project {project_id})"
    rows = client.export(project_id)
    return _dataset(rows, config, ExportPictures(None, source), title, f"{client.url}, project {project_id}", None)


def _dataset(
    rows: Any, config: LabelConfig | None, fetch: Fetch, title: str, where: str, split: str | None
) -> Dataset:
    with in_format(where, "Label Studio's JSON export (not JSON-MIN): tasks with data and annotations"):
        chosen = [(row, annotation) for row in rows if (annotation := _annotation(row["annotations"])) is not None]
        asks_only = config.asks_only if config is not None else frozenset()
        submitted = [_regions(annotation) for _, annotation in chosen]
        results = [[one for one in result if one.get("from_name") not in asks_only] for result in submitted]
        categories = project_categories(config, results)
        has_phrases = any(map(_has_phrases, results))
        captions_from = caption_controls(config)
        rest = rest_labels(config)
        records = [
            LabelStudioRecord(
                source=_source(row, picture),
                task_id=row.get("id") if isinstance(row.get("id"), int) else None,
                picture=picture,
                complete_for=frozenset(category.label for category in categories),
                stuff=frozenset(category.label for category in categories if not category.is_thing),
                _result=result,
                _captions_from=captions_from,
                _rest=rest,
                _fetch=fetch,
            )
            for (row, _), result in zip(chosen, results, strict=True)
            for picture in _pictures(row, config)
        ]
    if not records:
        raise DatasetError(f"{where}: expected annotated tasks, none of its {len(rows)} tasks has an annotation")
    return Dataset(
        name=f"Label Studio, {title}",
        format="label-studio",
        split="",
        categories=categories,
        tasks=(
            Task.GENERIC,
            Task.VGD,
            Task.INTERACTIVE,
            *((Task.REFERRING,) if has_phrases else ()),
        ),
        labelling="instances",
        records=of_split(records, split, where),
        notes=(RULE, *_counted(rows, chosen, submitted, asks_only)),
    )


def _annotation(annotations: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The one that counts, by the rule at the top of this file; None if there is none."""
    done = [annotation for annotation in annotations if not annotation.get("was_cancelled")]
    marked = [annotation for annotation in done if annotation.get("ground_truth")]
    # Times are in ISO 8601 and UTC, so their order is that of their letters; max takes the first of equals.
    return max(
        reversed(marked or done),
        key=lambda annotation: str(annotation.get("updated_at") or annotation.get("created_at") or ""),
        default=None,
    )


def _regions(annotation: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    result = annotation["result"]
    if not isinstance(result, list) or not all(isinstance(one, Mapping) for one in result):
        raise TypeError(f"annotation {annotation.get('id')}: its result is no list of regions")
    return result


def project_categories(
    config: LabelConfig | None, results: Sequence[Sequence[Mapping[str, Any]]]
) -> tuple[Category, ...]:
    """The config's labels, and those that occur beside them (labels may come with each task, or be gone by now)."""
    seen: list[str] = []
    for result in results:
        # Plain tags (``Brush`` beside ``Labels``) write the label as a result of its own, with the region's id.
        beside = {one.get("id"): region_labels(one) for one in result if one.get("type") == "labels"}
        labels = [region_labels(one) or beside.get(one.get("id"), ()) for one in result if is_object(one)]
        seen += [label[0] if label else UNLABELLED for label in labels]
    controls = [control for control in (config.controls if config else ()) if control.geometry != "text"]
    known = tuple(dict.fromkeys(category for control in controls for category in control.categories))
    labels_known = {category.label for category in known} | rest_labels(config)
    return known + categories_of([label for label in seen if label not in labels_known])


def rest_labels(config: LabelConfig | None) -> frozenset[str]:
    """The labels of what is left where all else is labelled: no objects, and nothing to look for."""
    controls = config.controls if config else ()
    return frozenset(label.name for control in controls for label in control.labels if label.is_rest)


def caption_controls(config: LabelConfig | None) -> frozenset[str]:
    """Names of the controls whose text about a whole picture is a caption."""
    return frozenset(
        control.name
        for control in (config.controls if config else ())
        if not (control.is_prompt_tool or control.per_region or control.options.says_why)
    )


def _has_phrases(result: Sequence[Mapping[str, Any]]) -> bool:
    drawn = {one.get("id") for one in result if is_object(one)}
    return any(geometry_of(one) == "textarea" and one.get("id") in drawn for one in result)


def _pictures(row: Mapping[str, Any], config: LabelConfig | None) -> list[TaskPicture]:
    try:
        return task_pictures(row["data"], config)
    except DatasetError as error:
        raise DatasetError(f"task {row.get('id')}: {error}") from error


def _source(row: Mapping[str, Any], picture: TaskPicture) -> str:
    what = f"task {row.get('id')}" if picture.item_index is None else f"task {row.get('id')}, {picture.item_index}"
    try:
        parts = urlsplit(picture.address)
    except ValueError:  # who reads the picture says what is wrong with it
        return what
    name = PurePosixPath(unquote(parts.query.partition("d=")[2] or parts.path)).name
    return what if parts.scheme == "data" or not name else f"{what} ({name})"


def _counted(
    rows: Sequence[Mapping[str, Any]],
    chosen: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]],
    results: Sequence[Sequence[Mapping[str, Any]]],
    asks_only: Collection[str],
) -> Iterable[str]:
    """Sentences about what was left out, and about what is rough."""
    regions = [one for result in results for one in result]
    prompts = [one for one in regions if "is_positive" in one or one.get("from_name") in asks_only]
    others = [one for one in regions if not ("is_positive" in one or one.get("from_name") in asks_only)]
    kinds = Counter(geometry_of(one) for one in others if not is_object(one) and one.get("type") not in _NO_REGIONS)
    kinds["prompt"] = len([one for one in prompts if one.get("type") not in _NO_REGIONS])
    if len(rows) > len(chosen):
        yield f"{len(rows) - len(chosen)} tasks without an annotation left out"
    for kind, count in sorted(kinds.items()):
        if kind != "textarea" and count:
            yield f"{count} of type {kind} left out"
    rough = sum(geometry_of(one) in _ROUGH for one in others if is_object(one))
    if rough:
        yield f"{rough} objects are boxes or ellipses, whose masks are as rough as they are"
