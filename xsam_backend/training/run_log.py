"""What a run says while it trains: ``log.jsonl`` for machines, TensorBoard, a line and a bar for people.

Each line has the means over a number of steps. A run that goes on continues the log of its state: what a killed one
had logged after that state is taken away, and the means begun then are completed. Each line is in the files before
the state that follows it.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto import event_pb2
from tensorboardX.summary import scalar
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from xsam_backend.errors import CheckpointError

logger = logging.getLogger(__name__)

LOG = "log.jsonl"
TENSORBOARD = "tensorboard"


class RunLog:
    """The log of one run; to be used as a context manager.

    Args:
        folder: of the run.
        every: steps of which a line has the means.
        step: the step that the run goes on with, counted over all stages.
        steps: how many there are.
        begun: ``unfinished`` of the state, for the line that was under way.
        tensorboard: whether to write event files, too.

    Raises:
        SettingsError: TensorBoard was asked for and its writer isn't installed.
        CheckpointError: a file can't be written, here or in ``add``.
    """

    def __init__(
        self,
        folder: Path,
        every: int,
        step: int,
        steps: int,
        begun: Mapping[str, Any] | None = None,
        tensorboard: bool = False,
    ) -> None:
        self._file = folder / LOG
        self._every = every
        self._step = step
        self._steps = steps
        self._totals: dict[str, list[float]] = dict(begun["totals"]) if begun else {}
        self._summed: int = begun["steps"] if begun else 0
        self._started, self._seen = time.monotonic(), 0
        with _told(folder):
            self._events = _Events(folder / TENSORBOARD, step) if tensorboard else None
            _forget_after(self._file, step)

    def __enter__(self) -> RunLog:
        self._redirected = logging_redirect_tqdm()
        self._redirected.__enter__()
        self._bar = tqdm(total=self._steps, initial=self._step, unit="step", disable=None, dynamic_ncols=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
        self._redirected.__exit__(None, None, None)
        if self._events is not None:
            with suppress(OSError):  # a full disk was told already
                self._events.close()

    @property
    def unfinished(self) -> dict[str, Any]:
        """What the next line's means are made of, sum and number of each term, as JSON can hold it."""
        return {"totals": self._totals, "steps": self._summed}

    def add(self, stage: str, terms: Mapping[str, float], rate: float, pictures: int, last: bool = False) -> None:
        """Count one step: its losses by name, its learning rate, and how many pictures it saw.

        The ``last`` step of a stage has a line in any case: means are never those of two stages.
        """
        self._step += 1
        self._seen += pictures
        self._summed += 1
        for name, term in terms.items():
            total, count = self._totals.get(name, (0.0, 0))
            self._totals[name] = [total + term, count + 1]
        self._bar.set_description(stage, refresh=False)
        self._bar.update()
        if self._summed < self._every and not last:
            return
        means = {name: total / count for name, (total, count) in self._totals.items()}
        self._totals, self._summed = {}, 0
        line = {"step": self._step, "stage": stage, **means}
        line |= {"learning_rate": rate, "seconds_per_picture": (time.monotonic() - self._started) / self._seen}
        with _told(self._file.parent):
            with self._file.open("a", encoding="utf-8") as log:
                log.write(json.dumps(line) + "\n")
            if self._events is not None:
                self._events.add({**means, "learning_rate": rate}, self._step)
        left = (self._steps - self._step) * (time.monotonic() - self._started) * pictures / self._seen
        logger.info(
            "step %d of %d, %s: %s; %s left",
            self._step,
            self._steps,
            stage,
            ", ".join(f"{name} {mean:.3f}" for name, mean in means.items()),
            tqdm.format_interval(left),
        )

    def skip(self, steps: int) -> None:
        """Count steps as done that a stage, ended early, doesn't take: the next one's keep their numbers."""
        self._step += steps
        self._bar.update(steps)


class _Events:
    """Curves for TensorBoard, written at once.

    tensorboardX's own writer hands them to a thread: after a kill, up to two minutes of them are missing, and after a
    full disk it waits forever.
    """

    def __init__(self, folder: Path, step: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        # Files are named by the second: without the step, a run that goes on at once would write over the one before.
        self._file: Any = EventsWriter(str(folder / "events"), f".{step}")
        if step:  # what was logged after the state that the run goes on from is taken out of the curves
            start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
            self._write(step=step + 1, session_log=start)
        self._file.flush()

    def add(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self._write(step=step, summary=scalar(f"train/{name}", value))
        self._file.flush()

    def close(self) -> None:
        self._file.close()

    def _write(self, **event: Any) -> None:
        self._file.write_event(event_pb2.Event(wall_time=time.time(), **event))


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CheckpointError(
            f"{folder}: the log can't be written ({error}); the run's last state is intact. Free some space and give "
            "the same command again"
        ) from error


def _forget_after(file: Path, step: int) -> None:
    """Keep the lines of steps up to this one; a line that a kill cut off goes as well."""
    if not file.exists():
        return
    kept = []
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except (ValueError, KeyError):
            continue
    rest = file.with_name(LOG + ".partial")
    rest.write_text("".join(kept), encoding="utf-8")
    rest.replace(file)
