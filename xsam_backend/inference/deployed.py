"""Which predictor answers which project: the base model, or a version of the project's own, swapped under load.

Whoever asks gets a predictor and keeps it for the whole request, so an answer is of one version from its first region
to its last. A new version is loaded beside the old one and takes its place in one assignment; the old one's memory is
given back when its last request is done. What can't be loaded changes nothing: the project stays with what it had,
and it is tried again after a pause.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from xsam_backend.inference.engine import Predictor

LOADED = 16
"""So many versions are kept ready; those asked for longest ago go first, and are loaded again when asked for."""

AGAIN_AFTER_S = 60.0
"""What couldn't be loaded is tried again: reading gigabytes for nothing takes them from the requests."""


class Deployed:
    """Predictors by project. Safe to use from several threads.

    Args:
        base: answers every project that has no version of its own.
        load: from a version's name to its predictor; may take seconds.
        deployed: what answers each project, as the store has it; None: the base.
        on_problem: is told what couldn't be read or loaded, and of which project ("" for all).
    """

    def __init__(
        self,
        base: Predictor[Any],
        load: Callable[[str], Predictor[Any]],
        deployed: Callable[[], Mapping[str, str | None]],
        on_problem: Callable[[Exception, str], None],
        loaded: int = LOADED,
    ) -> None:
        self._base = base
        self._load = load
        self._deployed = deployed
        self._on_problem = on_problem
        self._most = loaded
        self._lock = threading.Lock()
        self._ready: OrderedDict[str, Predictor[Any]] = OrderedDict()
        self._of_project: Mapping[str, str] = {}
        self._not_before: dict[str, float] = {}

    def predictor_of(self, project_key: str | None) -> Predictor[Any]:
        """The predictor that answers this project now; callers without a project are answered by the base."""
        name = self._of_project.get(project_key) if project_key is not None else None
        if name is None:
            return self._base
        with self._lock:
            if name in self._ready:
                self._ready.move_to_end(name)
                return self._ready[name]
        if self._is_put_off(name):
            return self._base
        try:  # it had to make room for others
            return self._made_ready(name)
        except Exception as error:
            self._put_off(name)
            self._on_problem(error, project_key or "")
            return self._base

    def predictor_named(self, name: str) -> Predictor[Any] | None:
        """The predictor of one version, whatever it answers now; None where it can't be loaded (any more).

        What has to be loaded for it isn't kept ready: whoever asks holds it for as long as it's needed.
        """
        if name == self._base.model_version:
            return self._base
        with self._lock:
            if name in self._ready:
                return self._ready[name]
        if self._is_put_off(name):
            return None
        try:
            return self._load(name)
        except Exception as error:
            self._put_off(name)
            self._on_problem(error, "")
            return None

    def refresh(self) -> bool:
        """Read what is deployed, load what is new, then swap; whether anything changed. One thread at a time."""
        try:
            wanted = self._deployed()
        except Exception as error:  # the database may be busy: what was read last holds
            self._on_problem(error, "")
            return False
        swapped = dict(self._of_project)
        for project, name in wanted.items():
            if name is None:
                swapped.pop(project, None)
            elif swapped.get(project) != name and not self._is_put_off(name):
                try:
                    self._made_ready(name)
                except Exception as error:
                    self._put_off(name)
                    self._on_problem(error, project)
                    continue
                swapped[project] = name
        changed = swapped != self._of_project
        self._of_project = swapped
        with self._lock:
            for name in set(self._ready) - set(swapped.values()):
                del self._ready[name]
        return changed

    def _is_put_off(self, name: str) -> bool:
        return time.monotonic() < self._not_before.get(name, 0.0)

    def _put_off(self, name: str) -> None:
        self._not_before[name] = time.monotonic() + AGAIN_AFTER_S

    @property
    def versions(self) -> list[str]:
        """The base's version and all others that answer a project, each once."""
        return list(dict.fromkeys([self._base.model_version, *sorted(self._of_project.values())]))

    def _made_ready(self, name: str) -> Predictor[Any]:
        with self._lock:
            if name in self._ready:
                return self._ready[name]
        predictor = self._load(name)  # without the lock: others are answered meanwhile
        with self._lock:
            predictor = self._ready.setdefault(name, predictor)
            while len(self._ready) > self._most:
                self._ready.popitem(last=False)
        return predictor
