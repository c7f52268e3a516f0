"""Latents added, scaled and mixed. The second is fitted to the first: its size bilinearly, its batch by repetition."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from mezzotint.engine.node import node
from mezzotint.engine.widget import Widget

from ..ports import Latent
from ..resize import Method, resize
from .latent import LatentError, cycled

if TYPE_CHECKING:
    from torch import Tensor

Share = Annotated[float, Field(ge=0, le=1, description="Of the first; the second has the rest."), Widget(step=0.01)]
Multiplier = Annotated[float, Field(ge=-10, le=10), Widget(step=0.01)]


@node("LatentAdd", category="latent/advanced")
def latent_add(samples1: Latent, samples2: Latent) -> Latent:
    """Add two latents.

    Raises:
        LatentError: they have different numbers of channels.
    """
    first, second = _pair(samples1, samples2)
    return {**samples1, "samples": first + second}


@node("LatentSubtract", category="latent/advanced")
def latent_subtract(samples1: Latent, samples2: Latent) -> Latent:
    """Take the second latent from the first.

    Raises:
        LatentError: they have different numbers of channels.
    """
    first, second = _pair(samples1, samples2)
    return {**samples1, "samples": first - second}


@node("LatentMultiply", category="latent/advanced")
def latent_multiply(samples: Latent, multiplier: Multiplier = 1.0) -> Latent:
    """Scale the values of a latent, not its size."""
    return {**samples, "samples": samples["samples"] * multiplier}


@node("LatentInterpolate", category="latent/advanced")
def latent_interpolate(samples1: Latent, samples2: Latent, ratio: Share = 1.0) -> Latent:
    """Mix two latents so that contrast is kept: the lengths of the channels' vectors and their directions apart.

    At each place the length is the mean of both, and the direction that of the mean of both directions.

    Raises:
        LatentError: they have different numbers of channels.
    """
    first, second = _pair(samples1, samples2)
    length = _length(first) * ratio + _length(second) * (1 - ratio)
    direction = _unit(_unit(first) * ratio + _unit(second) * (1 - ratio))
    return {**samples1, "samples": direction * length}


@node("LatentBlend", title="Latent Blend", category="_for_testing")
def latent_blend(samples1: Latent, samples2: Latent, blend_factor: Share = 0.5) -> Latent:
    """Mix two latents; the second is fitted to the size of the first bicubically.

    Raises:
        LatentError: they have different numbers of channels.
    """
    first, second = _pair(samples1, samples2, "bicubic")
    return {**samples1, "samples": first * blend_factor + second * (1 - blend_factor)}


def _pair(samples1: dict[str, Any], samples2: dict[str, Any], method: Method = "bilinear") -> tuple[Tensor, Tensor]:
    """The samples of both, alike in size and batch.

    Raises:
        LatentError: they have different numbers of channels.
    """
    first, second = samples1["samples"], samples2["samples"]
    if first.shape[1] != second.shape[1]:
        raise LatentError.of_channels("samples1", first, "samples2", second)
    fitted = resize(second, first.shape[-1], first.shape[-2], method, "center")
    return first, cycled(fitted, len(first)).to(first)


def _length(samples: Tensor) -> Tensor:
    """Of the vectors along the channels, [B, 1, ...]."""
    length: Tensor = samples.norm(dim=1, keepdim=True)
    return length


def _unit(samples: Tensor) -> Tensor:
    """The directions of the vectors along the channels; a zero vector has none and stays."""
    import torch

    length = _length(samples)
    directions: Tensor = samples / torch.where(length > 0, length, 1)
    return directions
