from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from xsam_backend.geometry.coco_rle import coco_rle_to_mask

pytestmark = pytest.mark.usefixtures("fake_model")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "a b.png"
    Image.fromarray(np.full((60, 80, 3), 128, np.uint8)).save(path)
    return path


def test_lines_for_people(run: Any, picture: Path) -> None:
    status, out, err = run("predict", picture, "--label", "cat", "--label", "dog")
    assert status == 0
    assert out.splitlines() == ["0.75  cat  box 0,0,40,30  1200 px", "0.70  dog  box 40,0,80,30  1200 px"]
    assert err == "loading tiny\n"


def test_coco_masks_are_the_masks(run: Any, picture: Path) -> None:
    status, out, _ = run("predict", picture, "--box", "10,20,30,50", "--label", "cat", "--json", "coco")
    assert status == 0
    coco = json.loads(out)
    assert coco["images"] == [{"id": 1, "file_name": str(picture), "width": 80, "height": 60}]
    (annotation,) = coco["annotations"]
    mask = coco_rle_to_mask(annotation["segmentation"])
    assert annotation["area"] == mask.sum()
    assert mask[20:50, 10:30].all()
    assert coco["categories"] == [{"id": annotation["category_id"], "name": "cat"}]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools' own
def test_coco_is_read_by_pycocotools(run: Any, picture: Path, tmp_path: Path) -> None:
    from pycocotools.coco import COCO

    path = tmp_path / "coco.json"
    path.write_text(run("predict", picture, "--label", "cat", "--label", "dog", "--json", "coco")[1])
    coco = COCO(str(path))
    masks = [coco.annToMask(annotation) for annotation in coco.loadAnns(coco.getAnnIds())]
    assert [int(mask.sum()) for mask in masks] == [1200, 1200]
    assert masks[0][:30, :40].all()


def test_label_studio_imports_what_is_printed(run: Any, picture: Path) -> None:
    from label_studio_sdk.converter.brush import decode_rle

    status, out, _ = run(
        "predict", picture, "--click", "40,30", "--label", 'a "quoted" <label>', "--json", "label-studio"
    )
    assert status == 0
    (task,) = json.loads(out)
    assert task["data"] == {"image": str(picture)}
    (prediction,) = task["predictions"]
    assert prediction["model_version"] == "fake-1"
    (region,) = prediction["result"]
    assert region["value"]["brushlabels"] == ['a "quoted" <label>']
    alpha = np.array(decode_rle(region["value"]["rle"])).reshape(60, 80, 4)[:, :, 3]
    assert alpha[30, 40] == 255


def test_a_label_config_decides_what_is_looked_for_and_how_it_is_written(
    run: Any, picture: Path, tmp_path: Path
) -> None:
    config = tmp_path / "config.xml"
    config.write_text(
        '<View><Image name="photo" value="$photo"/><RectangleLabels name="r" toName="photo">'
        '<Label value="cat"/><Label value="dog"/></RectangleLabels></View>'
    )
    out = run("predict", picture, "--label-config", config, "--json", "label-studio")[1]
    (task,) = json.loads(out)
    assert task["data"] == {"photo": str(picture)}
    regions = task["predictions"][0]["result"]
    assert [(region["type"], region["value"]["rectanglelabels"]) for region in regions] == [
        ("rectanglelabels", ["cat"]),
        ("rectanglelabels", ["dog"]),
    ]


