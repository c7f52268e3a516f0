"""The model family of safetensors files that hold a checkpoint, or one of its networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mezzotint.engine.errors import ModelFileError

from ..models.file_content import file_content
from ..models.weights_file import PICKLE_SUFFIXES, SAFE_SUFFIXES
from .file_parts import LLAMA, T5
from .joined_text_encoders import JoinedTextEncoders
from .pipeline_family import pipeline_sampling
from .pipeline_folder import TRANSFORMER
from .single_file import SingleFile
from .tokenizer_folder import TOKENIZER_FOLDERS, tokenizer_files, tokenizer_folder
from .transformer_file import TransformerFile

if TYPE_CHECKING:
    from mezzotint.engine.folders import Folders
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

    def beside(self, path: Path, folders: Folders) -> Mapping[str, Path]:
        """The files of the tokenizers of T5 and Llama, where it has these without."""
        file = SingleFile(path, path.name)
        lacking = [
            file.parts[component].layout for component in file.text_encoders if not file.has_tokenizer(component)
        ]
        folders_of = [tokenizer_folder(path, layout, folders) for layout in lacking if layout in TOKENIZER_FOLDERS]
        return {name: each for folder in folders_of for name, each in tokenizer_files(folder).items()}

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

    def files(self, recipe: Recipe, path: Path, folders: Folders) -> Any:
        """What a recipe's networks are read from: a `SingleFile`, or text encoders that lie in several."""
        from .separate_text_encoders import WANTED, SeparateTextEncoders

        file = SingleFile(path, recipe.source.name)
        if recipe.kind != "clip":
            return file
        further = [SingleFile(folders.require(each.folder, each.name), each.name) for each in recipe.further]
        of_checkpoint = file.parts[TRANSFORMER].family if TRANSFORMER in file.parts and file.text_encoders else ""
        if recipe.text_of or of_checkpoint in WANTED:
            return SeparateTextEncoders(recipe.text_of or of_checkpoint, [file, *further])
        _require_text_encoder(file)
        _refuse_language_models(file, *further)
        return JoinedTextEncoders(file, *further) if further else file

    def load(self, recipe: Recipe, path: Path, residency: Residency) -> Loaded:
        from .diffusers_networks import LOADERS
        from .separate_text_encoders import SeparateTextEncoders, load_separate_text_encoders

        files = self.files(recipe, path, residency.folders)
        if isinstance(files, SeparateTextEncoders):
            return load_separate_text_encoders(files, recipe, residency)
        if recipe.kind == "model" and TRANSFORMER in files.parts:
            from .pipeline_networks import load_transformer

            return load_transformer(TransformerFile(files), recipe, residency)
        return LOADERS[recipe.kind](files, recipe, residency)


def _require_text_encoder(file: SingleFile) -> None:
    """Raises ModelFileError: it has none."""
    if not file.text_encoders:
        raise ModelFileError(
            f"'{file.name}' holds no text encoder; going by its tensors it is {file_content(file.header.tensors)}: "
            f"load the text encoder of its family from another file with CLIPLoader, or DualCLIPLoader for SDXL and "
            f"Flux, or TripleCLIPLoader for SD3"
        )


def _refuse_language_models(*files: SingleFile) -> None:
    """Raises ModelFileError: one of them is T5 or Llama, and not asked for."""
    for file in files:
        if any(file.parts[component].layout == LLAMA for component in file.text_encoders):
            raise ModelFileError(
                f"'{file.name}' is Llama, which is no text encoder of Stable Diffusion 1, 2 or XL; load it for HiDream "
                f"with QuadrupleCLIPLoader"
            )
        if any(file.parts[component].layout == T5 for component in file.text_encoders):
            raise ModelFileError(
                f"'{file.name}' is T5, which is no text encoder of Stable Diffusion 1, 2 or XL; choose the type of the "
                f"model that it is for: flux or sd3 in DualCLIPLoader, pixart in CLIPLoader"
            )


SINGLE_FILE_FAMILY = SingleFileFamily()
