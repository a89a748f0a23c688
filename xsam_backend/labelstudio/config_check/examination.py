"""A label config examined: what it offers, what is wrong with it, and the same config with that mended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from xsam_backend.labelstudio.config_check.fault import Checked, Fault
from xsam_backend.labelstudio.config_check.links import link_faults
from xsam_backend.labelstudio.config_check.options import option_faults
from xsam_backend.labelstudio.config_check.outputs import output_faults
from xsam_backend.labelstudio.config_check.refusals import refusals
from xsam_backend.labelstudio.config_check.tools import tool_faults
from xsam_backend.labelstudio.config_check.words import word_faults
from xsam_backend.labelstudio.gestures import Plan
from xsam_backend.labelstudio.label_config import LabelConfig

MAX_CHANGES = 200
"""More than these are another config, not a corrected one."""


@dataclass(frozen=True)
class Correction:
    """The same config with as little changed as makes everything work: its text, and each change in a few words."""

    xml: str
    changes: tuple[str, ...]


@dataclass(frozen=True)
class Examination:
    """What is known about a label config.

    Attributes:
        config, plan: what it says and offers; None where it cannot be read.
        faults: those of the config itself, or of what is left where those that make it unreadable are mended.
        correction: None where nothing is to be changed, or where only its author can tell what was meant.
    """

    config: LabelConfig | None
    plan: Plan | None
    faults: tuple[Fault, ...]
    correction: Correction | None

    @property
    def works(self) -> bool:
        """Whether everything that it offers can work."""
        return not any(fault.breaks for fault in self.faults)


def examine(xml: str) -> Examination:
    """Read a config, try all that it offers, and mend what can be mended."""
    refused = refusals(xml)
    if not refused:
        checked = Checked(xml)
        return Examination(checked.config, checked.plan, tuple(_faults(checked)), _corrected(xml))
    readable = _mended(xml, refusals)
    hidden = [] if refusals(readable.xml) else _faults(Checked(readable.xml))
    return Examination(None, None, (*refused, *hidden), _corrected(xml))


def _faults(checked: Checked) -> list[Fault]:
    return [
        *link_faults(checked),
        *output_faults(checked),
        *tool_faults(checked),
        *word_faults(checked),
        *option_faults(checked),
    ]


def _all_faults(xml: str) -> Sequence[Fault]:
    return refusals(xml) or _faults(Checked(xml))


def _mended(xml: str, faults_of: Callable[[str], Sequence[Fault]]) -> Correction:
    """Mend one fault after the other, each in what the one before has left."""
    changes: list[str] = []
    seen = {xml}
    while len(changes) < MAX_CHANGES:
        mend = next((fault.mend for fault in faults_of(xml) if fault.mend is not None), None)
        if mend is None:
            break
        xml = mend.text()
        if xml in seen:
            break
        seen.add(xml)
        changes.append(mend.change)
    return Correction(xml, tuple(changes))


def _corrected(xml: str) -> Correction | None:
    """None as well where something is left that cannot work: half a correction misleads."""
    corrected = _mended(xml, _all_faults)
    if not corrected.changes or any(fault.breaks for fault in _all_faults(corrected.xml)):
        return None
    return corrected
