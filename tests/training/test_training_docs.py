"""``docs/training.md`` lists the keys of a config as they are; ``UPDATE_DOCS=1`` writes them into it."""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from xsam_backend.training.config import (
    REACHED_BY,
    TRAINED_BY,
    DatasetData,
    LoraConfig,
    PhotoData,
    Questions,
    SceneData,
    StageConfig,
    Table,
    TrainConfig,
)

PAGE = Path(__file__).parents[2] / "docs" / "training.md"
MARKED = re.compile(r"(?<=<!-- keys -->\n).*(?=<!-- /keys -->)", re.DOTALL)

TABLES: Mapping[str, type[Table]] = {
    "The file": TrainConfig,
    '`[[data]]` with `kind = "photos"`': PhotoData,
    '`[[data]]` with `kind = "dataset"`': DatasetData,
    '`[[data]]` with `kind = "scenes"`': SceneData,
    "`[data.questions]`, `[stages.questions]`": Questions,
    "`[[stages]]`": StageConfig,
    "`[lora]`": LoraConfig,
}


def keys() -> str:
    """All tables as Markdown."""
    parts = []
    for title, model in TABLES.items():
        schema = model.model_json_schema()
        rows = [
            f"| `{key}` | {allowed(value)} | {default(value, key in schema.get('required', ()))} | {meaning(value)} |"
            for key, value in schema["properties"].items()
        ]
        words = " ".join((model.__doc__ or "").split())
        head = ["", f"### {title}", "", words, "", "| key | value | default | meaning |", "| --- | --- | --- | --- |"]
        parts += [*head, *rows]
    return "\n".join(parts) + "\n\n"


def allowed(schema: Mapping[str, Any]) -> str:
    """What a value may be, in words."""
    if "anyOf" in schema:  # or nothing at all: that's the default
        return allowed(next(one for one in schema["anyOf"] if one.get("type") != "null"))
    if "$ref" in schema:
        return "table"
    if "const" in schema or "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    if schema["type"] == "array":
        if "prefixItems" in schema:
            return f"{len(schema['prefixItems'])} numbers {bounds(schema['prefixItems'][0])}"
        return (
            "tables"
            if "oneOf" in schema["items"] or "$ref" in schema["items"]
            else f"list of {allowed(schema['items'])}"
        )
    kinds = {"integer": "whole number", "number": "number", "boolean": "true, false", "string": "text"}
    kind = "path" if schema.get("format") == "path" else kinds[schema["type"]]
    return f"{kind} {bounds(schema)}".strip()


def bounds(schema: Mapping[str, Any]) -> str:
    low = f"above {schema['exclusiveMinimum']:g}" if "exclusiveMinimum" in schema else ""
    low = low or (f"from {schema['minimum']:g}" if "minimum" in schema else "")
    high = f"below {schema['exclusiveMaximum']:g}" if "exclusiveMaximum" in schema else ""
    return " ".join(filter(None, (low, high)))


def default(schema: Mapping[str, Any], required: bool) -> str:
    if required:
        return "needed"
    value = schema.get("default")
    return "" if value in (None, [], "") else f"`{json.dumps(value)}`"


def meaning(schema: Mapping[str, Any]) -> str:
    return str(schema.get("description", "")).replace("|", "\\|")


def test_keys_in_the_docs_are_those_of_the_code() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert MARKED.search(page), "docs/training.md has no place for the keys"
    if os.environ.get("UPDATE_DOCS"):
        page = MARKED.sub(lambda _: keys(), page)
        PAGE.write_text(page, encoding="utf-8")
    assert MARKED.findall(page) == [keys()], "keys have changed: UPDATE_DOCS=1 writes them into docs/training.md"


@pytest.mark.parametrize("title", TABLES)
def test_every_key_says_what_it_is_for(title: str) -> None:
    for key, value in TABLES[title].model_json_schema()["properties"].items():
        assert key == "kind" or meaning(value).endswith("."), key


def test_kinds_in_the_docs_are_those_of_the_code() -> None:
    rows = {
        cells[0].strip(" `"): cells
        for cells in (line.split("|")[1:] for line in PAGE.read_text().splitlines())
        if cells and cells[0].strip(" `") in TRAINED_BY
    }
    assert set(rows) == set(TRAINED_BY)
    for kind in ("words", "segmentor", "alignment"):
        assert rows[kind][2].strip() == ", ".join(TRAINED_BY[kind])
    assert "image encoders" in rows["mixed"][2]
    assert set(REACHED_BY["mixed"]) - set(TRAINED_BY["mixed"]) == {"vision_encoder", "segmentor_encoder"}
    assert set(REACHED_BY["mixed"]) - set(REACHED_BY["alignment"]) == {"connector", "segmentor"}
    assert set(REACHED_BY["segmentor"]) == set(TRAINED_BY["segmentor"])
    assert set(REACHED_BY["words"]) - set(TRAINED_BY["words"]) == {"language"}
