"""docs/evaluation.md says what is there: tasks, tables, columns, and commands that can be read."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from knowing_predictor import KnowingPredictor
from measured_pictures import Given, dataset_of, labelled

from xsam_backend.cli.evaluate import command
from xsam_backend.evaluation.datasets.opening import FORMATS
from xsam_backend.evaluation.report.as_json import FORMAT, FORMAT_VERSION, to_json
from xsam_backend.evaluation.running import Wish, evaluate
from xsam_backend.evaluation.tasks.choosing import TASKS
from xsam_backend.evaluation.tasks.run import Options
from xsam_backend.prompts import Task

DOCS = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text("utf-8")


def test_every_table_and_column_is_described() -> None:
    """Of the tasks' results, and of nothing else."""
    truth = labelled(0)
    options = Options(rounds=0, objects=1)
    wishes = [
        Wish(dataset_of([Given(truth)]), (), options),
        Wish(dataset_of([Given(truth)], "semantic", (Task.OPEN_VOCABULARY,)), ("open-vocabulary",), options),
    ]
    made = to_json(evaluate(KnowingPredictor([truth]), "x", wishes))
    written = {
        task: {key: [column["key"] for column in table["columns"]] for key, table in result["tables"].items()}
        for dataset in made["datasets"]
        for task, result in dataset["tasks"].items()
    }
    assert set(written) == set(TASKS)
    described: dict[str, dict[str, list[str]]] = {}
    for tasks, tables in re.findall(r"^\| ([a-z, -]+) \| ((?:[a-z_]+: [a-z0-9_, ]+\.? ?)+) \|$", DOCS, re.MULTILINE):
        for task in set(tasks.split(", ")) - {"task"}:  # the header
            described[task] = {
                name: columns.split(", ") for name, columns in re.findall(r"([a-z_]+): ([a-z0-9_, ]+)", tables)
            }
    assert set(described) == set(TASKS)
    for task, tables in written.items():
        for name, columns in tables.items():
            assert set(columns) <= set(described[task][name]), (task, name)
    everything = {task: tables for task, tables in written.items() if task != "open-vocabulary"}
    assert everything["generic"] == described["generic"]


def test_keys_of_the_json_are_described() -> None:
    truth = labelled(0)
    made = to_json(
        evaluate(KnowingPredictor([truth]), "x", [Wish(dataset_of([Given(truth)]), (), Options(rounds=0))])
    )
    assert f'`format` is `"{FORMAT}"`, `format_version` {FORMAT_VERSION}' in DOCS
    block = DOCS[DOCS.index("```text") :]
    for key in (*made, *made["datasets"][0], *made["datasets"][0]["tasks"]["generic"]):
        assert re.search(rf"\b{key}\b", block), key


def test_commands_can_be_read() -> None:
    blocks = re.findall(r"```bash\n(.*?)```", DOCS, re.DOTALL)
    commands = [line for block in blocks for line in block.replace("\\\n", " ").splitlines() if line.strip()]
    assert len(commands) > 5
    for line in commands:
        program, verb, *arguments = shlex.split(line)
        assert (program, verb) == ("xsam-backend", "evaluate")
        context = command.make_context("evaluate", arguments)
        specs = context.params["datasets"]
        tasks = {*context.params["tasks"], *(task for spec in specs for task in spec.tasks or ())}
        assert tasks <= set(TASKS), line
        assert all("," not in spec.path for spec in specs), line


def test_every_format_has_its_line() -> None:
    for word in (
        "COCO instances",
        "panoptic",
        "ADE20K",
        "Label Studio",
        "RefCOCO",
        "ReasonSeg",
        "GranD-f",
        "scenes",
        "snapshot",
    ):
        assert word in DOCS
    assert len(FORMATS) == 11, "a new format needs a line in docs/evaluation.md"
