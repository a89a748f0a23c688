"""Training configs: those that ship, and mistakes that are told with the key, what came and what is allowed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from trainings import QUICK, training

from xsam_backend.errors import SettingsError
from xsam_backend.training.config import REACHED_BY, TRAINED_BY, StageConfig
from xsam_backend.training.config_file import SHIPPED_CONFIGS, config_path, load_train_config

RIGHT = """
run = "runs/mine"

[[data]]
name = "photos"
kind = "photos"
folder = "photos"
share = 1.0
questions = { interactive = 2 }

[[data]]
name = "scenes"
kind = "scenes"
share = 3
[data.questions]
referring = 1

[[stages]]
name = "first"
kind = "mixed"
steps = 10
learning_rate = 1e-4

[[stages]]
name = "second"
kind = "alignment"
steps = 10
learning_rate = 1e-4
data = ["scenes"]
"""


def load(folder: Path, content: str) -> Any:
    path = folder / "mine.toml"
    path.write_text(content)
    return load_train_config(path)


@pytest.mark.parametrize("path", sorted(SHIPPED_CONFIGS.glob("*.toml")), ids=lambda path: path.stem)
def test_shipped_configs_are_right(path: Path) -> None:
    config = load_train_config(path)
    assert config.stages
    assert config_path(path.stem) == path


def test_what_a_config_leaves_out(tmp_path: Path) -> None:
    config = load(tmp_path, RIGHT)
    assert config.start == "nothing"
    assert [config.seed_of(number) for number in range(2)] == [0, 1], "other pictures in each stage"
    assert config.stages[0].trained_parts == TRAINED_BY["mixed"]
    assert config.stages[0].trunk_rate == pytest.approx(1e-5), "a tenth, as the authors have it"


def test_options_go_before_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(RIGHT)
    config = load_train_config(path, run=Path("elsewhere"), export=None)
    assert config.run == Path("elsewhere")
    assert config.export is None


@pytest.mark.parametrize(
    ("stage", "pictures", "rate", "trunk_rate", "steps", "decay", "clip"),
    [
        # s1_seg_finetune at 3e445cc: 16 GPUs x 4, lr 1e-4 with lr_mult 0.1 for segmentor.encoder, max_norm 0.01
        ("segmentor", 64, 1e-4, 1e-5, 36 * 118287 / 64, 0.05, 0.01),
        # s2_align_pretrain at 3e445cc: 16 x 4 x 4 accumulated, lr 1e-3, no weight decay, max_norm 1
        ("alignment", 256, 1e-3, 1e-4, 558_000 / 256, 0.0, 1.0),
        # s3_mixed_finetune at 0e38136: 16 x 4, lr 4e-5 with lr_mult 0.1 for both encoders, max_norm 1
        ("mixed", 64, 4e-5, 4e-6, None, 0.05, 1.0),
    ],
)
def test_the_papers_figures(
    stage: str, pictures: int, rate: float, trunk_rate: float, steps: float | None, decay: float, clip: float
) -> None:
    config = load_train_config(config_path("paper"))
    assert config.oversample == 0.1
    (ours,) = [one for one in config.stages if one.name == stage]
    assert (ours.pictures, ours.learning_rate, ours.weight_decay, ours.clip_norm) == (pictures, rate, decay, clip)
    assert ours.trunk_rate == pytest.approx(trunk_rate)
    assert ours.betas == (0.9, 0.999)
    assert ours.precision == "fp16"
    assert ours.ema == 0
    assert ours.batches == "one task"
    assert ours.warmup_steps == pytest.approx(0.03 * ours.steps, abs=1)
    if steps is not None:
        assert ours.steps == pytest.approx(steps, rel=0.001)


def test_released_weights_are_trained_by_the_third_stages_figures() -> None:
    ours = load_train_config(config_path("released"))
    theirs = load_train_config(config_path("paper")).stages[-1]
    (stage,) = ours.stages
    assert ours.start == "hao9610/X-SAM"
    for key in ("kind", "pictures", "learning_rate", "weight_decay", "betas", "clip_norm", "decay", "ema"):
        assert getattr(stage, key) == getattr(theirs, key), key
    assert not {"vision_encoder", "segmentor_encoder"} & set(stage.trained_parts)


@pytest.mark.parametrize(
    ("right", "wrong", "told"),
    [
        pytest.param('run = "runs/mine"', 'rum = "runs/mine"', ["rum: no such key; did you mean run?"], id="typo"),
        pytest.param('run = "runs/mine"', "", ["run: missing. Folder of the run"], id="nothing where it's needed"),
        pytest.param(
            'folder = "photos"', "", ["data 'photos' folder: missing. Where they lie"], id="missing in a table"
        ),
        pytest.param(
            "interactive = 2",
            "interactve = 2",
            ["data 'photos' questions interactve: no such key; did you mean inter"],
        ),
        pytest.param(
            "{ interactive = 2 }", "{ }", ["data 'photos' questions: expected a number above 0 for one task"]
        ),
        pytest.param(
            'kind = "scenes"',
            'kind = "movies"',
            ["data 'scenes': kind: expected photos, dataset or scenes, got 'movies'"],
        ),
        pytest.param('kind = "mixed"', 'kind = "all"', ["stages 'first' kind: should be 'words', ", ", got 'all'"]),
        pytest.param("steps = 10", 'steps = "10"', ["stages 'first' steps: should be a valid integer, got '10'"]),
        pytest.param("steps = 10", "steps = true", ["stages 'first' steps: should be a valid integer, got True"]),
        pytest.param(
            "steps = 10", "steps = -1", ["stages 'first' steps: should be greater than or equal to 0, got -1"]
        ),
        pytest.param("rate = 1e-4", "rate = 0", ["learning_rate: should be greater than 0, got 0"]),
        pytest.param("rate = 1e-4", "rate = inf", ["learning_rate: should be a finite number, got inf"]),
        pytest.param("steps = 10", "steps = 10\nema = 1.0", ["ema: should be less than 1, got 1.0"]),
        pytest.param(
            'run = "runs/mine"', f'run = "x"\nseed = {10**13}', [f"seed: should be less than {10**9}, got {10**13}"]
        ),
        pytest.param(
            "steps = 10", "steps = 10\npictures = 0", ["pictures: should be greater than or equal to 1, got 0"]
        ),
        pytest.param(
            "steps = 10",
            "steps = 10\npictures = 6\naccumulate = 4",
            ["stages 'first': 6 pictures can't be shared evenly among 4 passes"],
        ),
        pytest.param(
            "steps = 10", "steps = 10\nbetas = [0.9]", ["stages 'first' betas number 2: Field required, got [0.9]"]
        ),
        pytest.param(
            'kind = "alignment"',
            'kind = "alignment"\ntrains = ["language", "connector"]',
            ["stages 'second': trains: kind 'alignment' teaches vision_encoder", "got connector"],
            id="what the kind never reaches",
        ),
        pytest.param(
            'kind = "alignment"', 'kind = "words"', ["kind 'words' learns from grounding alone: set grounding = true"]
        ),
        pytest.param(
            'kind = "alignment"',
            'kind = "alignment"\nnew_language = true',
            ["stages 'second': new_language begins layers that this stage doesn't train: add 'language' to trains"],
        ),
        pytest.param(
            'kind = "alignment"',
            'kind = "alignment"\ntrains = ["language", "llm_projector"]',
            ["kind 'alignment' reaches llm_projector by grounding alone: set grounding = true, or take llm_projec"],
        ),
        pytest.param(
            'data = ["scenes"]',
            'data = ["scene"]',
            ["stage 'second': data: expected names of [[data]] (photos, scenes), got scene"],
        ),
        pytest.param(
            'name = "second"', 'name = "first"', ["stages: expected a name of its own for each, got first tw"]
        ),
        pytest.param('name = "scenes"', 'name = "my scenes"', ["name: String should match pattern"], id="a blank"),
        pytest.param(
            "share = 1.0", "", ["data 'photos': expected a share, or oversample for all parts; got neither"]
        ),
        pytest.param(
            'run = "runs/mine"',
            'run = "x"\noversample = 0.1',
            ["with oversample, shares come from the numbers of pict"],
        ),
        pytest.param("steps = 10", "steps = ", ["expected a training config in TOML: Invalid value"], id="no TOML"),
    ],
)
def test_mistakes_are_told(tmp_path: Path, right: str, wrong: str, told: list[str]) -> None:
    assert right in RIGHT
    with pytest.raises(SettingsError) as error:
        load(tmp_path, RIGHT.replace(right, wrong, 1))
    for words in told:
        assert words in str(error.value)
    assert str(error.value).startswith(str(tmp_path / "mine.toml"))


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as error:
        load(tmp_path, RIGHT.replace("steps = 10", "setps = 10").replace("1e-4", "-1"))
    assert str(error.value).count("\n") == 6, "in each stage a key too much, one too few and a wrong number"


def test_a_config_without_stages_or_data(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"data: missing.*\n.*stages: missing"):
        load(tmp_path, 'run = "x"')
    with pytest.raises(SettingsError, match="data: expected one at least, got none"):
        load(tmp_path, 'run = "x"\ndata = []\nstages = []')


def test_no_such_config() -> None:
    with pytest.raises(SettingsError, match="no training config 'tinny': expected a TOML file, or one of paper, rel"):
        config_path("tinny")


@pytest.mark.parametrize("kind", REACHED_BY)
def test_a_kind_trains_only_what_it_reaches(kind: Any) -> None:
    """Unless it says otherwise; and all of what it reaches, if it says so."""
    assert set(TRAINED_BY[kind]) <= set(REACHED_BY[kind])
    StageConfig(**{**QUICK, "kind": kind, "trains": REACHED_BY[kind], "grounding": True})


@pytest.mark.parametrize("stage", [{"pictures": 4, "accumulate": 2}, {"betas": (0.0, 0.5)}, {"ema": 0}, {"steps": 0}])
def test_values_at_the_edge(tmp_path: Path, stage: Mapping[str, Any]) -> None:
    assert training(tmp_path, stage)
