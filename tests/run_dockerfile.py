"""Runs a Dockerfile's steps without a container engine: in a folder that stands for the base image, by chroot.

    debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv bookworm ROOT
    chroot ROOT python3 -m venv /usr/local        # where the official Python image has its interpreter, too
    python tests/run_dockerfile.py ROOT --build-arg TORCH=cpu

Needs root. Prints what each step adds on disk, then starts the image's command as its user, waits for its health
check, asks one question of the running service's command line, and stops it. Exit status 0: all of it worked.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]


def instructions(text: str) -> list[tuple[str, str]]:
    """(instruction, rest) in order; comments dropped, continued lines joined."""
    kept = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(kept))
    return [
        (word.upper(), rest.strip())
        for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line)
    ]


def lets_through(ignore: str, path: str) -> bool:
    """Whether a .dockerignore lets a file into the build: the last line that fits it, or a folder of it, decides."""
    passed = True
    for line in ignore.splitlines():
        pattern = line.strip().lstrip("!")
        if not pattern or pattern.startswith("#"):
            continue
        deep = pattern.startswith("**/")
        steps = [path, *map(str, Path(path).parents)]
        names = [Path(step).name for step in steps] if deep else steps
        if any(fnmatch.fnmatchcase(name, pattern.removeprefix("**/")) for name in names):
            passed = line.strip().startswith("!")
    return passed


def context_files(folder: Path) -> list[Path]:
    """What ``docker build`` would send of a checkout: what git knows or would add, less the ignored."""
    ignore = (folder / ".dockerignore").read_text(encoding="utf-8")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.splitlines()
    return [Path(name) for name in listed if lets_through(ignore, name) and (folder / name).is_file()]


@dataclass
class Image:
    """What the steps so far have made of the root folder."""

    root: Path
    context: Path
    arguments: Mapping[str, str]
    environment: dict[str, str] = field(
        default_factory=lambda: {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"}
    )
    user: str = "0"
    folder: str = "/"
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)

    def argv(self, command: Sequence[str]) -> list[str]:
        """``command`` inside the root, as the image's user, with nothing of our environment but pip's settings."""
        number = self.user.partition(":")[0]
        lent = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
        variables = [f"{name}={value}" for name, value in {**lent, "HOME": "/tmp", **self.environment}.items()]
        drop = ["setpriv", f"--reuid={number}", f"--regid={number}", "--clear-groups", "--no-new-privs"]
        inner = ["env", "-i", f"--chdir={self.folder}", *variables, *command]
        return ["chroot", str(self.root), *([] if number == "0" else drop), *inner]

    def step(self, word: str, rest: str) -> None:
        """Carry out one instruction."""
        match word:
            case "FROM" | "EXPOSE" | "VOLUME":
                return
            case "ARG":
                name, _, default = rest.partition("=")
                self.environment[name] = self.arguments.get(name, default)
            case "ENV":
                self.environment |= dict(pair.split("=", 1) for pair in rest.split())
            case "USER":
                self.user = rest
            case "WORKDIR":
                self.folder = rest
            case "COPY":
                source, target = rest.split()
                self._inside(target).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(self.context / source, self._inside(target))
            case "RUN":
                self._run(rest)
            case "HEALTHCHECK":
                self.health = json.loads(rest.partition("CMD ")[2])
            case "ENTRYPOINT":
                self.entrypoint = json.loads(rest)
            case "CMD":
                self.command = json.loads(rest)
            case _:
                raise SystemExit(f"no idea how to run {word}: teach tests/run_dockerfile.py")

    def _run(self, rest: str) -> None:
        bound: list[Path] = []
        while mount := re.match(r"--mount=(\S+)\s+", rest):
            options = dict(part.partition("=")[::2] for part in mount[1].split(","))
            source, target = self.context / options.get("source", "."), self._inside(options["target"])
            (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
            bound.append(target)
            rest = rest[mount.end() :]
        subprocess.run(self.argv(["/bin/sh", "-c", rest]), check=True)
        for target in bound:  # as a mount would, it leaves nothing behind
            shutil.rmtree(target) if target.is_dir() else target.unlink()

    def _inside(self, path: str) -> Path:
        return self.root / path.lstrip("/")


def size_mb(folder: Path) -> float:
    """What ``folder`` takes on disk; mounted file systems don't count."""
    said = subprocess.run(["du", "-sxm", str(folder)], capture_output=True, text=True, check=False).stdout
    return float(said.split()[0])


def try_out(image: Image, limit_s: float) -> None:
    """Start the image's command, wait for its health check, ask the command line about it, stop it."""
    with socket.create_server(("127.0.0.1", 0)) as free:  # a chroot shares this machine's ports, 9090 may be taken
        image.environment["XSAM_BACKEND_PORT"] = str(free.getsockname()[1])
    with subprocess.Popen(image.argv([*image.entrypoint, *image.command])) as service:
        try:
            started = time.monotonic()
            while subprocess.run(image.argv(image.health), capture_output=True, check=False).returncode != 0:
                if service.poll() is not None or time.monotonic() > started + limit_s:
                    raise SystemExit("the health check never passed")
                time.sleep(1)
            print(f"healthy after {time.monotonic() - started:.0f} s", flush=True)
            subprocess.run(image.argv([*image.entrypoint, "doctor"]), check=True)
            subprocess.run(image.argv(["id"]), check=True)
        finally:
            service.terminate()
    if service.returncode != 0:
        raise SystemExit(f"stopped with status {service.returncode}")
    print("stopped with status 0")


def main() -> None:
    """See the top of this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="folder that stands for the base image")
    parser.add_argument("--build-arg", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument(
        "--lend",
        action="append",
        default=[],
        type=Path,
        metavar="PATH",
        help="file or folder of this machine that the steps need, such as pip's configuration",
    )
    given = parser.parse_args()
    for lent in given.lend:
        target = given.root / str(lent).lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if lent.is_dir() else shutil.copy)(lent, target)
    with tempfile.TemporaryDirectory() as context:
        for file in context_files(REPOSITORY):
            (Path(context) / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / file, Path(context) / file)
        image = Image(given.root, Path(context), dict(pair.split("=", 1) for pair in given.build_arg))
        before = size_mb(given.root)
        for word, rest in instructions((REPOSITORY / "Dockerfile").read_text()):
            started = time.monotonic()
            image.step(word, rest)
            after = size_mb(given.root)
            print(f"{after - before:7.0f} MB {time.monotonic() - started:5.0f} s  {word} {rest[:90]}", flush=True)
            before = after
    try_out(image, limit_s=600)


if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit("chroot needs root")
    main()
