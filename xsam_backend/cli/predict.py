"""``predict``: one picture, one question, no Label Studio."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from xsam_backend.cli.asking import Numbers, prompts_from
from xsam_backend.cli.loading import loaded, version_option
from xsam_backend.cli.options import settings_options
from xsam_backend.cli.output import brush_config, to_coco, to_label_studio, to_lines
from xsam_backend.config import Settings, load_settings
from xsam_backend.errors import ImageError, LabelConfigError
from xsam_backend.instances import Instances
from xsam_backend.labelstudio.context import batch_prompts
from xsam_backend.labelstudio.label_config import LabelConfig
from xsam_backend.prompts import Prompt


@click.command("predict")
@click.argument("image")
@click.option(
    "--label", "labels", multiple=True, help="What to look for; or, with a hint, what to call it. Repeatable."
)
@click.option("--click", "clicks", multiple=True, type=Numbers("X,Y"), help="A click on the object. Repeatable.")
@click.option("--not-click", "not_clicks", multiple=True, type=Numbers("X,Y"), help="A click beside it. Repeatable.")
@click.option("--box", "boxes", multiple=True, type=Numbers("X0,Y0,X1,Y1"), help="A box around it. Repeatable.")
@click.option("--text", help="A phrase: 'the red ball on the left'.")
@click.option("--threshold", type=click.FloatRange(0, 1), help="Leave out what scores lower.")
@click.option(
    "--label-config", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Label config (XML)."
)
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write the picture with the masks drawn on it."
)
@click.option(
    "--json",
    "json_format",
    type=click.Choice(["coco", "label-studio"]),
    help="Print COCO, or a task that Label Studio imports, instead of lines.",
)
@version_option
@settings_options("model", "device", "dtype", "data_dir")
def command(
    image: str,
    labels: tuple[str, ...],
    clicks: tuple[tuple[float, ...], ...],
    not_clicks: tuple[tuple[float, ...], ...],
    boxes: tuple[tuple[float, ...], ...],
    text: str | None,
    threshold: float | None,
    label_config: Path | None,
    output: Path | None,
    json_format: str | None,
    version: str | None,
    **given: Any,
) -> None:
    """Ask about IMAGE (a file, an http(s) address or a data URI). Coordinates are pixels of the picture as shown.

    With a label config and nothing else asked, its labels are looked for.
    """
    settings = load_settings(**given)
    config = LabelConfig.parse(_read_text(label_config)) if label_config else None
    if config is not None and not (labels or clicks or not_clicks or boxes or text is not None):
        prompts: list[Prompt] = [question.prompt for question in batch_prompts(config)]
        if threshold is not None:
            prompts = [replace(prompt, score_threshold=threshold) for prompt in prompts]
    else:
        if text and not labels and config is None:  # a config says itself what it has labels for
            labels = (text,)
        prompts = prompts_from(labels, clicks, not_clicks, boxes, text, threshold)
    pixels = read_picture(image, settings)

    predictor = loaded(settings, version)
    state = predictor.encode(pixels)
    answers = [predictor.answer(state, prompt) for prompt in prompts]
    size_hw = (pixels.shape[0], pixels.shape[1])
    found = Instances.concatenate([answer.instances for answer in answers], size_hw)

    if output is not None:
        write_overlay(output, pixels, found)
        click.echo(f"wrote {output}", err=True)
    if json_format == "coco":
        click.echo(json.dumps(to_coco(found, image)))
    elif json_format == "label-studio":
        written = config or brush_config(found.labels)
        click.echo(json.dumps(to_label_studio(found, image, predictor.model_version, written)))
    else:
        for line in to_lines(answers):
            click.echo(line)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LabelConfigError(f"{path}: expected a label config as UTF-8 text, could not read it: {error}") from None


def read_picture(image: str, settings: Settings) -> NDArray[np.uint8]:
    """uint8 (H, W, 3) RGB of a file of this machine's user, or of an address, within the settings' bounds.

    Raises:
        ImageError: it cannot be had or read.
    """
    from xsam_backend.labelstudio.decoding import decode_image
    from xsam_backend.labelstudio.images import ImageSource
    from xsam_backend.server.outside import fetch_policy

    if "://" in image or image.startswith("data:"):
        return ImageSource(fetch_policy(settings)).fetch(image).pixels
    try:
        encoded = Path(image).read_bytes()
    except OSError as error:
        raise ImageError(
            f"{image}: {error.strerror}: give a picture's file, an http(s) address or a data URI"
        ) from None
    try:
        return decode_image(encoded, max_pixels=settings.image_max_megapixels * 1_000_000)[0]
    except ImageError as error:
        raise ImageError(f"{image}: {error}") from None


def write_overlay(path: Path, pixels: NDArray[np.uint8], found: Instances) -> None:
    """Write the picture with its instances as PNG or whatever the file's name says.

    Raises:
        ImageError: the file cannot be written, or its name ends in no picture format.
    """
    from PIL import Image

    from xsam_backend.overlay import draw_overlay

    try:
        Image.fromarray(draw_overlay(pixels, found)).save(path)
    except (OSError, ValueError) as error:
        raise ImageError(f"cannot write {path}: {error}; choose a name that ends in .png or .jpg") from None
