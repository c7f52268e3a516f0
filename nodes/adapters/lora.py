"""Nodes that add LoRAs to a model: small changes of its weights, which others who use the model do not see."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

from pydantic import Field

from mezzotint import Clip, Context, Model, Widget, model_files, node
from mezzotint.engine.folders import Folders

from ..models.network_names import DENOISER, TEXT_ENCODERS
from ..models.recipe import Recipe
from ..models.weights_source import weights_identity, weights_source
from .lora_file import LoraFile
from .lora_patch import LoraPatch

KIND = "loras"
NETWORKS = {"model": {DENOISER}, "clip": {*TEXT_ENCODERS}}
"""Kind of recipe → its networks in a LoRA file."""
Strength = Annotated[float, Field(ge=-100, le=100, description="1 is as it was trained."), Widget(step=0.01)]
LoraName = Annotated[str, model_files(KIND)]


class ModelAndClip(NamedTuple):
    MODEL: Model
    CLIP: Clip


def lora_identity(lora_name: str | None, folders: Folders) -> Any:
    """What changes when the file is written or replaced."""
    return weights_identity(KIND, lora_name, folders)


@node("LoraLoader", title="Load LoRA", category="loaders", fingerprint=lora_identity, quick_fingerprint=True)
def load_lora(
    model: Model,
    clip: Clip,
    lora_name: LoraName,
    strength_model: Strength = 1.0,
    strength_clip: Strength = 1.0,
    *,
    ctx: Context,
) -> ModelAndClip:
    """Add a LoRA to a diffusion model and its text encoder. Several one after another add up.

    Raises:
        MissingModelError: the file is missing. ModelFileError: it is damaged, or no LoRA. Whether it fits the model is
        seen when the model is used.
    """
    strengths = {model: strength_model, clip: strength_clip}
    if not any(strengths.values()):
        return ModelAndClip(model, clip)
    return ModelAndClip(*_with_lora(lora_name, strengths, ctx))


@node("LoraLoaderModelOnly", category="loaders", fingerprint=lora_identity, quick_fingerprint=True)
def load_lora_model_only(model: Model, lora_name: LoraName, strength_model: Strength = 1.0, *, ctx: Context) -> Model:
    """Add a LoRA to a diffusion model, and nothing to its text encoder.

    Raises: see `load_lora`.
    """
    if strength_model == 0:
        return model
    (patched,) = _with_lora(lora_name, {model: strength_model}, ctx)
    return patched


def _with_lora(name: str, strengths: dict[Recipe, float], ctx: Context) -> list[Recipe]:
    """The recipes with a LoRA each, but for those that it changes nothing of."""
    source = weights_source(KIND, name, ctx)
    layers = LoraFile(ctx.folders.require(KIND, name), name).layers
    return [
        recipe.with_patch(LoraPatch(source, strength)) if strength and NETWORKS[recipe.kind] & layers.keys() else recipe
        for recipe, strength in strengths.items()
    ]
