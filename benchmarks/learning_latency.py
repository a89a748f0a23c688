"""How much slower clicks are answered while a fine-tuning runs beside the service.

python -m benchmarks.learning_latency DATA/domain --out FOLDER

The service and its worker run as operators run them, on this machine. Clicks come over HTTP, one after the other:
warm ones on a picture that is encoded already, cold ones on pictures that aren't. The training process is halted and
let go on by turns (SIGSTOP, SIGCONT), so that both kinds of times are taken in one run, minutes apart at most.
"""

from __future__ import annotations

import base64
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import click
import numpy as np
import requests
from PIL import Image

from benchmarks.learning import KEY, SEED, accept, label_config, places_below
from benchmarks.servers import serving
from xsam_backend.evaluation.datasets.opening import open_dataset

ACCEPTED = 10
ROUNDS, WARM, COLD = 12, 20, 3
"""Rounds of each kind, and clicks of each round."""

SETTLE_S = 0.5
CONFIG = """<View><Image name="image" value="$image"/>
<KeyPointLabels name="click" toName="image" smart="true"><Label value="nucleus"/></KeyPointLabels>
<BrushLabels name="brush" toName="image" smart="false"><Label value="nucleus"/></BrushLabels></View>"""


def seconds(address: str, picture: str) -> float:
    """One click in the middle of the picture, a data URI."""
    context = {
        "id": "click",
        "type": "keypointlabels",
        "from_name": "click",
        "to_name": "image",
        "original_width": 100,
        "original_height": 100,
        "is_positive": True,
        "value": {"x": 50, "y": 50, "width": 1, "keypointlabels": ["nucleus"]},
    }
    body = {
        "tasks": [{"id": 1, "data": {"image": picture}}],
        "project": "7.7",
        "label_config": CONFIG,
        "params": {"context": {"result": [context]}},
    }
    begun = time.perf_counter()
    answer = requests.post(f"{address}/predict", json=body, timeout=120)
    took = time.perf_counter() - begun
    answer.raise_for_status()
    return took


def data_uri(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> str:
    """PNG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def training(address: str) -> int:
    """Wait until steps are taken; the process that takes them."""
    while True:
        jobs = requests.get(f"{address}/jobs", timeout=30, headers={"Accept": "application/json"}).json()["jobs"]
        if jobs and jobs[0]["state"] not in ("queued", "running"):
            raise click.ClickException(f"the job ended: {jobs[0]}")
        if jobs and str(jobs[0]["stage"]).startswith("training") and jobs[0]["step"] > 0:
            return int(jobs[0]["pid"])
        time.sleep(1)


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Work and numbers go here.")
def main(folder: Path, out: Path) -> None:
    """See the module's words."""
    train, val = (open_dataset(folder, split=split, only="nuclei") for split in ("train", "val"))
    order = np.random.default_rng(SEED).permutation(len(train.records))
    out = out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    data_dir = out / "data"
    places = places_below(data_dir)
    accept(places, [train.records[index] for index in order[:ACCEPTED]], label_config(["nucleus"]))
    picture = val.records[0].load().image
    warm, colour = data_uri(picture), 0
    times: dict[str, list[float]] = defaultdict(list)
    with serving(data_dir, out / "serve.log") as address:
        command = [sys.executable, "-m", "xsam_backend", "jobs", "start", str(KEY), "--data-dir", str(data_dir)]
        subprocess.run(command, check=True)
        pid = training(address)
        try:
            for number in range(2 * ROUNDS):
                kind = "training" if number % 2 else "idle"
                os.kill(pid, signal.SIGCONT if number % 2 else signal.SIGSTOP)
                time.sleep(SETTLE_S)
                seconds(address, warm)
                for _ in range(WARM):
                    times[f"warm, {kind}"].append(seconds(address, warm))
                for _ in range(COLD):
                    colour += 1  # another picture for the cache, the same for the eye
                    times[f"cold, {kind}"].append(seconds(address, data_uri(picture + np.uint8(colour))))
        finally:  # a halted process would never end
            os.kill(pid, signal.SIGCONT)
        training(address)
        cancel = [sys.executable, "-m", "xsam_backend", "jobs", "cancel", "1", "--data-dir", str(data_dir)]
        subprocess.run(cancel, check=True)
    (out / "latency.json").write_text(json.dumps(times), encoding="utf-8")
    for name in ("warm", "cold"):
        idle, busy = (np.array(times[f"{name}, {kind}"]) * 1000 for kind in ("idle", "training"))
        for what, share in (("median", 50), ("95th percentile", 95)):
            before, beside = np.percentile(idle, share), np.percentile(busy, share)
            click.echo(
                f"{name} click, {what}: {before:.0f} ms idle, {beside:.0f} ms while training: {beside / before:.2f} "
                f"times ({len(idle)} and {len(busy)} clicks)"
            )


if __name__ == "__main__":
    main()
