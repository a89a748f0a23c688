"""What the operator can see: Prometheus metrics, and the last problems in words.

Label Studio shows annotators no backend error at all, so this is where "nothing happens" gets its reason.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from xsam_backend.errors import (
    BusyError,
    DeviceMemoryError,
    ImageError,
    LabelConfigError,
    LabelStudioError,
    PromptError,
    RequestError,
    StoreBusyError,
    StoreError,
    XSamBackendError,
)
from xsam_backend.inference.engine import Engine
from xsam_backend.server.recently import Recently
from xsam_backend.store.bulk_progress import STATES
from xsam_backend.store.bulk_tasks import BulkTasks
from xsam_backend.store.jobs import Jobs

logger = logging.getLogger(__name__)

CALLERS_ERRORS = (
    RequestError,
    LabelConfigError,
    PromptError,
    ImageError,
    BusyError,
    DeviceMemoryError,
    StoreBusyError,
    LabelStudioError,
)
"""What whoever asks, or the operator, can act on after reading the message. Every other error is ours."""

SECONDS = (0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 100)
"""Upper bounds of the time histograms' buckets."""


@dataclass(frozen=True)
class Problem:
    """Something that went wrong, in words for the operator.

    ``kind`` is the error's class name; ``where`` says what it concerns, such as "project 21.17, task 114".
    ``error_id`` finds the traceback in the log; empty for what a caller can mend, which needs none.
    ``over_at``: since when it isn't so any more, of what lasts.
    """

    at: datetime
    kind: str
    where: str
    message: str
    error_id: str = ""
    over_at: datetime | None = None


class Monitor:
    """Counts and remembers. Safe to use from several threads."""

    def __init__(self, keep: int = 50) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "xsam_backend_requests", "Requests answered.", ["endpoint", "status"], registry=self.registry
        )
        for status in ("500", "503"):  # Prometheus sees no increase in a number that appears as 1
            self.requests.labels("webhook", status)
        self.request_seconds = Histogram(
            "xsam_backend_request_seconds", "Time to answer.", ["endpoint"], registry=self.registry, buckets=SECONDS
        )
        self.stage_seconds = Histogram(
            "xsam_backend_stage_seconds", "Time by stage.", ["stage"], registry=self.registry, buckets=SECONDS
        )
        self.regions = Counter(
            "xsam_backend_regions", "Regions sent to Label Studio.", ["interactive"], registry=self.registry
        )
        self.problems = Counter(
            "xsam_backend_problems", "Failed tasks and requests, by kind of error.", ["kind"], registry=self.registry
        )
        self.events = Counter(
            "xsam_backend_webhook_events", "Webhook events kept.", ["action", "verified"], registry=self.registry
        )
        self.setups = Counter("xsam_backend_setups", "Setups heard from Label Studio.", registry=self.registry)
        self.started = Gauge("xsam_backend_start_time_seconds", "Unix time of the start.", registry=self.registry)
        self.started.set_to_current_time()
        ProcessCollector(registry=self.registry)
        self._last: deque[Problem] = deque(maxlen=keep)
        self._lock = threading.Lock()

    def problem(self, error: BaseException, where: str) -> Problem:
        """Log, count and remember an error. Ours gets an id and a traceback in the log, a caller's mistake a line."""
        kind = type(error).__name__
        if isinstance(error, CALLERS_ERRORS):
            found = Problem(_now(), kind, where, str(error))
            logger.warning("%s: %s: %s", where, kind, error)
        else:
            words = str(error) if isinstance(error, XSamBackendError) else "unexpected error, see the log"
            found = Problem(_now(), kind, where, words, uuid.uuid4().hex[:12])
            logger.error("%s: error %s", where, found.error_id, exc_info=error)
        self._remember(found)
        return found

    def note(self, kind: str, where: str, message: str) -> None:
        """Remember something that no request failed on but the operator should know.

        Newer words about the same thing take the place of older ones; the same words again change nothing.
        """
        with self._lock:
            same = [known for known in self._last if (known.kind, known.where) == (kind, where)]
            if any(known.message == message and known.over_at is None for known in same):
                return
            for known in same:
                self._last.remove(known)
        logger.warning("%s: %s: %s", where, kind, message)
        self._remember(Problem(_now(), kind, where, message))

    def over(self, where: str) -> None:
        """What was noted of it, and lasted, isn't so any more."""
        with self._lock:
            for number, known in enumerate(self._last):
                if known.where == where and not known.error_id and known.over_at is None:
                    self._last[number] = replace(known, over_at=_now())
        logger.info("%s: all is well again", where)

    def _remember(self, problem: Problem) -> None:
        self.problems.labels(problem.kind).inc()
        with self._lock:
            self._last.appendleft(problem)

    @property
    def last_problems(self) -> list[Problem]:
        """The latest first."""
        with self._lock:
            return list(self._last)

    @property
    def setups_heard(self) -> int:
        """How many have come since the start: ``doctor`` sees by it whether Label Studio reaches this process."""
        return int(self.registry.get_sample_value("xsam_backend_setups_total") or 0)

    def watch(self, engine: Engine) -> None:
        """Add the engine's own numbers to the metrics."""
        self.registry.register(_EngineNumbers(engine))

    def watch_itself(self, numbers: Collector) -> None:
        """Add what is known of the process itself to the metrics."""
        self.registry.register(numbers)

    def watch_jobs(self, jobs: Jobs) -> None:
        """Add the numbers of queued and running jobs to the metrics."""
        states = ("queued", "running")
        self.registry.register(
            _StateNumbers("xsam_backend_jobs", "Fine-tunings, by state.", Recently(jobs.count), states)
        )

    def watch_bulk_tasks(self, tasks: BulkTasks) -> None:
        """Add the numbers of tasks that are pre-labelled in the background to the metrics."""
        words = "Tasks of bulk pre-labelling, by state."
        self.registry.register(_StateNumbers("xsam_backend_bulk_tasks", words, Recently(tasks.count), STATES))

    def metrics(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self.registry)


