"""Loading a VAE that is no part of a checkpoint."""

from __future__ import annotations

from typing import Annotated, Any

from mezzotint import Context, Vae, model_files, node
from mezzotint.engine.folders import Folders

from .vae_recipe import BESIDE, VaeRecipe
from .weights_source import weights_identity, weights_source

KIND = "vae"


def vae_identity(vae_name: str | None, folders: Folders) -> Any:
    """What changes when the file is written or replaced."""
    return weights_identity(KIND, vae_name, folders, BESIDE)


@node("VAELoader", title="Load VAE", category="loaders", fingerprint=vae_identity, quick_fingerprint=True)
def load_vae(vae_name: Annotated[str, model_files(KIND)], *, ctx: Context) -> Vae:
    """Open a VAE in the diffusers layout: a weights file in the folder `vae` with its config.json beside it.

    Raises:
        MissingModelError: the file is missing. ModelFileError: it has no config.json, or is of something else.
    """
    from .vae_folder import vae_config

    vae_config(ctx.folders.require(KIND, vae_name))
    return VaeRecipe(weights_source(KIND, vae_name, ctx, BESIDE))  # type: ignore[return-value]  # borrowed like a recipe
