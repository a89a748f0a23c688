"""``prelabel`` of a folder or bucket, as a command: killed and resumed, nothing is lost or doubled; also on Ray."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import fsspec
import numpy as np
import pytest
from event_parts import until
from PIL import Image
from small_base import save_small_base

pytestmark = pytest.mark.e2e

CONFIG = """<View><Image name="image" value="$image"/>
<PolygonLabels name="poly" toName="image" model_score_threshold="0"><Label value="cat"/></PolygonLabels></View>"""
PICTURES = 12


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prelabel")
    save_small_base(folder / "base")
    (folder / "config.xml").write_text(CONFIG)
    drawn = np.random.default_rng(0)
    for number in range(PICTURES):
        path = folder / "pictures" / f"part {number % 2}" / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(drawn.integers(0, 255, (64, 96, 3), np.uint8)).save(path)
    (folder / "pictures" / "notes.txt").write_text("no picture")
    (folder / "pictures" / "part 0" / "torn.jpg").write_bytes(b"no picture either")
    return folder


def command(place: Path, output: str, *more: str, base: str | None = None) -> list[str]:
    """Of the folder's pictures; of a bucket's, with its address as the ``base`` of both places."""
    root = base or str(place)
    verb = [sys.executable, "-m", "xsam_backend", "prelabel", f"{root}/pictures", "--output", f"{root}/{output}"]
    model = ["--model", str(place / "base"), "--device", "cpu", "--data-dir", str(place / "data")]
    return [*verb, *model, "--label-config", str(place / "config.xml"), "--block", "2", *more]


def run(call: Sequence[str], status: int = 1) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(call, capture_output=True, text=True, check=False, timeout=400, env=environment)
    assert done.returncode == status, done.stderr
    return done.stdout + done.stderr


def files(place: Path, output: str) -> list[str]:
    return sorted(path.name for path in (place / output).glob("tasks-*"))


def answers(place: Path, output: str) -> dict[str, list[Any]]:
    """Each picture's regions, without ids, which are new each time, by its address; fails where one comes twice."""
    found: dict[str, list[Any]] = {}
    for name in files(place, output):
        for task in json.loads((place / output / name).read_text()):
            (prediction,) = task["predictions"]
            regions = [{**one, "id": "", "parentID": ""} for one in prediction["result"]]
            address = task["data"]["image"]
            assert address not in found
            found[address] = [prediction["model_version"], regions]
    return found


def assert_same(ours: dict[str, list[Any]], theirs: dict[str, list[Any]]) -> None:
    """But for scores' last digits: they depend on which pictures happened to be asked about together."""
    assert ours.keys() == theirs.keys()
    for address, (version, regions) in ours.items():
        assert version == theirs[address][0]
        scores = [[one.pop("score") for one in regions] for regions in (regions, theirs[address][1])]
        assert regions == theirs[address][1]
        assert scores[0] == pytest.approx(scores[1], abs=1e-4)


def test_killed_and_resumed_nothing_is_lost_or_doubled(place: Path) -> None:
    assert "12 answered, 1 failed, 0 left as they are" in run(command(place, "whole"))
    whole = answers(place, "whole")
    assert set(whole) == {f"/data/local-files/?d=part%20{number % 2}/{number:02}.png" for number in range(PICTURES)}
    assert json.loads((place / "whole" / "failed-00003.json").read_text())[0].startswith("part 0/torn.jpg")

    kept: dict[str, int] = {}
    for least in (1, 3):
        with subprocess.Popen(command(place, "killed"), stderr=subprocess.DEVNULL) as process:
            until(lambda least=least: len(files(place, "killed")) >= least, 120, "some files")
            process.send_signal(signal.SIGKILL)
        for name in files(place, "killed"):
            modified = (place / "killed" / name).stat().st_mtime_ns
            assert kept.setdefault(name, modified) == modified, "what is done is done once"
    assert len(kept) < len(files(place, "whole")), "it was killed in the middle"
    said = run(command(place, "killed"), 0 if "tasks-00003.json" in kept else 1)
    assert f"{len(kept)} of 7 files are there already" in said
    assert_same(answers(place, "killed"), whole)
    assert "nothing" not in run(command(place, "killed"), 0)


