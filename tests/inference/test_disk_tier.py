"""What is kept on disk survives a restart, stays within its budget, and costs nothing but time when it's damaged."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from xsam_backend.inference import disk_tier
from xsam_backend.inference.disk_tier import PENDING, SUFFIX, DiskTier

TITLE = 64 + len(b" a\n")
"""Bytes of a file before the value's own."""


def pack(value: str) -> bytes:
    return value.lower().encode()


def unpack(data: bytes) -> str:
    if b"\0" in data:
        raise ValueError("no text")
    return data.decode()


def tier(folder: Path, capacity: int = 1000) -> DiskTier[str]:
    return DiskTier(folder, capacity, pack, unpack)


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*{SUFFIX}"), key=lambda path: path.stat().st_mtime)


def test_after_a_restart_nothing_is_made_again(tmp_path: Path) -> None:
    assert tier(tmp_path).get_or_make("a", lambda: "Value") == "value", (
        "as the file will say it, from the first time on"
    )
    assert tier(tmp_path).get_or_make("a", lambda: pytest.fail("made again")) == "value"


def test_what_was_found_and_made_is_counted(tmp_path: Path) -> None:
    kept = tier(tmp_path, capacity=3 * (TITLE + 10))
    for name in ("a", "a", "b", "a"):
        kept.get_or_make(name, lambda: "0123456789")
    stats = kept.stats
    assert (stats.hits, stats.misses, stats.evictions, stats.entries) == (2, 2, 0, 2)
    assert stats.nbytes == sum(path.stat().st_size for path in files(tmp_path))
    for name in "cd":
        kept.get_or_make(name, lambda: "0123456789")
    stats = kept.stats
    assert (stats.misses, stats.evictions + stats.entries, stats.entries) == (4, 4, len(files(tmp_path)))
    assert stats.nbytes == sum(path.stat().st_size for path in files(tmp_path)) <= stats.capacity_bytes
    restarted = tier(tmp_path).stats
    assert (restarted.hits, restarted.misses) == (0, 0)
    assert (restarted.entries, restarted.nbytes) == (stats.entries, stats.nbytes)


def test_a_damaged_file_counts_as_missing(tmp_path: Path) -> None:
    kept = tier(tmp_path)
    kept.get_or_make("a", lambda: "old")
    files(tmp_path)[0].write_bytes(b"")
    kept.get_or_make("a", lambda: "new")
    assert (kept.stats.hits, kept.stats.misses) == (0, 2)


def test_names_are_no_paths(tmp_path: Path) -> None:
    tier(tmp_path / "kept").get_or_make("../../a b/c", lambda: "v")
    assert [path.parent for path in tmp_path.rglob(f"*{SUFFIX}")] == [tmp_path / "kept"]


def test_used_last_stays_longest(tmp_path: Path) -> None:
    kept = tier(tmp_path, capacity=3 * (TITLE + 10))
    for age, name in enumerate("abc"):
        kept.get_or_make(name, lambda: "0123456789")
        os.utime(files(tmp_path)[-1], (1000 + age, 1000 + age))
    kept.get_or_make("a", lambda: pytest.fail("made again"))
    kept.get_or_make("d", lambda: "0123456789")
    assert sum(path.stat().st_size for path in files(tmp_path)) <= 3 * (TITLE + 10)
    made: list[str] = []
    for name in "abcd":
        tier(tmp_path, capacity=0).get_or_make(name, lambda name=name: made.append(name) or "x")
    assert made == ["b", "c"]


def test_what_was_there_before_counts(tmp_path: Path) -> None:
    tier(tmp_path).get_or_make("a", lambda: "0123456789")
    tier(tmp_path, capacity=TITLE + 20).get_or_make("b", lambda: "0123456789")
    assert len(files(tmp_path)) == 1


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: data[:-1] + b"x",
        lambda data: data.replace(b" a\n", b" b\n"),
        lambda data: b"\n" + data,
    ],
    ids=["empty", "cut off", "another byte", "of another name", "without a title"],
)
def test_a_damaged_file_is_made_anew(
    tmp_path: Path, spoil: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    tier(tmp_path).get_or_make("a", lambda: "old")
    files(tmp_path)[0].write_bytes(spoil(files(tmp_path)[0].read_bytes()))
    assert tier(tmp_path).get_or_make("a", lambda: "new") == "new"
    assert "is damaged" in caplog.text
    assert tier(tmp_path).get_or_make("a", lambda: pytest.fail("made again")) == "new"


def test_what_a_killed_process_left_behind_is_removed_and_what_another_writes_is_not(tmp_path: Path) -> None:
    old, young = tmp_path / f"a{SUFFIX}.partial", tmp_path / f"b{SUFFIX}.partial"
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (1000, 1000))
    tier(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [young.name]


def test_a_full_disk_costs_time_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(disk_tier, "write_whole", full)
    kept = tier(tmp_path)
    assert [kept.get_or_make("a", lambda: "v") for _ in range(3)] == ["v", "v", "v"]
    assert caplog.text.count("nothing is kept for the next minute") == 1


def test_what_is_larger_than_the_budget_is_not_written(tmp_path: Path) -> None:
    assert tier(tmp_path, capacity=3).get_or_make("a", lambda: "0123456789") == "0123456789"
    assert not files(tmp_path)


def test_writing_may_be_left_to_others(tmp_path: Path) -> None:
    later = []
    kept = DiskTier(tmp_path, 1000, pack, unpack, later.append)
    assert kept.get_or_make("a", lambda: "v") == "v"
    assert not files(tmp_path)
    later[0]()
    assert len(files(tmp_path)) == 1


def test_what_waits_to_be_written_is_bounded(tmp_path: Path) -> None:
    """Each holds its bytes in memory: at full size tens of megabytes."""
    later = []
    kept = DiskTier(tmp_path, 1000, pack, unpack, later.append)
    for number in range(PENDING + 3):
        kept.get_or_make(str(number), lambda: "v")
    assert len(later) == PENDING
    for write in later:
        write()
    kept.get_or_make("one more", lambda: "v")
    assert len(later) == PENDING + 1


def test_who_takes_no_more_writing_costs_nothing(tmp_path: Path) -> None:
    kept = DiskTier(tmp_path, 1000, pack, unpack, lambda _write: False)
    assert [kept.get_or_make(str(number), lambda: "v") for number in range(3 * PENDING)] == ["v"] * 3 * PENDING
    assert not files(tmp_path)


def test_a_guest_reads_and_does_not_write(tmp_path: Path) -> None:
    kept = tier(tmp_path)
    assert kept.get_or_make("a", lambda: "Value", is_guest=True) == "value"
    assert not files(tmp_path)
    kept.get_or_make("a", lambda: "Value")
    assert kept.get_or_make("a", lambda: pytest.fail("made again"), is_guest=True) == "value"
