"""From choices to a file that is read as a data set: masks, absence, emphasis."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from learning_parts import CONFIG, KEY, polygon
from PIL import Image

from xsam_backend.errors import DatasetError
from xsam_backend.evaluation.datasets.opening import open_dataset
from xsam_backend.evaluation.datasets.records import Record
from xsam_backend.learning.choosing import Choice
from xsam_backend.learning.snapshot import EMPHASIS, Written, write_snapshot
from xsam_backend.prompts import Task
from xsam_backend.store.picture_files import PictureFiles
from xsam_backend.store.tasks import TaskPicture
from xsam_backend.training.questions import Asking, ask
from xsam_backend.training.sources import Photos


def encoded(value: int = 90) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((240, 320, 3), value, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def files(tmp_path: Path) -> PictureFiles:
    return PictureFiles(tmp_path / "data" / "pictures")


@pytest.fixture
def choice(files: PictureFiles) -> Choice:
    picture = TaskPicture("image", None, None, files.put(encoded()), (240, 320))
    regions = (polygon("rg1"), polygon("rg2", "dog"))
    return Choice(114, 10, picture, regions, {"rg1": "corrected", "rg2": "accepted"}, (), 0)


def written(tmp_path: Path, *choices: Choice, label_config: str = CONFIG) -> Written:
    pictures = tmp_path / "data" / "pictures"
    return write_snapshot(
        tmp_path / "job" / "snapshot.json", choices, project_key=KEY, label_config=label_config, pictures=pictures
    )


def records(tmp_path: Path, *choices: Choice) -> list[Record]:
    return list(open_dataset(written(tmp_path, *choices).path).records)


def test_accepted_regions_come_back_as_segments(tmp_path: Path, choice: Choice) -> None:
    dataset = open_dataset(written(tmp_path, choice).path)
    assert [category.label for category in dataset.categories] == ["cat", "dog"]
    truth = dataset.records[0].load()
    assert truth.names == ("cat", "dog")
    assert truth.complete_for == {"cat", "dog"}
    assert truth.masks.any((1, 2)).all()
    assert truth.size_hw == (240, 320)
    assert truth.emphasis is not None
    assert truth.emphasis.tolist() == [EMPHASIS["corrected"], EMPHASIS["accepted"]]


def test_a_skipped_task_says_only_what_was_not_wanted(tmp_path: Path, choice: Choice) -> None:
    skipped = replace(choice, annotation_id=None, result=(), origins={}, refused=("dog", "a label of old"))
    truth = records(tmp_path, skipped)[0].load()
    assert (truth.names, truth.complete_for) == ((), {"dog"})


def test_a_damaged_region_costs_no_other(tmp_path: Path, choice: Choice) -> None:
    bad = {**polygon("rg3"), "value": {"points": [[1, 2]], "polygonlabels": ["cat"]}}
    found = written(tmp_path, replace(choice, result=(bad, *choice.result)))
    assert len(found.damaged) == 1
    assert "task 114: region 'rg3'" in found.damaged[0]
    truth = open_dataset(found.path).records[0].load()
    assert truth.names == ("cat", "dog")
    assert truth.complete_for == frozenset(), "what couldn't be read is there all the same"


def test_a_label_that_was_renamed_teaches_no_absence(tmp_path: Path, choice: Choice) -> None:
    """Pictures of before and after a change of the config don't contradict each other."""
    before = replace(choice, result=(polygon("rg1", "kitten"),), origins={"rg1": "drawn"})
    old, new, empty = (
        one.load() for one in records(tmp_path, before, choice, replace(choice, result=(), origins={}))
    )
    assert (old.names, old.complete_for) == (("kitten",), {"kitten"})
    assert (new.complete_for, empty.complete_for) == ({"cat", "dog"}, {"cat", "dog"})


