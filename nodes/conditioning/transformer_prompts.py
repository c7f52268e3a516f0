"""Prompts of SD3 and Flux."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from mezzotint import Clip, Conditioning, Context, Widget, node

from .conditioning import ConditioningMismatchError, with_options
from .sdxl_prompts import Text

Guidance = Annotated[float, Field(ge=0, le=100, description="How strong guidance is."), Widget(step=0.1)]


@node("CLIPTextEncodeFlux", category="advanced/conditioning/flux", lane="device")
def encode_flux(clip: Clip, *, clip_l: Text, t5xxl: Text, guidance: Guidance = 3.5, ctx: Context) -> Conditioning:
    """Encode a prompt for Flux: a text for each of its encoders, and how strong guidance is.

    Args:
        clip_l: for CLIP, which sees it as a whole. t5xxl: for T5. guidance: told to the network.
    """
    encoded = _encoded(clip, ctx, "CLIPTextEncodeFlux", prompt=clip_l, prompt_2=t5xxl)
    return with_options(encoded, guidance=guidance)


@node("CLIPTextEncodeSD3", category="advanced/conditioning", lane="device")
def encode_sd3(
    clip: Clip,
    *,
    clip_l: Text,
    clip_g: Text,
    t5xxl: Text,
    empty_padding: Literal["none", "empty_prompt"] = "none",
    ctx: Context,
) -> Conditioning:
    """Encode a prompt for SD3: a text for each of its encoders.

    Args:
        clip_l, clip_g: for the two of CLIP. t5xxl: for T5. empty_padding: an empty text is encoded, whatever is chosen.
    """
    return _encoded(clip, ctx, "CLIPTextEncodeSD3", prompt=clip_l, prompt_2=clip_g, prompt_3=t5xxl)


def _encoded(clip: Clip, ctx: Context, node_name: str, **texts: str) -> list[Any]:
    """The texts by the encoders of a pipeline.

    Raises:
        ConditioningMismatchError: the clip is of another kind of model.
    """
    with ctx.models.borrow(clip) as encoder:
        if not hasattr(encoder, "encode_texts"):
            raise ConditioningMismatchError(
                f"{node_name} takes a text for each of several text encoders, and the clip that it is given is of a "
                f"Stable Diffusion before 3; use CLIPTextEncode, or the CLIP of the model's own diffusers folder"
            )
        made: list[Any] = encoder.encode_texts(**texts)
        return made
