from __future__ import annotations

import cv2
import numpy as np
from label_studio_sdk.label_interface import LabelInterface

from xsam_backend.demo.pictures import SCENE_SIZE_HW, SCENES, scenes
from xsam_backend.demo.project import label_config
from xsam_backend.labelstudio.context import batch_prompts
from xsam_backend.labelstudio.label_config import LabelConfig
from xsam_backend.scenes.scene import draw_scene, is_held_out


def test_every_thing_on_every_scene_has_a_label() -> None:
    labels = {label.name.lower() for label in LabelConfig.parse(label_config()).outputs[0].labels}
    shown = set()
    for seed in SCENES:
        assert is_held_out(seed)
        truth = draw_scene(seed, SCENE_SIZE_HW)
        shown |= {name for name, is_thing in zip(truth.names, truth.is_thing, strict=True) if is_thing}
    assert shown <= labels
    assert labels - shown == {"cat", "person"}, "these are in photographs"


def test_they_are_the_same_at_every_start() -> None:
    first, second = scenes(), scenes()
    assert first == second
    assert len({picture.name for picture in first}) == 6
    decoded = cv2.imdecode(np.frombuffer(first[0].content, np.uint8), cv2.IMREAD_COLOR)
    assert decoded.shape == (*SCENE_SIZE_HW, 3)
    assert (cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB) == draw_scene(SCENES[0], SCENE_SIZE_HW).image).all()


def test_the_label_config_offers_every_gesture() -> None:
    config = LabelConfig.parse(label_config())
    assert config.notes == ()
    assert {control.name for control in config.controls if control.is_prompt_tool} == {"click", "box", "phrase"}
    assert [output.geometry for output in config.outputs] == ["polygon"]
    assert batch_prompts(config)
    for control in config.controls:
        for label in control.label_names:
            assert config.output_for(label, control.to_name)[1] == label
    LabelInterface(label_config()).validate()
