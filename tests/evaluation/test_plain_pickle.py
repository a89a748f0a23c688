"""Plain data are read; whatever could run code is refused before it runs."""

from __future__ import annotations

import os
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xsam_backend.errors import DatasetError
from xsam_backend.evaluation.datasets.plain_pickle import read_plain_pickle

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=10,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pickles")


@given(value=PLAIN, protocol=st.integers(3, pickle.HIGHEST_PROTOCOL))
def test_plain_data_come_back(folder: Path, value: Any, protocol: int) -> None:
    """(Below protocol 3, Python 3 pickles bytes by calling a function.)"""
    path = folder / "refs.p"
    path.write_bytes(pickle.dumps(value, protocol))
    assert read_plain_pickle(path) == value


def test_python_2_texts(tmp_path: Path) -> None:
    """RefCOCO's files were written by Python 2: ``{'sent': 'caf\\xc3\\xa9', u'ann_id': 1719310}`` at protocol 0."""
    path = tmp_path / "refs(unc).p"
    path.write_bytes(b"(lp0\n(dp1\nS'sent'\np2\nS'caf\\xc3\\xa9'\np3\nsVann_id\np4\nI1719310\nsa.")
    assert read_plain_pickle(path) == [{"sent": "café", "ann_id": 1719310}]


class Calls:
    """Pickled, it calls a function when it's read."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def hostile(mark: Path) -> dict[str, bytes]:
    """Pickles that would create the file ``mark``, by every way that the format has."""
    command = f"touch {mark}"
    calls = {f"reduce, protocol {n}": pickle.dumps([Calls(os.system, command)], n) for n in range(6)}
    return {
        **calls,
        "deep in the data": pickle.dumps([{"sentences": [{"sent": Calls(os.system, command)}]}]),
        "eval": pickle.dumps(Calls(eval, f"open({str(mark)!r}, 'w').close()")),
        "inst": f"(S{command!r}\nios\nsystem\n.".encode(),
        "obj": f"(cos\nsystem\nS{command!r}\no.".encode(),
        "newobj": b"\x80\x02cpathlib\nPosixPath\nU\x01a\x85\x81.",
        "build": b"\x80\x02cbuiltins\nlist\n}U\x01aK\x01sb.",
        "extension": b"\x80\x02\x82\x01.",
        "persistent id": b"\x80\x02U\x01aQ.",
        "call of a text": f"S'os.system'\n(S{command!r}\ntR.".encode(),
    }


@pytest.mark.parametrize("case", hostile(Path("x")))
def test_what_could_run_is_refused_and_does_not_run(tmp_path: Path, case: str) -> None:
    mark, path = tmp_path / "ran", tmp_path / "refs.p"
    path.write_bytes(hostile(mark)[case])
    with pytest.raises(DatasetError, match=r"could run anything|damaged or something else"):
        read_plain_pickle(path)
    assert not mark.exists()


def test_the_hostile_pickles_do_run_elsewhere(tmp_path: Path) -> None:
    """Else the test above could not fail."""
    mark = tmp_path / "ran"
    for case in ("reduce, protocol 2", "eval", "inst", "obj"):
        pickle.loads(hostile(mark)[case])
        assert mark.exists(), case
        mark.unlink()


@pytest.mark.parametrize(
    ("value", "named"),
    [(OrderedDict(a=1), "collections.OrderedDict"), (np.int64(3), "numpy"), (Path("a"), "pathlib")],
)
def test_harmless_classes_are_refused_all_the_same(tmp_path: Path, value: Any, named: str) -> None:
    path = tmp_path / "refs.p"
    path.write_bytes(pickle.dumps([value]))
    with pytest.raises(DatasetError, match=f"it asks for {named}"):
        read_plain_pickle(path)


@pytest.mark.parametrize("written", [b"", b"{}", pickle.dumps([1, 2, 3])[:-2], b"\x80\x7f.", b"I1\n0."])
def test_damaged(tmp_path: Path, written: bytes) -> None:
    path = tmp_path / "refs.p"
    path.write_bytes(written)
    with pytest.raises(DatasetError, match="damaged or something else"):
        read_plain_pickle(path)


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="it isn't there"):
        read_plain_pickle(tmp_path / "refs(unc).p")
