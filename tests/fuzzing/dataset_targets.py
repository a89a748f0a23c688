"""More targets: files of data sets, for evaluation and training, and configs of a training."""

from __future__ import annotations

import pickle
import sys
from functools import partial
from pathlib import Path
from typing import Any

from mutations import changed_bytes, changed_json
from scratch import scratch_file, scratch_folder
from targets import Target

sys.path.insert(0, str(Path(__file__).parents[1] / "evaluation"))

from dataset_forms import FORMS, REFS, read_all

from xsam_backend.evaluation.datasets.plain_pickle import read_plain_pickle
from xsam_backend.training.config_file import SHIPPED_CONFIGS, load_train_config


def run_form(name: str, content: Any) -> None:
    read_all(scratch_folder(), name, content)


def run_pickle(content: bytes) -> None:
    read = read_plain_pickle(scratch_file(content, "refs(unc).p"))
    assert type(read).__module__ == "builtins", type(read)


def run_train_config(content: bytes) -> None:
    load_train_config(scratch_file(content, "training.toml"))


PICKLES = [pickle.dumps(REFS * 3, protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]
PICKLE_PIECES = (
    b"cos\nsystem\n(S'true'\ntR",
    b"\x93",
    b"\x8c\x02os\x8c\x06system\x93",
    b"\x82\x01",
    b"\x84\xff\xff\xff\x7f",
    b"Pouter\n",
    b"Q",
    b"r\xff\xff\xff\x3f",
    b"p99999999999\n",
    b"\x96\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"\x8d\xff\xff\xff\xff\x0f\x00\x00\x00",
    b"\x8b\xff\xff\xff\x7f",
    b"I" + b"9" * 5000 + b"\n",
    b"(" * 3000 + b"l" * 3000,
    b"0",
    b"e",
    b"u",
    b"b",
    b".",
)
TOML_PIECES = (
    b"[[data]]\n",
    b"[[stages]]\n",
    b"[data]\n",
    b"kind = 'scenes'\n",
    b"kind = []\n",
    b"= [" + b"[" * 5000,
    b"= {" + b"a={" * 5000,
    b"= " + b"9" * 5000 + b"\n",
    b"= nan\n",
    b"= -inf\n",
    b"= 1e400\n",
    b"= -1\n",
    b"= 0\n",
    b"= ''\n",
    b"= '\\u0000'\n",
    b"= 2026-01-01\n",
    b"a.b.c = 1\n",
    b"\x00",
    b"\xff",
    b'"""',
)
CONFIG_SEEDS = [
    "\n".join(line for line in path.read_text("utf-8").splitlines() if line and line[0] != "#").encode()
    for path in sorted(SHIPPED_CONFIGS.glob("*.toml"))
]

DATASET_TARGETS = {
    f"data: {name}": Target(changed_json([form.content]), partial(run_form, name)) for name, form in FORMS.items()
} | {
    "pickles": Target(changed_bytes(PICKLES, PICKLE_PIECES), run_pickle),
    "training configs": Target(changed_bytes([*CONFIG_SEEDS, b"seed = 1\n"], TOML_PIECES), run_train_config),
}
