"""A delta on its base: a model of its own that shares all it doesn't change."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from small_models import small_model

from xsam_backend.errors import CheckpointError
from xsam_backend.model.delta import Delta, load_delta, part_way, save_delta, with_delta
from xsam_backend.model.score_calibration import Calibration
from xsam_backend.model.xsam import XSam
from xsam_backend.prompts import Task

MATRIX = "language.model.model.layers.0.self_attn.o_proj.weight"
VECTOR = "background.weight"


@pytest.fixture
def base() -> XSam:
    return small_model()


def delta_of(base: XSam, version: str = "small-1") -> Delta:
    generator = torch.Generator().manual_seed(3)
    parameters = dict(base.named_parameters())
    out, width = parameters[MATRIX].shape
    pair = torch.randn(2, width, generator=generator), torch.randn(out, 2, generator=generator)
    whole = torch.randn(parameters[VECTOR].shape, generator=generator)
    return Delta(version, 0.5, {MATRIX: pair}, {VECTOR: whole})


def test_only_what_is_in_it_changes_and_the_rest_is_shared(base: XSam) -> None:
    before = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    delta = delta_of(base)
    model = with_delta(base, "small-1", delta)
    own, shared = dict(model.named_parameters()), dict(base.named_parameters())
    a, b = delta.pairs[MATRIX]
    torch.testing.assert_close(own[MATRIX], shared[MATRIX] + 0.5 * b @ a)
    torch.testing.assert_close(own[VECTOR], delta.whole[VECTOR])
    for name, tensor in own.items():
        assert (tensor.data_ptr() == shared[name].data_ptr()) is (name not in (MATRIX, VECTOR)), name
    assert all(torch.equal(tensor, before[name]) for name, tensor in base.state_dict().items()), (
        "the base is as before"
    )
    assert not model.training
    assert type(model) is type(base)


def test_words_are_read_and_written_by_one_matrix_still() -> None:
    base = small_model(language="qwen3")
    name = "language.model.model.embed_tokens.weight"
    changed = torch.randn(base.get_parameter(name).shape)
    model = with_delta(base, "small-1", Delta("small-1", 0.5, {}, {name: changed}))
    states = torch.randn(2, base.language.width)
    torch.testing.assert_close(model.language.logits(states), states @ changed.T)
    assert not torch.equal(base.get_parameter(name), changed), "the base is as before"


def test_two_projects_have_a_model_each(base: XSam) -> None:
    first, second = (with_delta(base, "small-1", delta_of(base)) for _ in range(2))
    with torch.no_grad():
        dict(first.named_parameters())[MATRIX].zero_()
    assert dict(second.named_parameters())[MATRIX].any()
    assert dict(base.named_parameters())[MATRIX].any()


@pytest.mark.parametrize(
    "calibrations", [{}, {Task.GENERIC: Calibration(1.25, -0.5), Task.VGD: Calibration(1.0, 2.0)}]
)
def test_it_comes_back_from_its_file(base: XSam, tmp_path: Path, calibrations: dict[Task, Calibration]) -> None:
    sizes = {"nucleus": 0.05} if calibrations else {}
    delta = replace(delta_of(base), calibrations=calibrations, typical_sizes=sizes)
    for name in ("a", "b"):
        save_delta(delta, tmp_path / name, torch.float32)
    found = load_delta(tmp_path / "a")
    assert (found.base, found.scale, found.numbers) == (delta.base, delta.scale, delta.numbers)
    assert found.calibrations == calibrations
    assert found.typical_sizes == sizes
    assert torch.equal(found.pairs[MATRIX][1], delta.pairs[MATRIX][1])
    assert torch.equal(found.whole[VECTOR], delta.whole[VECTOR])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes(), "the same changes are the same file"


def test_what_scores_meant_in_an_older_version_is_read(base: XSam, tmp_path: Path) -> None:
    """There was one calibration, of what is found by label."""
    save_delta(delta_of(base), tmp_path / "new")
    with safe_open(tmp_path / "new", "pt") as file:
        facts = json.loads(file.metadata()["facts"]) | {"calibration": {"slope": 1.25, "offset": -0.5}}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(tensors, tmp_path / "old", metadata={"facts": json.dumps(facts)})
    assert load_delta(tmp_path / "old").calibrations == {Task.GENERIC: Calibration(1.25, -0.5)}


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        pytest.param(lambda d: Delta("other-1", d.scale, d.pairs, d.whole), "belong to other-1", id="another base"),
        pytest.param(lambda d: Delta(d.base, 1, {}, {"no.such": torch.zeros(1)}), "no.such", id="unknown name"),
        pytest.param(lambda d: Delta(d.base, 1, {}, {VECTOR: torch.zeros(1)}), VECTOR, id="another shape"),
        pytest.param(
            lambda d: Delta(d.base, 1, {MATRIX: (torch.zeros(2, 3), torch.zeros(4, 2))}, {}), MATRIX, id="other pair"
        ),
    ],
)
def test_what_does_not_fit_is_refused(base: XSam, spoil: object, words: str) -> None:
    with pytest.raises(CheckpointError, match=words):
        with_delta(base, "small-1", spoil(delta_of(base)))  # type: ignore[operator]


def test_a_damaged_file_is_told(base: XSam, tmp_path: Path) -> None:
    path = tmp_path / "delta.safetensors"
    save_delta(delta_of(base), path)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(CheckpointError, match=r"expected a fine-tuning's changes"):
        load_delta(path)
    with pytest.raises(CheckpointError, match=r"expected a fine-tuning's changes"):
        load_delta(tmp_path / "nowhere")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e6])
def test_numbers_that_are_none_are_no_version(base: XSam, tmp_path: Path, value: float) -> None:
    """The last one is too large for half precision."""
    delta = delta_of(base)
    delta.whole[VECTOR].view(-1)[0] = value
    path = tmp_path / "delta.safetensors"
    with pytest.raises(CheckpointError, match=rf"went astray.*not finite.*{VECTOR}"):
        save_delta(delta, path)
    assert list(tmp_path.iterdir()) == []


def test_part_of_the_way(base: XSam) -> None:
    end = delta_of(base)
    start = replace(
        end,
        pairs={name: (a + 1, torch.zeros_like(b)) for name, (a, b) in end.pairs.items()},
        whole={name: tensor - 2 for name, tensor in end.whole.items()},
    )
    for of_pairs, of_whole in ((0.0, 0.0), (0.25, 0.5), (1.0, 1.0)):
        shares = dict.fromkeys(end.pairs, of_pairs) | dict.fromkeys(end.whole, of_whole)
        found = part_way(start, replace(end, typical_sizes={"cell": 0.1}), shares.__getitem__)
        assert found.typical_sizes == {"cell": 0.1}
        for name, (a, b) in end.pairs.items():
            torch.testing.assert_close(found.pairs[name][0], a + 1 - of_pairs)
            torch.testing.assert_close(found.pairs[name][1], b * of_pairs)
        for name, tensor in end.whole.items():
            torch.testing.assert_close(found.whole[name], tensor - 2 + 2 * of_whole)
