"""What ``doctor`` looks at, one module for each place where something can be wrong."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One line of the report. ``mark``: "ok", "note" (works, but not everything will) or "FAIL"."""

    mark: str
    what: str
    found: str

    def __str__(self) -> str:
        return f"{self.mark:<5} {self.what}: {' '.join(self.found.split())}"
