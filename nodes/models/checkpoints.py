"""Loading models: no weights are read here, they are materialised by the first node that needs them."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Annotated, Any, Literal, NamedTuple

from mezzotint import Clip, Context, Model, Vae, model_files, node
from mezzotint.engine.errors import MezzotintError, ModelFileError
from mezzotint.engine.file_digest import file_digests
from mezzotint.engine.folders import Folders

from .embedded_model import EMBEDDED_CHECKPOINT, bundle_embedded_checkpoint
from .model_source import FAMILIES, find_model
from .recipe import Recipe, Source

KIND = "checkpoints"
WeightDtype = Literal["default", "fp8_e4m3fn", "fp8_e4m3fn_fast", "fp8_e5m2"]
STORED_AS = {"fp8_e4m3fn": "float8_e4m3fn", "fp8_e4m3fn_fast": "float8_e4m3fn", "fp8_e5m2": "float8_e5m2"}
ClipType = Literal[
    "stable_diffusion", "stable_cascade", "sd3", "stable_audio", "mochi", "ltxv", "pixart", "cosmos", "lumina2", "wan",
    "hidream", "chroma", "ace", "omnigen2", "qwen_image", "hunyuan_image",
]  # fmt: skip
DualClipType = Literal["sdxl", "sd3", "flux", "hunyuan_video", "hidream", "hunyuan_image"]
CLIP_TYPES = {"stable_diffusion": "", "pixart": "pixart"}
DUAL_CLIP_TYPES = {"sdxl": "", "sd3": "sd3", "flux": "flux"}
"""Types that can be loaded → `Recipe.text_of`."""
ClipDevice = Literal["default", "cpu"]

bundle_embedded_checkpoint()


class Checkpoint(NamedTuple):
    MODEL: Model
    CLIP: Clip
    VAE: Vae


def model_identity(kind: str, *names: str | None, folders: Folders) -> Any:
    """What changes when a file of these models is written or replaced; reads no weights. NaN when it is not known."""
    try:
        parts = [part for name in names if name is not None for part in find_model(folders, kind, name).identity()]
    except (MezzotintError, OSError):
        return math.nan  # the node will say what is wrong
    return math.nan if None in names else [*parts, *FAMILIES.versions]


def checkpoint_identity(ckpt_name: str | None, folders: Folders) -> Any:
    """Of a checkpoint, what `model_identity` says."""
    return model_identity(KIND, ckpt_name, folders=folders)


def source_of(kind: str, name: str, ctx: Context) -> Source:
    """A model's files as a recipe has them.

    Raises:
        MissingModelError, ModelFileError: they are missing, damaged or not known.
    """
    found = find_model(ctx.folders, kind, name)
    found.check()
    return Source(kind, name, found.digest(file_digests(ctx.folders.home), ctx.check))


def _checkpoint(kind: str, name: str, ctx: Context) -> Checkpoint:
    source = source_of(kind, name, ctx)
    return Checkpoint(Recipe("model", source), Recipe("clip", source), Recipe("vae", source))


@node("CheckpointLoaderSimple", title="Load Checkpoint", category="loaders", fingerprint=checkpoint_identity)
def load_checkpoint(ckpt_name: Annotated[str, model_files(KIND)] = EMBEDDED_CHECKPOINT, *, ctx: Context) -> Checkpoint:
    """Open a checkpoint, a single file or a diffusers folder: a diffusion model, its text encoder and its VAE."""
    return _checkpoint(KIND, ckpt_name, ctx)


def configured_identity(config_name: str | None, ckpt_name: str | None, folders: Folders) -> Any:
    """Of a checkpoint, what `model_identity` says; the configuration is not read."""
    return model_identity(KIND, ckpt_name, folders=folders)


@node(
    "CheckpointLoader",
    title="Load Checkpoint With Config (DEPRECATED)",
    category="advanced/loaders",
    fingerprint=configured_identity,
)
def load_configured_checkpoint(
    config_name: Annotated[str, model_files("configs")], ckpt_name: Annotated[str, model_files(KIND)], *, ctx: Context
) -> Checkpoint:
    """Open a checkpoint as CheckpointLoaderSimple does.

    Args:
        config_name: not read, since a checkpoint's tensors say what it is.
    """
    return _checkpoint(KIND, ckpt_name, ctx)


def diffusers_identity(model_path: str | None, folders: Folders) -> Any:
    """Of a diffusers folder, what `model_identity` says."""
    return model_identity("diffusers", model_path, folders=folders)


@node("DiffusersLoader", category="advanced/loaders/deprecated", fingerprint=diffusers_identity)
def load_diffusers(model_path: Annotated[str, model_files("diffusers")], *, ctx: Context) -> Checkpoint:
    """Open a diffusers folder; CheckpointLoaderSimple does the same."""
    return _checkpoint("diffusers", model_path, ctx)


def unet_identity(unet_name: str | None, folders: Folders) -> Any:
    """Of a diffusion model, what `model_identity` says."""
    return model_identity("diffusion_models", unet_name, folders=folders)


@node("UNETLoader", title="Load Diffusion Model", category="advanced/loaders", fingerprint=unet_identity)
def load_diffusion_model(
    unet_name: Annotated[str, model_files("diffusion_models")], weight_dtype: WeightDtype = "default", *, ctx: Context
) -> Model:
    """Open a diffusion model that has a file of its own.

    Args:
        weight_dtype: what its weights are kept in: as in the file, or in 8 bits, in which nothing is computed.
    """
    source = source_of("diffusion_models", unet_name, ctx)
    return Recipe("model", source, dtype=STORED_AS.get(weight_dtype, "auto"))


def clip_identity(clip_name: str | None, folders: Folders) -> Any:
    """Of a text encoder, what `model_identity` says."""
    return model_identity("text_encoders", clip_name, folders=folders)


@node("CLIPLoader", title="Load CLIP", category="advanced/loaders", fingerprint=clip_identity)
def load_clip(
    clip_name: Annotated[str, model_files("text_encoders")],
    type: ClipType = "stable_diffusion",
    device: ClipDevice = "default",
    *,
    ctx: Context,
) -> Clip:
    """Open a text encoder that has a file of its own: of Stable Diffusion 1 or 2, of SDXL's refiner, or T5 of PixArt.

    Args:
        type: of the diffusion model it is for. device: text encoders run where models run, whatever is chosen.
    """
    _require_type("CLIPLoader", type, CLIP_TYPES)
    return Recipe("clip", source_of("text_encoders", clip_name, ctx), text_of=CLIP_TYPES[type])


def dual_clip_identity(clip_name1: str | None, clip_name2: str | None, folders: Folders) -> Any:
    """Of two text encoders, what `model_identity` says."""
    return model_identity("text_encoders", clip_name1, clip_name2, folders=folders)


@node("DualCLIPLoader", category="advanced/loaders", fingerprint=dual_clip_identity)
def load_two_clips(
    clip_name1: Annotated[str, model_files("text_encoders")],
    clip_name2: Annotated[str, model_files("text_encoders")],
    type: DualClipType = "sdxl",
    device: ClipDevice = "default",
    *,
    ctx: Context,
) -> Clip:
    """Open two text encoders, each from a file of its own, in any order: of SDXL, Flux, or SD3 without T5.

    Args:
        type: of the diffusion model they are for. device: text encoders run where models run, whatever is chosen.
    """
    _require_type("DualCLIPLoader", type, DUAL_CLIP_TYPES)
    first, second = (source_of("text_encoders", name, ctx) for name in (clip_name1, clip_name2))
    return Recipe("clip", first, further=(second,), text_of=DUAL_CLIP_TYPES[type])


def triple_clip_identity(
    clip_name1: str | None, clip_name2: str | None, clip_name3: str | None, folders: Folders
) -> Any:
    """Of three text encoders, what `model_identity` says."""
    return model_identity("text_encoders", clip_name1, clip_name2, clip_name3, folders=folders)


@node("TripleCLIPLoader", category="advanced/loaders", fingerprint=triple_clip_identity)
def load_three_clips(
    clip_name1: Annotated[str, model_files("text_encoders")],
    clip_name2: Annotated[str, model_files("text_encoders")],
    clip_name3: Annotated[str, model_files("text_encoders")],
    *,
    ctx: Context,
) -> Clip:
    """Open the three text encoders of SD3, CLIP L, CLIP G and T5, each from a file of its own, in any order."""
    first, *further = (source_of("text_encoders", name, ctx) for name in (clip_name1, clip_name2, clip_name3))
    return Recipe("clip", first, further=tuple(further), text_of="sd3")


def quadruple_clip_identity(
    clip_name1: str | None, clip_name2: str | None, clip_name3: str | None, clip_name4: str | None, folders: Folders
) -> Any:
    """Of four text encoders, what `model_identity` says."""
    return model_identity("text_encoders", clip_name1, clip_name2, clip_name3, clip_name4, folders=folders)


@node("QuadrupleCLIPLoader", category="advanced/loaders", fingerprint=quadruple_clip_identity)
def load_four_clips(
    clip_name1: Annotated[str, model_files("text_encoders")],
    clip_name2: Annotated[str, model_files("text_encoders")],
    clip_name3: Annotated[str, model_files("text_encoders")],
    clip_name4: Annotated[str, model_files("text_encoders")],
    *,
    ctx: Context,
) -> Clip:
    """Open the text encoders of HiDream, CLIP L, CLIP G, T5 and Llama, each from a file of its own, in any order."""
    names = (clip_name1, clip_name2, clip_name3, clip_name4)
    first, *further = (source_of("text_encoders", name, ctx) for name in names)
    return Recipe("clip", first, further=tuple(further), text_of="hidream")


def _require_type(node_name: str, given: str, known: Collection[str]) -> None:
    if given not in known:
        raise ModelFileError(
            f"{node_name}: text encoders of the type '{given}' cannot be loaded from files of their own, only those of "
            f"{' and '.join(repr(name) for name in known)}; use the diffusers folder of the model with "
            f"CheckpointLoaderSimple"
        )
