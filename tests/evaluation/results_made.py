"""An evaluation made by hand, with everything in it that can be shown."""

from __future__ import annotations

from xsam_backend.evaluation.bootstrap import Estimate
from xsam_backend.evaluation.confusion import NOTHING, Confusion
from xsam_backend.evaluation.results import (
    Case,
    Column,
    Curve,
    DatasetResult,
    Evaluation,
    Failure,
    Row,
    Series,
    Table,
    TaskResult,
)

NAN = float("nan")


def confusion() -> Confusion:
    counted = Confusion()
    counted.counts.update({("cat", "cat"): 5, ("cat", "dog"): 2, ("dog", NOTHING): 1, (NOTHING, "cat"): 3})
    return counted


def task(name: str = "cat") -> TaskResult:
    table = Table(
        "fit",
        "Masks",
        "objects",
        (Column("iou", "mIoU"), Column("clicks", "NoC85", "number")),
        (
            Row("box", name, 12, {"iou": Estimate(0.7123, 0.65, 0.77), "clicks": Estimate(4.301, 3.0, 6.25)}),
            Row("guess", "guess: a box", 12, {"iou": Estimate(NAN, NAN, NAN)}, is_control=True),
        ),
    )
    detail = Table(
        "per_label",
        "Class by class",
        "",
        table.columns[:1],
        (Row(name, name, 0, {"iou": Estimate(0.5, NAN, NAN)}),),
        True,
    )
    curve = Curve(
        "refusals",
        "What a threshold does",
        "score threshold",
        "share",
        (0.0, 1.0),
        (Series("refused", ((0.0, 0.0), (0.5, NAN), (1.0, 1.0))), Series("answered", ((0.0, 1.0), (1.0, 0.25)))),
        "Shown, not used.",
    )
    case = Case("worst", f"a.jpg: {name}", "IoU", 0.25, f"1 {name}", "nothing", b"\xff\xd8truth", b"\xff\xd8answer")
    return TaskResult(
        "Interactive segmentation",
        7,
        {"queries of the model": 40, "score threshold": 0.3, "rule": "at random", "nothing seen": NAN},
        (table, detail),
        (curve,),
        confusion(),
        (case,),
    )


def evaluation(
    name: str = "cat", dataset: str = "photos", *, is_partial: bool = False, reason: str = "damaged"
) -> Evaluation:
    return Evaluation(
        model="tiny",
        model_version="tiny-1234",
        queries=40,
        seed=3,
        rounds=1000,
        confidence=0.95,
        is_partial=is_partial,
        datasets=(
            DatasetResult(
                name=dataset,
                format="coco",
                split="val",
                labelling="instances",
                pictures=49,
                reached=8 if is_partial else 49,
                failures=(Failure("b.jpg", reason), Failure("c.jpg", "too many words", "gcg")),
                notes=("outlines filled as COCO fills them",),
                seconds=12.34,
                tasks={"interactive": task(name)},
            ),
        ),
    )
