"""The model family of safetensors files that hold a checkpoint, or one of its networks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mezzotint.engine.errors import ModelFileError

from ..models.weights_file import PICKLE_SUFFIXES, SAFE_SUFFIXES
from .joined_text_encoders import JoinedTextEncoders
from .pipeline_family import pipeline_sampling
from .pipeline_folder import TRANSFORMER
from .single_file import SingleFile
from .transformer_file import TransformerFile

if TYPE_CHECKING:
    from mezzotint.engine.residency import Loaded, Residency

    from ..models.recipe import Recipe
    from ..sampling.model_sampling import ModelSampling


class SingleFileFamily:
    """The `ModelFamily` of checkpoints in one file, and of networks with files of their own."""

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
        file = SingleFile(path, name)
        file.check()
        if TRANSFORMER in file.parts:
            TransformerFile(file).check()

    def sampling(self, path: Path, name: str, digest: str) -> ModelSampling:
        from ..sampling.model_sampling import read_sampling

        file = SingleFile(path, name)
        if TRANSFORMER in file.parts:
            return pipeline_sampling(TransformerFile(file), digest)
        return read_sampling(file, digest)

    def load(self, recipe: Recipe, path: Path, residency: Residency) -> Loaded:
        from .diffusers_networks import LOADERS

        file = SingleFile(path, recipe.source.name)
        if recipe.kind == "model" and TRANSFORMER in file.parts:
            from .pipeline_networks import load_transformer

            return load_transformer(TransformerFile(file), recipe, residency)
        further = [SingleFile(residency.folders.require(each.folder, each.name), each.name) for each in recipe.further]
        if recipe.text_of:
            from .separate_text_encoders import load_separate_text_encoders

            return load_separate_text_encoders(recipe.text_of, [file, *further], recipe, residency)
        return LOADERS[recipe.kind](JoinedTextEncoders(file, *further) if further else file, recipe, residency)


SINGLE_FILE_FAMILY = SingleFileFamily()
