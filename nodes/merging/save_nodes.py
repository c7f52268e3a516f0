"""Nodes that save models as single files, in the layout that they were published in; loaders find them at once."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import IO, TYPE_CHECKING, Any

from mezzotint import Clip, Context, Model, Vae, node
from mezzotint.engine.output_file import workflow_texts

from ..families.file_parts import SD3
from ..file_name import OutputPrefix
from .merge import weights_alone
from .saved_sampling import saved_sampling
from .saved_weights import ModelSaveError, SavedWeights

if TYPE_CHECKING:
    from ..models.recipe import Kind
    from ..models.weights_writer import DeferredTensor

CATEGORY = "advanced/model_merging"
SUFFIX = ".safetensors"
MODEL_PREFIX = "model.diffusion_model."
VAE_PREFIXES = {"": "first_stage_model.", SD3: "first_stage_model."}
"""By the model's family; that of the others is `vae.`."""


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
        (model_tensors,) = network.tensors().values()
        vae_prefix = VAE_PREFIXES.get(network.family, "vae.")
        tensors = _below(MODEL_PREFIX, model_tensors) | _below(vae_prefix, pictures.tensors()["vae"])
        prefixes = text.text_prefixes()
        for component, encoder in text.tensors(in_checkpoint=True).items():
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
        (tensors,) = network.tensors().values()
        _save(filename_prefix, _below(MODEL_PREFIX, tensors) | marks, metadata, ctx)


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
    if prefix.startswith("text_encoders."):
        return prefix.split(".")[1]
    if prefix.endswith("transformer."):
        return "clip_l"
    return "clip_h" if prefix.startswith("cond_stage_model.") else "clip_g"


def _require_together(model: SavedWeights, clip: SavedWeights, vae: SavedWeights) -> None:
    """Raises ModelSaveError: the three would not work together in one file."""
    encoders = clip.networks.values()
    if model.family or clip.text_family:
        if model.family != clip.text_family:
            raise ModelSaveError(
                f"the text encoders of '{clip.name}' are not those of the family of '{model.name}'; connect the text "
                f"encoders of the model's family, and save models whose text encoders are not saved alone, by ModelSave"
            )
    else:
        wanted = model.networks["unet"].config.cross_attention_dim
        given = sum(network.config.hidden_size for network in encoders)
        if given != wanted:
            raise ModelSaveError(
                f"the text encoder of '{clip.name}' gives {given} numbers for each token, and the model "
                f"'{model.name}' takes {wanted}: they are of different families; connect the text encoder of the "
                f"model's family"
            )
    wanted = model.loaded.sampling.latent_channels
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
