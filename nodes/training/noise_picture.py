"""A picture of a forward process: what becomes of an image, and alpha_t and sigma_t over the timesteps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from .noise_process import NoiseProcess

CURVES_HEIGHT = 96
PICTURE_INK, NOISE_INK = (25, 90, 180), (200, 60, 40)


def picture_of_process(process: NoiseProcess, image: Tensor, columns: int, seed: int) -> Tensor:
    """x_t of an image [1, H, W, 3] side by side, and the curves of alpha_t (blue) and sigma_t (red) below.

    Returns:
        float32 [1, H + 96, columns * W, 3], 0..1.
    """
    timesteps = torch.linspace(0, process.steps - 1, columns).round().long()
    x0 = (image.float() * 2 - 1).movedim(-1, 1).expand(columns, -1, -1, -1)
    noise = torch.randn(x0[:1].shape, generator=torch.Generator().manual_seed(seed)).expand_as(x0)
    x_t = process.add_noise(x0, noise, timesteps)
    row = ((x_t + 1) / 2).clamp(0, 1).movedim(1, -1)
    strip = torch.cat(list(row), dim=1)
    return torch.cat([strip, _curves(process, strip.shape[1])])[None]


def _curves(process: NoiseProcess, width: int) -> Tensor:
    import numpy as np
    from PIL import Image, ImageDraw

    picture = Image.new("RGB", (width, CURVES_HEIGHT), "white")
    pen = ImageDraw.Draw(picture)
    squared = process.alphas_cumprod()
    for values, ink in ((squared.sqrt(), PICTURE_INK), ((1 - squared).sqrt(), NOISE_INK)):
        last = len(values) - 1
        points = [
            (t / last * (width - 1), (1 - values[t].item()) * (CURVES_HEIGHT - 8) + 4)
            for t in range(0, len(values), max(1, len(values) // width))
        ]
        pen.line([*points, (width - 1, (1 - values[-1].item()) * (CURVES_HEIGHT - 8) + 4)], fill=ink, width=2)
    return torch.from_numpy(np.asarray(picture).astype(np.float32) / 255)
