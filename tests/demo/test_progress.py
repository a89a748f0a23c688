from __future__ import annotations

import io
import re

import pytest
from process_states import until

from xsam_backend.demo.progress import Progress


def test_elsewhere_a_line_at_both_ends() -> None:
    stream = io.StringIO()
    progress = Progress(stream, rewrites=False)
    with progress.step("installing"):
        pass
    assert stream.getvalue() == "installing (0 s) ...\ninstalling: done in 0 s\n"


def test_elsewhere_a_line_now_and_then_with_the_newest_detail() -> None:
    stream = io.StringIO()
    with Progress(stream, rewrites=False, said_every_s=0.02).step("installing") as step:
        step.detail = lambda: "3 of 7"
        until(lambda: re.search(r"^installing: 3 of 7 \(\d+ s\) \.\.\.$", stream.getvalue(), re.MULTILINE))


def test_on_a_terminal_one_line_is_rewritten_and_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    stream = io.StringIO()
    with Progress(stream, rewrites=True).step("installing a long name") as step:
        step.detail = "x" * 100
        until(lambda: stream.getvalue().count("\r") > 1)
    shown = stream.getvalue().split("\r\x1b[K")
    assert max(len(line) for line in shown[:-1]) == 19
    assert shown[-1].startswith("installing a long name: done in ")


def test_a_failure_is_not_called_done() -> None:
    stream = io.StringIO()
    with pytest.raises(KeyboardInterrupt), Progress(stream, rewrites=False).step("installing"):
        raise KeyboardInterrupt
    assert stream.getvalue().endswith("installing: stopped after 0 s\n")
