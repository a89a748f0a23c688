"""``evaluate``: how good a model is on labelled pictures, by the measures of the field."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from xsam_backend.cli.evaluation_data import DatasetSpec, Spec, opened
from xsam_backend.cli.loading import loaded, version_option
from xsam_backend.cli.options import secrets_help, settings_options
from xsam_backend.cli.stopping import stopping_on_request
from xsam_backend.config import Settings, load_settings
from xsam_backend.errors import DatasetError, LabelConfigError, XSamBackendError
from xsam_backend.evaluation.datasets.records import Dataset, Record
from xsam_backend.evaluation.exemplars import RULES
from xsam_backend.evaluation.report.as_html import to_html
from xsam_backend.evaluation.report.as_json import to_json
from xsam_backend.evaluation.report.on_screen import Screen
from xsam_backend.evaluation.results import Evaluation, Failure
from xsam_backend.evaluation.running import Watching, Wish, evaluate
from xsam_backend.evaluation.tasks.choosing import chosen_tasks
from xsam_backend.evaluation.tasks.run import Options
from xsam_backend.labelstudio.label_config import LabelConfig

STOPPED = 130
"""Exit status after Ctrl-C, as shells have it."""

REPORT, RESULTS = "report.html", "results.json"
"""In the folder of a report."""


@click.command("evaluate", epilog=secrets_help())
@click.argument("datasets", nargs=-1, required=True, type=DatasetSpec(), metavar="DATASET...")
@click.option("--format", help="Of data that don't tell it: coco, panoptic, label-studio, refcoco, ...")
@click.option("--split", help="Only this split: val, testA, ...")
@click.option("--only", help="A part of the data, in words that the format understands.")
@click.option("--images", type=click.Path(path_type=Path), help="Folder of the pictures, if not a usual one.")
@click.option("--limit", type=click.IntRange(1), help="At most so many pictures, evenly spaced.")
@click.option("--tasks", multiple=True, help="Only this task. Repeatable. [all that the data allow]")
@click.option(
    "--prompts",
    multiple=True,
    type=click.Choice(["point", "scribble", "box", "mask"]),
    help="Only this way to point. Repeatable. [all four]",
)
@click.option(
    "--objects",
    type=click.IntRange(0),
    help="Objects of a picture asked one by one; 0: all. [6; 2 of them to correct]",
)
@click.option(
    "--least-px",
    type=click.IntRange(0),
    help="Leave out smaller objects, and names of classes that have no larger one. [0]",
)
@click.option("--max-detections", type=click.IntRange(1), help="Per picture and label, for AP; dense: 500. [100]")
@click.option("--threshold", type=click.FloatRange(0, 1), help="Lowest score that counts. [the model's own]")
@click.option(
    "--exemplar",
    type=click.Choice(list(RULES)),
    default="random",
    show_default=True,
    help="Which object of a class shows what to look for: any, or the one of median area.",
)
@click.option("--controls/--no-controls", default=True, show_default=True, help="Swapped phrases, other pictures.")
@click.option("--seed", default=0, show_default=True, help="Of all that is drawn by chance.")
@click.option("--rounds", default=1000, show_default=True, type=click.IntRange(0), help="Bootstrap draws.")
@click.option(
    "--label-config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Label config (XML) of a Label Studio export.",
)
@click.option("--json", "json_path", type=click.Path(dir_okay=False, path_type=Path), help="Write all numbers here.")
@click.option("--report", type=click.Path(path_type=Path), help="Write a page here: a .html file, or a folder.")
@version_option
@settings_options(
    "model", "device", "dtype", "data_dir", "label_studio_url", "local_files_root", "allow_private_hosts"
)
def command(
    datasets: tuple[Spec, ...],
    format: str | None,
    split: str | None,
    only: str | None,
    images: Path | None,
    limit: int | None,
    tasks: tuple[str, ...],
    prompts: tuple[str, ...],
    objects: int | None,
    least_px: int | None,
    max_detections: int | None,
    threshold: float | None,
    exemplar: str,
    controls: bool,
    seed: int,
    rounds: int,
    label_config: Path | None,
    json_path: Path | None,
    report: Path | None,
    version: str | None,
    **given: Any,
) -> None:
    """Measure a model on labelled pictures.

    DATASET is a folder or file (COCO instances or panoptic, a Label Studio export, RefCOCO, ReasonSeg, GranD-f,
    COCO-VGD, COCO-Interactive, ADE20K), `scenes` for drawn ones, or `project:ID` for a project of your Label Studio.
    Options of its own follow with commas; the same options after -- hold for all that don't say otherwise:

    \b
      evaluate photos,split=val,least-px=1000 domain,split=val,only=nuclei,max-detections=500 scenes,limit=50

    Keys are format, split, only, images, limit, tasks, prompts, objects, least-px, max-detections; several tasks or
    prompts have + between them. Tasks are generic, open-vocabulary, referring, reasoning, class-phrases, gcg, vgd,
    interactive, correction.

    Nothing is tuned: a threshold is given, or the model's own, never found on the pictures that are measured.
    Each data set is printed, and written, as soon as it is done. Ctrl-C stops and prints what there is so far.
    """
    settings = load_settings(**given)
    usual = {
        "format": format,
        "split": split,
        "only": only,
        "images": images,
        "limit": limit,
        "tasks": tasks,
        "prompts": prompts,
        "objects": objects,
        "least_px": least_px,
        "max_detections": max_detections,
    }
    shared = {"threshold": threshold, "exemplar": exemplar, "controls": controls, "seed": seed, "rounds": rounds}
    page, numbers = _targets(report, json_path)
    specs = [spec.or_else(usual) for spec in datasets]
    wishes = _wishes(specs, settings, shared | {"cases": 3 if page else 0}, label_config)

    predictor = loaded(settings, version)
    screen = Screen()

    def measured(evaluation: Evaluation) -> None:
        """As soon as a data set is done: what comes later may fail, and takes hours."""
        screen.show(evaluation)
        _write(evaluation, page, numbers)

    with stopping_on_request("stopping with what there is; Ctrl-C again to leave at once") as is_stopping:
        evaluation = evaluate(
            predictor, version or settings.model, wishes, Watching(_progress, _tell, is_stopping, measured)
        )
    screen.end(evaluation)
    for path in (*numbers, *([page] if page else [])):
        click.echo(f"wrote {path}", err=True)
    empty = [one.name for one in evaluation.datasets if one.reached and one.unreadable == one.reached]
    if empty:
        raise DatasetError(f"none of the pictures could be read: {', '.join(empty)}")
    if evaluation.is_partial:
        sys.exit(STOPPED)


def _wishes(
    specs: Sequence[Spec], settings: Settings, shared: dict[str, Any], label_config: Path | None
) -> list[Wish]:
    """All data sets, opened, with what to measure on each; checked before a model is loaded."""
    try:
        config = LabelConfig.parse(label_config.read_text(encoding="utf-8")) if label_config else None
    except (OSError, UnicodeDecodeError) as error:
        raise LabelConfigError(f"{label_config}: expected a label config as UTF-8 text: {error}") from None
    wishes = []
    for spec in specs:
        for one in opened(spec, settings, config):
            own: dict[str, Any] = {
                "prompts": spec.prompts,
                "max_detections": spec.max_detections,
                "objects": spec.objects,
                "least_px": spec.least_px,
            }
            options = Options(**shared, **{name: value for name, value in own.items() if value is not None})
            tasks = tuple(spec.tasks or ())
            chosen_tasks(one.dataset, tasks)
            wishes.append(Wish(one.dataset, tasks, options, one.own_prompts))
    if config is not None and all(wish.dataset.format != "label-studio" for wish in wishes):
        raise DatasetError("--label-config is for a Label Studio export, there is none among the data sets")
    return wishes


def _targets(report: Path | None, json_path: Path | None) -> tuple[Path | None, list[Path]]:
    """Where the page and the numbers go. Whether they can be written is found out before hours of work, not after.

    Raises:
        DatasetError: a folder that isn't there or can't be made.
    """
    page = None
    numbers = [json_path] if json_path else []
    if report is not None and report.suffix.lower() in (".html", ".htm"):
        page = report
    elif report is not None:
        try:
            report.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DatasetError(f"{report}: expected a folder or a .html file for the report: {error}") from None
        page = report / REPORT
        numbers.append(report / RESULTS)
    for path in (*numbers, *([page] if page else [])):
        if not path.parent.is_dir():
            raise DatasetError(f"{path}: its folder isn't there: make it, or choose another place")
    return page, numbers


def _write(evaluation: Evaluation, page: Path | None, numbers: Iterable[Path]) -> None:
    made_at = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    written = {path: json.dumps(to_json(evaluation), indent=1, allow_nan=False) for path in numbers}
    if page is not None:
        written[page] = to_html(evaluation, made_at)
    for path, text in written.items():
        try:
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise XSamBackendError(f"cannot write {path}: {error}") from None


def _progress(dataset: Dataset) -> Iterable[Record]:
    pictures: Iterable[Record] = tqdm(dataset.records, desc=dataset.name, unit="picture", file=sys.stderr)
    return pictures


def _tell(failure: Failure) -> None:
    where = f" ({failure.task})" if failure.task else ""
    tqdm.write(f"left out: {failure.source}{where}: {failure.reason}", file=sys.stderr)
