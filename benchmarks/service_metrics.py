"""What a running service counts of itself, as its ``/metrics`` tells it to Prometheus."""

from __future__ import annotations

from collections.abc import Mapping

import requests
from prometheus_client.parser import text_string_to_metric_families


def samples(address: str, name: str, label: str) -> dict[str, float]:
    """The numbers of one name, such as "xsam_backend_cache_entries", by a label of theirs.

    Raises:
        requests.RequestException: the service doesn't answer.
    """
    answer = requests.get(f"{address}/metrics", timeout=30)
    answer.raise_for_status()
    return {
        sample.labels[label]: sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
        if sample.name == name
    }


def pictures_kept(address: str) -> dict[str, int]:
    """Of how many pictures each layer keeps something: "outputs", "states", "prefixes"."""
    return {layer: int(number) for layer, number in samples(address, "xsam_backend_cache_entries", "layer").items()}


def stage_totals(address: str) -> dict[str, tuple[float, float]]:
    """Of each stage that the service has run since its start: seconds in all, and how many times."""
    seconds, times = (samples(address, f"xsam_backend_stage_seconds_{what}", "stage") for what in ("sum", "count"))
    return {stage: (seconds[stage], times[stage]) for stage in seconds}


def mean_seconds(
    before: Mapping[str, tuple[float, float]], after: Mapping[str, tuple[float, float]]
) -> dict[str, float]:
    """Of each stage that ran between two readings of ``stage_totals``: its mean."""
    means = {}
    for stage, (seconds, times) in after.items():
        seconds_before, times_before = before.get(stage, (0.0, 0.0))
        if times > times_before:
            means[stage] = (seconds - seconds_before) / (times - times_before)
    return means
