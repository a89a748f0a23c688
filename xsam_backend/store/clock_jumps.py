"""Moments that a clock has written which was far ahead, and was put right since: nothing waits for them.

A machine without a battery, or a wrong time server, may be a year ahead for some minutes. What was put off then is
due a year later by the right clock; without this it would wait as long.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, or_

TOO_FAR = timedelta(days=1)
"""Nothing is put off so long here: the longest wait, between tries to copy a picture, is six hours. A moment further
ahead is a wrong clock's."""


def is_past(column: Any, moment: datetime, now: datetime) -> ColumnElement[bool]:
    """Of rows: whether a moment of theirs is no later than ``moment``, or one of a clock that was far ahead."""
    return or_(column <= moment, column > now + TOO_FAR)
