"""Nodes for unCLIP models, which are shown pictures as CLIP reads them, beside the text."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from pydantic import Field

from mezzotint import Clip, Conditioning, Context, Model, Vae, Widget, model_files, node
from mezzotint.engine.errors import ModelFileError

from ..models.checkpoints import KIND, checkpoint_identity, source_of
from ..models.recipe import Recipe
from ..sampling.network_call import UNCLIP
from .clip_vision import ClipVision, VisionOutput
from .clip_vision_recipe import ClipVisionRecipe


class UnclipCheckpoint(NamedTuple):
    MODEL: Model
    CLIP: Clip
    VAE: Vae
    CLIP_VISION: ClipVision


@node("unCLIPCheckpointLoader", category="loaders", fingerprint=checkpoint_identity)
def load_unclip_checkpoint(ckpt_name: Annotated[str, model_files(KIND)], *, ctx: Context) -> UnclipCheckpoint:
    """Open an unCLIP checkpoint of Stable Diffusion 2.1: as any, and the network by which it is shown pictures.

    Raises:
        MissingModelError: it is missing. ModelFileError: it is damaged, or has no such network inside.
    """
    from .clip_vision_network import read_config, vision_file

    source = source_of(KIND, ckpt_name, ctx)
    try:
        read_config(vision_file(ctx.folders.require(KIND, ckpt_name)), ckpt_name)
    except ModelFileError:
        raise ModelFileError(
            f"'{ckpt_name}' holds no network that reads pictures, so it is no unCLIP checkpoint; load it with "
            f"CheckpointLoaderSimple, or choose one of Stable Diffusion 2.1 unCLIP"
        ) from None
    model, clip, vae = (Recipe(kind, source) for kind in ("model", "clip", "vae"))
    return UnclipCheckpoint(model, clip, vae, ClipVisionRecipe(source))


@node("unCLIPConditioning", category="conditioning")
def show_picture(
    conditioning: Conditioning,
    clip_vision_output: VisionOutput,
    strength: Annotated[float, Field(ge=-10, le=10), Widget(step=0.01)] = 1.0,
    noise_augmentation: Annotated[float, Field(ge=0, le=1), Widget(step=0.01)] = 0.0,
) -> Conditioning:
    """Show an unCLIP model a picture, as CLIPVisionEncode read it; several nodes in a row show several.

    Args:
        strength: what it counts for among several; 0 leaves it out. noise_augmentation: how far the drawn picture may
            be from it, 0 to 1.
    """
    if strength == 0:
        return conditioning
    shown = {
        "clip_vision_output": clip_vision_output,
        "strength": strength,
        "noise_augmentation": noise_augmentation,
    }
    return [[tokens, {**options, UNCLIP: [*options.get(UNCLIP, ()), shown]}] for tokens, options in conditioning]
