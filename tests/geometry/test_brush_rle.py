from __future__ import annotations

import contextlib
import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from label_studio_sdk.converter import brush as sdk
from PIL import Image
from shapes import TRICKY, blobs, masks

from xsam_backend.geometry.brush_rle import brush_rle_to_crop, brush_rle_to_mask, mask_to_brush_rle
from xsam_backend.geometry.brush_stream import BrushStream
from xsam_backend.geometry.masks import Mask, mask_to_box_xyxy
from xsam_backend.geometry.runs import mask_to_runs

VECTORS = sorted((Path(__file__).parents[1] / "recorded/label_studio/brush_rle").glob("*.json"))


def test_example_of_the_docstring() -> None:
    assert mask_to_brush_rle(np.zeros((1, 2), bool)) == [0, 0, 0, 8, 57, 27, 252, 224, 0]


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_recorded_vector_decodes_to_its_picture(path: Path) -> None:
    vector = json.loads(path.read_text())
    with Image.open(path.with_suffix(".png")) as picture:
        expected = np.asarray(picture.convert("L")) >= 128
    size_hw = vector["height"], vector["width"]
    np.testing.assert_array_equal(brush_rle_to_mask(vector["rle"], size_hw), expected)
    np.testing.assert_array_equal(brush_rle_to_mask(mask_to_brush_rle(expected), size_hw), expected)
    np.testing.assert_array_equal(sdk.decode_rle(vector["rle"])[3::4].reshape(size_hw) >= 128, expected)


def test_all_four_vectors_are_there() -> None:
    assert len(VECTORS) == 4


@pytest.mark.parametrize("name", TRICKY)
def test_tricky_masks_survive(name: str) -> None:
    mask = TRICKY[name]
    np.testing.assert_array_equal(brush_rle_to_mask(mask_to_brush_rle(mask), mask.shape), mask)


@given(masks())
def test_any_mask_survives_brush_rle(mask: Mask) -> None:
    np.testing.assert_array_equal(brush_rle_to_mask(mask_to_brush_rle(mask), mask.shape), mask)


