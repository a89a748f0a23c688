"""``evaluate``: data sets with options of their own, tables on stdout, files, and everything that can go wrong."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from knowing_predictor import KnowingPredictor
from PIL import Image

from xsam_backend.cli.evaluation_data import DatasetSpec, Spec
from xsam_backend.evaluation.datasets.opening import open_dataset
from xsam_backend.scenes.scene import FIRST_HELD_OUT_SEED, draw_scene

FEW = ("--rounds", "5", "--no-controls", "--objects", "1")


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """A folder with two pictures of split val, one of train, and one of val whose file is missing."""
    folder = tmp_path / "my, photos"
    (folder / "images").mkdir(parents=True)
    images, annotations = [], []
    for number, split in enumerate(("val", "val", "train", "val"), start=1):
        name = f"images/p{number}.png"
        pixels = np.random.default_rng(number).integers(0, 256, (40, 60, 3), dtype=np.uint8)
        if number < 4:
            Image.fromarray(pixels).save(folder / name)
        images.append({"id": number, "file_name": name, "width": 60, "height": 40, "split": split})
        for x, category in ((5, 1), (35, 2)):
            corners = [x, 5, x + 20, 5, x + 20, 30, x, 30]
            annotations.append(
                {"id": len(annotations) + 1, "image_id": number, "category_id": category, "iscrowd": 0}
                | {"segmentation": [corners], "area": 500, "bbox": [x, 5, 20, 25]}
            )
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}],
    }
    (folder / "instances.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def knowing(monkeypatch: pytest.MonkeyPatch, coco: Path) -> list[KnowingPredictor]:
    """The predictor that knows these pictures, wherever the model's door is opened; none as long as it wasn't."""
    made: list[KnowingPredictor] = []

    def load(name: str, *_: object) -> KnowingPredictor:
        readable = [record for record in open_dataset(coco).records if record.source != "p4.png"]
        scenes = [draw_scene(FIRST_HELD_OUT_SEED + number) for number in range(2)]
        made.append(KnowingPredictor([*(record.load() for record in readable), *scenes]))
        return made[-1]

    monkeypatch.setitem(sys.modules, "xsam_backend.model.predictor", SimpleNamespace(load_predictor=load))
    return made


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("photos", Spec("photos")),
        ("a,b/photos,split=val", Spec("a,b/photos", split="val")),
        ("photos,only=a=b,limit=3", Spec("photos", only="a=b", limit=3)),
        ("x,images=c,d,format=coco", Spec("x", images=Path("c,d"), format="coco")),
        (
            "x,tasks=vgd+gcg,prompts=box+point,objects=0,least-px=9,max-detections=500",
            Spec("x", tasks=("vgd", "gcg"), prompts=("point", "box"), objects=0, least_px=9, max_detections=500),
        ),
        ("photos,colour=red", Spec("photos,colour=red")),
    ],
    ids=["path", "comma in the path", "equals sign in a value", "comma in a value", "all", "no key of ours"],
)
def test_a_path_may_have_options_of_its_own(text: str, spec: Spec) -> None:
    assert DatasetSpec().convert(text, None, None) == spec


def test_what_a_data_set_says_goes_before_what_holds_for_all() -> None:
    spec = Spec("photos", split="val", tasks=("vgd",))
    assert spec.or_else({"split": "train", "tasks": (), "limit": 3, "only": None}) == Spec(
        "photos", split="val", tasks=("vgd",), limit=3
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("photos,limit=many", "limit: invalid literal"),
        ("photos,objects=-1", "objects: expected 0 or more"),
        ("photos,limit=0", "limit: expected 1 or more"),
        ("photos,max-detections=0", "max-detections: expected 1 or more"),
        ("photos,prompts=box+lasso", "expected one or more of point, scribble, box, mask, got 'box+lasso'"),
        (",split=val", "expected a path before the first comma"),
    ],
)
def test_misuse_of_a_spec_is_exit_2(run: Any, knowing: list[Any], text: str, said: str) -> None:
    status, out, err = run("evaluate", text)
    assert (status, out) == (2, "")
    assert said in err
    assert knowing == []


def test_tables_of_several_data_sets_in_one_command(run: Any, knowing: list[Any], coco: Path) -> None:
    status, out, err = run(
        "evaluate", f"{coco},split=train,max-detections=500", "scenes", "--limit", "2", "--tasks", "generic", *FEW
    )
    assert status == 0, err
    assert "knowing-1: 7 queries, seed 0; intervals hold 95% of 5 bootstrap draws" in out
    assert re.search(r"my, photos, split train: 1 picture\n", out)
    assert re.search(r"drawn scenes, split held-out: 2 pictures\n", out)
    assert out.count("maxDets: 500") == out.count("maxDets: 100") == 1
    assert re.search(r"things +2 +1\.000 +1\.000 +1\.000", out)
    assert err.startswith("loading tiny\n")
    assert "my, photos: " in err, "progress"
    assert len(knowing) == 1


def test_an_unreadable_picture_is_told_and_left_out(run: Any, knowing: list[Any], coco: Path) -> None:
    status, out, err = run("evaluate", coco, "--split", "val", "--tasks", "vgd", *FEW)
    assert status == 0
    assert "left out: p4.png: " in err
    assert "my, photos, split val: 3 pictures, 1 could not be read" in out
    assert "Visual grounding (VGD) (2 pictures)" in out


def test_if_no_picture_can_be_read_that_is_a_failure(run: Any, knowing: list[Any], coco: Path) -> None:
    content = json.loads((coco / "instances.json").read_text())
    content["images"] = content["images"][3:]
    content["annotations"] = [one for one in content["annotations"] if one["image_id"] == 4]
    (coco / "instances.json").write_text(json.dumps(content))
    status, _, err = run("evaluate", coco, "--tasks", "generic", *FEW)
    assert status == 1
    assert err.endswith("error: none of the pictures could be read: my, photos\n")


@pytest.mark.parametrize("target", ["folder", "page.html"])
def test_the_report_and_the_numbers_are_written(
    run: Any, knowing: list[Any], coco: Path, tmp_path: Path, target: str
) -> None:
    status, _, err = run(
        "evaluate", f"{coco},split=train", "--report", tmp_path / target, "--json", tmp_path / "n.json", *FEW
    )
    assert status == 0, err
    page = tmp_path / target / "report.html" if target == "folder" else tmp_path / target
    assert f"wrote {page}" in err
    text = page.read_text()
    assert text.startswith("<!doctype html>")
    assert text.count("data:image/jpeg;base64,") >= 8, "cases of four tasks, truth and answer each"
    numbers = json.loads((tmp_path / "n.json").read_text())
    assert numbers["model_version"] == "knowing-1"
    (dataset,) = numbers["datasets"]
    assert set(dataset["tasks"]) == {"generic", "class-phrases", "vgd", "interactive", "correction"}
    if target == "folder":
        again = json.loads((tmp_path / target / "results.json").read_text())
        assert again == numbers


def test_each_data_set_is_written_as_soon_as_it_is_done(
    run: Any, knowing: list[Any], coco: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes later may fail: here it does, at the second data set."""
    door = sys.modules["xsam_backend.model.predictor"]
    load = door.load_predictor

    def load_failing(*given: Any) -> KnowingPredictor:
        predictor = load(*given)
        encode = predictor.encode

        def failing(image: Any, **options: Any) -> Any:
            if image.shape[0] > 100:
                raise MemoryError
            return encode(image, **options)

        monkeypatch.setattr(predictor, "encode", failing)
        return predictor

    monkeypatch.setattr(door, "load_predictor", load_failing)
    with pytest.raises(MemoryError):
        run("evaluate", f"{coco},split=train", "scenes,limit=1", "--report", tmp_path / "r", *FEW)
    numbers = json.loads((tmp_path / "r" / "results.json").read_text())
    assert numbers["partial"] is True
    assert [dataset["name"] for dataset in numbers["datasets"]] == ["my, photos"]
    assert "Partial:" in (tmp_path / "r" / "report.html").read_text()


