"""Prompts of SDXL, which is told of what picture they are."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from mezzotint import Clip, Conditioning, Context, Widget, node

from .conditioning import ConditioningMismatchError
from .resize import MAX_RESOLUTION

Text = Annotated[str, Widget(multiline=True, dynamic_prompts=True)]
Pixels = Annotated[int, Field(ge=0, le=MAX_RESOLUTION, description="In pixels.")]
Score = Annotated[float, Field(ge=0, le=1000, description="How well made it is to look, 1 to 10."), Widget(step=0.01)]


@node("CLIPTextEncodeSDXL", category="advanced/conditioning", lane="device")
def encode_sdxl(
    clip: Clip,
    *,
    width: Pixels = 1024,
    height: Pixels = 1024,
    crop_w: Pixels = 0,
    crop_h: Pixels = 0,
    target_width: Pixels = 1024,
    target_height: Pixels = 1024,
    text_g: Text,
    text_l: Text,
    ctx: Context,
) -> Conditioning:
    """Encode a prompt for SDXL: a text for each of its encoders, and what picture it is of.

    Args:
        width, height: the size that the picture had before it was scaled. crop_w, crop_h: what was cut off on the left
            and at the top. target_width, target_height: the size wanted. text_g: for the larger encoder.
    """
    with ctx.models.borrow(clip) as encoder:
        if not hasattr(encoder, "encode_each"):
            raise ConditioningMismatchError(
                "CLIPTextEncodeSDXL takes a text for each of SDXL's two text encoders, and the clip that it is given "
                "has one; use CLIPTextEncode, CLIPTextEncodeSDXLRefiner for the refiner, or the CLIP of SDXL"
            )
        encoded = encoder.encode_each(text_l, text_g)
    size = {"width": width, "height": height, "crop_w": crop_w, "crop_h": crop_h}
    return _with_options(encoded, **size, target_width=target_width, target_height=target_height)


@node("CLIPTextEncodeSDXLRefiner", category="advanced/conditioning", lane="device")
def encode_sdxl_refiner(
    *, ascore: Score = 6.0, width: Pixels = 1024, height: Pixels = 1024, text: Text, clip: Clip, ctx: Context
) -> Conditioning:
    """Encode a prompt for SDXL's refiner, which is told how well made the picture is to look.

    Args:
        width, height: the size that the picture had before it was scaled.
    """
    with ctx.models.borrow(clip) as encoder:
        return _with_options(encoder.encode(text), aesthetic_score=ascore, width=width, height=height)


def _with_options(conditioning: list[Any], **options: Any) -> list[Any]:
    return [[tokens, {**given, **options}] for tokens, given in conditioning]
