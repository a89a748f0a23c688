"""Each form in which labelled pictures come, as small as it goes, for tests that damage it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from xsam_backend.evaluation.datasets.opening import open_dataset
from xsam_backend.evaluation.datasets.records import Dataset

HEIGHT, WIDTH = 8, 12
POLYGON = [[1, 1, 9, 1, 9, 6, 1, 6]]
RLE = {"size": [HEIGHT, WIDTH], "counts": [4, 20, 72]}
IMAGE = {"id": 1, "file_name": "a.png", "width": WIDTH, "height": HEIGHT, "split": "val"}
CATEGORIES = [{"id": 1, "name": "cat", "isthing": 1}]
OBJECT = {"id": 1, "image_id": 1, "original_id": 9, "category_id": 1, "segmentation": POLYGON, "iscrowd": 0}
INSTANCES = {"images": [IMAGE], "annotations": [OBJECT], "categories": CATEGORIES}
REFS = [{"image_id": 1, "split": "val", "ann_id": 1, "sentences": [{"sent": "the cat"}]}]
CAPTION_MASKS = {"images": [IMAGE], "annotations": [{"image_id": 1, "segmentation": RLE}]}
CAPTIONS = {"annotations": [{"image_id": 1, "caption": "a red cat", "labels": ["red cat"]}]}
REGIONS = [
    {
        "id": "x",
        "type": "polygonlabels",
        "from_name": "label",
        "to_name": "image",
        "original_width": WIDTH,
        "original_height": HEIGHT,
        "value": {"points": [[1, 1], [90, 1], [90, 90]], "polygonlabels": ["cat"]},
    },
    {"id": "x", "type": "textarea", "from_name": "text", "to_name": "image", "value": {"text": ["the cat"]}},
    {"type": "relation", "from_id": "x", "to_id": "x", "direction": "left", "labels": ["on"]},
]
LABEL_CONFIG = (
    '<View><Image name="image" value="$image"/><PolygonLabels name="label" toName="image"><Label value="cat"/>'
    "</PolygonLabels></View>"
)


@dataclass(frozen=True)
class Form:
    """One form: the reader's name, the file whose content is damaged, and what else must be beside it.

    Attributes:
        opens: what is opened where it isn't the file: another one, or "." for the folder.
    """

    format: str
    file: str
    content: Any
    beside: Mapping[str, Any] = field(default_factory=dict)
    opens: str = ""


FORMS: dict[str, Form] = {
    "COCO instances": Form(
        "coco",
        "instances_val2017.json",
        {**INSTANCES, "annotations": [OBJECT, {**OBJECT, "segmentation": RLE}]},
    ),
    "COCO captions": Form(
        "coco",
        "captions_val2017.json",
        {"annotations": [{"image_id": 1, "caption": "a red cat"}]},
        {"instances_val2017.json": INSTANCES},
        opens="instances_val2017.json",
    ),
    "COCO panoptic": Form(
        "panoptic",
        "panoptic.json",
        {
            "images": [IMAGE],
            "annotations": [
                {"image_id": 1, "file_name": "map.png", "segments_info": [{"id": 5, "category_id": 1, "iscrowd": 0}]}
            ],
            "categories": CATEGORIES,
        },
    ),
    "RefCOCO's refs": Form("refcoco", "refs(unc).json", REFS, {"instances.json": INSTANCES}, opens="."),
    "RefCOCO's instances": Form("refcoco", "instances.json", INSTANCES, {"refs(unc).json": REFS}, opens="."),
    "PSALM's RefCOCO": Form(
        "refcoco",
        "val_psalm.json",
        [{"image": "a.png", "image_info": IMAGE, "anns": [OBJECT], "instruction": [{"sent": "a cat"}]}],
    ),
    "MDETR's RefCOCO": Form("refcoco", "finetune_val.json", {**INSTANCES, "images": [{**IMAGE, "caption": "a cat"}]}),
    "MDETR's boxes": Form(
        "refcoco",
        "finetune_val.json",
        {
            **INSTANCES,
            "images": [{**IMAGE, "caption": "a cat"}],
            "annotations": [{"id": 5, "image_id": 1, "original_id": 1, "category_id": 1, "bbox": [1, 1, 8, 5]}],
        },
        {"instances.json": INSTANCES},
    ),
    "GranD-f": Form(
        "gcg",
        "grand_train.json",
        [
            {
                "file_name": "a.png",
                "caption": "a red cat",
                "groundings": {"a red cat": {"token_positives": [0, 9], "rle_masks": [RLE]}},
            }
        ],
    ),
    "GranD-f's RefCOCOg": Form(
        "gcg",
        "refcocog_val.json",
        [
            {
                "7": {
                    "img_file_name": "a.png",
                    "caption": "a red cat",
                    "refs": [{"sentence": "red cat", "segmentation": POLYGON}],
                }
            }
        ],
    ),
    "GranD-f's flickr": Form(
        "gcg",
        "flickr_val.json",
        {
            "images": [{**IMAGE, "caption": "a red cat"}],
            "annotations": [{"image_id": 1, "tokens_positive": [[0, 9]], "sam_mask": RLE}],
        },
    ),
    "GranD-f's masks": Form(
        "gcg", "val_gcg_coco_mask_gt.json", CAPTION_MASKS, {"val_gcg_coco_caption_gt.json": CAPTIONS}
    ),
    "GranD-f's captions": Form(
        "gcg", "val_gcg_coco_caption_gt.json", CAPTIONS, {"val_gcg_coco_mask_gt.json": CAPTION_MASKS}
    ),
    "COCO-VGD": Form(
        "coco-vgd",
        "vgd_val.json",
        [
            {
                "image_file": "a.png",
                "image_size": [HEIGHT, WIDTH],
                "annotations": [{**OBJECT, "visual_prompts": {"box_visual_prompt": RLE}}],
            }
        ],
    ),
    "COCO-Interactive": Form(
        "coco-interactive",
        "interactive_val.json",
        [{"image": "a.png", "image_info": IMAGE, "anns": [{**OBJECT, "box_visual_prompt_mask": RLE}]}],
    ),
    "Label Studio": Form(
        "label-studio",
        "export.json",
        [
            {
                "id": 1,
                "data": {"image": "/data/upload/1/a.png"},
                "annotations": [{"id": 3, "was_cancelled": False, "updated_at": "2024", "result": REGIONS}],
            }
        ],
    ),
    "ReasonSeg": Form(
        "reasonseg",
        "a.json",
        {"text": ["what?"], "is_sentence": True, "shapes": [{"label": "target", "points": [[1, 1], [9, 1], [9, 6]]}]},
        opens=".",
    ),
    "a snapshot": Form(
        "snapshot",
        "snapshot.json",
        {
            "xsam_backend_snapshot": 1,
            "project": "here/1.1",
            "label_config": LABEL_CONFIG,
            "pictures": ".",
            "emphasis": {"drawn": 1.0, "corrected": 2.0, "accepted": 0.5},
            "samples": [
                {
                    "task": 1,
                    "annotation": 3,
                    "to_name": None,
                    "item_index": None,
                    "sha256": "aabb",
                    "result": REGIONS,
                    "origins": {"x": "drawn"},
                    "refused": [],
                    "complete": True,
                }
            ],
        },
    ),
}
"""By what people call it."""


def write_pictures(folder: Path) -> Path:
    """A folder for ``read_all``: what the forms' files speak of, under all the names that they use."""
    picture = Image.new("RGB", (WIDTH, HEIGHT))
    for name in ("a.png", "a.jpg", "1.jpg"):
        picture.save(folder / name)
    (folder / "aa").mkdir(exist_ok=True)
    picture.save(folder / "aa" / "aabb", "PNG")
    ids = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    ids[:4, :, 0] = 5
    Image.fromarray(ids).save(folder / "map.png")
    return folder


def read_all(folder: Path, name: str, content: Any) -> Dataset:
    """Everything in a file of this form with this content; it is written into a folder of its own."""
    form = FORMS[name]
    place = folder / name
    if not place.is_dir():
        place.mkdir()
        write_pictures(place)
        for beside, given in form.beside.items():
            (place / beside).write_text(json.dumps(given))
    (place / form.file).write_text(json.dumps(content))
    options: dict[str, Any] = {"prompts": "box"} if form.format.startswith("coco-") else {}
    if form.format == "label-studio":
        options["images"] = place
    dataset = open_dataset(place / (form.opens or form.file), form.format, **options)
    for record in dataset.records:
        record.load()
        record.regions()
    return dataset