class _EngineNumbers(Collector):
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def collect(self) -> Iterator[Metric]:
        """Read when metrics are asked for."""
        layers = self._engine.cache_stats.items()
        counters = {
            "hits": ("Kept of pictures, and found.", {layer: stats.hits for layer, stats in layers}),
            "misses": ("Made anew of pictures.", {layer: stats.misses for layer, stats in layers}),
            "evictions": ("Pushed out.", {layer: stats.evictions for layer, stats in layers}),
        }
        gauges = {
            "bytes": (
                "What is kept of pictures, on disk too.",
                {layer: stats.nbytes for layer, stats in layers},
            ),
            "capacity_bytes": ("Most of it.", {layer: stats.capacity_bytes for layer, stats in layers}),
            "entries": ("Pictures of which it is kept.", {layer: stats.entries for layer, stats in layers}),
        }
        for name, (words, numbers) in counters.items():
            yield _by_layer(CounterMetricFamily(f"xsam_backend_cache_{name}", words, labels=["layer"]), numbers)
        for name, (words, numbers) in gauges.items():
            yield _by_layer(GaugeMetricFamily(f"xsam_backend_cache_{name}", words, labels=["layer"]), numbers)
        yield CounterMetricFamily(
            "xsam_backend_memory_shortages",
            "Times that the device had no memory left.",
            value=self._engine.shortages,
        )
        yield GaugeMetricFamily(
            "xsam_backend_stage_running_seconds",
            "How long the stage under way has been going on.",
            value=self._engine.stage_s,
        )
        yield GaugeMetricFamily("xsam_backend_waiting", "Requests waiting for the model.", value=self._engine.waiting)


def _by_layer(
    family: CounterMetricFamily | GaugeMetricFamily, numbers: Mapping[str, int]
) -> CounterMetricFamily | GaugeMetricFamily:
    for layer, number in numbers.items():
        family.add_metric([layer], number)
    return family


class _StateNumbers(Collector):
    """How many there are in each state, as a table has it."""

    def __init__(self, name: str, words: str, count: Callable[[], Mapping[str, int]], states: Sequence[str]) -> None:
        self._name = name
        self._words = words
        self._count = count
        self._states = states

    def describe(self) -> Iterator[Metric]:
        """Named beforehand, so that registering reads no database."""
        yield self._gauge()

    def collect(self) -> Iterator[Metric]:
        """Read when metrics are asked for. A database that can't be read must not cost the other metrics."""
        try:
            counted = self._count()
        except StoreError as error:
            logger.warning("%s", error)
            return
        gauge = self._gauge()
        for state in self._states:
            gauge.add_metric([state], counted.get(state, 0))
        yield gauge

    def _gauge(self) -> GaugeMetricFamily:
        return GaugeMetricFamily(self._name, self._words, labels=["state"])


def _now() -> datetime:
    return datetime.now(timezone.utc)
