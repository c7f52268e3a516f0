"""Nodes that say with a picture what is drawn, as a text would: Flux Redux."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from mezzotint import Conditioning, Context, Port, Widget, model_files, node
from mezzotint.engine.folders import Folders

from ..conditioning.conditioning import ConditioningMismatchError
from ..models.weights_source import weights_identity, weights_source
from .clip_vision import VisionOutput
from .style_model_recipe import StyleModelRecipe, style_widths

KIND = "style_models"
if TYPE_CHECKING:
    StyleModelValue = Annotated[StyleModelRecipe, Port("STYLE_MODEL")]
else:
    StyleModelValue = Annotated[Any, Port("STYLE_MODEL")]


def style_model_identity(style_model_name: str | None, folders: Folders) -> Any:
    """What changes when the file is written or replaced."""
    return weights_identity(KIND, style_model_name, folders)


@node(
    "StyleModelLoader",
    title="Load Style Model",
    category="loaders",
    fingerprint=style_model_identity,
    quick_fingerprint=True,
)
def load_style_model(style_model_name: Annotated[str, model_files(KIND)], *, ctx: Context) -> StyleModelValue:
    """Open a model that turns a picture into tokens of a text: Flux Redux.

    Raises:
        MissingModelError: the file is missing. ModelFileError: it is damaged, or of something else.
    """
    style_widths(ctx.folders.require(KIND, style_model_name), style_model_name)
    return StyleModelRecipe(weights_source(KIND, style_model_name, ctx))


@node("StyleModelApply", title="Apply Style Model", category="conditioning/style_model", lane="device")
def apply_style_model(
    conditioning: Conditioning,
    style_model: StyleModelValue,
    clip_vision_output: VisionOutput,
    strength: Annotated[float, Field(ge=0, le=10), Widget(step=0.001)] = 1.0,
    strength_type: Literal["multiply", "attn_bias"] = "multiply",
    *,
    ctx: Context,
) -> Conditioning:
    """Add tokens to a text that say what is in a picture, as SigLIP read it.

    Args:
        strength: its tokens are multiplied by. strength_type: a bias of attention is not done, unless it does nothing.

    Raises:
        ConditioningMismatchError: the picture was read by another network; the text is of another model.
    """
    import torch

    if strength_type == "attn_bias" and strength != 1:
        raise ConditioningMismatchError(
            "StyleModelApply: strength_type 'attn_bias' is done at strength 1 only; use 'multiply'"
        )
    read = clip_vision_output.last_hidden_state
    with ctx.models.borrow(style_model) as borrowed:
        network: Any = borrowed
        widths = network.widths
        if read.shape[-1] != widths.read:
            raise ConditioningMismatchError(
                f"StyleModelApply: clip_vision_output has {read.shape[-1]} numbers for each part of the picture, and "
                f"the style model wants {widths.read}; load SigLIP (patch 14, 384) with CLIPVisionLoader"
            )
        style = network.tokens(read) * strength
    for tokens, _ in conditioning:
        if tokens.shape[-1] != widths.made:
            raise ConditioningMismatchError(
                f"StyleModelApply: conditioning has {tokens.shape[-1]} numbers for each token, and the style model "
                f"makes {widths.made}; use it with a text that Flux's text encoders read"
            )
    return [
        [torch.cat([tokens, style.expand(len(tokens), -1, -1)], dim=1), options] for tokens, options in conditioning
    ]
