"""Writing a 1024 × 1024 picture: ours beside Pillow."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

from mezzotint.nodes.png import encode_png, to_uint8

from .figure import Figure, fastest, figure


def _cpu_ms(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return (time.process_time() - began) * 1e3


def _picture() -> np.ndarray:
    """Smooth colours with fine noise, float32 [1024, 1024, 3], 0..1."""
    y, x = np.mgrid[0:1024, 0:1024] / 1024
    smooth = np.stack([np.sin(6 * x) / 2 + 0.5, np.cos(5 * y) / 2 + 0.5, x * y], axis=-1)
    return (smooth + np.random.default_rng(0).normal(0, 0.01, smooth.shape)).clip(0, 1).astype(np.float32)


def _pillow(pixels: np.ndarray) -> None:
    Image.fromarray(pixels).save(io.BytesIO(), "PNG", compress_level=4)


def png_times() -> Iterator[Figure]:
    """The figures of the PNG encoder."""
    image = _picture()
    pixels = to_uint8(image)
    ours = fastest(lambda _: _cpu_ms(lambda: encode_png(pixels)), 200)  # seconds, as the machine's speed changes
    yield figure("PNG of 1024², encoding, CPU", ours, "ms", at_most=10)
    yield figure("the same by Pillow at level 4, CPU", fastest(lambda _: _cpu_ms(lambda: _pillow(pixels)), 5), "ms")
    yield figure("float picture to 8 bits, 1024², CPU", fastest(lambda _: _cpu_ms(lambda: to_uint8(image)), 25), "ms")
