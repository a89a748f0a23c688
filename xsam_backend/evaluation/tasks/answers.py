"""Answers to phrases and questions: how well masks fit, and what a score threshold refuses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from xsam_backend.evaluation.overlaps import Overlap
from xsam_backend.evaluation.ratios import Ratios, Sums, c_iou_of, g_iou_of, mean_of
from xsam_backend.evaluation.refusals import ScoredOverlap, refusal_curve
from xsam_backend.evaluation.results import Column, Curve, Row, Series, Table
from xsam_backend.evaluation.tasks.run import Options

FIT = (Column("g_iou", "gIoU (mIoU)"), Column("c_iou", "cIoU"), Column("p50", "P@0.5"))
REFUSING = (
    Column("g_iou", "gIoU"),
    Column("c_iou", "cIoU"),
    Column("n_acc", "N-acc."),
    Column("t_acc", "T-acc."),
)


class Answers:
    """Counts of answers, and the tables and the curve that they give.

    ``items`` is what is asked, in the plural: "phrases", "questions". Controls are overlaps of masks that were asked
    for otherwise, by the control's key.
    """

    def __init__(self, items: str, options: Options, controls: dict[str, str]) -> None:
        self._items, self._options, self._controls = items, options, controls
        self._ratios = Ratios()
        self._scored: list[ScoredOverlap] = []

    def __len__(self) -> int:
        return len(self._ratios)

    def add(
        self,
        answers: Sequence[ScoredOverlap],
        threshold: float,
        controls: Mapping[str, Sequence[Overlap]] | None = None,
    ) -> None:
        """One picture's answers, about things present and absent."""
        present = [one.overlap for one in answers if one.overlap.target_px]
        sums: Sums = {f"answer {key}": value for key, value in _fit(present).items()}
        for key, overlaps in (controls or {}).items():
            sums |= {f"{key} {name}": value for name, value in _fit(overlaps).items()}
        decided = [one.at(threshold) for one in answers]
        sums["refusing g_iou"], sums["refusing c_iou"] = g_iou_of(decided), c_iou_of(decided)
        sums["refusing n_acc"] = mean_of(float(not one.predicted_px) for one in decided if not one.target_px)
        sums["refusing t_acc"] = mean_of(float(one.predicted_px > 0) for one in decided if one.target_px)
        self._ratios.add(sums)
        self._scored += answers

    def tables(self, threshold: float) -> tuple[Table, ...]:
        """How masks fit without a threshold; where absent things were asked for, what the threshold refuses, too."""
        rows = [self._row("answer", self._items, FIT)]
        rows += [self._row(key, title, FIT, is_control=True) for key, title in self._controls.items()]
        fit = Table("fit", "Masks, whatever their score", self._items, FIT, tuple(row for row in rows if row.items))
        absent = int(self._ratios.possible("refusing n_acc"))
        if not absent:
            return (fit,)
        there = int(self._ratios.possible("refusing t_acc"))
        title = f"{there} present, {absent} absent"
        refusing = self._row("refusing", title, REFUSING, items=there + absent)
        return fit, Table(
            "refusing",
            f"Nothing said below a score of {threshold:.2f}",
            self._items,
            REFUSING,
            (refusing,),
        )

    def curves(self) -> tuple[Curve, ...]:
        """What every threshold would do; none where nothing absent was asked for."""
        if not any(not one.overlap.target_px for one in self._scored):
            return ()
        points = refusal_curve(self._scored)
        lines = {
            "absent ones refused (N-acc.)": [point.no_target_accuracy for point in points],
            "present ones answered (T-acc.)": [point.target_accuracy for point in points],
            "gIoU": [point.g_iou for point in points],
        }
        xs = [point.threshold for point in points]
        series = tuple(Series(title, tuple(zip(xs, ys, strict=True))) for title, ys in lines.items())
        return (
            Curve(
                "refusals",
                f"What a score threshold does to {self._items}",
                "score threshold",
                "share",
                (0.0, 1.0),
                series,
                "Shown, not used: a threshold is to be chosen on other pictures than these. "
                "An empty mask is a refusal at any threshold.",
            ),
        )

    def _row(
        self, key: str, title: str, columns: tuple[Column, ...], *, items: int | None = None, is_control: bool = False
    ) -> Row:
        seed, rounds = self._options.seed, self._options.rounds
        values = {c.key: self._ratios.estimate(f"{key} {c.key}", seed=seed, rounds=rounds) for c in columns}
        asked = int(self._ratios.possible(f"{key} g_iou")) if items is None else items
        return Row(key, title, asked, values, is_control)


def overlap_of(mask: NDArray[np.bool_], truth: NDArray[np.bool_], ignored: NDArray[np.bool_] | None) -> Overlap:
    """Of two bool (H, W) masks, without the pixels that no measure counts."""
    if ignored is None:
        return Overlap.of(mask, truth)
    return Overlap.of(mask & ~ignored, truth & ~ignored)


def _fit(overlaps: Sequence[Overlap]) -> Sums:
    return {
        "g_iou": g_iou_of(overlaps),
        "c_iou": c_iou_of(overlaps),
        "p50": mean_of(float(one.iou >= 0.5) for one in overlaps),
    }
