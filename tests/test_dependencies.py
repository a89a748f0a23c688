"""The arrows between the package's parts point one way, and what must stay light stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "xsam_backend"

CONTRACTS = {"errors", "instances", "prompts", "ground_truth", "whole_files"}
MAY_IMPORT: dict[str, set[str]] = {
    # Contracts and pure parts.
    "errors": set(),
    "whole_files": set(),
    "geometry": {"errors"},
    "instances": {"errors", "geometry"},
    "prompts": {"errors", "geometry"},
    "ground_truth": {"errors", "instances"},
    "config": {"errors"},
    "overlay": {"errors", "instances", "geometry"},
    "region_masks": {"errors", "geometry", "instances", "prompts"},
    # Siblings: they share the contracts and never import each other.
    "labelstudio": CONTRACTS | {"geometry", "region_masks"},
    "model": CONTRACTS | {"geometry", "region_masks"},
    "store": CONTRACTS | {"geometry"},
    "scenes": CONTRACTS | {"geometry"},
    # Above one or several siblings.
    "inference": CONTRACTS | {"geometry", "model"},
    # Evaluation reads what annotators accepted: exports, and projects through the API.
    "evaluation": CONTRACTS | {"geometry", "region_masks", "model", "scenes", "overlay", "inference", "labelstudio"},
    # Training simulates clicks and strokes as the evaluation does.
    "training": CONTRACTS | {"geometry", "region_masks", "model", "store", "scenes", "overlay", "evaluation"},
    # Label Studio's annotations become what training eats, so it stands above both.
    "learning": CONTRACTS
    | {"geometry", "region_masks", "labelstudio", "model", "store", "training", "evaluation", "overlay"},
    # The top.
    "server": CONTRACTS | {"geometry", "labelstudio", "model", "store", "inference", "config", "overlay", "learning"},
    "prelabelling": CONTRACTS
    | {"geometry", "labelstudio", "model", "store", "inference", "config", "learning", "server"},
    "cli": CONTRACTS
    | {"geometry", "labelstudio", "model", "store", "inference", "config", "overlay"}
    | {"server", "training", "evaluation", "scenes", "demo", "learning", "prelabelling"},
    # Starts the server as a process of its own.
    "demo": CONTRACTS | {"config", "labelstudio", "scenes"},
    "__main__": {"cli"},
}
"""Part (module or folder of the package) -> other parts that it may import."""

LIGHT = (
    "geometry",
    "region_masks",
    "prompts",
    "instances",
    "ground_truth",
    "labelstudio",
    "store",
    "scenes",
    "config",
    "errors",
)
HEAVY = {"torch", "transformers", "flask", "gunicorn", "peft"}
OUTWARD = {"requests", "urllib3", "httpx", "httpx2", "aiohttp", "fsspec", "socket", "http", "huggingface_hub"}
SPEAKS_OUTWARD = {
    "labelstudio/client.py",
    "labelstudio/bounded_http.py",  # how the client does
    "labelstudio/deadlines.py",  # the sockets of both
    "labelstudio/images.py",
    "labelstudio/fetching.py",  # the download itself, for images
    "labelstudio/egress.py",  # whom images may speak to
    "cli/checks/service.py",  # the service itself, on this machine
    "server/http_worker.py",  # answers only: the sockets that gunicorn accepted
    "server/serving.py",  # whether its own port is free
    "demo/ports.py",  # which of this machine's ports are free
    "store/shared_files.py",  # what services on several machines share, through fsspec
    "prelabelling/folder_work.py",  # pictures of a folder or bucket, through fsspec
    "model/hub.py",  # weights by name, through huggingface_hub
    "model/hub_errors.py",  # its errors by their types
    "model/hub_files.py",  # the download itself, for hub
}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def part_of(module: Path) -> str:
    return module.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(module: Path) -> Iterator[str]:
    """Dotted names that a module imports, wherever in it; ``from a import b`` gives ``a.b``."""
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_every_part_is_drawn() -> None:
    assert {part_of(module) for module in modules()} - {"__init__"} <= set(MAY_IMPORT)


@pytest.mark.parametrize("part", sorted(MAY_IMPORT))
def test_arrows_point_one_way(part: str) -> None:
    wrong = [
        f"{module.relative_to(PACKAGE)} imports {name}"
        for module in modules()
        if part_of(module) == part
        for name in imports(module)
        if name.startswith("xsam_backend.")
        and (other := name.split(".")[1]) != part
        and other in MAY_IMPORT
        and other not in MAY_IMPORT[part]
    ]
    assert wrong == []


def test_the_drawing_has_no_circle() -> None:
    seen: set[str] = set()
    while len(seen) < len(MAY_IMPORT):
        free = {part for part, others in MAY_IMPORT.items() if others <= seen} - seen
        assert free, f"a circle among {sorted(set(MAY_IMPORT) - seen)}"
        seen |= free


def test_light_parts_name_nothing_heavy() -> None:
    wrong = [
        f"{module.relative_to(PACKAGE)} imports {name}"
        for module in modules()
        if part_of(module) in LIGHT
        for name in imports(module)
        if name.split(".")[0] in HEAVY
    ]
    assert wrong == []


def loaded_with(names: list[str]) -> set[str]:
    """What a fresh process has imported after these modules."""
    script = f"import importlib, sys\nfor name in {names!r}: importlib.import_module(name)\nprint(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(ran.stdout.split())


def dotted(module: Path) -> str:
    parts = module.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(["xsam_backend", *parts]).removesuffix(".__init__")


def test_light_parts_load_nothing_heavy() -> None:
    """Also not through others: all their modules are imported in a fresh process."""
    names = [dotted(module) for module in modules() if part_of(module) in LIGHT and module.name != "env.py"]
    loaded = loaded_with(names)
    assert HEAVY & loaded == set()
    assert set(names) <= loaded


def test_the_server_loads_no_torch() -> None:
    """Its process forks the one that has the model, and CUDA doesn't survive a fork."""
    names = [  # label_studio_ml.py is for those who have that package
        dotted(module) for module in modules() if part_of(module) == "server" and module.stem != "label_studio_ml"
    ]
    loaded = loaded_with([*names, "xsam_backend.cli.serve"])
    assert {"torch", "transformers", "peft"} & loaded == set()
    assert set(names) <= loaded


def test_only_named_modules_speak_outward() -> None:
    speakers = {
        str(module.relative_to(PACKAGE))
        for module in modules()
        for name in imports(module)
        if name.split(".")[0] in OUTWARD
    }
    assert speakers <= SPEAKS_OUTWARD


def test_only_config_reads_the_environment() -> None:
    readers = {
        str(module.relative_to(PACKAGE))
        for module in modules()
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv", "environb")
    }
    assert readers <= {"config.py"}
