"""Cells, all like one: a project of painted cells, fine-tuned, and what one click brings at Label Studio's own page.

python -m benchmarks.drawn_cells --label-studio BIN --work FOLDER --output docs/cells-all-alike.jpg

The cells are painted here, so that no picture of others is needed: blurred, grainy and of all sizes, as under a
fluorescence microscope. Twenty pictures are accepted, one fine-tuning runs as the service's worker runs it, and its
version answers whether or not the gate promotes it; the picture that is shown is the first that it never saw. Needs
Chromium and the requirements in requirements-dev.txt.
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
import time
from pathlib import Path

import click
import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.gallery import AREA, HEIGHT, LIMIT_MS, Shown, open_task, perform
from benchmarks.labeling_page import LabelingPage, find_chromium, signed_in
from benchmarks.learning import KEY, Drawn, accept, label_config, places_below
from benchmarks.servers import Running, label_studio_option, running
from xsam_backend.demo.folder import DemoFolder
from xsam_backend.ground_truth import GroundTruth

CELL = "Cell"
SIZE_HW = (480, 640)
FIRST_SEED = 2_600_000
TINT = (0.22, 0.42, 1.0)
"""Red, green and blue of the stain."""

SHOWN = Shown("all-alike", {}, "click", CELL, "like_this", labels={"Apple": CELL, "Leaf": "Debris"})
SWAPPED_S = 60.0
"""So long the service may take to see that another version answers."""


def paint_cells(seed: int) -> GroundTruth:
    """A picture of cells, and the mask of each. The same seed gives the same picture."""
    rng = np.random.default_rng(seed)
    height, width = SIZE_HW
    light = 14 + 60 * _clouds(rng, 60.0)
    taken = np.zeros(SIZE_HW, np.bool_)
    masks = []
    usual_px = rng.uniform(13, 22)
    for _ in range(int(rng.integers(22, 46))):
        centre = rng.uniform((0, 0), (width, height))
        whole = _outline(rng, centre, usual_px * float(np.exp(rng.normal(0, 0.22))))
        mask = whole & ~taken
        if mask.sum() < max(60, 0.85 * whole.sum()):
            continue
        taken |= mask
        masks.append(mask)
        soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 1.4)
        chromatin = 1 + 2.2 * _clouds(rng, 3.5)
        light += soft * chromatin * float(rng.uniform(70, 190))
    for _ in range(int(rng.integers(0, 12))):  # dust, which is no cell
        spot = np.zeros(SIZE_HW, np.float32)
        cv2.circle(spot, (int(rng.integers(width)), int(rng.integers(height))), int(rng.integers(1, 3)), 1.0, -1)
        light += cv2.GaussianBlur(spot, (0, 0), 1.0) * float(rng.uniform(60, 200))
    light = light + rng.normal(0, 1, SIZE_HW) * (3 + 0.35 * np.sqrt(np.maximum(light, 0)))
    image = np.clip(light[..., None] * np.array(TINT), 0, 255).astype(np.uint8)
    crowd = np.zeros(len(masks), np.bool_)
    return GroundTruth(image, np.array(masks), (CELL,) * len(masks), ~crowd, crowd, source=f"cells {seed}")


def _outline(rng: np.random.Generator, centre: NDArray[np.float64], radius_px: float) -> NDArray[np.bool_]:
    """A turned ellipse that is a little dented."""
    turn = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    away = np.full_like(turn, radius_px)
    for wave in (2, 3, 4):
        away += radius_px * rng.normal(0, 0.05) * np.cos(wave * turn + rng.uniform(0, 2 * np.pi))
    flat, angle = rng.uniform(0.68, 1.0), rng.uniform(0, np.pi)
    x, y = away * np.cos(turn), flat * away * np.sin(turn)
    turned = np.stack([x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)], 1)
    mask = np.zeros(SIZE_HW, np.uint8)
    cv2.fillPoly(mask, [np.round(centre + turned).astype(np.int32)], 1)
    return mask.astype(np.bool_)


def _clouds(rng: np.random.Generator, sigma_px: float) -> NDArray[np.float64]:
    """Grey values around 0, smooth over so many pixels; their spread is about 0.1."""
    clouds = cv2.GaussianBlur(rng.normal(0, 1, SIZE_HW), (0, 0), sigma_px)
    return np.asarray(0.1 * clouds / clouds.std())


def learn(data_dir: Path, count: int) -> str:
    """Accept so many pictures and fine-tune on them; the version's name. One that is there already is taken."""
    places = places_below(data_dir)
    if made := places.versions.all():
        return made[0].name
    pictures = data_dir / "cells"
    pictures.mkdir(parents=True)
    seeds = range(FIRST_SEED, FIRST_SEED + count)
    drawn = [Drawn.written(pictures / f"{seed}.png", paint_cells(seed)) for seed in seeds]
    accept(places, drawn, label_config([CELL]))
    for command in (["start", str(KEY)], ["work", "--once"]):
        _ours("jobs", *command, data_dir=data_dir)
    return places.versions.all()[0].name


def _ours(*arguments: str, data_dir: Path) -> None:
    subprocess.run([sys.executable, "-m", "xsam_backend", *arguments, "--data-dir", str(data_dir)], check=True)


def answer_with(servers: Running, project: int, name: str) -> None:
    """Let the version answer a project that the service has heard of."""
    known = (one["key"] for one in servers.ours("/status")["projects"])
    (uid,) = (key for key in known if f"/{project}." in key and key != str(KEY))
    _ours("models", "promote", name, "--project", uid, "--reason", "to be shown", data_dir=servers.data_dir)
    deadline = time.monotonic() + SWAPPED_S
    while name not in str(servers.ours("/status")):
        if time.monotonic() > deadline:
            raise click.ClickException(f"{name} did not come to answer within {SWAPPED_S:.0f} s")
        time.sleep(1)


def shoot(page: LabelingPage, path: Path) -> None:
    """Picture, labels and regions of the page."""
    page.page.mouse.move(5, 5)
    page.page.wait_for_timeout(500)
    seen = Image.open(io.BytesIO(page.page.screenshot())).convert("RGB")
    seen.crop(AREA).save(path, quality=80, optimize=True)


@click.command(help=__doc__)
@label_studio_option
@click.option("--work", type=click.Path(path_type=Path), required=True, help="The servers' folders go here.")
@click.option("--accept", "count", default=20, show_default=True, help="So many pictures.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), required=True, help="A JPEG file.")
def main(script: Path, work: Path, count: int, output: Path) -> None:
    """See the module's words."""
    chromium = find_chromium()
    if chromium is None:
        raise click.ClickException("no Chromium here: install one (Debian: apt install chromium)")
    name = learn(DemoFolder(work.absolute()).backend_data, count)
    scene = paint_cells(FIRST_SEED + count)
    with running(work.absolute(), script.absolute()) as servers:
        address = open_task(servers, SHOWN, scene)
        answer_with(servers, int(address.split("/projects/")[1].split("/")[0]), name)
        with signed_in(chromium, servers.client.url, servers.login.email, servers.login.password) as tab:
            tab.set_default_timeout(LIMIT_MS)
            tab.set_viewport_size({"width": AREA[2], "height": HEIGHT})
            page = LabelingPage(tab, address)
            perform(page, SHOWN, scene)
            shoot(page, output)
            found = tab.get_by_text(re.compile(r"^\d+ suggestions?$")).first.inner_text()
    click.echo(f"{name}: {found}, {len(scene.names)} cells; {output}")


if __name__ == "__main__":
    main()
