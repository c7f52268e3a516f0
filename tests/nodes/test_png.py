"""PNG files hold exactly the pixels and the metadata that went in, for every reader."""

from __future__ import annotations

import io
import json
import logging
import struct
import zlib
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import Image

from mezzotint.engine.errors import OutputError
from mezzotint.nodes import png
from mezzotint.nodes.png import encode_png, to_uint8

Pixels = NDArray[np.uint8]
PICTURES = st.tuples(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3, 4])).flatmap(
    lambda shape: arrays(np.uint8, shape)
)
MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def read_by_pillow(data: bytes) -> Pixels:
    with Image.open(io.BytesIO(data)) as picture:
        pixels = np.asarray(picture)
        assert picture.mode == MODES[1 if pixels.ndim == 2 else pixels.shape[2]]
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


def chunks_of(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The chunks as the specification lays them out, each checked against its CRC."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    position = 8
    while position < len(data):
        (length,) = struct.unpack_from(">I", data, position)
        kind, body = data[position + 4 : position + 8], data[position + 8 : position + 8 + length]
        assert struct.unpack_from(">I", data, position + 8 + length) == (zlib.crc32(kind + body),)
        yield kind, body
        position += 12 + length


def noise(*shape: int) -> Pixels:
    return np.random.default_rng(7).integers(0, 256, shape, dtype=np.uint8)


@settings(max_examples=60, deadline=None)
@given(PICTURES, st.booleans())
def test_pillow_reads_back_the_same_pixels(pixels: Pixels, fast: bool) -> None:
    assert np.array_equal(read_by_pillow(encode_png(pixels, fast=fast)), pixels)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_picture_of_several_blocks_survives(monkeypatch: pytest.MonkeyPatch, channels: int) -> None:
    monkeypatch.setattr(png, "BLOCK_NBYTES", 1000)
    pixels = noise(101, 67, channels)
    assert np.array_equal(read_by_pillow(encode_png(pixels)), pixels)


def test_rows_wider_than_a_block_survive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(png, "BLOCK_NBYTES", 10)
    pixels = noise(5, 300, 3)
    assert np.array_equal(read_by_pillow(encode_png(pixels)), pixels)


def test_views_with_strides_and_read_only_arrays_are_fine() -> None:
    pixels = noise(20, 30, 4)[::-2, 3::3, :3]
    pixels.flags.writeable = False
    assert np.array_equal(read_by_pillow(encode_png(pixels)), pixels)


def test_without_isal_the_file_holds_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(png, "deflate", zlib)
    pixels = noise(33, 44, 3)
    data = encode_png(pixels, {"prompt": "{}"})
    assert np.array_equal(read_by_pillow(data), pixels)
    assert all(kind in {b"IHDR", b"tEXt", b"IDAT", b"IEND"} for kind, _ in chunks_of(data))


def test_isal_is_installed_here() -> None:
    assert png.deflate.__name__ == "isal.isal_zlib"


def test_the_chunks_are_those_of_the_specification() -> None:
    pixels = noise(6, 5, 3)
    chunks = list(chunks_of(encode_png(pixels, {"prompt": "{}", "workflow": "[]"})))
    kinds = [kind for kind, _ in chunks]
    assert kinds[:3] == [b"IHDR", b"tEXt", b"tEXt"]
    assert kinds[-1] == b"IEND"
    assert chunks[0][1] == struct.pack(">IIBBBBB", 5, 6, 8, 2, 0, 0, 0)
    assert [body for kind, body in chunks if kind == b"tEXt"] == [b"prompt\0{}", b"workflow\0[]"]
    rows = zlib.decompress(b"".join(body for kind, body in chunks if kind == b"IDAT"))
    filtered = np.frombuffer(rows, np.uint8).reshape(6, 16)
    assert set(filtered[:, 0]) == {2}
    assert np.array_equal(np.cumsum(filtered[:, 1:], axis=0, dtype=np.uint8).reshape(6, 5, 3), pixels)


def test_workflows_come_back_from_the_metadata() -> None:
    graph = {"3": {"class_type": "KSampler", "inputs": {"text": "un café 🎨\n", "huge": 2**64 - 1}}}
    data = encode_png(noise(4, 4, 3), {"prompt": json.dumps(graph), "workflow": json.dumps({"nodes": []})})
    with Image.open(io.BytesIO(data)) as picture:
        assert json.loads(picture.info["prompt"]) == graph
        assert picture.info["workflow"] == '{"nodes": []}'


def test_text_beyond_latin_1_is_kept_as_itxt() -> None:
    data = encode_png(noise(4, 4, 3), {"parameters": "a cat 🐈\0"})
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.info["parameters"] == "a cat 🐈"
    assert b"iTXt" in [kind for kind, _ in chunks_of(data)]


@pytest.mark.parametrize("keyword", ["", "x" * 80, "ключ", "a\0b", " lead"])
def test_an_impossible_keyword_costs_the_metadata_and_not_the_picture(
    keyword: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        data = encode_png(noise(4, 4, 3), {keyword: "x", "prompt": "{}"})
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.info == {"prompt": "{}"}
    assert "left out" in caplog.text


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 2), (1, 4, 4, 3), (0, 4, 3), (4, 0, 3)])
def test_what_is_no_picture_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(OutputError, match="cannot be saved as PNG"):
        encode_png(np.zeros(shape, np.uint8))


def test_floats_are_refused_as_pixels() -> None:
    with pytest.raises(OutputError, match="float32"):
        encode_png(np.zeros((4, 4, 3), np.float32))


def test_conversion_truncates_and_clips() -> None:
    image = torch.tensor([-1.0, 0.0, 0.5, 254.999 / 255, 1.0, 7.0])
    assert to_uint8(image).tolist() == [0, 0, 127, 254, 255, 255]


def test_conversion_agrees_with_the_formula_that_other_editors_use() -> None:
    image = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(1)) * 1.2 - 0.1
    oracle = np.clip(255.0 * image.numpy(), 0, 255).astype(np.uint8)
    assert np.array_equal(to_uint8(image), oracle)
    assert np.array_equal(to_uint8(image.numpy()), oracle)


def test_each_of_the_256_values_survives_the_way_to_float_and_back() -> None:
    values = np.arange(256, dtype=np.uint8)
    assert np.array_equal(to_uint8(torch.from_numpy(values).float() / 255), values)


def test_nan_is_black_and_infinity_is_clipped_without_a_warning() -> None:
    image = torch.tensor([float("nan"), float("inf"), -float("inf")])
    assert to_uint8(image).tolist() == [0, 255, 0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_conversion_takes_every_floating_dtype_and_views(dtype: torch.dtype) -> None:
    image = torch.tensor([[0.0, 0.25], [0.5, 1.0]], dtype=dtype).T.requires_grad_()
    assert to_uint8(image).tolist() == [[0, 127], [63, 255]]


def test_conversion_leaves_its_input_alone() -> None:
    image = torch.full((2, 2, 3), 2.0)
    to_uint8(image)
    assert image.eq(2).all()
