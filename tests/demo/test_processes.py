"""Real child processes: Python one-liners in place of servers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from process_states import is_alive, until

from xsam_backend.demo.processes import Child, stop_all, stoppable, wait_for, watch
from xsam_backend.errors import DemoError

SLEEPS = "import time; print('up', flush=True); time.sleep(60)"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
OBSTINATE = (  # asked to stop, it presses Ctrl-C for us
    "import os, signal, time; signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getppid(), signal.SIGINT)); "
    "print('up', flush=True); time.sleep(600)"
)
FAILS = "import sys; print('reading settings'); sys.exit('no such database')"
PARENT = "import subprocess, sys, time; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); "
PARENT += "print(p.pid, flush=True); time.sleep(60)"

Start = Callable[[str], Child]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    def start_python(program: str) -> Child:
        return Child("the server", [sys.executable, "-c", program], dict(os.environ), tmp_path / "a.log", tmp_path)

    return start_python


def signal_us(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)
    time.sleep(10)  # longer than any signal takes


def test_one_that_dies_is_named_with_the_end_of_its_log(start: Start) -> None:
    child = start(FAILS)
    with pytest.raises(DemoError) as failure:
        watch([child])
    stop_all([child], 5)
    assert "the server ended with exit status 1, which nobody asked for" in str(failure.value)
    assert str(child.log) in str(failure.value)
    assert str(failure.value).endswith("  reading settings\n  no such database")


def test_one_that_is_killed_is_named_with_the_signal(start: Start) -> None:
    child = start(SLEEPS)
    until(child.log_tail().strip)
    child.kill()
    with pytest.raises(DemoError, match="was ended by signal 9"):
        child.check()


def test_waiting_ends_with_the_answer(start: Start) -> None:
    child = start(SLEEPS)
    answers = iter([None, None, "1.23"])
    assert wait_for(lambda: next(answers), [child], limit_s=10, what="it") == "1.23"
    stop_all([child], 5)


def test_waiting_ends_with_the_child(start: Start) -> None:
    child = start(FAILS)
    with pytest.raises(DemoError, match="no such database"):
        wait_for(lambda: None, [child], limit_s=30, what="it")
    stop_all([child], 5)


def test_waiting_ends_with_the_limit(start: Start) -> None:
    child = start(SLEEPS)
    with pytest.raises(DemoError, match=r"it did not answer within 0 s: look into .*a\.log"):
        wait_for(lambda: None, [child], limit_s=0.1, what="it")
    stop_all([child], 5)


def test_one_that_does_not_stop_is_killed(start: Start) -> None:
    child = start(DEAF)
    until(lambda: "up" in child.log_tail())
    stop_all([child], 0.3)
    assert not child.is_running


def test_a_second_signal_does_not_wait(start: Start) -> None:
    child = start(OBSTINATE)
    until(lambda: "up" in child.log_tail())
    started = time.monotonic()
    stop_all([child], 600)
    assert time.monotonic() - started < 300
    assert not child.is_running


def test_workers_of_a_child_end_with_it(start: Start) -> None:
    child = start(PARENT)
    until(lambda: child.log_tail().strip().isdigit())
    worker = int(child.log_tail())
    stop_all([child], 5)
    until(lambda: not is_alive(worker))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties a child to its parent")
def test_children_end_with_a_demo_that_is_killed(tmp_path: Path) -> None:
    program = (
        "import os, sys, time; from pathlib import Path; from xsam_backend.demo.processes import Child\n"
        f"Child('x', [sys.executable, '-c', 'import os, time; print(os.getpid(), flush=True); time.sleep(60)'],"
        f" dict(os.environ), Path({str(tmp_path / 'a.log')!r}), Path({str(tmp_path)!r}))\n"
        "time.sleep(60)"
    )
    demo = subprocess.Popen([sys.executable, "-c", program])
    log = tmp_path / "a.log"
    until(lambda: log.exists() and log.read_text().strip())
    child = int(log.read_text())
    assert is_alive(child)
    demo.kill()
    demo.wait()
    until(lambda: not is_alive(child))


def test_the_log_before_is_kept(start: Start) -> None:
    first = start(FAILS)
    until(lambda: not first.is_running)
    second = start("print('second')")
    until(lambda: not second.is_running)
    assert second.log_tail() == "  second"
    assert "no such database" in second.log.with_suffix(".previous.log").read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_every_way_to_stop_is_an_interrupt(number: signal.Signals) -> None:
    with pytest.raises(KeyboardInterrupt), stoppable():
        signal_us(number)


def test_what_nohup_ignores_stays_ignored() -> None:
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stoppable():
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(0.05)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, previous)
