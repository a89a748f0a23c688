"""Requests as Label Studio sends them, for suites that talk to the service over HTTP."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import requests

SMART = """<KeyPointLabels name="click" toName="image" smart="true"><Label value="{first}"/></KeyPointLabels>"""
DRAWN = """<{kind}Labels name="drawn" toName="image" smart="false">{labels}</{kind}Labels>"""
IN_WORDS = """<TextArea name="look_for" toName="image" smart="true"/>"""
LIMIT_S = 600


def config(labels: Sequence[str], kind: str = "Polygon", *, in_words: bool = False) -> str:
    """A label config: a smart key point of the first label, shapes of one kind for all, and an area for phrases."""
    named = "".join(f'<Label value="{label}"/>' for label in labels)
    tags = SMART.format(first=labels[0]) + IN_WORDS * in_words + DRAWN.format(kind=kind, labels=named)
    return f'<View><Image name="image" value="$image"/>{tags}</View>'


def body(
    tasks: Sequence[tuple[int, Path]],
    click_at: tuple[float, float] | None = None,
    *,
    phrase: str | None = None,
    labels: Sequence[str] = ("ball",),
    size_hw: tuple[int, int] = (480, 640),
    annotations: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """One request.

    Args:
        tasks: number and picture of each.
        click_at: percent of width and height.
        phrase: what is looked for, in words. Without this and a click, pre-labels are asked for.
        size_hw: of the picture that is clicked in.
        annotations: what Label Studio has of the tasks already, and sends with each request.
    """
    context = None
    if click_at is not None:
        value = {"x": click_at[0], "y": click_at[1], "width": 0.3, "keypointlabels": [labels[0]]}
        region = {"type": "keypointlabels", "from_name": "click", "to_name": "image", "value": value}
        height, width = size_hw
        context = {"result": [{**region, "is_positive": True, "original_width": width, "original_height": height}]}
    elif phrase is not None:
        written = {"id": "asks", "type": "textarea", "from_name": "look_for", "to_name": "image"}
        context = {"result": [{**written, "value": {"text": [phrase]}}]}
    return {
        "tasks": [
            {"id": number, "data": {"image": str(path)}, "annotations": list(annotations)} for number, path in tasks
        ],
        "project": "7.7",
        "label_config": config(labels, in_words=phrase is not None),
        "params": {"context": context},
    }


def predict(address: str, asked: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The answers to one request, by task.

    Raises:
        requests.HTTPError: it was refused.
    """
    answer = requests.post(f"{address}/predict", json=asked, timeout=LIMIT_S)
    answer.raise_for_status()
    return list(answer.json()["results"])


def seconds_to_predict(address: str, asked: Mapping[str, Any]) -> float:
    """How long that takes, over HTTP; the request is written before."""
    content, kind = json.dumps(asked), {"Content-Type": "application/json"}
    begun = perf_counter()
    answer = requests.post(f"{address}/predict", data=content, headers=kind, timeout=LIMIT_S)
    seconds = perf_counter() - begun
    answer.raise_for_status()
    return seconds
