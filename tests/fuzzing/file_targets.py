"""More targets: files that come from elsewhere, what Label Studio's API answers, and what is packed in a region."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from mutations import changed_bytes, changed_json
from PIL import Image
from scratch import scratch_file, scratch_folder
from targets import CONFIGS, EVENTS, RECORDED, SIZE_HW, Target, _client

from xsam_backend.evaluation.datasets.label_studio import open_export
from xsam_backend.evaluation.datasets.records import Wanted
from xsam_backend.labelstudio.annotations import read_annotation
from xsam_backend.labelstudio.label_config import LabelConfig
from xsam_backend.learning.wishes import Schedule
from xsam_backend.model.config import XSamConfig
from xsam_backend.model.delta import Delta, load_delta, save_delta
from xsam_backend.model.precision import main_dtype, stored_layout
from xsam_backend.model.released import shard_names
from xsam_backend.store.restoring import read_manifest


def _bitmask() -> list[bytes]:
    made = []
    alpha = Image.fromarray(np.pad(np.full((9, 12), 255, np.uint8), ((3, 12), (4, 16))))
    for mode in ("RGBA", "LA", "P", "1", "I;16"):
        image = Image.new("RGBA", alpha.size, "red")
        image.putalpha(alpha)
        buffer = io.BytesIO()
        (Image.new("I;16", alpha.size, 700) if mode == "I;16" else image.convert(mode)).save(buffer, "PNG")
        made.append(buffer.getvalue())
    return made


def run_bitmask(png: bytes) -> None:
    region = {
        "id": "r",
        "type": "bitmask",
        "from_name": "bitmask",
        "to_name": "image",
        "original_width": SIZE_HW[1],
        "original_height": SIZE_HW[0],
        "value": {"imageDataURL": "data:image/png;base64," + base64.b64encode(png).decode()},
    }
    read_annotation([region], SIZE_HW)


def run_schedule(expression: bytes) -> None:
    schedule = Schedule(expression.decode("utf-8", "replace"))
    moment = datetime(2026, 2, 28, 23, 59, tzinfo=timezone.utc)
    found = schedule.after(moment)
    assert found is None or moment < found < moment + timedelta(days=366 * 100)


EXPORT = [
    {
        "id": number,
        "data": {"image": "data:image/png;base64," + base64.b64encode(_bitmask()[0]).decode()},
        "annotations": [{"id": number, "result": row["result"], "updated_at": "2026-01-01T00:00:00Z"}],
    }
    for number, row in enumerate(
        json.loads((RECORDED / "result_variants.json").read_text("utf-8"))["rows"].values(), start=1
    )
]


def run_export(rows: Any) -> None:
    for config in (None, LabelConfig.parse(CONFIGS[0])):
        for record in open_export(Wanted(Path("export.json"), rows), config).records[:3]:
            record.load()


@lru_cache(1)
def _delta() -> bytes:
    path = scratch_folder() / "seed.safetensors"
    pair = torch.ones(2, 3), torch.ones(4, 2)
    save_delta(Delta("tiny", 0.5, {"a.weight": pair}, {"b.bias": torch.zeros(3)}, {}, {"cat": 0.5}), path)
    return path.read_bytes()


DELTA_PIECES = (
    b'"__metadata__"',
    b'"facts"',
    b'{\\"format\\"',
    b'"dtype":"F16"',
    b'"BF16"',
    b'"shape":[2,3]',
    b'"shape":[4294967295,4294967295,4294967295]',
    b'"data_offsets":[0,18446744073709551615]',
    b"\xff" * 8,
    b"\x00" * 8,
    b"NaN",
    b"null",
)


def run_delta(content: bytes) -> None:
    delta = load_delta(scratch_file(content, "delta.safetensors"))
    assert isinstance(delta.scale, float)


def run_weights(content: bytes) -> None:
    main_dtype(stored_layout(scratch_file(content, "model.safetensors")))


def run_model_config(content: bytes) -> None:
    XSamConfig.from_json(content.decode("utf-8", "replace"))


def _as_file(name: str, run: Callable[[Path], object]) -> Callable[[Any], None]:
    return lambda value: void(run(scratch_file(json.dumps(value).encode(), name)))


def void(_: object) -> None:
    """A target answers nothing."""


MANIFEST = {
    "format": 1,
    "made_at": "2026-11-22T11:40:00Z",
    "made_by": "1.0",
    "databases": {"store": "store_0001", "inbox": "inbox_0001"},
    "files": {
        name: {"bytes": 3, "sha256": "0" * 64} for name in ("store.sqlite3", "inbox.sqlite3", "pictures/ab/abc")
    },
}
SHARDS = {
    "weight_map": {"a.weight": "model-00001-of-00002.safetensors", "b.weight": "model-00002-of-00002.safetensors"}
}

ANSWERS = [
    {
        "project": event["project"],
        "tasks": [{**event["task"], "annotations": [event["annotation"]]}],
    }
    for event in EVENTS
    if isinstance(event, dict) and {"project", "task", "annotation"} <= set(event)
]


def run_answers(answers: Any) -> None:
    """As the client hands them on: a project is an object, tasks are a list of objects."""
    project = answers.get("project") if isinstance(answers, dict) else None
    tasks = answers.get("tasks") if isinstance(answers, dict) else None
    if (
        not isinstance(project, dict)
        or not isinstance(tasks, list)
        or not all(isinstance(one, dict) for one in tasks)
    ):
        return

    def listed(_project_id: int) -> Iterator[dict[str, Any]]:
        yield from tasks

    nothing = SimpleNamespace(
        project=lambda _id: project,
        has_project=lambda _id: True,
        tasks=listed,
        has_annotation=lambda _id: False,
        has_task=lambda _id: False,
    )
    _client().collector.sync(nothing, 1)


VARIANTS = [
    file.read_bytes()
    for file in sorted(Path(__file__).parents[2].glob("xsam_backend/model/**/*.json"))
    if "image_size" in file.read_text("utf-8") or "segmentor" in file.read_text("utf-8")
]

FILE_TARGETS = {
    "bitmasks": Target(changed_bytes(_bitmask()), run_bitmask),
    "schedules": Target(
        changed_bytes(
            (b"0 3 * * mon-fri", b"*/5 0-6 1,15 jan-mar *", b"59 23 29 2 *"),
            (
                b"*",
                b"*/",
                b"-",
                b",",
                b"last",
                b"1st",
                b"0",
                b"9" * 30,
                b"sun-mon",
                b"xth",
                b" ",
                b"\x00",
                "٣".encode(),
            ),
        ),
        run_schedule,
    ),
    "exports": Target(changed_json([EXPORT[:4], EXPORT[4:8], EXPORT[8:12]]), run_export),
    "deltas": Target(st.deferred(lambda: changed_bytes([_delta()], DELTA_PIECES)), run_delta),
    "weights' headers": Target(st.deferred(lambda: changed_bytes([_delta()], DELTA_PIECES)), run_weights),
    "model configs": Target(
        changed_bytes(VARIANTS, (b"null", b"-1", b"1e400", b"NaN", b"[", b"{", b'"', b"9" * 5000, b"[" * 5000)),
        run_model_config,
    ),
    "manifests": Target(changed_json([MANIFEST]), _as_file("manifest.json", lambda path: read_manifest(path.parent))),
    "indices of shards": Target(changed_json([SHARDS]), _as_file("index.json", shard_names)),
    "answers of Label Studio's API": Target(changed_json(ANSWERS), run_answers),
}
