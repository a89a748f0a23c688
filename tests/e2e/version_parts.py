"""Versions of the small base, and what is asked of them: shared by tests that change what is deployed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from event_parts import Sender
from ls_client import click
from small_models import small_model
from test_serving import picture

from xsam_backend.learning.version_files import VersionFiles
from xsam_backend.model.checkpoint import model_version
from xsam_backend.model.delta import Delta, save_delta
from xsam_backend.store.versions import Version, Versions

# The weights are random, and so are their scores: everything is shown.
CONFIG = """<View><Image name="image" value="$image"/>
<KeyPointLabels name="kp" toName="image" smart="true"><Label value="cat"/></KeyPointLabels>
<BrushLabels name="brush" toName="image" smart="false" model_score_threshold="0"><Label value="cat"/></BrushLabels>
</View>"""

SENDER = Sender()
CHANGED = "background.weight", "language.model.model.layers.0.self_attn.o_proj.weight"


def asked(interactive: bool) -> dict[str, Any]:
    return {
        "tasks": [{"id": 1, "data": {"image": picture(96, 64)}}],
        "project": SENDER.uid,
        "label_config": CONFIG,
        "params": {"context": {"result": [click(50, 50, "cat")]} if interactive else None},
    }


def add_version(data_dir: Path, base: Path, versions: Versions, seed: int) -> str:
    """A version with changes drawn at random, as a fine-tuning would leave it."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {name: parameter.shape for name, parameter in small_model().named_parameters()}
    whole = {name: 0.1 * torch.randn(shapes[name], generator=generator) for name in CHANGED}
    path = data_dir / f"{seed}.safetensors"
    of_base = model_version(base)
    save_delta(Delta(of_base, 1.0, {}, whole), path)
    name = VersionFiles(data_dir / "versions").keep(path, of_base)
    versions.add(Version(name, str(SENDER.key), of_base, of_base, "refused", None, {"pictures": []}))
    return name


def without_ids(entry: Mapping[str, Any]) -> str:
    """An answer, without what is new each time: masks, labels and scores. A region's number stands for its id."""
    numbers = {region["id"]: number for number, region in enumerate(entry["result"])}
    regions = [{**region, "id": numbers[region["id"]]} for region in entry["result"]]
    for region in regions:
        if "parentID" in region:
            region["parentID"] = numbers[region["parentID"]]
    return json.dumps({**entry, "result": regions}, sort_keys=True)
