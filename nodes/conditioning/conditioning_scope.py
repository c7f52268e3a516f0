"""Nodes that say where, when and how strongly a conditioning counts. `region` says what sampling makes of it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mezzotint import Conditioning, Mask, Widget, node

from ..images.mask import batched
from ..resize import MAX_RESOLUTION
from ..sampling.region import PERCENTAGE
from .conditioning import with_options

PIXELS = 8
"""Pixels to a cell of the latent, in which areas are told."""

Side = Annotated[int, Field(ge=64, le=MAX_RESOLUTION, description="In pixels."), Widget(step=8)]
Offset = Annotated[
    int, Field(ge=0, le=MAX_RESOLUTION, description="In pixels, from the top left corner."), Widget(step=8)
]
Share = Annotated[float, Field(ge=0, le=1, description="Of the picture's side."), Widget(step=0.01)]
Strength = Annotated[
    float, Field(ge=0, le=10, description="How much it counts beside other items; 0 leaves it out."), Widget(step=0.01)
]
RunShare = Annotated[
    float,
    Field(ge=0, le=1, description="Of the model's timesteps: 0 is the noisiest, 1 the cleanest."),
    Widget(step=0.001),
]


@node("ConditioningSetArea", title="Conditioning (Set Area)", category="conditioning")
def set_area(
    conditioning: Conditioning,
    width: Side = 64,
    height: Side = 64,
    x: Offset = 0,
    y: Offset = 0,
    strength: Strength = 1.0,
) -> Conditioning:
    """Let a prompt count in a rectangle only; the model sees nothing but that part. Inner edges are soft."""
    area = (height // PIXELS, width // PIXELS, y // PIXELS, x // PIXELS)
    return with_options(conditioning, area=area, strength=strength, set_area_to_bounds=False)


@node(
    "ConditioningSetAreaPercentage",
    title="Conditioning (Set Area with Percentage)",
    category="conditioning",
)
def set_area_percentage(
    conditioning: Conditioning,
    width: Share = 1.0,
    height: Share = 1.0,
    x: Share = 0.0,
    y: Share = 0.0,
    strength: Strength = 1.0,
) -> Conditioning:
    """Let a prompt count in a rectangle only, told in shares of the picture, whatever its size will be."""
    area = (PERCENTAGE, height, width, y, x)
    return with_options(conditioning, area=area, strength=strength, set_area_to_bounds=False)


@node("ConditioningSetAreaStrength", category="conditioning")
def set_area_strength(conditioning: Conditioning, strength: Strength = 1.0) -> Conditioning:
    """Say how much a prompt counts beside others that are combined with it."""
    return with_options(conditioning, strength=strength)


@node("ConditioningSetMask", title="Conditioning (Set Mask)", category="conditioning")
def set_mask(
    conditioning: Conditioning,
    mask: Mask,
    strength: Strength = 1.0,
    set_cond_area: Literal["default", "mask bounds"] = "default",
) -> Conditioning:
    """Let a prompt count as much as a mask says, cell by cell. With "mask bounds" the model sees that part only."""
    is_bounded = set_cond_area == "mask bounds"
    return with_options(conditioning, mask=batched(mask), mask_strength=strength, set_area_to_bounds=is_bounded)


@node("ConditioningSetTimestepRange", category="advanced/conditioning")
def set_timestep_range(conditioning: Conditioning, start: RunShare = 0.0, end: RunShare = 1.0) -> Conditioning:
    """Let a prompt count in a part of the run only."""
    return with_options(conditioning, start_percent=start, end_percent=end)