def test_the_threshold_holds_for_a_label_config_too(
    run: Any, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fake_predictor import FakePredictor

    config = tmp_path / "config.xml"
    config.write_text(
        '<View><Image name="photo" value="$photo"/><RectangleLabels name="r" toName="photo"'
        ' model_score_threshold="0.2"><Label value="cat"/></RectangleLabels></View>'
    )
    asked: list[float | None] = []
    answer = FakePredictor.answer

    def listen(self: FakePredictor, state: Any, prompt: Any) -> Any:
        asked.append(prompt.score_threshold)
        return answer(self, state, prompt)

    monkeypatch.setattr(FakePredictor, "answer", listen)
    run("predict", picture, "--label-config", config)
    run("predict", picture, "--label-config", config, "--threshold", "0.9")
    assert asked == [0.2, 0.9]


def test_a_label_config_in_another_encoding_is_told(run: Any, picture: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.xml"
    config.write_bytes("<View/>é".encode("latin-1"))
    status, _, err = run("predict", picture, "--label-config", config)
    assert status == 1
    assert "expected a label config as UTF-8 text" in err


def test_a_negative_click_is_subtracted(run: Any, picture: Path) -> None:
    out = run("predict", picture, "--click", "40,30", "--not-click", "44,30", "--json", "coco")[1]
    mask = coco_rle_to_mask(json.loads(out)["annotations"][0]["segmentation"])
    assert mask[30, 36]
    assert not mask[30, 44]


def test_the_overlay_is_written(run: Any, picture: Path, tmp_path: Path) -> None:
    target = tmp_path / "overlay.png"
    status, _, err = run("predict", picture, "--text", "the left half", "--output", target)
    assert status == 0
    assert f"wrote {target}" in err
    drawn = np.asarray(Image.open(target))
    assert (drawn[50, 10] != 128).any()
    assert (drawn[50, 70] == 128).all()


def test_a_phrase_names_what_it_finds_unless_a_label_config_has_other_names(
    run: Any, picture: Path, tmp_path: Path
) -> None:
    asked = ("predict", picture, "--text", "the left half")
    (line,) = run(*asked)[1].splitlines()
    assert "  the left half  box " in line
    assert [one["name"] for one in json.loads(run(*asked, "--json", "coco")[1])["categories"]] == ["the left half"]
    config = tmp_path / "config.xml"
    config.write_text(
        '<View><Image name="photo" value="$photo"/><RectangleLabels name="r" toName="photo">'
        '<Label value="cat"/><Label value="dog"/></RectangleLabels></View>'
    )
    status, out, _ = run(*asked, "--label-config", config, "--json", "label-studio")
    (region,) = json.loads(out)[0]["predictions"][0]["result"]
    assert (status, region["value"].get("rectanglelabels")) == (0, []), "no label that it hasn't"


def test_a_data_uri_is_a_picture_too(run: Any, picture: Path) -> None:
    uri = "data:image/png;base64," + base64.b64encode(picture.read_bytes()).decode()
    assert run("predict", uri, "--label", "cat")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["missing.png", "--label", "cat"], 1, "missing.png: No such file"),
        (["PICTURE"], 1, "nothing asked: give --click"),
        (["PICTURE", "--click", "5"], 2, "expected X,Y in pixels, such as 10,20"),
        (["PICTURE", "--text", "a", "--threshold", "2"], 2, "0<=x<=1"),
        (["http://127.0.0.1:1/a.png", "--label", "cat"], 1, "private or reserved address"),
        (["data:image/png;base64,aGVsbG8=", "--label", "cat"], 1, "expected a picture"),
        (["PICTURE", "--label", "cat", "--output", "overlay.xyz"], 1, "ends in .png or .jpg"),
        (["PICTURE", "--label", "cat", "--model", "huge"], 1, "no model 'huge'"),
        ([], 2, "Missing argument"),
    ],
    ids=["no file", "no question", "half a click", "threshold", "private", "text", "format", "model", "no picture"],
)
def test_what_goes_wrong_is_said_on_stderr(
    run: Any, picture: Path, arguments: list[str], status: int, said: str
) -> None:
    got, out, err = run("predict", *[str(picture) if part == "PICTURE" else part for part in arguments])
    assert got == status
    assert said in err
    assert "Traceback" not in err
    assert out == "" or "overlay.xyz" in arguments


def test_nothing_found_is_said(run: Any, picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fake_predictor import FakePredictor

    from xsam_backend.instances import Answer, Instances

    def nothing(_self: object, state: Any, _prompt: object) -> Answer:
        return Answer(Instances.empty(state.size_hw), reason="all candidates score below 0.3")

    monkeypatch.setattr(FakePredictor, "answer", nothing)
    assert run("predict", picture, "--label", "cat")[1] == "nothing found: all candidates score below 0.3\n"
