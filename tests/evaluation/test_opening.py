"""The front door: which format data are in, which options mean something, how many pictures."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import test_ade20k
import test_fixed_prompts
import test_grounded_captions
import test_label_studio_export
import test_panoptic_folder
import test_reason_seg
import test_referring_files
from dataset_files import SQUARE, instances, write_json, write_picture

from xsam_backend.errors import DatasetError
from xsam_backend.evaluation.datasets.opening import FORMATS, open_dataset
from xsam_backend.evaluation.datasets.records import Dataset
from xsam_backend.labelstudio.images import FetchPolicy, ImageSource
from xsam_backend.labelstudio.label_config import LabelConfig


def coco(folder: Path, count: int = 1, name: str = "instances.json") -> Path:
    """A folder with pictures of one dog each."""
    numbers = range(count)
    annotations = [{"image_id": i, "category_id": 2, "segmentation": SQUARE} for i in numbers]
    images = [{"id": i, "split": "val" if i % 2 else "train"} for i in numbers]
    write_json(folder / name, instances(images, annotations))
    for i in numbers:
        write_picture(folder / f"{i}.jpg")
    return folder


def refcoco(tmp_path: Path, name: str = "refs(unc).p") -> Path:
    return test_referring_files.write(tmp_path, test_referring_files.REFS[:2], name)


def psalm_refcoco(tmp_path: Path) -> Path:
    content = test_referring_files.coco()
    sample = {"image": content["images"][0]["file_name"], "image_info": content["images"][0]}
    sample |= {"instruction": [{"sent": "a"}], "anns": content["annotations"][:1], "new_img_id": 0}
    return write_json(refcoco(tmp_path) / "val_psalm.json", [sample])


def grand(tmp_path: Path) -> Path:
    write_picture(tmp_path / "sa_1.jpg")
    return write_json(tmp_path / "OpenPsgGCG_val.json", test_grounded_captions.grand())


def refcocog_gcg(tmp_path: Path) -> Path:
    write_picture(tmp_path / "COCO_train2014_000000581857.jpg")
    return write_json(tmp_path / "RefCOCOg_GCG_val.json", test_grounded_captions.refcocog())


def flickr(tmp_path: Path) -> Path:
    write_picture(tmp_path / "1000092795.jpg")
    return write_json(tmp_path / "flickr_mergedGT_GCG_val.json", test_grounded_captions.flickr())


def gcg_val(tmp_path: Path) -> Path:
    write_picture(tmp_path / "images" / "GranDf_HA_images" / "val_test" / "sa_1.jpg")
    return test_grounded_captions.val_test(tmp_path)


def reason_seg(tmp_path: Path) -> Path:
    test_reason_seg.write(tmp_path / "val", "a", [test_reason_seg.LARGE])
    return tmp_path


def ade20k(tmp_path: Path) -> Path:
    test_ade20k.write(tmp_path, test_ade20k.classes())
    return tmp_path


def export(tmp_path: Path) -> Path:
    done = test_label_studio_export.annotation(test_label_studio_export.polygon())
    return write_json(tmp_path / "project-21.json", [test_label_studio_export.task(done)])


def snapshot(tmp_path: Path) -> Path:
    sample: dict[str, Any] = {
        "task": 114,
        "annotation": 10,
        "to_name": "image",
        "item_index": None,
        "sha256": "ab" + "0" * 62,
        "result": [test_label_studio_export.polygon()],
        "origins": {},
        "refused": [],
    }
    (tmp_path / "ab").mkdir()
    write_picture(tmp_path / "a.png", (24, 40)).rename(tmp_path / "ab" / sample["sha256"])
    content = {
        "xsam_backend_snapshot": 1,
        "project": "local/21.5",
        "label_config": '<View><Image name="image" value="$image"/>'
        '<PolygonLabels name="poly" toName="image"><Label value="cat"/></PolygonLabels></View>',
        "pictures": ".",
        "emphasis": {"drawn": 1},
        "samples": [sample],
    }
    return write_json(tmp_path / "snapshot.json", content)


def panoptic(tmp_path: Path) -> Path:
    return test_panoptic_folder.write(tmp_path, test_panoptic_folder.content(), test_panoptic_folder.ids())


CASES: dict[str, tuple[Any, str, dict[str, Any]]] = {
    "COCO folder": (coco, "coco", {}),
    "COCO file": (lambda p: coco(p, name="instances_val2017.json") / "instances_val2017.json", "coco", {}),
    "panoptic file": (panoptic, "panoptic", {}),
    "Label Studio export": (export, "label-studio", {}),
    "snapshot": (snapshot, "snapshot", {}),
    "RefCOCO folder": (refcoco, "refcoco", {}),
    "RefCOCO pickle": (lambda p: refcoco(p) / "refs(unc).p", "refcoco", {}),
    "gRefCOCO JSON": (lambda p: refcoco(p, "grefs(unc).json") / "grefs(unc).json", "refcoco", {}),
    "RefCOCO lines": (lambda p: refcoco(p, "refs(umd).jsonl") / "refs(umd).jsonl", "refcoco", {}),
    "PSALM's RefCOCO": (psalm_refcoco, "refcoco", {}),
    "MDETR's RefCOCO": (
        lambda p: write_json(refcoco(p) / "finetune_refcoco_val.json", test_referring_files.mdetr(True)),
        "refcoco",
        {},
    ),
    "ReasonSeg": (reason_seg, "reasonseg", {"split": "val"}),
    "one split of ReasonSeg": (lambda p: reason_seg(p) / "val", "reasonseg", {}),
    "GranD-f": (grand, "gcg", {}),
    "GranD-f from RefCOCOg": (refcocog_gcg, "gcg", {}),
    "GranD-f from Flickr": (flickr, "gcg", {}),
    "GranD-f val": (gcg_val, "gcg", {}),
    "COCO-VGD": (
        lambda p: test_fixed_prompts.write(p, test_fixed_prompts.vgd()),
        "coco-vgd",
        {"prompts": "point"},
    ),
    "COCO-Interactive by X-SAM": (
        lambda p: test_fixed_prompts.write(p, test_fixed_prompts.vgd(), "intseg_val.json"),
        "coco-interactive",
        {"prompts": "mask"},
    ),
    "COCO-Interactive by PSALM": (
        lambda p: test_fixed_prompts.write(p, test_fixed_prompts.psalm(), "coco_interactive_val_psalm.json"),
        "coco-interactive",
        {"prompts": "box"},
    ),
    "ADE20K": (ade20k, "ade20k", {"split": "val"}),
    "scenes": (lambda _: "scenes", "scenes", {"limit": 1}),
}


@pytest.mark.parametrize("case", CASES)
def test_formats_are_recognised(tmp_path: Path, case: str) -> None:
    """Each is opened, and its first record has the shape of all records."""
    make, name, options = CASES[case]
    dataset = open_dataset(make(tmp_path), **options)
    assert dataset.format == name
    record = dataset.records[0]
    truth = record.load()
    assert truth.source == record.source
    assert len(record.regions()) == (len(truth.names) if "prompts" in options else 0)
    assert dataset.tasks
    labels = {category.label for category in dataset.categories}
    assert not labels or set(truth.names) <= labels, "what is there can be asked for"
    assert set(truth.names) <= truth.complete_for or dataset.labelling != "panoptic"


def test_every_format_is_among_the_cases() -> None:
    assert {name for _, name, _ in CASES.values()} == set(FORMATS)


def test_a_named_format_needs_no_recognition(tmp_path: Path) -> None:
    file = test_fixed_prompts.write(tmp_path, test_fixed_prompts.vgd(), "mine.json")
    with pytest.raises(DatasetError, match="it may be any of coco-vgd, coco-interactive: say which"):
        open_dataset(file, prompts="box")
    pictures = tmp_path / "coco2017" / "val2017"
    assert open_dataset(file, "coco-interactive", prompts="box", images=pictures).format == "coco-interactive"


@pytest.mark.parametrize(
    ("limit", "sources"),
    [
        (None, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (99, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (5, [0, 2, 4, 6, 8]),
        (3, [0, 3, 6]),
        (1, [0]),
    ],
)
def test_a_limit_is_spread_over_the_data(tmp_path: Path, limit: int | None, sources: list[int]) -> None:
    dataset = open_dataset(coco(tmp_path, 10), limit=limit)
    assert [record.source for record in dataset.records] == [f"{i}.jpg" for i in sources]
    assert (f"{limit} of 10 pictures, evenly spaced" in dataset.notes) == (len(sources) < 10)
    assert isinstance(dataset, Dataset)
    assert len(dataset) == len(sources)


def test_a_limit_after_the_split(tmp_path: Path) -> None:
    dataset = open_dataset(coco(tmp_path, 10), split="val", limit=2)
    assert [record.source for record in dataset.records] == ["1.jpg", "5.jpg"]


def test_label_studios_own_options(tmp_path: Path) -> None:
    config = LabelConfig.parse(
        '<View><Image name="image" value="$image"/>'
        '<PolygonLabels name="p" toName="image"><Label value="cat"/><Label value="dog"/></PolygonLabels></View>'
    )
    dataset = open_dataset(export(tmp_path), label_config=config, image_source=ImageSource(FetchPolicy(max_pixels=9)))
    assert [category.label for category in dataset.categories] == ["cat", "dog"]
    with pytest.raises(DatasetError, match="at most 9 are allowed"):
        dataset.records[0].load()


def refused(tmp_path: Path, case: str) -> None:
    options: dict[str, Any] = {}
    path: Any = coco(tmp_path, 2)
    if case == "nothing there":
        path = tmp_path / "nowhere"
    elif case == "an option apart":
        path = "images=somewhere"
    elif case == "unknown format":
        options = {"format": "pascal"}
    elif case == "an empty folder":
        path = tmp_path / "empty"
        path.mkdir()
    elif case == "no format fits a folder":
        path = tmp_path / "letters"
        path.mkdir()
        (path / "letter.txt").write_text("hello")
    elif case == "no format fits a file":
        path = write_json(tmp_path / "a.json", {"hello": 1})
    elif case == "no format fits a list":
        path = write_json(tmp_path / "a.json", [1, 2])
    elif case == "a picture":
        path = tmp_path / "0.jpg"
    elif case == "two formats fit":
        write_json(tmp_path / "panoptic.json", {})
    elif case == "no JSON":
        path = tmp_path / "a.json"
        path.write_text("{")
    elif case == "useless option":
        options = {"prompts": "box"}
    elif case == "useless options of scenes":
        path, options = "scenes", {"images": tmp_path, "only": "a"}
    elif case == "useless label config":
        options = {"label_config": LabelConfig.parse('<View><Image name="i" value="$i"/></View>')}
    elif case == "unknown prompts":
        path = test_fixed_prompts.write(tmp_path, test_fixed_prompts.vgd())
        options = {"prompts": "lasso"}
    elif case == "no pictures wanted":
        options = {"limit": 0}
    elif case == "the wrong format":
        options = {"format": "panoptic"}
    open_dataset(path, **options)


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("nothing there", "expected a file or folder of labelled pictures at .*nowhere, there is none"),
        ("an option apart", r"there is none \(options follow their data without a space: export.json,images=FOLDER"),
        ("unknown format", "expected one of the formats coco, panoptic, .*got 'pascal'"),
        ("an empty folder", "empty is an empty folder: expected labelled pictures"),
        ("no format fits a folder", "(?s)looks like none that can be read: say which.*reasonseg: ReasonSeg"),
        ("no format fits a file", "looks like none"),
        ("no format fits a list", "looks like none"),
        ("a picture", "looks like none"),
        ("two formats fit", "may be any of coco, panoptic"),
        ("no JSON", "expected JSON"),
        ("useless option", "prompts means nothing to the format coco: leave it out"),
        ("useless options of scenes", "images, only means nothing to the format scenes"),
        ("useless label config", "label_config means nothing to the format coco"),
        ("unknown prompts", "one of point, scribble, box, mask, got 'lasso'"),
        ("no pictures wanted", "at least one picture, got a limit of 0"),
        ("the wrong format", "panoptic.json, it isn't there"),
    ],
)
def test_refused(tmp_path: Path, case: str, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        refused(tmp_path, case)


def test_records_cost_nothing_until_loaded(tmp_path: Path) -> None:
    """Pictures and masks are read by ``load``, and read again by the next."""
    folder = coco(tmp_path, 3)
    dataset = open_dataset(folder)
    (folder / "1.jpg").unlink()
    assert len(dataset) == 3
    with pytest.raises(DatasetError, match=r"1\.jpg: expected a picture"):
        dataset.records[1].load()
    np.testing.assert_array_equal(dataset.records[0].load().masks, dataset.records[0].load().masks)


def test_a_hostile_pickle_at_the_front_door(tmp_path: Path) -> None:
    data = refcoco(tmp_path)
    (data / "refs(unc).p").write_bytes(pickle.dumps([Path("a")]))
    with pytest.raises(DatasetError, match="could run anything"):
        open_dataset(data)


PHOTOS = Path(__file__).parents[3] / "shared" / "data"


@pytest.mark.parametrize(
    ("name", "options", "format"),
    [
        ("photos", {"split": "val"}, "coco"),
        ("domain", {"split": "val", "only": "nuclei_"}, "coco"),
        ("photos/panoptic_sample", {}, "panoptic"),
    ],
)
def test_real_data(name: str, options: dict[str, Any], format: str) -> None:
    if not (PHOTOS / name).exists():
        pytest.skip(f"needs ../shared/data/{name} beside the repository")
    dataset = open_dataset(PHOTOS / name, limit=2, **options)
    assert (dataset.format, len(dataset)) == (format, 2)
    for record in dataset.records:
        assert len(record.load().names)


def test_the_content_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """COCO's files have hundreds of megabytes: what was parsed to recognise them isn't parsed again."""
    file = coco(tmp_path, name="instances_val2017.json") / "instances_val2017.json"
    parsed: list[int] = []
    loads = json.loads

    def counted(text: str) -> Any:
        parsed.append(len(text))
        return loads(text)

    monkeypatch.setattr(json, "loads", counted)
    open_dataset(file)
    assert len(parsed) == 1
