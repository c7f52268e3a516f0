"""Pictures blended, blurred, sharpened, with fewer colours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from mezzotint.engine.node import node
from mezzotint.engine.widget import Widget

from ..latents.latent import cycled
from ..ports import Image
from .image import resized, with_channels

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

BlendMode = Literal["normal", "multiply", "screen", "overlay", "soft_light", "difference"]
Dither = Literal["none", "floyd-steinberg", "bayer-2", "bayer-4", "bayer-8", "bayer-16"]
Radius = Annotated[int, Field(ge=1, le=31, description="Of the kernel, in pixels.")]


@node("ImageBlend", category="image/postprocessing")
def image_blend(
    image1: Image,
    image2: Image,
    blend_factor: Annotated[float, Field(ge=0, le=1, description="Share of the blend."), Widget(step=0.01)] = 0.5,
    blend_mode: BlendMode = "normal",
) -> Image:
    """Mix a picture with what a mode makes of it and a second one, which is fitted to its size.

    The modes are those of "Compositing and Blending Level 1" (W3C), and `difference` is the first less the second.
    """
    channels = max(image1.shape[-1], image2.shape[-1])
    first, second = with_channels(image1, channels), with_channels(image2, channels)
    second = resized(second, first.shape[2], first.shape[1], "bicubic", "center")
    second = cycled(second, len(first)).to(first)
    return first.lerp(_blended(first, second, blend_mode), blend_factor).clamp(0, 1)


@node("ImageBlur", category="image/postprocessing")
def image_blur(
    image: Image,
    blur_radius: Radius = 1,
    sigma: Annotated[float, Field(ge=0.1, le=10), Widget(step=0.1)] = 1.0,
) -> Image:
    """Blur a picture by a Gaussian of `sigma` pixels, cut off at the radius; beyond the edge it is mirrored."""
    return _blurred(image, blur_radius, sigma)


@node("ImageSharpen", category="image/postprocessing")
def image_sharpen(
    image: Image,
    sharpen_radius: Radius = 1,
    sigma: Annotated[float, Field(ge=0.1, le=10), Widget(step=0.01)] = 1.0,
    alpha: Annotated[float, Field(ge=0, le=5, description="How much."), Widget(step=0.01)] = 1.0,
) -> Image:
    """Sharpen a picture by an unsharp mask: what blurring takes away, `alpha` times, is added."""
    return (image + (image - _blurred(image, sharpen_radius, sigma)) * alpha).clamp(0, 1)


@node("ImageQuantize", category="image/postprocessing")
def image_quantize(
    image: Image,
    colors: Annotated[int, Field(ge=1, le=256, description="How many are left.")] = 256,
    dither: Dither = "none",
) -> Image:
    """Leave so many colours in each picture; dithering spreads the error, or a pattern hides it."""
    import torch

    from ..png import to_uint8

    quantized = [_quantized(pixels, colors, dither) for pixels in to_uint8(image[..., :3])]
    return torch.stack([torch.from_numpy(pixels).float() / 255 for pixels in quantized])


def _blended(first: Tensor, second: Tensor, mode: BlendMode) -> Tensor:
    import torch

    match mode:
        case "multiply":
            return first * second
        case "screen":
            return 1 - (1 - first) * (1 - second)
        case "overlay":
            return torch.where(first <= 0.5, 2 * first * second, 1 - 2 * (1 - first) * (1 - second))
        case "soft_light":
            dodged = torch.where(first <= 0.25, ((16 * first - 12) * first + 4) * first, first.sqrt())
            darker = first - (1 - 2 * second) * first * (1 - first)
            return torch.where(second <= 0.5, darker, first + (2 * second - 1) * (dodged - first))
        case "difference":
            return first - second
    return second


def _blurred(image: Tensor, radius: int, sigma: float) -> Tensor:
    """A separable Gaussian over [B, H, W, C]."""
    import torch

    offsets = torch.arange(-radius, radius + 1, dtype=torch.float32)
    weights = torch.exp(-(offsets**2) / (2 * sigma**2))
    weights = (weights / weights.sum()).to(image)
    channels = image.shape[-1]
    samples = image.movedim(-1, 1)
    for dimension, shape in ((-1, (1, -1)), (-2, (-1, 1))):
        padded = _mirrored(samples, radius, dimension)
        kernel = weights.reshape(1, 1, *shape).expand(channels, 1, *shape)
        samples = torch.nn.functional.conv2d(padded, kernel, groups=channels)
    return samples.movedim(1, -1).contiguous()


def _mirrored(samples: Tensor, margin: int, dimension: int) -> Tensor:
    """With a margin along a dimension that mirrors the inside, again and again where it is narrower than the margin."""
    import torch

    size = samples.shape[dimension]
    period = max(1, 2 * size - 2)
    places = torch.arange(-margin, size + margin).remainder(period)
    places = torch.where(places < size, places, period - places)
    return samples.index_select(dimension, places.to(samples.device))


def _quantized(pixels: NDArray[np.uint8], colors: int, dither: Dither) -> NDArray[np.uint8]:
    import numpy as np
    from PIL import Image as Pictures

    picture = Pictures.fromarray(np.ascontiguousarray(pixels))
    palette = picture.quantize(colors)
    if dither.startswith("bayer"):
        spread = _gap(np.asarray(palette.getpalette(), dtype=np.float64).reshape(-1, 3)[:colors])
        picture = Pictures.fromarray(_patterned(pixels, int(dither.split("-")[1]), spread))
    how = Pictures.Dither.FLOYDSTEINBERG if dither == "floyd-steinberg" else Pictures.Dither.NONE
    return np.asarray(picture.quantize(colors, palette=palette, dither=how).convert("RGB")).copy()


def _gap(colours: NDArray[np.float64]) -> float:
    """How far a colour of [N, 3] lies from the next one, in the mean, in the channel where they differ most."""
    import numpy as np

    gaps = np.abs(colours[:, None] - colours[None]).max(-1)
    np.fill_diagonal(gaps, np.inf)
    nearest = gaps.min(1)
    return float(nearest.mean()) if np.isfinite(nearest).all() else 0.0


def _patterned(pixels: NDArray[np.uint8], order: int, spread: float) -> NDArray[np.uint8]:
    """Pixels with the threshold pattern of ordered dithering added, `spread` levels wide. Bayer 1973."""
    import numpy as np

    pattern = np.zeros((1, 1))
    while len(pattern) < order:
        pattern = np.block([[4 * pattern, 4 * pattern + 2], [4 * pattern + 3, 4 * pattern + 1]])
    thresholds = (pattern + 0.5) / pattern.size - 0.5
    height, width = pixels.shape[:2]
    tiled = np.tile(thresholds, (-(-height // order), -(-width // order)))[:height, :width, None]
    patterned: NDArray[np.uint8] = np.clip(np.rint(pixels + tiled * spread), 0, 255).astype(np.uint8)
    return patterned
