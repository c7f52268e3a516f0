"""Latents in files: safetensors with the workflow inside, as other editors write them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from mezzotint.engine.context import Context
from mezzotint.engine.errors import MezzotintError
from mezzotint.engine.folders import Folders
from mezzotint.engine.node import node
from mezzotint.engine.output_file import workflow_texts
from mezzotint.engine.widget import Choices

from ..file_name import OutputPrefix, content_of, is_there
from ..ports import Latent

if TYPE_CHECKING:
    from torch import Tensor

SUFFIX = ".latent"
SAMPLES, MASK, BATCH_INDEX = "latent_tensor", "noise_mask", "batch_index"
UNSCALED = "latent_format_version_0"
"""An empty tensor that says that a latent is as the VAE gives it; older ones are scaled for Stable Diffusion 1."""
OLD_SCALE = 0.18215


class LatentFileError(MezzotintError):
    """A file holds no latent, or cannot be read."""


@node("SaveLatent", category="_for_testing", sink=True)
def save_latent(
    samples: Latent,
    filename_prefix: OutputPrefix = "latents/ComfyUI",
    *,
    ctx: Context,
) -> None:
    """Save a latent in the output folder, with its noise mask, its places in the batch, and the workflow.

    Raises:
        OutputError: the prefix leaves the output folder, or the file cannot be written.
    """
    import torch
    from safetensors.torch import save

    tensors: dict[str, Tensor] = {SAMPLES: samples["samples"].contiguous(), UNSCALED: torch.zeros(0)}
    if "noise_mask" in samples:
        tensors[MASK] = samples["noise_mask"].contiguous()
    if "batch_index" in samples:
        tensors[BATCH_INDEX] = torch.tensor(samples["batch_index"], dtype=torch.int64)
    texts = workflow_texts(ctx.original_prompt, ctx.extra_pnginfo, metadata=ctx.save_metadata)
    saved = ctx.outputs.series(filename_prefix).save(save(tensors, texts or None), SUFFIX)
    ctx.show(latents=[saved])


def _latents(folders: Folders) -> list[str]:
    return folders.files(frozenset({SUFFIX}))


def latent_content(latent: str | None, folders: Folders) -> str | float:
    """Stands for the latent in cache keys. Raises FolderError: there is no such file."""
    return content_of(latent, folders)


@node("LoadLatent", category="_for_testing", fingerprint=latent_content)
def load_latent(latent: Annotated[str, Choices(_latents, accepts=is_there)], *, ctx: Context) -> Latent:
    """Load a latent from the input folder, or as `name [output]` from where SaveLatent puts it.

    Raises:
        FolderError: there is no such file. LatentFileError: it holds no latent.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        tensors = load(ctx.folders.require_file(latent).read_bytes())
        samples = tensors[SAMPLES].float()
    except (SafetensorError, KeyError, OSError) as error:
        raise LatentFileError(
            f"'{latent}' holds no latent that can be read ({type(error).__name__}: {error}); make it with SaveLatent"
        ) from None
    loaded: dict[str, Any] = {"samples": samples if UNSCALED in tensors else samples / OLD_SCALE}
    if MASK in tensors:
        loaded["noise_mask"] = tensors[MASK]
    if BATCH_INDEX in tensors:
        loaded["batch_index"] = tensors[BATCH_INDEX].tolist()
    return loaded
