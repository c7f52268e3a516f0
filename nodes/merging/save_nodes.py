"""Nodes that save models as single files, in the layout that they were published in; loaders find them at once."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import IO, TYPE_CHECKING, Any

from mezzotint import Clip, Context, Model, Vae, node
from mezzotint.engine.output_file import workflow_texts

from ..file_name import OutputPrefix
from .merge import weights_alone
from .saved_sampling import saved_sampling
from .saved_weights import ModelSaveError, SavedWeights

if TYPE_CHECKING:
    from ..models.recipe import Kind
    from ..models.weights_writer import DeferredTensor

CATEGORY = "advanced/model_merging"
SUFFIX = ".safetensors"
MODEL_PREFIX, VAE_PREFIX = "model.diffusion_model.", "first_stage_model."


@node("CheckpointSave", title="Save Checkpoint", category=CATEGORY, sink=True, lane="device")
def save_checkpoint(
    model: Model, clip: Clip, vae: Vae, filename_prefix: OutputPrefix = "checkpoints/ComfyUI", *, ctx: Context
) -> None:
    """Save a model, a text encoder and a VAE as one checkpoint in the output folder, where Load Checkpoint finds it.

    LoRAs and merges are in its weights; how the model is sampled is said in the file, and so is the workflow.

    Raises:
        ModelSaveError: it is of a family that is not saved, or the three do not belong together. OutputError: the
        prefix leaves the output folder, or the file cannot be written.
    """
    with ExitStack() as loans:
        network = _borrowed("model", model, ctx, loans)
        text = _borrowed("clip", clip, ctx, loans)
        pictures = _borrowed("vae", vae, ctx, loans)
        _require_together(network, text, pictures)
        tensors = _below(MODEL_PREFIX, network.tensors()["unet"]) | _below(VAE_PREFIX, pictures.tensors()["vae"])
        prefixes = text.text_prefixes()
        for component, encoder in text.tensors().items():
            tensors |= _below(prefixes[component], encoder)
        metadata, marks = saved_sampling(model, network, ctx)
        _save(filename_prefix, tensors | marks, metadata, ctx)


@node("ModelSave", category=CATEGORY, sink=True, lane="device")
def save_model(model: Model, filename_prefix: OutputPrefix = "diffusion_models/ComfyUI", *, ctx: Context) -> None:
    """Save a diffusion model alone, for Load Diffusion Model.

    Raises: see `save_checkpoint`.
    """
    with ExitStack() as loans:
        network = _borrowed("model", model, ctx, loans)
        metadata, marks = saved_sampling(model, network, ctx)
        _save(filename_prefix, _below(MODEL_PREFIX, network.tensors()["unet"]) | marks, metadata, ctx)


@node("CLIPSave", category=CATEGORY, sink=True, lane="device")
def save_clip(clip: Clip, filename_prefix: OutputPrefix = "clip/ComfyUI", *, ctx: Context) -> None:
    """Save text encoders, each in a file of its own, for Load CLIP and DualCLIPLoader.

    Raises: see `save_checkpoint`.
    """
    with ExitStack() as loans:
        text = _borrowed("clip", clip, ctx, loans)
        prefixes = text.text_prefixes()
        for component, tensors in text.tensors().items():
            _save(f"{filename_prefix}_{_encoder_name(prefixes[component])}", tensors, {}, ctx)


@node("VAESave", category=CATEGORY, sink=True, lane="device")
def save_vae(vae: Vae, filename_prefix: OutputPrefix = "vae/ComfyUI_vae", *, ctx: Context) -> None:
    """Save a VAE alone, for Load VAE.

    Raises: see `save_checkpoint`.
    """
    with ExitStack() as loans:
        _save(filename_prefix, _borrowed("vae", vae, ctx, loans).tensors()["vae"], {}, ctx)


def _borrowed(kind: Kind, recipe: Any, ctx: Context, loans: ExitStack) -> SavedWeights:
    alone = weights_alone(recipe) if recipe.kind == kind else recipe  # a `VaeRecipe` has nothing but weights
    return SavedWeights(kind, alone, loans.enter_context(ctx.models.borrow(alone)), ctx.folders)


def _below(prefix: str, tensors: Mapping[str, DeferredTensor]) -> dict[str, DeferredTensor]:
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


def _encoder_name(prefix: str) -> str:
    """What others call a text encoder, by the prefix that it has in a checkpoint."""
    if prefix.endswith("transformer."):
        return "clip_l"
    return "clip_h" if prefix.startswith("cond_stage_model.") else "clip_g"


def _require_together(model: SavedWeights, clip: SavedWeights, vae: SavedWeights) -> None:
    """Raises ModelSaveError: the three would not work together in one file."""
    wanted = model.networks["unet"].config.cross_attention_dim
    given = sum(network.config.hidden_size for network in clip.networks.values())
    if given != wanted:
        raise ModelSaveError(
            f"the text encoder of '{clip.name}' gives {given} numbers for each token, and the model '{model.name}' "
            f"takes {wanted}: they are of different families; connect the text encoder of the model's family"
        )
    wanted = model.networks["unet"].config.out_channels
    if (given := vae.networks["vae"].config.latent_channels) != wanted:
        raise ModelSaveError(
            f"the VAE of '{vae.name}' has latents of {given} channels, and the model '{model.name}' takes {wanted}: "
            f"they are of different families; connect the VAE of the model's family"
        )


def _save(prefix: str, tensors: Mapping[str, DeferredTensor], metadata: Mapping[str, str], ctx: Context) -> None:
    from ..models.weights_writer import write_weights

    texts = {**metadata, **workflow_texts(ctx.original_prompt, ctx.extra_pnginfo, metadata=ctx.save_metadata)}

    def write(file: IO[bytes]) -> None:
        write_weights(file, tensors, texts, ctx.progress)

    saved = ctx.outputs.series(prefix).save_large(write, SUFFIX)
    ctx.show(text=["saved as " + "/".join(filter(None, (saved["subfolder"], saved["filename"])))])
