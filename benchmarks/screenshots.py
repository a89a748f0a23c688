"""Screenshots of a running demo, for the documentation: the pre-labelled project, and each gesture with its answer.

    xsam-backend demo                                    # in another terminal; wait for its address
    python -m benchmarks.screenshots --output docs

Needs Chromium and the requirements in requirements-dev.txt. The project stays what it was: nothing is submitted, and
the drafts that the page would keep of a gesture don't reach Label Studio.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
from PIL import Image, ImageOps

from benchmarks.labeling_page import LabelingPage, find_chromium, signed_in
from xsam_backend.cli.options import settings_options
from xsam_backend.config import load_settings
from xsam_backend.demo.folder import DemoFolder
from xsam_backend.demo.pictures import SCENES
from xsam_backend.demo.ports import LOOPBACK
from xsam_backend.labelstudio.client import Row
from xsam_backend.labelstudio.project_setup import ProjectSetup

LARGEST_BYTES = 300_000


@dataclass(frozen=True)
class Shot:
    """A gesture on one of the demo's pictures. ``perform`` gives the prompts; the last one's answer is awaited."""

    name: str
    picture: str
    perform: Callable[[LabelingPage], None]


def scene(number: int) -> str:
    """The name of a drawn picture, by its place among them."""
    return f"scene-{SCENES[number]}.png"


def click_on_a_car(page: LabelingPage) -> None:
    """The brown car of the fifth scene."""
    with page.answered():
        page.click("Car", 36, 49)


def rocket_with_the_wall(page: LabelingPage) -> None:
    """A fin of the red rocket of the fourth scene, right at its rim: the wall is taken with it."""
    with page.answered():
        page.click("Rocket", 47.8, 20)


def rocket_without_the_wall(page: LabelingPage) -> None:
    """The same, and an Alt-click on the wall."""
    rocket_with_the_wall(page)
    with page.answered():
        page.click("Rocket", 14, 18.8, negative=True)


def box_around_a_cup(page: LabelingPage) -> None:
    """The cup in the photograph."""
    with page.answered():
        page.box("Cup", 28, 6, 73, 62)


def phrase_for_the_sky(page: LabelingPage) -> None:
    """The sky of the third scene: no label names it, and so no outline of it is there before."""
    with page.answered():
        page.phrase("sky")


SHOTS = (
    Shot("click", scene(4), click_on_a_car),
    Shot("spilt-click", scene(3), rocket_with_the_wall),
    Shot("alt-click", scene(3), rocket_without_the_wall),
    Shot("box", "coffee.png", box_around_a_cup),
    Shot("phrase", scene(2), phrase_for_the_sky),
)


@click.command(help=__doc__)
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), default=Path("docs"), show_default=True)
@settings_options("data_dir")
def main(output: Path, data_dir: str | None) -> None:
    """See the module's words."""
    chromium = find_chromium()
    if chromium is None:
        raise click.ClickException("no Chromium here: install one (Debian: apt install chromium)")
    folder = DemoFolder(load_settings(data_dir=data_dir).data_dir / "demo")
    login, memory = folder.login(), folder.remembered()
    client = ProjectSetup(f"http://{LOOPBACK}:{memory.label_studio_port}", login.token)
    project = f"{client.url}/projects/{memory.project_id}/data"
    tasks = {task["data"].get("picture"): task["id"] for task in client.tasks(memory.project_id)}
    output.mkdir(parents=True, exist_ok=True)
    with signed_in(chromium, client.url, login.email, login.password) as page:
        page.goto(project)
        page.get_by_test_id("table-row").nth(len(tasks) - 1).wait_for()
        page.wait_for_load_state("networkidle")
        keep(page.screenshot(), output / "demo-project.png")
        page.goto(f"{project}?task={best_prelabelled(client, memory.project_id)}")
        page.wait_for_function("() => window.Htx?.annotationStore.selected?.regionStore.regions.length > 0")
        page.wait_for_load_state("networkidle")
        keep(page.screenshot(), output / "demo-prelabels.png")
        page.route("**/drafts*", lambda route: route.fulfill(status=201, json={"id": 1}))
        for shot in SHOTS:
            labeling = LabelingPage(page, f"{project}?task={tasks[shot.picture]}")
            labeling.clear()
            shot.perform(labeling)
            page.mouse.move(5, 5)  # away from what would be shown highlighted
            keep(page.screenshot(), output / f"demo-{shot.name}.png")
            click.echo(f"{shot.name}: {labeling.count_suggestions()} regions suggested", err=True)


def best_prelabelled(client: ProjectSetup, project_id: int) -> int:
    """The task of which the newest model is the most certain; earlier ones' predictions are still there."""

    def score(task: Row) -> float:
        newest = max(task.get("predictions") or (), key=lambda prediction: prediction["id"], default={})
        return float(newest.get("score") or 0)

    return int(max(client.tasks(project_id), key=score)["id"])


def keep(png: bytes, path: Path) -> None:
    """Write a screenshot, with fewer shades of each colour where its file would be too large."""
    image = Image.open(io.BytesIO(png)).convert("RGB")
    for bits in range(8, 3, -1):
        buffer = io.BytesIO()
        ImageOps.posterize(image, bits).save(buffer, "PNG", optimize=True)
        if buffer.tell() <= LARGEST_BYTES:
            break
    path.write_bytes(buffer.getvalue())
    click.echo(f"{path} ({buffer.tell() // 1000} kB)", err=True)


if __name__ == "__main__":
    main()