def test_numbers_of_the_same_seed_are_the_same(run: Any, knowing: list[Any], coco: Path, tmp_path: Path) -> None:
    made = []
    for name in ("a.json", "b.json"):
        run("evaluate", f"{coco},split=val", "--json", tmp_path / name, *FEW)
        content = json.loads((tmp_path / name).read_text())
        for dataset in content["datasets"]:
            del dataset["seconds"]
        made.append(content)
    assert made[0] == made[1]


def test_options_reach_the_questions(run: Any, knowing: list[Any], coco: Path) -> None:
    options = ("--prompts", "box", "--objects", "0", "--least-px", "100", "--no-controls", "--rounds", "0")
    _, out, _ = run("evaluate", f"{coco},split=train", "--tasks", "interactive", "--threshold", "0.9", *options)
    assert [len(predictor.asked) for predictor in knowing] == [2], "two objects, one way to point"
    assert "objects of a picture: all, of at least 100 px" in " ".join(out.split())
    assert "–" not in out, "no draws, no intervals"


def interrupting(
    predictor: KnowingPredictor, after: int, times: int = 1, number: int = signal.SIGINT
) -> Callable[..., Any]:
    """``predictor.answer`` that presses Ctrl-C at its ``after``-th question."""
    answer = predictor.answer
    count = 0

    def pressed(state: Any, prompt: Any) -> Any:
        nonlocal count
        count += 1
        if count == after:
            for _ in range(times):
                os.kill(os.getpid(), number)
        return answer(state, prompt)

    return pressed


