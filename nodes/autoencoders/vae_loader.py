"""Loading a VAE that is no part of a checkpoint."""

from __future__ import annotations

from typing import Annotated, Any

from mezzotint import Context, Vae, model_files, node
from mezzotint.engine.folders import Folders

from ..models.checkpoints import source_of
from ..models.recipe import Recipe
from ..models.weights_source import weights_identity, weights_source
from .vae_recipe import BESIDE, CONFIG_NAME, VaeRecipe

KIND = "vae"


def vae_identity(vae_name: str | None, folders: Folders) -> Any:
    """What changes when the file is written or replaced."""
    return weights_identity(KIND, vae_name, folders, BESIDE)


@node("VAELoader", title="Load VAE", category="loaders", fingerprint=vae_identity, quick_fingerprint=True)
def load_vae(vae_name: Annotated[str, model_files(KIND)], *, ctx: Context) -> Vae:
    """Open a VAE that has a file of its own, in the published layout or diffusers'.

    Raises:
        MissingModelError: the file is missing. ModelFileError: it is damaged, or of something else.
    """
    path = ctx.folders.require(KIND, vae_name)
    if not path.with_name(CONFIG_NAME).is_file():
        return Recipe("vae", source_of(KIND, vae_name, ctx))
    from .vae_folder import vae_config

    vae_config(path)
    return VaeRecipe(weights_source(KIND, vae_name, ctx, BESIDE))  # type: ignore[return-value]  # borrowed like a recipe