def test_a_background_teaches_nothing_and_costs_nothing(tmp_path: Path, choice: Choice) -> None:
    """It isn't taken for a label of another config either."""
    config = CONFIG.replace(
        '<Label value="cat"/>', '<Label value="cat"/><Label value="rest" model_background="true"/>'
    )
    mixed = replace(choice, result=(polygon("rg1"), polygon("rg2", "rest")), origins={"rg1": "drawn", "rg2": "drawn"})
    dataset = open_dataset(written(tmp_path, mixed, label_config=config).path)
    assert [category.label for category in dataset.categories] == ["cat", "dog"]
    truth = dataset.records[0].load()
    assert (truth.names, truth.complete_for) == (("cat",), {"cat", "dog"})


def test_an_image_tag_that_was_renamed_costs_no_regions(tmp_path: Path, choice: Choice) -> None:
    renamed = replace(choice, result=(polygon("rg1", to_name="photo"),), origins={"rg1": "drawn"})
    assert records(tmp_path, renamed)[0].load().names == ("cat",)
    among_others = replace(renamed, is_alone=False)
    assert records(tmp_path, among_others)[0].load().names == ()


def test_the_same_choices_are_the_same_snapshot(tmp_path: Path, choice: Choice) -> None:
    first = written(tmp_path, choice)
    assert written(tmp_path, choice).sha256 == first.sha256
    assert written(tmp_path, replace(choice, refused=("cat",))).sha256 != first.sha256


def test_pictures_with_corrections_are_drawn_more_often(tmp_path: Path, choice: Choice, files: PictureFiles) -> None:
    other = replace(choice.picture, sha256=files.put(encoded(200)))
    accepted = replace(choice, picture=other, origins={"rg1": "accepted", "rg2": "accepted"})
    dataset = open_dataset(written(tmp_path, choice, accepted).path)
    weights = [record.weight for record in dataset.records]  # type: ignore[attr-defined]
    assert weights == [EMPHASIS["corrected"], EMPHASIS["accepted"]]
    source = Photos(dataset.records, ["cat", "dog"], weights=weights)
    rng = np.random.default_rng(0)
    drawn = [int(source.draw(rng).image[0, 0, 0]) for _ in range(80)]
    assert 0.6 < np.mean(np.array(drawn) == 90) < 0.9, "three of four"


def test_a_vanished_picture_is_said(tmp_path: Path, choice: Choice) -> None:
    (record,) = records(tmp_path, choice)
    for path in (tmp_path / "data" / "pictures").rglob("*"):
        if path.is_file():
            path.unlink()
    with pytest.raises(DatasetError, match=r"task 114.*kept picture can't be read"):
        record.load()


@pytest.mark.parametrize(
    "content",
    [
        '{"xsam_backend_snapshot": 2}',
        '{"xsam_backend_snapshot": 1}',
        '{"xsam_backend_snapshot": 1, "project": "p", "label_config": "<View/>", "samples": []}',
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "snapshot.json"
    path.write_text(content)
    with pytest.raises(Exception, match=r"snapshot|label config|Image"):
        open_dataset(path)


CAPTIONED = """<View><Image name="image" value="$image"/>
<PolygonLabels name="poly" toName="image" model_task="gcgseg"><Label value="cat"/><Label value="dog"/></PolygonLabels>
<TextArea name="caption" toName="image" smart="false"/>
<TextArea name="called" toName="image" smart="false" perRegion="true"/></View>"""


def test_an_accepted_caption_becomes_a_question_about_its_regions(tmp_path: Path, choice: Choice) -> None:
    """As an annotator left it: the caption edited, one region called what it says, the other one nothing."""
    about = {"to_name": "image", "original_width": 320, "original_height": 240, "type": "textarea"}
    called = about | {"id": "rg2", "from_name": "called", "value": {"text": ["a sleepy dog"]}}
    caption = about | {"id": "c1", "from_name": "caption", "value": {"text": ["On the grass lies a sleepy dog."]}}
    linked = replace(choice, result=(*choice.result, called, caption))
    truth = open_dataset(written(tmp_path, linked, label_config=CAPTIONED).path).records[0].load()
    (question,) = ask(truth, {Task.GCG: 1}, np.random.default_rng(0), Asking(("cat", "dog"), 1))
    assert "On the grass lies <p>a sleepy dog</p>" in question.turn.answer
    ((mask, _),) = question.targets
    np.testing.assert_array_equal(mask, truth.masks[truth.names.index("dog")])
