"""The log of a run: means over steps, continued where a kill left it, for machines, TensorBoard and people."""

import json
import logging
import resource
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from xsam_backend.errors import CheckpointError
from xsam_backend.training.run_log import LOG, RunLog


def lines(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / LOG).read_text().splitlines()]


def test_lines_have_means(tmp_path: Path) -> None:
    with RunLog(tmp_path, 2, 0, 4) as log:
        log.add("words", {"loss": 1.0, "norm": 5.0}, 1e-3, 4)
        log.add("words", {"loss": 2.0, "norm": 6.0}, 2e-3, 4)
        log.add("words", {"loss": 9.0}, 3e-3, 4)
    (line,) = lines(tmp_path)
    assert line.pop("seconds_per_picture")
    assert line == {"step": 2, "stage": "words", "loss": 1.5, "norm": 5.5, "learning_rate": 2e-3}


def test_means_are_never_those_of_two_stages(tmp_path: Path) -> None:
    with RunLog(tmp_path, 10, 0, 4) as log:
        log.add("words", {"loss": 1.0}, 1e-3, 4)
        log.add("words", {"loss": 2.0}, 1e-3, 4, last=True)
        log.add("mixed", {"loss": 7.0, "loss_mask": 3.0}, 1e-3, 4)
        log.add("mixed", {"loss": 8.0}, 1e-3, 4, last=True)
    assert [(line["step"], line["stage"], line["loss"]) for line in lines(tmp_path)] == [
        (2, "words", 1.5),
        (4, "mixed", 7.5),
    ]
    assert lines(tmp_path)[1]["loss_mask"] == 3.0, "a mean over the steps that had the term"


def test_a_log_goes_on_where_its_state_is(tmp_path: Path) -> None:
    """The killed run had logged further, and died while it wrote a line."""
    with RunLog(tmp_path, 3, 0, 9) as log:
        for step in range(7):
            log.add("all", {"loss": step + 0.1}, 1e-3, 1)
            if step == 3:
                state = json.loads(json.dumps(log.unfinished))
    with (tmp_path / LOG).open("a") as file:
        file.write('{"step": 9, "loss": 1')
    with RunLog(tmp_path, 3, 4, 9, state) as log:
        for step in range(4, 9):
            log.add("all", {"loss": step + 0.1}, 1e-3, 1)
    assert [(line["step"], line["loss"]) for line in lines(tmp_path)] == [
        (3, (0.1 + 1.1 + 2.1) / 3),
        (6, (3.1 + 4.1 + 5.1) / 3),
        (9, (6.1 + 7.1 + 8.1) / 3),
    ]


def test_people_hear_how_long_it_takes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), RunLog(tmp_path, 1, 0, 2) as log:
        log.add("words", {"loss": 1.25}, 1e-3, 4)
    assert "step 1 of 2, words: loss 1.250; 00:0" in caplog.text
    assert caplog.text.rstrip().endswith("left")


def scalars(folder: Path) -> Iterator[tuple[str, int, float]]:
    """Tag, step and value of all scalars in the folder's event files: length, checksum, event, checksum."""
    from tensorboardX.proto.event_pb2 import Event

    for file in sorted((folder / "tensorboard").iterdir(), key=lambda file: file.stat().st_mtime_ns):
        content = file.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            event = Event.FromString(content[12 : 12 + length])
            content = content[16 + length :]
            for value in event.summary.value:
                yield value.tag, event.step, value.simple_value


def test_curves_are_on_the_disk_before_a_kill(tmp_path: Path) -> None:
    """As the lines are: a state may follow, and the run goes on after it."""
    log = RunLog(tmp_path, 1, 0, 3, tensorboard=True)
    with log:
        log.add("words", {"loss": 2.0}, 1e-3, 4)
        assert [(tag, step) for tag, step, _ in scalars(tmp_path)] == [("train/loss", 1), ("train/learning_rate", 1)]


def add_many(log: RunLog) -> None:
    for _ in range(500):
        log.add("words", {"loss": 1.0}, 1e-3, 4)


@pytest.mark.parametrize("tensorboard", [False, True])
def test_a_full_disk_is_told(tmp_path: Path, tensorboard: bool) -> None:
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    try:
        with RunLog(tmp_path, 1, 0, 500, tensorboard=tensorboard) as log:
            resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))  # as a full disk: writing fails in the middle
            with pytest.raises(CheckpointError, match=r"the log can't be written .* intact\. Free some space"):
                add_many(log)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    with RunLog(tmp_path, 1, 3, 500, tensorboard=tensorboard) as log:
        log.add("words", {"loss": 1.0}, 1e-3, 4)
    assert [line["step"] for line in lines(tmp_path)] == [1, 2, 3, 4], "half a line is taken away"


def test_event_files_for_tensorboard(tmp_path: Path) -> None:
    with RunLog(tmp_path, 1, 0, 3, tensorboard=True) as log:
        log.add("words", {"loss": 2.0}, 1e-3, 4)
    with RunLog(tmp_path, 1, 1, 3, tensorboard=True) as log:
        log.add("words", {"loss": 1.0}, 5e-4, 4)
    assert list(scalars(tmp_path)) == [
        ("train/loss", 1, 2.0),
        ("train/learning_rate", 1, pytest.approx(1e-3)),
        ("train/loss", 2, 1.0),
        ("train/learning_rate", 2, pytest.approx(5e-4)),
    ]
