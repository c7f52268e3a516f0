"""The model family of safetensors files that hold a checkpoint, or one of its networks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mezzotint.engine.errors import ModelFileError

from ..models.weights_file import PICKLE_SUFFIXES, SAFE_SUFFIXES
from .joined_text_encoders import JoinedTextEncoders
from .single_file import SingleFile

if TYPE_CHECKING:
    from mezzotint.engine.folders import Folders
    from mezzotint.engine.residency import Loaded, Residency

    from ..models.recipe import Recipe
    from ..sampling.model_sampling import ModelSampling


class SingleFileFamily:
    """The `ModelFamily` of checkpoints in one file: Stable Diffusion 1 and 2, SDXL and its refiner."""

    def recognises(self, path: Path) -> bool:
        if path.suffix.lower() not in SAFE_SUFFIXES | PICKLE_SUFFIXES or not path.is_file():
            return False
        try:
            return bool(SingleFile(path, path.name).parts)
        except ModelFileError:
            return False

    def file_names(self, path: Path, name: str) -> Sequence[str]:
        return ()

    def check(self, path: Path, name: str) -> None:
        SingleFile(path, name).check()

    def sampling(self, path: Path, name: str, digest: str) -> ModelSampling:
        from ..sampling.model_sampling import read_sampling

        return read_sampling(SingleFile(path, name), digest)

    def files(self, recipe: Recipe, path: Path, folders: Folders) -> SingleFile | JoinedTextEncoders:
        """What a recipe's networks are read from."""
        file = SingleFile(path, recipe.source.name)
        further = [SingleFile(folders.require(each.folder, each.name), each.name) for each in recipe.further]
        return JoinedTextEncoders(file, *further) if further else file

    def load(self, recipe: Recipe, path: Path, residency: Residency) -> Loaded:
        from .diffusers_networks import LOADERS

        return LOADERS[recipe.kind](self.files(recipe, path, residency.folders), recipe, residency)


SINGLE_FILE_FAMILY = SingleFileFamily()
