"""Each of the label configs at work, as a picture: what somebody sees at the real labeling page.

python -m benchmarks.gallery --label-studio BIN --work FOLDER --output docs

Label Studio and `serve`, with the weights that ship, are started for it. Pictures are drawn scenes that no model was
trained on, chosen for what is on them, not for how they are answered. Where a config has labels of another trade,
those of drawn things stand in their place. Needs Chromium and the requirements in requirements-dev.txt.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import click
import cv2
import numpy as np
from PIL import Image
from playwright.sync_api import Page
from playwright.sync_api import TimeoutError as PageTimeout

from benchmarks.labeling_page import LabelingPage, find_chromium, signed_in
from benchmarks.servers import Running, label_studio_option, running
from xsam_backend.evaluation.simulated_prompts import centre_click
from xsam_backend.geometry.masks import mask_to_box_xyxy
from xsam_backend.ground_truth import GroundTruth
from xsam_backend.scenes.scene import draw_scene

CONFIGS = Path(__file__).parents[1] / "label_configs"
FIRST_SEED = 1_800_000
"""Held out, and apart from all others."""

SIZE_HW = (480, 640)

LIMIT_MS = 30_000
"""For one step at the page."""

HEIGHT = 1060
"""Of the page, px: so that text areas below the picture are seen."""

AREA = (240, 90, 1280, HEIGHT)
"""Of the page: picture, labels and regions; left, top, right, bottom, px."""


@dataclass(frozen=True)
class Shown:
    """One config's picture.

    Attributes:
        config: its file's name without the ending.
        shows: what has to be on the scene, and how often at least; 0 is not at all.
        gesture: "none" for what is there before anybody looks; "click", "box", "words".
        at: the thing that is pointed at, the largest of its name; or the words.
        control: whose label is chosen for it: the thing's name.
        labels: what stands in the place of labels and of words that are looked for.
        most: so many things and surfaces at most are on the scene; 0: any number.
    """

    config: str
    shows: Mapping[str, int]
    gesture: str = "none"
    at: str = ""
    control: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    most: int = 0

    def scene(self) -> GroundTruth:
        """The first one that has it all."""
        for seed in count(FIRST_SEED):
            scene = draw_scene(seed, SIZE_HW)
            seen = {name: scene.names.count(name) for name in self.shows}
            if self.most and len(scene.names) > self.most:
                continue
            if all(seen[name] >= least and (least or not seen[name]) for name, least in self.shows.items()):
                return scene
        raise AssertionError

    def xml(self) -> str:
        """The config with the labels of drawn things."""
        found = (CONFIGS / f"{self.config}.xml").read_text(encoding="utf-8")
        for theirs, ours in self.labels.items():
            found = re.sub(rf'((?:value|predicted_values)=)"{re.escape(theirs)}"', rf'\1"{ours}"', found)
        return found


VEHICLES = "car, boat, rocket"
OPEN = {
    "Two-wheeler": "Vehicle",
    "bicycle, motorcycle, scooter": VEHICLES,
    "Street furniture": "Household",
    "bench, lamp post, waste bin": "lamp, clock, cup",
}
PICTURES = (
    Shown(
        "polygon",
        {"car": 1, "cup": 1},
        "click",
        "cup",
        "click",
        {"Cat": "Cup", "Dog": "Tree", "car, truck, bus": VEHICLES},
    ),
    Shown("brush", {"tree": 2, "sky": 1}, "click", "sky", "click", {"Person": "Tree"}),
    Shown("bitmask", {"leaf": 3, "star": 1}, "box", "leaf", "example", {"Cell": "Leaf", "Debris": "Kite"}),
    Shown("rectangle", {"car": 1, "boat": 1}),
    Shown("rotated-rectangle", {"rocket": 1, "boat": 1}, labels={"Plane": "Rocket", "Ship": "Boat"}),
    Shown("ellipse", {"egg": 2}, "click", "egg", "click", {"Cell": "Egg", "Bubble": "Ball"}),
    Shown("keypoint", {"mushroom": 2, "flower": 1}, labels={"Seedling": "Flower", "Weed": "Mushroom"}),
    Shown("all-alike", {"apple": 3}, "click", "apple", "like_this"),
    Shown(
        "text", {"cup": 1, "hat": 1}, "words", "cup, hat", labels={"Cat": "Cup", "cat, kitten": "cup", "Dog": "Hat"}
    ),
    Shown("referring", {"tree": 2}, "words", "the tree on the left", labels={"Person": "Tree"}),
    Shown(
        "reasoning",
        {"umbrella": 1, "car": 1},
        "words",
        "what keeps the rain off?",
        labels={"Hazard": "Useful", "knife, scissors, stove": "umbrella, hat"},
    ),
    Shown("caption", {"apple": 2}, labels={"Person": "Apple", "Animal": "Sky", "Thing": "Other"}, most=4),
    Shown("conversation", {"car": 1}, "words", "what is on the picture?", labels={"Defect": "Car", "Part": "Tree"}),
    Shown("panoptic", {"car": 1, "road": 1, "sky": 1}, labels={"Person": "House"}),
    Shown(
        "semantic",
        {"water": 1, "grass": 1},
        labels={"Forest": "Grass", "Field": "Sand", "buildings, road": "house, road"},
    ),
    Shown("open-vocabulary", {"lamp": 1, "boat": 1}, labels=OPEN),
    Shown("several-images", {"cup": 1, "bottle": 1}, labels={"Scratch": "Cup", "Dent": "Bottle"}),
    Shown(
        "thresholds",
        {"star": 2, "moon": 0},
        "words",
        "moon",
        labels={"Nucleus": "Star", "Mitosis": "Moon", "Debris": "Heart"},
    ),
)


def open_task(servers: Running, shown: Shown, scene: GroundTruth) -> str:
    """The address of a new task with that scene, in a project of its own that our service answers."""
    client = servers.client
    config = shown.xml()
    project = int(client.create_project(shown.config, config, "Made by benchmarks.gallery.")["id"])
    _, encoded = cv2.imencode(".png", cv2.cvtColor(scene.image, cv2.COLOR_RGB2BGR))
    addresses = [client.upload(project, f"{shown.config}.png", encoded.tobytes(), "image/png")]
    data = {"images": addresses * 2} if "valueList" in config else {"image": addresses[0]}
    task = client.create_task(project, data)["id"]
    client.connect_ml_backend(project, servers.backend, "X-SAM")
    return f"{client.url}/projects/{project}/data?task={task}"


def perform(page: LabelingPage, shown: Shown, scene: GroundTruth) -> None:
    """The gesture, and its answer."""
    if shown.gesture == "none":
        page.page.wait_for_function("() => Htx.annotationStore.selected.regionStore.regions.length > 0")
        return
    page.clear()
    if shown.gesture == "words":
        with page.answered():
            page.phrase(shown.at)
        return
    height, width = scene.masks.shape[1:]
    rim = np.ones((height, width), np.bool_)
    rim[1:-1, 1:-1] = False
    # Not what the rim cuts off, unless it's a surface: a box can't be begun at the canvas's edge.
    mine = [index for index, name in enumerate(scene.names) if name == shown.at]
    mine = [index for index in mine if not (scene.masks[index] & rim).any()] or mine
    mask = scene.masks[max(mine, key=lambda index: int(scene.masks[index].sum()))]
    box = mask_to_box_xyxy(mask)
    assert box is not None
    x0, y0, x1, y1 = 100 * np.array(box) / np.array([width, height] * 2)
    with page.answered():
        if shown.gesture == "box":
            page.box(shown.at.capitalize(), x0, y0, x1, y1, control=shown.control)
        else:
            point = centre_click(mask)
            page.click(
                shown.at.capitalize(), 100 * point.x_px / width, 100 * point.y_px / height, control=shown.control
            )


def shoot(page: Page, servers: Running, shown: Shown, path: Path) -> None:
    """One picture."""
    scene = shown.scene()
    labeling = LabelingPage(page, open_task(servers, shown, scene))
    perform(labeling, shown, scene)
    page.mouse.move(5, 5)  # away from what would be shown highlighted
    page.wait_for_timeout(500)
    page_seen = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    page_seen.crop(AREA).save(path, quality=80, optimize=True)
    click.echo(f"{path} ({path.stat().st_size // 1000} kB)", err=True)


@click.command(help=__doc__)
@label_studio_option
@click.option("--work", type=click.Path(path_type=Path), required=True, help="The servers' folders go here.")
@click.option("--only", default="", help="Which, with + between; all unless given.")
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), default=Path("docs"), show_default=True)
def main(script: Path, work: Path, only: str, output: Path) -> None:
    """See the module's words."""
    chromium = find_chromium()
    if chromium is None:
        raise click.ClickException("no Chromium here: install one (Debian: apt install chromium)")
    output.mkdir(parents=True, exist_ok=True)
    failed: list[str] = []
    wanted = [shown for shown in PICTURES if not only or shown.config in only.split("+")]
    with running(work.absolute(), script.absolute()) as servers:
        login = servers.login
        with signed_in(chromium, servers.client.url, login.email, login.password) as page:
            page.set_default_timeout(LIMIT_MS)
            page.set_viewport_size({"width": AREA[2], "height": HEIGHT})
            for shown in wanted:
                try:
                    shoot(page, servers, shown, output / f"label-config-{shown.config}.jpg")
                except PageTimeout as error:
                    page.screenshot(path=work / f"{shown.config}.png")  # what it looked like instead
                    failed.append(f"{shown.config}: {str(error).splitlines()[0]}")
    if failed:
        raise click.ClickException("\n".join([*failed, f"{work} has what these looked like"]))


if __name__ == "__main__":
    main()
