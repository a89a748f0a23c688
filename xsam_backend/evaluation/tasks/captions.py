"""Grounded conversation: a caption is written, and its phrases are segmented."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from xsam_backend.evaluation.asking import AskedPicture
from xsam_backend.evaluation.average_precision import MAX_DETECTIONS
from xsam_backend.evaluation.bootstrap import bootstrap
from xsam_backend.evaluation.case_pictures import drawn_case
from xsam_backend.evaluation.gallery import Gallery
from xsam_backend.evaluation.grounded_conversation import GroundedCaptions
from xsam_backend.evaluation.results import Column, Row, Table, TaskResult
from xsam_backend.evaluation.segments import best_first_pairs, pairwise_ious
from xsam_backend.evaluation.tasks.run import Setting
from xsam_backend.ground_truth import Caption
from xsam_backend.instances import Instances
from xsam_backend.prompts import Prompt, Task

COLUMNS = (
    Column("ap50", "AP50"),
    Column("miou", "mIoU"),
    Column("recall", "recall"),
    Column("cider", "CIDEr", "number"),
)


class CaptionsRun:
    """What is to be found: where data are made for this task, each segment under its name, which is a phrase; else
    the grounded phrases of the first caption that has some. All captions are references.
    """

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._measure = GroundedCaptions()
        self._gallery = Gallery(setting.options.cases, setting.options.seed)
        self._phrases = 0

    def ask(self, picture: AskedPicture) -> None:
        """One caption."""
        truth = picture.truth
        true: list[tuple[str, tuple[int, ...]]]
        if self._setting.dataset.labelling == "phrases":
            # Phrases that aren't in the caption have masks, too, and published numbers count them.
            true = [(name, (index,)) for index, name in enumerate(truth.names)]
        else:
            true = _grounded(truth.captions)
        if not (true and truth.captions):
            return
        true_masks = np.stack([truth.union(segments) for _, segments in true])
        answer = picture.answer(Prompt(Task.GCG))
        said = answer.phrases
        found = replace(answer.instances, labels=said)
        self._measure.add(
            answer.text,
            found.masks,
            said,
            [caption.text for caption in truth.captions],
            true_masks,
            [phrase for phrase, _ in true],
        )
        self._phrases += len(true)
        there = Instances.of(true_masks, np.ones(len(true), np.float32), tuple(phrase for phrase, _ in true))
        score = _share_covered(found, there)
        self._gallery.offer(
            score,
            lambda: drawn_case(
                truth.image,
                there,
                found,
                title=f"{truth.source}: “{truth.captions[0].text}” – answered: “{answer.text}”",
                measure="mean IoU of the true phrases' masks",
                score=score,
            ),
        )

    def result(self) -> TaskResult:
        """GLaMM's measures."""
        measure, options = self._measure, self._setting.options
        statistics = {
            "ap50": measure.ap50,
            "miou": measure.mean_iou,
            "recall": measure.recall,
            "cider": measure.cider,
        }
        values = {
            key: bootstrap(statistic, len(measure), seed=options.seed, rounds=options.rounds)
            for key, statistic in statistics.items()
        }
        row = Row("all", f"{len(measure)} caption{'' if len(measure) == 1 else 's'}", self._phrases, values)
        return TaskResult(
            title="Grounded conversation",
            pictures=len(measure),
            conditions={
                "queries of the model": self._setting.queries,
                "maxDets": MAX_DETECTIONS,
                "phrases alike": "more than half of their words in common",
            },
            tables=(Table("captions", "Captions and their masks", "true phrases", COLUMNS, (row,)),),
            cases=self._gallery.cases(),
        )


def _grounded(captions: Sequence[Caption]) -> list[tuple[str, tuple[int, ...]]]:
    """Phrases and segments of the first caption that has some; none if no caption has."""
    first = next((caption for caption in captions if caption.spans), Caption(""))
    return [(first.text[start:end], segments) for start, end, segments in first.spans]


def _share_covered(found: Instances, true: Instances) -> float:
    """The IoU that each true mask has with its partner, mean over all; 0 for those without one."""
    ious = pairwise_ious(found.masks, true.masks)
    return sum(float(ious[pair]) for pair in best_first_pairs(ious, ious > 0)) / len(true)
