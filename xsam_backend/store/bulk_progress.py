"""States of tasks in the queue of bulk pre-labelling, and how far a project's tasks are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Over = Literal["done", "failed", "dropped", "cancelled"]
"""Label Studio has its prediction; it has none, see ``error``; the task is gone; somebody ended it."""

State = Literal["waiting", "in reply", "working"] | Over
"""``in reply``: a request answers it, or has; what is due of it is to look whether Label Studio stored the answer."""

STATES: tuple[State, ...] = ("waiting", "in reply", "working", "done", "failed", "dropped", "cancelled")

_IN_WORDS = {
    "waiting": "waiting",
    "working": "under way",
    "in reply": "sent in replies (two minutes later it is looked whether Label Studio stored them)",
    "failed": "failed",
    "dropped": "dropped with what they belonged to",
    "cancelled": "cancelled",
}


@dataclass(frozen=True)
class Progress:
    """How far a project's tasks are, since its queue was empty last.

    Attributes:
        counts: tasks by state; every state is there.
        per_second: of tasks done, over the last minutes; 0 if there were none.
    """

    project_key: str
    counts: Mapping[str, int]
    per_second: float

    @property
    def left(self) -> int:
        """Tasks of which something is still to come."""
        return sum(self.counts[state] for state in ("waiting", "in reply", "working"))

    @property
    def eta_s(self) -> float | None:
        """Seconds that these may take; None where nothing tells."""
        return self.left / self.per_second if self.left and self.per_second else None

    @property
    def all(self) -> int:
        """Tasks, whatever came of them."""
        return sum(self.counts.values())

    @property
    def in_words(self) -> str:
        """One line for people.

        >>> Progress("labels:80/21.5", {**dict.fromkeys(STATES, 0), "done": 30, "waiting": 60}, 0.5).in_words
        '30 of 90 done, 60 waiting; 0.5 a second, 2.0 min left'
        """
        others = [f"{self.counts[state]} {words}" for state, words in _IN_WORDS.items() if self.counts[state]]
        speed = f"; {self.per_second:.1f} a second" if self.left and self.per_second else ""
        left = f", {self.eta_s / 60:.1f} min left" if self.eta_s is not None else ""
        return ", ".join([f"{self.counts['done']} of {self.all} done", *others]) + speed + left

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        return {
            "project": self.project_key,
            **self.counts,
            "per_second": round(self.per_second, 3),
            "eta_s": None if self.eta_s is None else round(self.eta_s),
        }
