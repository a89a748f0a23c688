"""Interactive segmentation: one object at a time, by a click, a scribble, a box or a rough mask.

Masks by how much they cover and by their boundary, and what they cost as polygons. Held against guesses that need no
model (the filled box, the ellipse in it), and against the same prompt on the pixels of another picture.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xsam_backend.evaluation.asking import AskedPicture
from xsam_backend.evaluation.boundaries import boundary_f_score, inscribed_ellipse
from xsam_backend.evaluation.case_pictures import drawn_case
from xsam_backend.evaluation.datasets.records import PROMPT_KINDS, PromptKind
from xsam_backend.evaluation.gallery import Gallery
from xsam_backend.evaluation.overlaps import Overlap
from xsam_backend.evaluation.polygon_cost import polygon_cost
from xsam_backend.evaluation.ratios import Ratios, Sums, c_iou_of, g_iou_of, mean_of
from xsam_backend.evaluation.results import Column, Row, Table, TaskResult
from xsam_backend.evaluation.simulated_prompts import exact_box
from xsam_backend.evaluation.tasks.pointing import Pointing
from xsam_backend.evaluation.tasks.run import Setting, chance, chosen_objects, objects_in_words
from xsam_backend.geometry.masks import Mask
from xsam_backend.instances import Instances
from xsam_backend.prompts import Prompt, Region, Task
from xsam_backend.region_masks import region_mask

USUAL_OBJECTS = 6
"""Of a picture, where nobody says how many and prompts are simulated."""

FIDELITY = 0.98
"""IoU that polygons must have with the mask: what the backend writes for Label Studio."""

COLUMNS = (
    Column("iou", "mIoU"),
    Column("c_iou", "cIoU"),
    Column("boundary", "boundary F"),
    Column("vertices", "vertices", "number"),
)

_FIT = ("iou", "c_iou", "boundary")
_PROMPT_ITSELF = "prompt itself"

_GUESSES: dict[str, tuple[str, Callable[[Mask], Mask]]] = {
    "ellipse": ("guess: ellipse in the exact box", inscribed_ellipse),
    "filled box": (
        "guess: the exact box, filled",
        lambda mask: region_mask(exact_box(mask), (mask.shape[0], mask.shape[1])),
    ),
}
"""What the prompt alone gives."""


@dataclass(frozen=True)
class _Asked:
    """One answer about one object."""

    row: str
    mask: NDArray[np.bool_]
    truth: NDArray[np.bool_]


class ObjectsRun:
    """See the module's words."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._pointing = Pointing(setting)
        options = setting.options
        self._most = (0 if setting.own_prompts else USUAL_OBJECTS) if options.objects is None else options.objects
        self._ratios = Ratios()
        self._gallery = Gallery(options.cases, options.seed)

    def ask(self, picture: AskedPicture) -> None:
        """Every chosen object, in every way."""
        truth, options = picture.truth, self._setting.options
        rng = chance(options.seed, truth.source, "objects")
        areas = truth.masks.sum((1, 2)).tolist()
        usable = (truth.is_thing & ~truth.is_crowd).tolist()
        chosen = chosen_objects(areas, usable, options.least_px, self._most, rng)
        if not chosen:
            return
        asked: list[_Asked] = []
        shown: list[tuple[int, PromptKind, Region, NDArray[np.bool_], float]] = []
        for segment in chosen:
            target = truth.masks[segment]
            for kind in self._pointing.kinds:
                region = self._pointing.at(picture, kind, segment)
                prompt = Prompt(Task.INTERACTIVE, (region,), label=truth.names[segment], score_threshold=0.0)
                mask, score = picture.best_mask(prompt)
                asked.append(_Asked(kind, mask, target))
                if kind == "mask":
                    asked.append(_Asked(_PROMPT_ITSELF, region_mask(region, truth.size_hw), target))
                shown.append((segment, kind, region, mask, score))
                if self._setting.own_prompts:
                    asked.append(
                        _Asked(f"{kind} closest", picture.candidates(prompt).closest().cropped[0].whole(), target)
                    )
                foreign = picture.elsewhere(prompt) if options.controls else None
                if foreign is not None:
                    asked.append(_Asked(f"{kind} elsewhere", foreign, target))
            asked += [_Asked(name, guess(target), target) for name, (_, guess) in _GUESSES.items()]
            asked.append(_Asked("truth", target, target))
        self._ratios.add(_sums(asked))
        for segment, kind, region, mask, score in shown:
            self._show(picture, segment, kind, region, mask, score)

    def result(self) -> TaskResult:
        """A row for each way to point, then what they are held against."""
        options = self._setting.options
        rows = []
        for kind in self._pointing.kinds:
            rows.append(self._row(kind, kind))
            rows.append(self._row(f"{kind} closest", f"{kind}, chosen by the reference's rule", _FIT))
        for kind in self._pointing.kinds:
            title = f"control: {kind} on another picture"
            rows.append(self._row(f"{kind} elsewhere", title, _FIT, is_control=True))
        rows += [self._row(key, title, _FIT, is_control=True) for key, (title, _) in _GUESSES.items()]
        rows.append(self._row(_PROMPT_ITSELF, "guess: the mask that is the prompt", _FIT, is_control=True))
        rows.append(self._row("truth", "the truth itself, as polygons", ("vertices",), is_control=True))
        return TaskResult(
            title="Interactive segmentation",
            pictures=len(self._ratios),
            conditions={
                "objects of a picture": objects_in_words(self._most, options.least_px),
                "prompts": self._pointing.words,
                "queries of the model": self._setting.queries,
                "polygons": f"fewest vertices with an IoU of {FIDELITY} with the mask",
            },
            tables=(Table("interactive", "One object", "objects", COLUMNS, tuple(row for row in rows if row.items)),),
            cases=self._gallery.cases(),
        )

    def _row(self, key: str, title: str, only: tuple[str, ...] = (), *, is_control: bool = False) -> Row:
        options = self._setting.options
        columns = only or tuple(column.key for column in COLUMNS)
        values = {
            column: self._ratios.estimate(f"{key}: {column}", seed=options.seed, rounds=options.rounds)
            for column in columns
        }
        return Row(key, title, int(self._ratios.possible(f"{key}: iou")), values, is_control)

    def _show(
        self,
        picture: AskedPicture,
        segment: int,
        kind: PromptKind,
        region: Region,
        mask: NDArray[np.bool_],
        score: float,
    ) -> None:
        truth = picture.truth
        name = truth.names[segment]
        iou = Overlap.of(mask, truth.masks[segment]).iou
        found = Instances.of(mask[None], np.array([score], np.float32), (name,))
        self._gallery.offer(
            iou,
            lambda: drawn_case(
                truth.image,
                Instances.of(truth.masks[segment][None], np.ones(1, np.float32), (name,)),
                found if mask.any() else found.select([]),
                title=f"{truth.source}: {name}, {kind}",
                measure="IoU",
                score=iou,
                regions=(region,),
                is_close=True,
            ),
        )


def _sums(asked: list[_Asked]) -> Sums:
    """What one picture's answers add, for every row."""
    rows: dict[str, list[_Asked]] = {}
    for one in asked:
        rows.setdefault(one.row, []).append(one)
    sums: Sums = {}
    for row, own in rows.items():
        overlaps = [Overlap.of(one.mask, one.truth) for one in own]
        sums[f"{row}: iou"] = g_iou_of(overlaps)
        sums[f"{row}: c_iou"] = c_iou_of(overlaps)
        sums[f"{row}: boundary"] = mean_of(boundary_f_score(one.mask, one.truth) for one in own)
        if row in (*PROMPT_KINDS, "truth"):
            costs = [polygon_cost(one.mask, FIDELITY) for one in own]
            sums[f"{row}: vertices"] = mean_of(float(cost.vertices) for cost in costs if cost.polygons)
    return sums
