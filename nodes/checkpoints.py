"""Loading a checkpoint: no weights are read here, they are materialised by the first node that needs them."""

from __future__ import annotations

import math
from typing import Annotated, Any, NamedTuple

from mezzotint import Clip, Context, Model, Vae, model_files, node
from mezzotint.engine.errors import MezzotintError
from mezzotint.engine.file_digest import file_digests
from mezzotint.engine.folders import Folders

from .embedded_model import EMBEDDED_CHECKPOINT, bundle_embedded_checkpoint
from .model_source import FAMILIES, find_model
from .recipe import Recipe, Source

KIND = "checkpoints"

bundle_embedded_checkpoint()


class Checkpoint(NamedTuple):
    MODEL: Model
    CLIP: Clip
    VAE: Vae


def checkpoint_identity(ckpt_name: str | None, folders: Folders) -> Any:
    """What changes when a file of the checkpoint is written or replaced; reads no weights. NaN when it is not known."""
    if ckpt_name is None:
        return math.nan
    try:
        return [*find_model(folders, KIND, ckpt_name).identity(), *FAMILIES.versions]
    except (MezzotintError, OSError):
        return math.nan  # the node will say what is wrong


@node("CheckpointLoaderSimple", title="Load Checkpoint", category="loaders", fingerprint=checkpoint_identity)
def load_checkpoint(ckpt_name: Annotated[str, model_files(KIND)] = EMBEDDED_CHECKPOINT, *, ctx: Context) -> Checkpoint:
    """Open a checkpoint: a diffusers folder with a diffusion model, its text encoder and its VAE."""
    found = find_model(ctx.folders, KIND, ckpt_name)
    found.check()
    source = Source(KIND, ckpt_name, found.digest(file_digests(ctx.folders.home), ctx.check))
    return Checkpoint(Recipe("model", source), Recipe("clip", source), Recipe("vae", source))
