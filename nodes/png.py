"""PNG files, fast: `up`-filtered rows deflated by Intel's ISA-L, in a container written here.

A 1024x1024 RGB picture takes about a twentieth of the processor time that Pillow takes at level 4, in a file up to 6%
larger; the candidates are compared in docs/benchmarks.md. Format: W3C, "Portable Network Graphics (PNG) Specification",
third edition.
"""

from __future__ import annotations

import logging
import struct
import zlib
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from mezzotint.engine.errors import OutputError

deflate: ModuleType
try:
    from isal import isal_zlib as deflate
except ImportError:  # no wheel for this machine: the same file format, at a third of the speed
    deflate = zlib

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

_log = logging.getLogger(__name__)

SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOUR_TYPES = {1: 0, 3: 2, 4: 6}
"""Channels → the PNG colour type: grey, RGB, RGBA."""
UP = 2
"""The filter type of rows that are differences to the row above."""
FAST_LEVEL, SMALL_LEVEL = 1, 4
FAST_WINDOW_BITS = 9 if deflate is not zlib else zlib.MAX_WBITS
"""How far back ISA-L looks for repetitions: 512 bytes. Filtered rows hardly repeat what is further away, so it takes a
quarter less time for a picture with some noise than with 32 kB, and the file is 7% smaller. (zlib takes more.)"""
MAX_KEYWORD = 79
BLOCK_NBYTES = 1 << 20
"""How much is filtered and deflated at a time: it stays in the processor's cache, and large pictures need no copy."""


def to_uint8(image: Tensor | NDArray[Any]) -> NDArray[np.uint8]:
    """Pixels of a float image: `uint8(clip(255 * x, 0, 255))`, which truncates as the other editors do.

    Args:
        image: any shape and any floating dtype, on any device; 0..1. What lies outside is clipped, NaN becomes 0.
    """
    array: NDArray[Any] = image if isinstance(image, np.ndarray) else image.detach().float().cpu().numpy()
    scaled: NDArray[np.float32] = np.multiply(array, 255, dtype=np.float32)
    np.fmax(scaled, 0, out=scaled)  # unlike clip, fmax takes the number where the other one is NaN
    np.fmin(scaled, 255, out=scaled)
    return scaled.astype(np.uint8)


def encode_png(pixels: NDArray[np.uint8], text: Mapping[str, str] | None = None, fast: bool = True) -> bytes:
    """A PNG file of one picture.

    Args:
        pixels: uint8 [H, W, C]; C is 1 (grey), 3 (RGB) or 4 (RGBA, not premultiplied).
        text: metadata by keyword, written before the pixels as `tEXt` (`iTXt` where it is not Latin-1). A keyword that
            PNG does not allow is left out, with a warning in the log: a picture is not lost over its metadata.
        fast: True for speed; False for a file about 10% smaller, at ten times the processor time.

    Raises:
        OutputError: the array is no picture that PNG can hold.
    """
    header = _header(pixels)
    chunks = [SIGNATURE, _chunk(b"IHDR", header)]
    chunks += [_text_chunk(keyword, value) for keyword, value in (text or {}).items() if _is_keyword(keyword)]
    chunks += [_chunk(b"IDAT", data) for data in _deflated(pixels, fast)]
    chunks.append(_chunk(b"IEND", b""))
    return b"".join(chunks)


def _header(pixels: NDArray[np.uint8]) -> bytes:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in COLOUR_TYPES:
        raise OutputError(
            f"a picture of shape {list(pixels.shape)} and type {pixels.dtype} cannot be saved as PNG; "
            "allowed are [height, width, channels] of uint8 with 1, 3 or 4 channels"
        )
    height, width, channels = pixels.shape
    if not height or not width:
        raise OutputError(f"a picture of {width}x{height} pixels cannot be saved as PNG; both sides must be at least 1")
    return struct.pack(">IIBBBBB", width, height, 8, COLOUR_TYPES[channels], 0, 0, 0)


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = deflate.crc32(data, zlib.crc32(kind))
    return b"".join((struct.pack(">I", len(data)), kind, data, struct.pack(">I", checksum)))


def _is_keyword(keyword: str) -> bool:
    try:
        encoded = keyword.encode("latin-1")
    except UnicodeEncodeError:
        encoded = b""
    is_allowed = 0 < len(encoded) <= MAX_KEYWORD and keyword.isprintable() and keyword == keyword.strip()
    if not is_allowed:
        _log.warning("metadata %.100r is left out of the PNG: a keyword is 1 to 79 Latin-1 letters", keyword)
    return is_allowed


def _text_chunk(keyword: str, value: str) -> bytes:
    value = value.replace("\0", "")  # no text chunk may hold it
    try:
        return _chunk(b"tEXt", keyword.encode("latin-1") + b"\0" + value.encode("latin-1"))
    except UnicodeEncodeError:
        uncompressed, language, translated = b"\0\0", b"\0", b"\0"
        text = value.encode("utf-8", "replace")
        return _chunk(b"iTXt", keyword.encode("latin-1") + b"\0" + uncompressed + language + translated + text)


def _deflated(pixels: NDArray[np.uint8], fast: bool) -> Iterator[bytes]:
    compressor: Any = (
        deflate.compressobj(FAST_LEVEL, zlib.DEFLATED, FAST_WINDOW_BITS)
        if fast
        else zlib.compressobj(SMALL_LEVEL, strategy=zlib.Z_FILTERED)
    )
    for rows in _filtered(pixels):
        if data := compressor.compress(rows):
            yield data
    yield compressor.flush()


def _filtered(pixels: NDArray[np.uint8]) -> Iterator[memoryview]:
    """Blocks of filtered rows, uint8 [rows, 1 + W * C]: the filter type, then the difference to the row above."""
    height = pixels.shape[0]
    rows = np.ascontiguousarray(pixels).reshape(height, -1)
    step = max(1, BLOCK_NBYTES // rows.shape[1])
    above = np.zeros_like(rows[:1])
    for start in range(0, height, step):
        block = rows[start : start + step]
        out = np.empty((len(block), 1 + rows.shape[1]), np.uint8)
        out[:, 0] = UP
        np.subtract(block[:1], above, out=out[:1, 1:])
        np.subtract(block[1:], block[:-1], out=out[1:, 1:])
        above = block[-1:]
        yield out.data
