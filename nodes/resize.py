"""Changing the size of pictures and latents, and whether a size fits into memory at all.

`resize` keeps the meaning that other editors give the names of the methods, so that a saved workflow keeps its picture.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from mezzotint.engine.errors import OutOfMemoryError
from mezzotint.engine.free_memory import free_nbytes

if TYPE_CHECKING:
    from torch import Tensor

MAX_RESOLUTION = 16384
"""The longest side that an input takes, in pixels."""

Crop = Literal["disabled", "center"]
ImageMethod = Literal["nearest-exact", "bilinear", "area", "bicubic", "lanczos"]
LatentMethod = Literal["nearest-exact", "bilinear", "area", "bicubic", "bislerp"]
Method = Literal["nearest-exact", "bilinear", "area", "bicubic", "lanczos", "bislerp"]

PARALLEL = 1 - 1e-5
"""Beyond this cosine two directions are as good as parallel, and the angle between them is mostly rounding error."""


def require_memory(what: str, *shape: int, itemsize: int = 4) -> None:
    """Refuse what would not fit into this machine's free memory, before the system stops the whole process for it.

    Args:
        what: names it in the message, "a picture of 512x512". shape: of the tensor. itemsize: in bytes.

    Raises:
        OutOfMemoryError: less is free than the tensor takes.
    """
    nbytes = itemsize * math.prod(shape)
    available = free_nbytes("cpu")
    if nbytes > available:
        raise OutOfMemoryError(
            f"{what} takes {nbytes / 2**30:.1f} GiB of memory, and {available / 2**30:.1f} GiB are free; "
            "choose a smaller size or batch"
        )


def resize(samples: Tensor, width: int, height: int, method: Method, crop: Crop = "disabled") -> Tensor:
    """Samples in another size; what other editors call `common_upscale`.

    Args:
        samples: [B, C, h, w], or [B, C, frames, h, w], any floating dtype; it and the device stay as they are.
        width, height: at least 1, in elements of `samples`.
        method: nearest-exact, bilinear, area, bicubic: torch's interpolation without antialiasing (bicubic may
            overshoot). lanczos: Pillow's filter, by way of 8 bits a channel. bislerp: see `bislerp`.
        crop: "center" first cuts the middle out in the new proportions; "disabled" stretches.

    Raises:
        OutOfMemoryError: the result does not fit into memory.
    """
    import torch

    if samples.ndim == 5:
        frames = [resize(frame, width, height, method, crop) for frame in samples.unbind(2)]
        return torch.stack(frames, 2)
    require_memory(f"resizing to {width}x{height}", *samples.shape[:2], height, width)
    cut = center_cut(samples, width, height) if crop == "center" else samples
    if cut.shape[-2:] == (height, width):
        return cut.clone()
    if method == "lanczos":
        return _lanczos(cut, width, height).to(cut)
    if method == "bislerp":
        return bislerp(cut.float(), width, height).to(cut.dtype)
    scaled: Tensor = torch.nn.functional.interpolate(cut.float(), size=(height, width), mode=method)
    return scaled.to(cut.dtype)


def center_cut(samples: Tensor, width: int, height: int) -> Tensor:
    """The middle of [..., h, w] in the proportions of width to height, with equal margins on two opposite sides."""
    old_height, old_width = samples.shape[-2:]
    aspect, old_aspect = width / height, old_width / old_height
    x = round((old_width - old_width * (aspect / old_aspect)) / 2) if old_aspect > aspect else 0
    y = round((old_height - old_height * (old_aspect / aspect)) / 2) if old_aspect < aspect else 0
    # A strip thinner than half an element still leaves one.
    x, y = min(x, (old_width - 1) // 2), min(y, (old_height - 1) // 2)
    return samples[..., y : old_height - y, x : old_width - x]


def _lanczos(samples: Tensor, width: int, height: int) -> Tensor:
    """Pillow's Lanczos filter on [B, C, h, w] in 0..1, a picture at a time; alpha is premultiplied while filtering."""
    import numpy as np
    import torch
    from PIL import Image

    from .png import to_uint8

    def filtered(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> Tensor:
        picture = Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS)
        return torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255)

    pixels = to_uint8(samples.movedim(1, -1))
    if pixels.shape[-1] in (3, 4):
        return torch.stack([filtered(picture) for picture in pixels]).movedim(-1, 1)
    bands = [torch.stack([filtered(band) for band in np.moveaxis(picture, -1, 0).copy()]) for picture in pixels]
    return torch.stack(bands)


def bislerp(samples: Tensor, width: int, height: int) -> Tensor:
    """Bilinear interpolation in which the vectors of channels turn rather than cross over: latents keep their contrast.

    Between neighbours the direction is interpolated on the sphere and the length linearly, first along rows, then
    along columns, at the positions of bilinear interpolation (pixel centres, ends held).

    Args:
        samples: float32 [B, C, h, w].
    """
    along_rows = _slerp_last(samples, width)
    return _slerp_last(along_rows.transpose(-1, -2), height).transpose(-1, -2).contiguous()


def _slerp_last(samples: Tensor, size: int) -> Tensor:
    import torch

    old = samples.shape[-1]
    centres = (torch.arange(size, dtype=torch.float64, device=samples.device) + 0.5) * (old / size) - 0.5
    at = centres.clamp(0, old - 1)
    left = at.floor().long()
    right = (left + 1).clamp(max=old - 1)
    return slerp(samples[..., left], samples[..., right], (at - left).to(samples.dtype))


def slerp(a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
    """From `a` (weight 0) to `b` (weight 1) by equal turns, the length growing linearly.

    Directions that are all but parallel or opposite, or of a zero vector, have no arc between them: there it is the
    straight line. Shoemake, "Animating rotation with quaternion curves", 1985.

    Args:
        a, b: [B, C, ...], vectors along dimension 1. weight: 0..1, broadcast.
    """
    import torch

    length_a, length_b = a.norm(dim=1, keepdim=True), b.norm(dim=1, keepdim=True)
    product = length_a * length_b
    cosine = (a * b).sum(1, keepdim=True) / torch.where(product > 0, product, 1)
    is_straight = (cosine.abs() > PARALLEL) | (product == 0)
    angle = torch.acos(torch.where(is_straight, 0.0, cosine))
    sine = torch.sin(angle)
    direction = torch.sin((1 - weight) * angle) / sine * _unit(a, length_a) + (
        torch.sin(weight * angle) / sine * _unit(b, length_b)
    )
    arc = direction * torch.lerp(length_a, length_b, weight)
    return torch.where(is_straight, torch.lerp(a, b, weight), arc)


def _unit(vectors: Tensor, lengths: Tensor) -> Tensor:
    import torch

    return vectors / torch.where(lengths > 0, lengths, 1)