@pytest.mark.parametrize(
    ("times", "number"),
    [(1, signal.SIGINT), (2, signal.SIGINT), (1, signal.SIGTERM)],
    ids=["once", "twice", "a scheduler's signal"],
)
def test_ctrl_c_prints_what_there_is_and_twice_leaves(
    run: Any,
    knowing: list[Any],
    coco: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    times: int,
    number: int,
) -> None:
    door = sys.modules["xsam_backend.model.predictor"]
    load = door.load_predictor

    def load_interrupting(*given: Any) -> KnowingPredictor:
        predictor = load(*given)
        monkeypatch.setattr(predictor, "answer", interrupting(predictor, 3, times, number))
        return predictor

    monkeypatch.setattr(door, "load_predictor", load_interrupting)
    before = signal.getsignal(signal.SIGINT)
    got, out, err = run("evaluate", coco, "scenes", "--split", "train", "--json", tmp_path / "n.json", *FEW)
    assert got == 1, "scenes have no split train: checked before anything is measured"
    got, out, err = run("evaluate", f"{coco},split=train", "scenes", "--json", tmp_path / "n.json", *FEW)
    assert got == 130
    assert signal.getsignal(signal.SIGINT) is before
    if times == 2:
        assert out == ""
        assert err.endswith("stopped\n")
        return
    assert "stopping with what there is" in err
    assert out.rstrip().endswith("PARTIAL: stopped before all pictures were measured")
    assert "Generic segmentation (1 picture)" in out
    assert "drawn scenes" not in out
    assert json.loads((tmp_path / "n.json").read_text())["partial"] is True


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ([], 2, "Missing argument"),
        (["nowhere"], 1, "expected a file or folder of labelled pictures at nowhere"),
        (["COCO", "--split", "test"], 1, "expected pictures of split 'test'"),
        (["COCO", "--tasks", "reasoning"], 1, "can't be measured on 'reasoning', which needs questions: it allows"),
        (["COCO,tasks=everything"], 1, "expected tasks among generic, open-vocabulary"),
        (["scenes", "--only", "balls"], 1, "only means nothing to the format scenes"),
        (["scenes", "--limit", "0"], 2, "is not in the range x>=1"),
        (["COCO", "--report", "TMP/none/page.html"], 1, "its folder isn't there"),
        (["COCO", "--json", "TMP/none/n.json"], 1, "its folder isn't there"),
        (["COCO", "--report", "COCO/instances.json"], 1, "expected a folder or a .html file"),
        (["project:7"], 1, "project:7 needs a Label Studio: set XSAM_BACKEND_LABEL_STUDIO_URL"),
        (["project:7,split=val"], 1, "split means nothing to a project of Label Studio"),
        (["COCO", "--label-config", "CONFIG"], 1, "--label-config is for a Label Studio export"),
        (["COCO", "--threshold", "2"], 2, "0<=x<=1"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_work_is_said_before_a_model_is_loaded(
    run: Any,
    knowing: list[Any],
    coco: Path,
    tmp_path: Path,
    arguments: list[str],
    status: int,
    said: str,
) -> None:
    config = tmp_path / "config.xml"
    config.write_text('<View><Image name="i" value="$image"/><Brush name="b" toName="i"/></View>')
    places = {"COCO": coco, "TMP": tmp_path, "CONFIG": config}
    made = [re.sub("|".join(places), lambda match: str(places[match[0]]), argument) for argument in arguments]
    got, out, err = run("evaluate", *made)
    assert (got, out) == (status, ""), err
    assert said in err
    assert "Traceback" not in err
    assert knowing == []


def test_a_label_studio_export_is_measured(run: Any, knowing: list[Any], coco: Path, tmp_path: Path) -> None:
    value = {"x": 10.0, "y": 12.5, "width": 30.0, "height": 62.5, "rotation": 0, "rectanglelabels": ["dog"]}
    region = {"id": "a", "type": "rectanglelabels", "from_name": "r", "to_name": "i", "value": value}
    region |= {"original_width": 60, "original_height": 40}
    task = {"id": 1, "data": {"image": "p1.png"}, "annotations": [{"id": 5, "result": [region]}]}
    export = tmp_path / "export.json"
    export.write_text(json.dumps([task]))
    arguments = ["evaluate", f"{export},images={coco / 'images'}", "--tasks", "interactive", *FEW]
    status, out, err = run(*arguments)
    assert status == 0, err
    assert "Label Studio, export: 1 picture" in out
    assert "objects are boxes or ellipses" in out


def test_a_benchmark_with_its_own_prompts_is_a_data_set_for_each_kind(
    run: Any, knowing: list[Any], coco: Path
) -> None:
    from xsam_backend.geometry.coco_rle import mask_to_coco_rle

    prompt = np.zeros((40, 60), np.bool_)
    prompt[10:14, 10:14] = True
    run_lengths = mask_to_coco_rle(prompt)
    kinds = ("point", "scribble", "box", "mask")
    annotation = {
        "category_id": 18,
        "iscrowd": 0,
        "segmentation": [[5, 5, 25, 5, 25, 30, 5, 30]],
        "visual_prompts": {f"{kind}_visual_prompt": run_lengths for kind in kinds},
    }
    rows = [{"image_file": "images/p1.png", "image_size": [40, 60], "annotations": [annotation]}]
    path = coco / "coco_vgdseg_val.json"
    path.write_text(json.dumps(rows))
    status, out, err = run("evaluate", path, "--prompts", "box", "--prompts", "point", *FEW)
    assert status == 0, err
    assert "COCO-VGD, points, split val: 1 picture" in out
    assert "COCO-VGD, boxes, split val: 1 picture" in out
    assert "scribble" not in out
    asked = [prompt.regions[0].mask.sum() for prompt in knowing[0].asked]
    assert asked == [16, 16], "the benchmark's own areas"


def test_the_readmes_command(run: Any, knowing: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
    (line,) = re.findall(r"^\.venv/bin/xsam-backend (evaluate .*)$", readme, re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    # Two scenes instead of five: the predictor that knows them is quick, drawing isn't.
    status, out, err = run(*line.replace("--limit 5", "--limit 2").split())
    assert status == 0, err
    assert "Grounded conversation (2 pictures)" in out
    assert (tmp_path / "report" / "report.html").is_file()
    assert (tmp_path / "report" / "results.json").is_file()


def test_a_project_of_label_studio_is_read_through_its_api(
    run: Any, knowing: list[Any], coco: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, int]] = []

    def open_project(client: Any, source: Any, number: int) -> Any:
        asked.append((client.url, number))
        assert source.policy.token == "secret-token"
        return open_dataset(coco, split="val")

    monkeypatch.setattr("xsam_backend.cli.evaluation_data.open_project", open_project)
    monkeypatch.setenv("XSAM_BACKEND_LABEL_STUDIO_TOKEN", "secret-token")
    address = ("--label-studio-url", "http://127.0.0.1:8080")
    status, out, err = run("evaluate", "project:21,limit=1,tasks=generic", *address, *FEW)
    assert status == 0, err
    assert asked == [("http://127.0.0.1:8080", 21)]
    assert "1 of 3 pictures, evenly spaced" in out
    assert "secret-token" not in out + err
