"""Prompts of SDXL, which is told of what picture they are."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from mezzotint import Clip, Conditioning, Context, Widget, node
from mezzotint.engine.folders import Folders

from ..resize import MAX_RESOLUTION
from ..text.text_embedding import texts_identity, with_embeddings
from .conditioning import ConditioningMismatchError, text_identity, with_options

Text = Annotated[str, Widget(multiline=True, dynamic_prompts=True)]
Pixels = Annotated[int, Field(ge=0, le=MAX_RESOLUTION, description="In pixels.")]
Score = Annotated[float, Field(ge=0, le=1000, description="How well made it is to look, 1 to 10."), Widget(step=0.01)]


def two_texts_identity(text_g: str | None, text_l: str | None, folders: Folders) -> Any:
    """What changes when an embedding that the prompts name is written or replaced."""
    return texts_identity([text_g, text_l], folders)


@node(
    "CLIPTextEncodeSDXL",
    category="advanced/conditioning",
    lane="device",
    fingerprint=two_texts_identity,
    quick_fingerprint=True,
)
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
        encoded = with_embeddings(encoder, [text_l, text_g], ctx).encode_each(text_l, text_g)
    size = {"width": width, "height": height, "crop_w": crop_w, "crop_h": crop_h}
    return with_options(encoded, **size, target_width=target_width, target_height=target_height)


@node(
    "CLIPTextEncodeSDXLRefiner",
    category="advanced/conditioning",
    lane="device",
    fingerprint=text_identity,
    quick_fingerprint=True,
)
def encode_sdxl_refiner(
    *, ascore: Score = 6.0, width: Pixels = 1024, height: Pixels = 1024, text: Text, clip: Clip, ctx: Context
) -> Conditioning:
    """Encode a prompt for SDXL's refiner, which is told how well made the picture is to look.

    Args:
        width, height: the size that the picture had before it was scaled.
    """
    with ctx.models.borrow(clip) as encoder:
        encoded = with_embeddings(encoder, [text], ctx).encode(text)
        return with_options(encoded, aesthetic_score=ascore, width=width, height=height)
