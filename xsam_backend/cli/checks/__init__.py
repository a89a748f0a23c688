"""What ``doctor`` looks at, one module for each place where something can be wrong."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One line of the report. ``mark``: "ok", "note" (works, but not everything will) or "FAIL".

    ``paste`` stands below the line as it is: a text to be copied.
    """

    mark: str
    what: str
    found: str
    paste: str = ""

    def __str__(self) -> str:
        line = f"{self.mark:<5} {self.what}: {' '.join(self.found.split())}"
        return f"{line}\n\n{self.paste.strip()}\n" if self.paste else line
