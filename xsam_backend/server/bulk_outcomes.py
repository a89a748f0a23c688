"""What becomes of a task of the bulk queue that couldn't be answered: later once more, or never."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from xsam_backend.errors import BusyError, LabelConfigError, PromptError, RequestError
from xsam_backend.store.bulk_tasks import Outcome

RETRY_AFTER_S = (10.0, 60.0, 300.0)
"""After each try that failed; the one after the last of these is the last try."""

TRIES = len(RETRY_AFTER_S) + 1

BUSY_RETRY_S = 5.0

LASTING = (RequestError, LabelConfigError, PromptError)
"""Errors of the task's data or the label config: the same question fails again."""


def after_failure(error: Exception, words: str, tries: int) -> Outcome:
    """What becomes of a task that failed at try number ``tries``, for a reason in ``words``.

    That clicks left the model no time says nothing about the task, and isn't counted as a try.
    """
    if isinstance(error, BusyError):
        return Outcome("waiting", in_seconds(BUSY_RETRY_S), words, counts=False)
    if isinstance(error, LASTING) or tries >= TRIES:
        return Outcome("failed", error=words)
    return Outcome("waiting", in_seconds(RETRY_AFTER_S[tries - 1]), words)


def in_seconds(seconds: float) -> datetime:
    """That moment, in UTC."""
    return datetime.now(timezone.utc) + timedelta(seconds=seconds)
