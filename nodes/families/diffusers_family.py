"""The model family that comes with Mezzotint: checkpoints in the diffusers folder layout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .diffusers_folder import INDEX_NAME, DiffusersFolder

if TYPE_CHECKING:
    from mezzotint.engine.folders import Folders
    from mezzotint.engine.residency import Loaded, Residency

    from ..models.recipe import Recipe
    from ..sampling.model_sampling import ModelSampling


class DiffusersFamily:
    """The `ModelFamily` of diffusers folders."""

    def recognises(self, path: Path) -> bool:
        return (path / INDEX_NAME).is_file()

    def file_names(self, path: Path, name: str) -> Sequence[str]:
        return DiffusersFolder(path, name).file_names()

    def check(self, path: Path, name: str) -> None:
        DiffusersFolder(path, name).check()

    def sampling(self, path: Path, name: str, digest: str) -> ModelSampling:
        from ..sampling.model_sampling import read_sampling

        return read_sampling(DiffusersFolder(path, name), digest)

    def files(self, recipe: Recipe, path: Path, folders: Folders) -> DiffusersFolder:
        """What a recipe's networks are read from."""
        return DiffusersFolder(path, recipe.source.name)

    def load(self, recipe: Recipe, path: Path, residency: Residency) -> Loaded:
        from .diffusers_networks import LOADERS

        return LOADERS[recipe.kind](self.files(recipe, path, residency.folders), recipe, residency)


DIFFUSERS_FAMILY = DiffusersFamily()
