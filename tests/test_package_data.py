"""What isn't code is installed too: a kind of file that pyproject.toml doesn't name would be missing with users."""

import sys
from fnmatch import fnmatch
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]


def test_every_file_of_the_package_is_named() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    kinds = [pattern.rpartition("/")[2] for pattern in settings["package-data"]["xsam_backend"]]
    files = [path for path in (ROOT / "xsam_backend").rglob("*") if path.is_file()]
    others = [path for path in files if path.suffix not in (".py", ".pyc")]
    assert len(others) > 20
    assert not [path for path in others if not any(fnmatch(path.name, kind) for kind in kinds)]
