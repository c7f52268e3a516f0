"""Edges of pictures, as ControlNets are shown them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from mezzotint.engine.node import node
from mezzotint.engine.widget import Widget

from ..ports import Image
from .image import three_channels

if TYPE_CHECKING:
    from torch import Tensor

LUMINANCE = (0.299, 0.587, 0.114)
"""What red, green and blue add to the brightness. ITU-R BT.601."""
BLUR_RADIUS, BLUR_SIGMA = 2, 1.0
TINY = 1e-6
"""Keeps the root away from 0."""

Threshold = Annotated[
    float, Field(ge=0.01, le=0.99, description="Of the gradient that Sobel's operator gives."), Widget(step=0.01)
]


@node("Canny", category="image/preprocessors")
def canny(image: Image, low_threshold: Threshold = 0.4, high_threshold: Threshold = 0.8) -> Image:
    """Find edges: strong ones, and weak ones that touch them. Canny 1986, "A Computational Approach to Edge Detection".

    Returns:
        float32 [B, H, W, 3]: lines of 1, a pixel wide, on 0.
    """
    import torch

    luminance = torch.tensor(LUMINANCE).to(image)
    brightness = (three_channels(image).float() * luminance).sum(-1, keepdim=True).movedim(-1, 1)
    ridges = _ridges(*_gradients(_blurred(brightness)))
    edges = torch.stack([_connected(ridge, low_threshold, high_threshold) for ridge in ridges[:, 0]])
    return edges[..., None].expand(-1, -1, -1, 3).contiguous()


def _blurred(brightness: Tensor) -> Tensor:
    """[B, 1, H, W], by a Gaussian; the edge pixels go on beyond the edge."""
    import torch
    from torch.nn.functional import conv2d, pad

    places = torch.arange(-BLUR_RADIUS, BLUR_RADIUS + 1, dtype=torch.float32)
    weights = torch.exp(-(places**2) / (2 * BLUR_SIGMA**2))
    kernel = (weights / weights.sum()).view(1, 1, -1, 1)
    padded = pad(brightness, [BLUR_RADIUS] * 4, mode="replicate")
    return conv2d(conv2d(padded, kernel), kernel.transpose(2, 3))


def _gradients(brightness: Tensor) -> tuple[Tensor, Tensor]:
    """Across and down, by Sobel's operator, unscaled: up to 4 at an edge from 0 to 1."""
    import torch
    from torch.nn.functional import conv2d, pad

    smooth, slope = torch.tensor([1.0, 2.0, 1.0]), torch.tensor([-1.0, 0.0, 1.0])
    across = smooth[:, None] * slope[None, :]
    kernels = torch.stack([across, across.T])[:, None]
    gradients = conv2d(pad(brightness, [1] * 4, mode="replicate"), kernels)
    return gradients[:, :1], gradients[:, 1:]


def _ridges(across: Tensor, down: Tensor) -> Tensor:
    """The length of the gradient where it is the greatest along its direction, to 45 degrees; elsewhere 0."""
    import torch
    from torch.nn.functional import pad

    length = (across**2 + down**2 + TINY).sqrt()
    octant = (torch.atan2(down, across) / (torch.pi / 4)).round().to(torch.int64) % 4
    height, width = length.shape[-2:]
    padded = pad(length, [1] * 4)
    is_ridge = torch.zeros_like(length, dtype=torch.bool)
    for index, (y, x) in enumerate(((0, 1), (1, 1), (1, 0), (1, -1))):
        sides = [padded[..., 1 + s * y :, 1 + s * x :][..., :height, :width] for s in (1, -1)]
        is_ridge |= (octant == index) & (length >= sides[0]) & (length > sides[1])  # of two that are equal, one
    return torch.where(is_ridge, length, 0.0)


def _connected(ridge: Tensor, low: float, high: float) -> Tensor:
    """1 where [H, W] is above `low` and hangs together, by all eight neighbours, with what is above `high`."""
    import numpy as np
    import torch
    from scipy.ndimage import label

    lengths = ridge.cpu().numpy()
    parts, _ = label((lengths > low) | (lengths > high), structure=np.ones((3, 3)))
    kept = np.unique(parts[lengths > high])
    return torch.from_numpy(np.isin(parts, kept[kept > 0]).astype(np.float32))
