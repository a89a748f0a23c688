"""The training photos that the recipe sets aside, as a data set of their own: to choose things on, never on val.

python -m benchmarks.tuning_set DATA/photos tuning.json
xsam-backend evaluate tuning.json,images=DATA/photos,least-px=1000
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from xsam_backend.training.tiny import TUNING_EVERY

SPLIT = "tune"


def tuning_part(content: Mapping[str, Any]) -> dict[str, Any]:
    """Of what an ``instances.json`` with splits holds: every tenth training picture, its annotations, all classes."""
    training = [image for image in content["images"] if image.get("split") == "train"]
    images = [image | {"split": SPLIT} for image in training[::TUNING_EVERY]]
    kept = {image["id"] for image in images}
    annotations = [annotation for annotation in content["annotations"] if annotation["image_id"] in kept]
    return {**content, "images": images, "annotations": annotations}


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("target", type=click.Path(dir_okay=False, path_type=Path))
def main(folder: Path, target: Path) -> None:
    """See the module's words."""
    part = tuning_part(json.loads((folder / "instances.json").read_text(encoding="utf-8")))
    target.write_text(json.dumps(part), encoding="utf-8")
    click.echo(f"{target}: {len(part['images'])} pictures, {len(part['annotations'])} annotations")


if __name__ == "__main__":
    main()