def test_of_a_bucket_killed_and_resumed_likewise(place: Path, s3_bucket: str) -> None:
    """In a server that speaks S3: pictures come from there, files go there."""
    if not (place / "whole").is_dir():
        run(command(place, "whole"))
    bucket = fsspec.filesystem("s3")
    bucket.put(f"{place}/pictures/", f"{s3_bucket}/pictures/", recursive=True)
    call = command(place, "killed", base=s3_bucket)

    def there() -> dict[str, str]:
        """What the bucket has of our files: a hash of each one's content, by name."""
        bucket.invalidate_cache()
        if not bucket.exists(f"{s3_bucket}/killed"):
            return {}
        listed = bucket.ls(f"{s3_bucket}/killed", detail=True)
        return {Path(one["name"]).name: one["ETag"] for one in listed if "tasks-" in one["name"]}

    with subprocess.Popen(call, stderr=subprocess.DEVNULL) as process:
        until(there, 120, "a file")
        process.send_signal(signal.SIGKILL)
    kept = there()
    assert 1 <= len(kept) < 7, "it was killed in the middle"
    said = run(call, 0 if "tasks-00003.json" in kept else 1)
    assert f"{len(kept)} of 7 files are there already" in said
    assert {name: tag for name, tag in there().items() if name in kept} == kept, "what is done is done once"
    bucket.get(f"{s3_bucket}/killed/", f"{place}/from-bucket/", recursive=True)
    assert json.loads((place / "from-bucket" / "failed-00003.json").read_text())[0].startswith("part 0/torn.jpg")
    named = {
        "/data/local-files/?d=" + quote(address.removeprefix(f"{s3_bucket}/pictures/")): answer
        for address, answer in answers(place, "from-bucket").items()
    }
    assert_same(named, answers(place, "whole"))


def test_another_runs_output_is_refused(place: Path) -> None:
    (place / "taken").mkdir()
    manifest = {"run": {"source": "elsewhere"}, "block": 2, "pictures": []}
    (place / "taken" / "manifest.json").write_text(json.dumps(manifest))
    assert "holds a run with another label_config, model, prefix, source" in run(command(place, "taken"))


def test_several_workers_without_ray_say_what_to_install(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ray.py").write_text("raise ImportError('not here')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert "pip install '.[ray]'" in run(command(place, "no-ray", "--workers", "2"))


def done_by_each(folder: Path) -> dict[int, list[int]]:
    """Each worker's blocks, by its process id; see ``prelabel_together.py``."""
    return {int(path.name): [int(word) for word in path.read_text().split()] for path in folder.iterdir()}


def is_running(pid: int) -> bool:
    """Killed and not yet waited for is not."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_on_ray_killed_and_resumed_two_workers_write_what_one_process_does(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not (place / "whole").is_dir():
        run(command(place, "whole"))
    monkeypatch.setenv("RAY_worker_niceness", "0")  # else they get nothing of a busy machine
    together = [str(Path(__file__).with_name("prelabel_together.py"))]
    call = [sys.executable, *together, *command(place, "on-ray", "--workers", "2")[3:]]

    monkeypatch.setenv("TOGETHER", str(tmp_path / "first"))
    monkeypatch.setenv("STOP_AFTER", "1")
    (tmp_path / "first").mkdir()
    with subprocess.Popen(call, stderr=subprocess.DEVNULL) as process:
        until(lambda: [len(one) for one in done_by_each(tmp_path / "first").values()] == [1, 1], 400, "two blocks")
        process.send_signal(signal.SIGKILL)
    first = done_by_each(tmp_path / "first")
    until(lambda: not any(map(is_running, first)), 60, "the end of the workers, who miss their caller")
    kept = {name: (place / "on-ray" / name).stat().st_mtime_ns for name in files(place, "on-ray")}
    assert sorted(kept) == sorted(f"tasks-{block:05}.json" for blocks in first.values() for block in blocks)
    assert len(kept) == 2, "it was killed in the middle, when each worker had written one of seven files"

    monkeypatch.setenv("TOGETHER", str(tmp_path / "second"))
    monkeypatch.delenv("STOP_AFTER")
    (tmp_path / "second").mkdir()
    said = run(call, 0 if "tasks-00003.json" in kept else 1)
    assert "2 of 7 files are there already" in said
    second = done_by_each(tmp_path / "second")
    assert len(second) == 2
    assert all(second.values()), "both workers have written"
    assert sorted(block for blocks in [*first.values(), *second.values()] for block in blocks) == list(range(7))
    assert {name: (place / "on-ray" / name).stat().st_mtime_ns for name in kept} == kept, "what is done is done once"
    assert_same(answers(place, "on-ray"), answers(place, "whole"))
