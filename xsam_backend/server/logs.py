"""What is logged, and in which form: a line for people, or a JSON object a line for programs.

No body, no query and no header is ever logged. What others may have written a piece of, a path or a host's name,
can't begin a line of its own.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import datetime, timezone
from typing import Any, Literal

from gunicorn.glogging import Logger

from xsam_backend.server.request_ids import current_request_id

LogFormat = Literal["text", "json"]

_ESCAPED = {number: f"\\x{number:02x}" for number in (*range(32), 127, *range(0x80, 0xA0), 0x2028, 0x2029)}
_ESCAPED |= {9: "\t", 10: "\\n", 13: "\\r"}


def configure_logging(level: str, log_format: LogFormat = "text", stream: Any = None) -> None:
    """Log lines of every part, gunicorn's too, to stderr."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_JsonLines() if log_format == "json" else _TextLines())
    handler.addFilter(_add_request)
    logging.basicConfig(level=level, handlers=[handler])
    for chatty in ("alembic", "urllib3"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


class GunicornLogger(Logger):  # type: ignore[misc]
    """gunicorn's own lines, in our form."""

    def setup(self, cfg: Any) -> None:
        """Leave its lines to the root logger's handler."""
        super().setup(cfg)
        for handler in list(self.error_log.handlers):
            self.error_log.removeHandler(handler)
        self.error_log.propagate = True


def _add_request(record: logging.LogRecord) -> bool:
    """Where a record is made, its thread still knows for which request."""
    record.request = current_request_id()
    return True


class _TextLines(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("[%(asctime)s] [%(process)d] [%(levelname)s] %(message)s", "%Y-%m-%d %H:%M:%S %z")

    def formatMessage(self, record: logging.LogRecord) -> str:
        """One line, whatever is in it; a traceback follows in lines of its own."""
        request = getattr(record, "request", "")
        record.message = (f"[{request}] " if request else "") + record.message.translate(_ESCAPED)
        return super().formatMessage(record)


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """An object with time, level, message, and where they are known request, traceback and more facts."""
        facts: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
        }
        if request := getattr(record, "request", ""):
            facts["request"] = request
        facts |= getattr(record, "facts", {})
        if record.exc_info:
            facts["traceback"] = self.formatException(record.exc_info)
        return json.dumps(facts, ensure_ascii=True, default=str)
