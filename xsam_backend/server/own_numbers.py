"""Metrics about the process itself: versions, memory, disk, what it lacks. All are read when somebody asks."""

from __future__ import annotations

import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

import xsam_backend
from xsam_backend.server.health import Health


class OwnNumbers(Collector):
    """See the module.

    Args:
        model_version: of the base.
        versions: that answer projects now.
        folder: on whose disk there should be room.
        device: that the model is on, as torch names it. No other is asked: asking opens it, for hundreds of
            megabytes, and it may be another service's.
    """

    def __init__(
        self, model_version: str, versions: Callable[[], list[str]], folder: Path, health: Health, device: str = ""
    ) -> None:
        self._model_version, self._versions, self._folder, self._health = model_version, versions, folder, health
        self._device = device

    def collect(self) -> Iterator[Metric]:
        """All of them."""
        yield from (self._info(), self._answering(), self._ready())
        yield from self._memory()
        try:
            free = shutil.disk_usage(self._folder).free
        except OSError:  # then "ready" says why
            return
        yield GaugeMetricFamily("xsam_backend_disk_free_bytes", "Room on the data folder's disk.", value=free)

    def _info(self) -> Metric:
        labels = {
            "version": xsam_backend.__version__,
            "model_version": self._model_version,
            "python": platform.python_version(),
        }
        info = GaugeMetricFamily("xsam_backend_info", "What runs here; always 1.", labels=list(labels))
        info.add_metric(list(labels.values()), 1)
        return info

    def _answering(self) -> Metric:
        answering = GaugeMetricFamily(
            "xsam_backend_version_answers", "Model versions that answer projects now; always 1.", labels=["name"]
        )
        for name in self._versions():
            answering.add_metric([name], 1)
        return answering

    def _ready(self) -> Metric:
        lacking = self._health.lacking
        ready = GaugeMetricFamily("xsam_backend_ready", "1 where a need of requests is met.", labels=["need"])
        for name in self._health.names:
            ready.add_metric([name], int(name not in lacking))
        return ready

    def _memory(self) -> Iterator[Metric]:
        torch = sys.modules.get("torch")
        if torch is None or not self._device.startswith("cuda") or not torch.cuda.is_initialized():
            return
        free, total = torch.cuda.mem_get_info(self._device)
        numbers = {
            "held": torch.cuda.memory_allocated(self._device),
            "reserved": torch.cuda.memory_reserved(self._device),
            "free": free,
            "total": total,
        }
        family = GaugeMetricFamily(
            "xsam_backend_device_bytes", "Memory on the GPU, by use.", labels=["device", "use"]
        )
        for use, value in numbers.items():
            family.add_metric([self._device, use], value)
        yield family
