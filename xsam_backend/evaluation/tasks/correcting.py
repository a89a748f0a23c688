"""Correction: how many clicks a simulated annotator needs until an object is right."""

from __future__ import annotations

from functools import partial

from xsam_backend.evaluation.asking import AskedPicture
from xsam_backend.evaluation.correction import (
    MOST_CLICKS,
    TARGET_IOUS,
    Trace,
    clicks_needed,
    corrected,
    mean_iou_by_clicks,
)
from xsam_backend.evaluation.ratios import Ratios, Sums, mean_of
from xsam_backend.evaluation.results import Column, Curve, Row, Series, Table, TaskResult
from xsam_backend.evaluation.tasks.run import Setting, chance, chosen_objects, objects_in_words
from xsam_backend.geometry.masks import Mask
from xsam_backend.prompts import Point, Prompt, Task

NAME = "correction"
USUAL_OBJECTS = 2
"""Of a picture, where nobody says how many: each takes up to twenty answers."""

SHOWN_CLICKS = (1, 3, 5)
COLUMNS = (
    *(Column(f"noc{target * 100:.0f}", f"NoC{target * 100:.0f}", "number") for target in TARGET_IOUS),
    *(Column(f"failed{target * 100:.0f}", f"never {target:.0%}") for target in TARGET_IOUS),
    *(Column(f"iou{clicks}", f"IoU, {clicks} click{'s' if clicks > 1 else ''}") for clicks in SHOWN_CLICKS),
)


class CorrectingRun:
    """The first click is at the centre; each next one is at the centre of the largest error."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        options = setting.options
        self._most = USUAL_OBJECTS if options.objects is None else options.objects
        self._ratios = Ratios()
        self._traces: list[Trace] = []

    def ask(self, picture: AskedPicture) -> None:
        """Every chosen object, click by click."""
        truth, options = picture.truth, self._setting.options
        rng = chance(options.seed, truth.source, NAME)
        areas = truth.masks.sum((1, 2)).tolist()
        usable = (truth.is_thing & ~truth.is_crowd).tolist()
        chosen = chosen_objects(areas, usable, options.least_px, self._most, rng)
        if not chosen:
            return

        def answer(label: str, clicks: tuple[Point, ...]) -> Mask:
            return picture.best_mask(Prompt(Task.INTERACTIVE, clicks, label=label, score_threshold=0.0))[0]

        traces = [corrected(partial(answer, truth.names[segment]), truth.masks[segment]) for segment in chosen]
        self._ratios.add(_sums(traces))
        self._traces += traces

    def result(self) -> TaskResult:
        """Clicks to reach each target, how many never do, and IoU by clicks."""
        options = self._setting.options
        values = {
            column.key: self._ratios.estimate(column.key, seed=options.seed, rounds=options.rounds)
            for column in COLUMNS
        }
        rows = (Row("clicks", "clicks", len(self._traces), values),) if self._traces else ()
        return TaskResult(
            title="Correction by clicks",
            pictures=len(self._ratios),
            conditions={
                "objects of a picture": objects_in_words(self._most, options.least_px),
                "clicks": f"at most {MOST_CLICKS}, until an IoU of {TARGET_IOUS[-1]:.2f}; never there counts as all",
                "queries of the model": self._setting.queries,
            },
            tables=(Table("clicks", "Clicks until an object is right", "objects", COLUMNS, rows),),
            curves=self._curves(),
        )

    def _curves(self) -> tuple[Curve, ...]:
        if not self._traces:
            return ()
        means = mean_iou_by_clicks(self._traces)
        points = tuple((float(clicks), float(iou)) for clicks, iou in enumerate(means, start=1))
        series = (Series("mean IoU", points),)
        return (Curve("clicks", "IoU by clicks", "clicks", "mean IoU", (1.0, float(MOST_CLICKS)), series),)


def _sums(traces: list[list[float]]) -> Sums:
    sums: Sums = {}
    for target in TARGET_IOUS:
        needed = [clicks_needed(trace, target) for trace in traces]
        sums[f"noc{target * 100:.0f}"] = mean_of(float(clicks or MOST_CLICKS) for clicks in needed)
        sums[f"failed{target * 100:.0f}"] = mean_of(float(clicks is None) for clicks in needed)
    for clicks in SHOWN_CLICKS:
        sums[f"iou{clicks}"] = mean_of(trace[min(clicks, len(trace)) - 1] for trace in traces)
    return sums
