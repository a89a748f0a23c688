"""Whether Label Studio can be asked: looked at every half a minute, as an outage shows nowhere else.

Those who wait for it (bulk pre-labelling, syncing) pause in an outage and say so once; an alert needs a number that
stays.
"""

from __future__ import annotations

from collections.abc import Callable

from xsam_backend.errors import LabelStudioError
from xsam_backend.server.monitor import Monitor
from xsam_backend.server.rounds import Rounds

LOOK_EVERY_S = 30.0


class LabelStudioWatch(Rounds):
    """Asks who the token's user is, again and again.

    Args:
        ask: raises LabelStudioError where Label Studio can't be reached or refuses the token.
    """

    def __init__(self, ask: Callable[[], object], monitor: Monitor) -> None:
        super().__init__("Label Studio", monitor, LOOK_EVERY_S, patience_s=1.0)
        self._ask = ask
        self._reachable: bool | None = None

    @property
    def is_reachable(self) -> bool | None:
        """As it was when it was last looked at; None before."""
        return self._reachable

    def _round(self) -> None:
        try:
            self._ask()
        except LabelStudioError:
            self._reachable = False
            raise
        if self._reachable is False:
            self._monitor.over(self._name)
        self._reachable = True
