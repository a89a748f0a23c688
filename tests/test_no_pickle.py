"""Nothing that is read can run code: no pickle is loaded, and torch is told so wherever it loads."""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "xsam_backend"
RUNS_CODE = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "yaml"}
HARMLESS = {
    ("model/released.py", "pickle.UnpicklingError"),
    ("training/pretrained.py", "pickle.UnpicklingError"),
    # An unpickler that knows no class at all: tests/evaluation/test_plain_pickle.py.
    ("evaluation/datasets/plain_pickle.py", "pickle._Unpickler"),
    ("evaluation/datasets/plain_pickle.py", "pickle.BYTEARRAY8"),
}


def calls(tree: ast.AST, name: str) -> list[ast.Call]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == name]


def test_nothing_that_could_run_code_is_used() -> None:
    used = {
        (str(file.relative_to(PACKAGE)), ast.unparse(node))
        for file in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in RUNS_CODE
    }
    assert used == HARMLESS
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            assert not (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in RUNS_CODE), file


def test_torch_loads_weights_only_and_numpy_no_objects() -> None:
    loads = [
        call for file in PACKAGE.rglob("*.py") for call in calls(ast.parse(file.read_text("utf-8")), "torch.load")
    ]
    assert loads
    for call in loads:
        assert any(one.arg == "weights_only" and ast.unparse(one.value) == "True" for one in call.keywords)
    for file in PACKAGE.rglob("*.py"):
        assert "allow_pickle=True" not in file.read_text("utf-8"), file
