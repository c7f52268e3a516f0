"""Latents: empty ones, other sizes, batches."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from mezzotint.engine.errors import MezzotintError
from mezzotint.engine.node import node
from mezzotint.engine.widget import Widget

from ..ports import Latent, Mask
from ..resize import MAX_RESOLUTION, Crop, LatentMethod, require_memory, resize

if TYPE_CHECKING:
    from torch import Tensor

PIXELS = 8
"""Pixels to an element of a latent, along each side."""
MIN_SIDE = 64
"""The smallest side that a latent is scaled to, in pixels."""

NewSide = Annotated[int, Field(ge=16, le=MAX_RESOLUTION, description="In pixels."), Widget(step=8)]
WideNewSide = Annotated[int, Field(ge=16, le=MAX_RESOLUTION, description="In pixels."), Widget(step=16)]
Side = Annotated[int, Field(ge=0, le=MAX_RESOLUTION, description="In pixels; 0 keeps the proportions."), Widget(step=8)]
BatchSize = Annotated[int, Field(ge=1, le=4096, description="How many pictures are made at once.")]


class LatentError(MezzotintError):
    """Two latents do not go together."""

    @classmethod
    def of_channels(cls, first_name: str, first: Tensor, second_name: str, second: Tensor) -> LatentError:
        """Of latents [B, C, ...] that were made for different models."""
        return cls(
            f"{first_name} has {first.shape[1]} channels and {second_name} has {second.shape[1]}; "
            "take latents that were made for the same kind of model"
        )


@node("EmptyLatentImage", title="Empty Latent Image", category="latent")
def empty_latent_image(width: NewSide = 512, height: NewSide = 512, batch_size: BatchSize = 1) -> Latent:
    """An empty latent, where a picture begins that is made from noise alone.

    Returns:
        zeros, float32 [batch_size, 4, height // 8, width // 8]; a model of other channels takes it, too.

    Raises:
        OutOfMemoryError: it does not fit into memory.
    """
    return _empty(4, width, height, batch_size)


@node("EmptySD3LatentImage", category="latent/sd3")
def empty_sd3_latent_image(width: WideNewSide = 1024, height: WideNewSide = 1024, batch_size: BatchSize = 1) -> Latent:
    """An empty latent of 16 channels, as models of the kind of Stable Diffusion 3 and Flux have them.

    Returns:
        zeros, float32 [batch_size, 16, height // 8, width // 8].

    Raises:
        OutOfMemoryError: it does not fit into memory.
    """
    return _empty(16, width, height, batch_size)


def _empty(channels: int, width: int, height: int, count: int) -> dict[str, Any]:
    import torch

    shape = (count, channels, height // PIXELS, width // PIXELS)
    require_memory(f"a latent of {width}x{height} pixels, {count} times,", *shape)
    return {"samples": torch.zeros(shape)}


@node("LatentUpscale", title="Upscale Latent", category="latent")
def latent_upscale(
    samples: Latent,
    upscale_method: LatentMethod = "nearest-exact",
    width: Side = 512,
    height: Side = 512,
    crop: Crop = "disabled",
) -> Latent:
    """Give a latent a size in pixels. With one side 0 the proportions stay; with both 0 nothing changes.

    Sides are at least 64 pixels, in steps of 8. The noise mask stays as it is: it is fitted to the latent in sampling.

    Raises:
        OutOfMemoryError: the result does not fit into memory.
    """
    if width == 0 and height == 0:
        return samples
    old_height, old_width = samples["samples"].shape[-2:]
    if width == 0:
        width = round(old_width * max(MIN_SIDE, height) / old_height)
    elif height == 0:
        height = round(old_height * max(MIN_SIDE, width) / old_width)
    width, height = max(MIN_SIDE, width) // PIXELS, max(MIN_SIDE, height) // PIXELS
    return {**samples, "samples": resize(samples["samples"], width, height, upscale_method, crop)}


@node("LatentUpscaleBy", title="Upscale Latent By", category="latent")
def latent_upscale_by(
    samples: Latent,
    upscale_method: LatentMethod = "nearest-exact",
    scale_by: Annotated[float, Field(ge=0.01, le=8), Widget(step=0.01)] = 1.5,
) -> Latent:
    """Scale a latent by a factor; sides are rounded to whole elements of the latent, at least one.

    Raises:
        OutOfMemoryError: the result does not fit into memory.
    """
    old_height, old_width = samples["samples"].shape[-2:]
    width, height = max(1, round(old_width * scale_by)), max(1, round(old_height * scale_by))
    return {**samples, "samples": resize(samples["samples"], width, height, upscale_method)}


@node("LatentFromBatch", title="Latent From Batch", category="latent/batch")
def latent_from_batch(
    samples: Latent,
    batch_index: Annotated[int, Field(ge=0, le=63, description="The first one, counted from 0.")] = 0,
    length: Annotated[int, Field(ge=1, le=64, description="How many.")] = 1,
) -> Latent:
    """Take some latents out of a batch. They remember their places, so that noise for them is the noise they had.

    What lies beyond the end of the batch is left out; at least the last one is taken.
    """
    given = samples["samples"]
    count = len(given)
    start = min(batch_index, count - 1)
    stop = min(start + length, count)
    result = {**samples, "samples": given[start:stop].clone(), "batch_index": noise_places(samples)[start:stop]}
    if "noise_mask" in samples and len(samples["noise_mask"]) > 1:
        result["noise_mask"] = cycled(samples["noise_mask"], count)[start:stop].clone()
    return result


@node("RepeatLatentBatch", title="Repeat Latent Batch", category="latent/batch")
def repeat_latent_batch(
    samples: Latent, amount: Annotated[int, Field(ge=1, le=64, description="How many times.")] = 1
) -> Latent:
    """Repeat the whole batch; each repetition gets noise of its own.

    Raises:
        OutOfMemoryError: the result does not fit into memory.
    """
    given = samples["samples"]
    require_memory(f"a batch of {len(given)} latents, {amount} times,", amount, *given.shape)
    result = {**samples, "samples": cycled(given, len(given) * amount)}
    if "noise_mask" in samples and len(samples["noise_mask"]) > 1:
        masks = cycled(samples["noise_mask"], len(given))
        result["noise_mask"] = cycled(masks, len(given) * amount)
    if "batch_index" in samples:
        places = samples["batch_index"]
        offset = max(places) - min(places) + 1
        result["batch_index"] = [place + turn * offset for turn in range(amount) for place in places]
    return result


@node("LatentBatch", category="latent/batch")
def latent_batch(samples1: Latent, samples2: Latent) -> Latent:
    """Join two latents into one batch; the second is fitted to the size of the first, bilinearly, cut at its edges.

    If one has a noise mask, the other is denoised whole.

    Raises:
        LatentError: they have different numbers of channels: they were made for different models.
        OutOfMemoryError: the result does not fit into memory.
    """
    import torch

    first, second = samples1["samples"], samples2["samples"]
    if first.shape[1] != second.shape[1]:
        raise LatentError.of_channels("samples1", first, "samples2", second)
    fitted = resize(second, first.shape[-1], first.shape[-2], "bilinear", "center")
    result = {
        **samples1,
        "samples": torch.cat([first, fitted.to(first)]),
        "batch_index": noise_places(samples1) + noise_places(samples2),
    }
    if "noise_mask" in samples1 or "noise_mask" in samples2:
        result["noise_mask"] = _joined_masks(samples1, samples2)
    return result


@node("SetLatentNoiseMask", title="Set Latent Noise Mask", category="latent/inpaint")
def set_latent_noise_mask(samples: Latent, mask: Mask) -> Latent:
    """Let only what the mask selects be denoised; the rest of the picture stays.

    Args:
        mask: float32 [B, H, W] or [H, W], in any size.
    """
    return {**samples, "noise_mask": mask.reshape(-1, 1, *mask.shape[-2:])}


def noise_places(latent: dict[str, Any]) -> list[int]:
    """Each latent's place in the batch that its noise is drawn for."""
    return list(latent.get("batch_index", range(len(latent["samples"]))))


def cycled(tensors: Tensor, count: int) -> Tensor:
    """Exactly `count` entries along the batch, repeated from the start as often as it takes."""
    times = math.ceil(count / len(tensors))
    return tensors.repeat(times, *[1] * (tensors.ndim - 1))[:count]


def _joined_masks(samples1: dict[str, Any], samples2: dict[str, Any]) -> Tensor:
    """The masks of two latents, [B1 + B2, 1, H, W] in the size of the first there is; ones for one that has none."""
    import torch

    masks = [latent.get("noise_mask") for latent in (samples1, samples2)]
    size = next(mask.shape[-2:] for mask in masks if mask is not None)
    parts = []
    for latent, mask in zip((samples1, samples2), masks, strict=True):
        full = torch.ones(1, 1, *size) if mask is None else resize(mask, size[1], size[0], "bilinear")
        parts.append(cycled(full, len(latent["samples"])))
    return torch.cat(parts)
