"""Batches of pictures and latents: parts, repetitions, other sizes, and whose noise each latent gets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from mezzotint.engine.node import node

from ..latents.latent import cycled, noise_places
from ..ports import Image, Latent
from ..resize import require_memory, resize

if TYPE_CHECKING:
    from torch import Tensor

BatchSize = Annotated[int, Field(ge=1, le=4096, description="How many a batch holds; the last may hold fewer.")]
SeedBehavior = Literal["random", "fixed"]


@node("RebatchLatents", title="Rebatch Latents", category="latent/batch")
def rebatch_latents(latents: list[Latent], batch_size: BatchSize = 1) -> list[Latent]:
    """Spread latents over batches of another size. They keep their order, their masks and their places.

    Latents of different sizes do not share a batch; a batch ends where the size changes. Of one that follows others,
    the places go on counting, so that equal places do not give equal noise.
    """
    batches: list[list[dict[str, Any]]] = []
    for single in _singles(latents):
        shape = single["samples"].shape
        if batches and len(batches[-1]) < batch_size and batches[-1][0]["samples"].shape == shape:
            batches[-1].append(single)
        else:
            batches.append([single])
    return [_joined(batch) for batch in batches]


@node("RebatchImages", title="Rebatch Images", category="image/batch")
def rebatch_images(images: list[Image], batch_size: BatchSize = 1) -> list[Image]:
    """Spread pictures over batches of another size, in their order; a batch ends where the size changes."""
    import torch

    batches: list[list[Tensor]] = []
    for image in (image for given in images for image in given):
        if batches and len(batches[-1]) < batch_size and batches[-1][0].shape == image.shape:
            batches[-1].append(image)
        else:
            batches.append([image])
    return [torch.stack(batch) for batch in batches]


@node("RepeatImageBatch", category="image/batch")
def repeat_image_batch(
    image: Image, amount: Annotated[int, Field(ge=1, le=4096, description="How many times.")] = 1
) -> Image:
    """Repeat a whole batch of pictures.

    Raises:
        OutOfMemoryError: the result does not fit into memory.
    """
    require_memory(f"a batch of {len(image)} pictures, {amount} times,", amount, *image.shape)
    return image.repeat(amount, 1, 1, 1)


@node("ImageFromBatch", category="image/batch")
def image_from_batch(
    image: Image,
    batch_index: Annotated[int, Field(ge=0, le=4095, description="The first one, counted from 0.")] = 0,
    length: Annotated[int, Field(ge=1, le=4096, description="How many.")] = 1,
) -> Image:
    """Take some pictures out of a batch. What lies beyond its end is left out; at least the last one is taken."""
    start = min(batch_index, len(image) - 1)
    return image[start : start + length].clone()


@node("LatentBatchSeedBehavior", category="latent/advanced")
def latent_batch_seed_behavior(samples: Latent, seed_behavior: SeedBehavior = "fixed") -> Latent:
    """Choose whether the latents of a batch get noise of their own (random) or all that of the first (fixed)."""
    result = {name: value for name, value in samples.items() if name != "batch_index"}
    if seed_behavior == "fixed":
        result["batch_index"] = [noise_places(samples)[0]] * len(samples["samples"])
    return result


def _singles(latents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each latent of all batches alone, with its mask and its place."""
    found: list[dict[str, Any]] = []
    following = 0
    for latent in latents:
        samples = latent["samples"]
        places = latent.get("batch_index") or range(following, following + len(samples))
        masks = cycled(latent["noise_mask"], len(samples)) if "noise_mask" in latent else None
        for index, place in enumerate(places):
            single = {**latent, "samples": samples[index : index + 1], "batch_index": [place]}
            found.append(single if masks is None else {**single, "noise_mask": masks[index : index + 1]})
        following = max(following, *(place + 1 for place in places))
    return found


def _joined(batch: list[dict[str, Any]]) -> dict[str, Any]:
    """Latents of one size as one batch; one without a mask is denoised whole."""
    import torch

    result = {
        **batch[0],
        "samples": torch.cat([single["samples"] for single in batch]),
        "batch_index": [place for single in batch for place in single["batch_index"]],
    }
    masks = [single.get("noise_mask") for single in batch]
    known = next((mask for mask in masks if mask is not None), None)
    if known is not None:
        height, width = known.shape[-2:]
        whole = torch.ones_like(known)
        fitted = [whole if mask is None else resize(mask, width, height, "bilinear") for mask in masks]
        result["noise_mask"] = torch.cat(fitted)
    return result