@given(masks(), st.lists(st.tuples(st.integers(0, 255), st.integers(1, 40)), min_size=1, max_size=12))
def test_a_crop_is_cut_from_the_mask(mask: Mask, alpha: list[tuple[int, int]]) -> None:
    literals = np.repeat([value for value, _ in alpha], [4 * count for _, count in alpha]).astype(np.uint8)
    for rle, size_hw in (
        (mask_to_brush_rle(mask), (mask.shape[0], mask.shape[1])),
        (sdk.encode_rle(literals), (1, len(literals) // 4)),
        (sdk.encode_rle(literals), (len(literals) // 4, 1)),
    ):
        whole, crop = brush_rle_to_mask(rle, size_hw), brush_rle_to_crop(rle, size_hw)
        np.testing.assert_array_equal(crop.whole(), whole)
        assert crop.box_xyxy == mask_to_box_xyxy(whole), "no larger than it has to be"


@given(masks(max_side=12))
def test_sdk_decodes_ours_to_0_and_255_four_times(mask: Mask) -> None:
    decoded = sdk.decode_rle(mask_to_brush_rle(mask))
    np.testing.assert_array_equal(decoded, np.repeat(np.where(mask, 255, 0), 4))


@given(masks(max_side=12))
def test_we_decode_what_the_sdk_encodes(mask: Mask) -> None:
    encoded = sdk.encode_rle(np.repeat(np.where(mask, 255, 0), 4).astype(np.uint8))
    np.testing.assert_array_equal(brush_rle_to_mask(encoded, mask.shape), mask)


@given(st.lists(st.tuples(st.integers(0, 255), st.integers(1, 40)), min_size=1, max_size=12), st.integers(0, 255))
def test_any_rgba_counts_by_alpha_alone(pixels: list[tuple[int, int]], colour: int) -> None:
    alpha = np.repeat([value for value, _ in pixels], [count for _, count in pixels]).astype(np.uint8)
    rgba = np.stack([np.full_like(alpha, colour)] * 3 + [alpha], axis=1).ravel()
    mask = brush_rle_to_mask(sdk.encode_rle(rgba), (1, len(alpha)))
    np.testing.assert_array_equal(mask[0], alpha >= 128)


def written(blocks: list[tuple[bool, list[int]]], field_bits: list[int], word_bits: int) -> list[int]:
    """A stream of runs (length and value) and literals (values), each in the smallest field for it, bit by bit."""
    lengths = [content[0] if is_run else len(content) for is_run, content in blocks]
    text = format(sum(lengths), "032b") + format(word_bits - 1, "05b")
    text += "".join(format(bits - 1, "04b") for bits in field_bits)
    for (is_run, content), length in zip(blocks, lengths, strict=True):
        field = min((bits, number) for number, bits in enumerate(field_bits) if length <= 1 << bits)[1]
        text += "01"[is_run] + format(field, "02b") + format(length - 1, f"0{field_bits[field]}b")
        text += "".join(format(word, f"0{word_bits}b") for word in (content[1:] if is_run else content))
    text += "0" * (-len(text) % 8)
    return [int(text[at : at + 8], 2) for at in range(0, len(text), 8)]


def whole_pixels(blocks: list[tuple[bool, list[int]]]) -> list[tuple[bool, list[int]]]:
    """With as many values behind as a last pixel lacks."""
    missing = -sum(content[0] if is_run else len(content) for is_run, content in blocks) % 4
    return [*blocks, (False, [200] * missing)] if missing else blocks


BLOCKS = st.lists(
    st.one_of(
        st.tuples(st.just(True), st.tuples(st.integers(1, 300), st.sampled_from([0, 127, 128, 255])).map(list)),
        st.tuples(st.just(False), st.lists(st.integers(0, 255), min_size=1, max_size=30)),
    ),
    min_size=1,
    max_size=60,
)


@given(BLOCKS, st.lists(st.integers(1, 16), min_size=3, max_size=3))
def test_runs_and_literals_in_fields_of_any_size(blocks: list[tuple[bool, list[int]]], field_bits: list[int]) -> None:
    stream = written(whole_pixels(blocks), [*field_bits, 9], 8)
    alpha = sdk.decode_rle(stream)[3::4]
    np.testing.assert_array_equal(brush_rle_to_mask(stream, (1, len(alpha)))[0], alpha >= 128)


@pytest.mark.parametrize(
    ("literal_share", "values"),
    [(0.0, [0, 255]), (0.05, [0, 255]), (0.5, list(range(256))), (1.0, [0]), (1.0, list(range(256))), (0.0, [255])],
    ids=["ours", "some rims", "half", "all literal, zeros", "all literal", "one value again and again"],
)
@pytest.mark.parametrize("longest", [4, 70_000])
def test_long_streams_of_any_kind(literal_share: float, values: list[int], longest: int) -> None:
    rng = np.random.default_rng(7)
    blocks: list[tuple[bool, list[int]]] = []
    for _ in range(1500):
        if rng.random() < literal_share:
            blocks.append((False, rng.choice(values, rng.integers(1, 13)).tolist()))
        else:
            length = min(int(rng.integers(1, rng.integers(2, longest + 1))), 1 << 16)
            blocks.append((True, [length, int(rng.choice(values))]))
    stream = written(whole_pixels(blocks), [3, 4, 8, 16], 8)
    alpha = np.concatenate(
        [np.full(content[0], content[1]) if is_run else content for is_run, content in whole_pixels(blocks)]
    )[3::4]
    np.testing.assert_array_equal(brush_rle_to_mask(stream, (1, len(alpha)))[0], alpha >= 128)


def test_literals_of_a_whole_picture() -> None:
    rng = np.random.default_rng(3)
    rgba = rng.integers(0, 256, (40, 50, 4))
    stream = written([(False, rgba[row].ravel().tolist()) for row in range(40)], [3, 4, 8, 16], 8)
    np.testing.assert_array_equal(brush_rle_to_mask(stream, (40, 50)), rgba[..., 3] >= 128)


@pytest.mark.parametrize("word_bits", [1, 12, 32])
def test_values_that_are_no_bytes_are_refused(word_bits: int) -> None:
    """The header could say so, but neither Label Studio's editor nor its SDK writes anything but bytes."""
    stream = written([(True, [6, 1]), (False, [1, 0, 1, 0, 1, 0]), (True, [4, 0])], [3, 4, 8, 16], word_bits)
    with pytest.raises(ValueError, match=rf"{word_bits} bits, expected 8"):
        brush_rle_to_mask(stream, (2, 2))


@given(masks(max_side=12), st.data())
def test_a_stream_with_wrong_bits_is_refused_or_makes_a_mask_of_the_size(mask: Mask, data: st.DataObject) -> None:
    stream = mask_to_brush_rle(mask)
    for _ in range(data.draw(st.integers(1, 4))):
        stream[data.draw(st.integers(4, len(stream) - 1))] = data.draw(st.integers(0, 255))
    stream = stream[: data.draw(st.integers(0, len(stream)))]
    with contextlib.suppress(ValueError):  # and nothing else
        assert brush_rle_to_mask(stream, mask.shape).shape == mask.shape


def test_what_follows_a_whole_picture_does_not_count() -> None:
    stream = mask_to_brush_rle(TRICKY["a hole"])
    np.testing.assert_array_equal(brush_rle_to_mask([*stream, *range(256)], (4, 5)), TRICKY["a hole"])


def test_what_follows_a_whole_picture_takes_no_memory() -> None:
    """A small picture has few blocks, so the megabyte behind cannot count and isn't looked at."""
    stream = [*mask_to_brush_rle(TRICKY["a hole"]), *bytes(1_000_000)]
    tracemalloc.start()
    brush_rle_to_mask(stream, (4, 5))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.5e6, "hardly more than the bytes themselves"


def test_a_stream_as_long_as_can_be_is_read_to_its_end() -> None:
    blocks = [(False, [value]) for value in (0, 0, 0, 255) * 2]
    stream = written(blocks, [9, 9, 9, 9], 8)  # a block for each value, with the largest field that there is
    assert brush_rle_to_mask(stream, (1, 2)).all()


def test_blocks_behind_a_whole_picture_are_not_read() -> None:
    """A large picture may have many blocks, so what follows could count; once all values are out it doesn't."""
    stream = mask_to_brush_rle(np.ones((1000, 1000), bool))
    assert len(BrushStream([*stream, *bytes(100_000)])._blocks()) == len(BrushStream(stream)._blocks())


def test_a_last_block_that_says_more_than_there_is_room_for_is_cut() -> None:
    run = written([(True, [4, 255]), (True, [60_000, 255])], [3, 4, 8, 16], 8)
    literals = written([(True, [4, 255]), (False, [255] * 4 + [0] * 60_000)], [3, 4, 8, 16], 8)
    for stream in (run, literals):
        stream[:4] = [0, 0, 0, 8]
        assert brush_rle_to_mask(stream, (1, 2)).all()


def test_runs_longer_than_a_field_are_split() -> None:
    # 4 x 300 x 200 values of one kind are four runs of at most 65536.
    mask = np.ones((300, 200), bool)
    encoded = mask_to_brush_rle(mask)
    assert len(encoded) < 30
    np.testing.assert_array_equal(sdk.decode_rle(encoded), np.full(mask.size * 4, 255))


@pytest.mark.parametrize("length", [16384, 16385, 32768])
def test_runs_of_just_the_field_size(length: int) -> None:
    mask = np.ones((1, length), bool)
    np.testing.assert_array_equal(brush_rle_to_mask(mask_to_brush_rle(mask), mask.shape), mask)


def test_output_is_plain_json_bytes() -> None:
    encoded = mask_to_brush_rle(blobs((40, 50), 1))
    assert all(type(byte) is int and 0 <= byte <= 255 for byte in encoded)


ENCODED = mask_to_brush_rle(TRICKY["a hole"])


@pytest.mark.parametrize(
    ("encoded", "size_hw", "words"),
    [
        (ENCODED, (4, 4), "another size"),
        (ENCODED[:-1], (4, 5), "cut off"),
        (ENCODED[:-4], (4, 5), "cut off"),
        (ENCODED[:5], (4, 5), "cut off"),
        ([], (4, 5), "cut off"),
        ([*ENCODED[:6], 256], (4, 5), "0..255"),
        (["a"], (4, 5), "0..255"),
        ([255, 255, 255, 255, 57, 27, 0], (4, 5), "4294967295 values"),
    ],
    ids=[
        "other size",
        "the last byte missing",
        "cut short",
        "only a head",
        "empty",
        "no byte",
        "text",
        "asks for four gigabytes",
    ],
)
def test_damaged_brush_rle_is_refused(encoded: list[int], size_hw: tuple[int, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        brush_rle_to_mask(encoded, size_hw)


def test_a_turned_picture_cannot_be_told() -> None:
    """The number of pixels is the same, and the stream has no other size: the caller's decides."""
    turned = brush_rle_to_mask(ENCODED, (5, 4))
    np.testing.assert_array_equal(turned, TRICKY["a hole"].reshape(5, 4))


@pytest.mark.parametrize("at_once", [2, 4, 1 << 15])
def test_runs_whose_bits_are_made_in_pieces(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    mask = blobs((60, 80), 2)
    assert len(mask_to_runs(mask)) > 20
    monkeypatch.setattr("xsam_backend.geometry.brush_rle._AT_ONCE", at_once)
    encoded = mask_to_brush_rle(mask)
    np.testing.assert_array_equal(brush_rle_to_mask(encoded, mask.shape), mask)
    np.testing.assert_array_equal(sdk.decode_rle(encoded)[3::4].reshape(mask.shape) >= 128, mask)


def test_more_runs_than_are_made_at_once() -> None:
    mask = np.random.default_rng(1).random((300, 300)) > 0.5
    assert len(mask_to_runs(mask)) > 1 << 15
    np.testing.assert_array_equal(brush_rle_to_mask(mask_to_brush_rle(mask), mask.shape), mask)
