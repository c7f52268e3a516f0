"""Finds the files that a model is made of, and the family that knows what to do with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mezzotint.engine.catalogue import Register, catalogue
from mezzotint.engine.errors import ModelFileError
from mezzotint.engine.file_digest import FileDigests, file_digests, file_identity
from mezzotint.engine.folders import Folders
from mezzotint.engine.model_family import ModelFamily
from mezzotint.engine.residency import Loaded, Residency

from .embedded_model import bundle_embedded_checkpoint
from .file_content import LOADED_BY, file_content
from .weights_file import PICKLE_SUFFIXES, SAFE_SUFFIXES, read_header

if TYPE_CHECKING:
    from .recipe import Recipe, Source


bundle_embedded_checkpoint()


def register_model_families(register: Register) -> None:
    """Register the built-in families."""
    register("diffusers pipeline", "mezzotint.nodes.families.pipeline_family:PIPELINE_FAMILY")
    register("diffusers folder", "mezzotint.nodes.families.diffusers_family:DIFFUSERS_FAMILY")
    register("single file", "mezzotint.nodes.families.single_file_family:SINGLE_FILE_FAMILY")


FAMILIES = catalogue("model family").describe((), register_model_families)
"""Name → `ModelFamily`, in the order in which they are asked; the built-in ones first."""


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A model's files. name: what the user calls them. beside: what a `ModelFamily` says of that name."""

    family: ModelFamily
    path: Path
    name: str
    beside: Mapping[str, Path] = field(default_factory=dict)

    def identity(self) -> list[Any]:
        """What changes when a file is written or replaced; reads no weights.

        Raises:
            ModelFileError, OSError: a file is missing.
        """
        files = self._own() or {self.path.name: self.path}
        further = [[str(path), *file_identity(path)] for path in self.beside.values()]
        return [str(self.path), *([name, *file_identity(path)] for name, path in files.items()), *further]

    def _own(self) -> dict[str, Path]:
        """Of a folder, the files that decide what the model is, by name."""
        return {name: self.path / name for name in self.family.file_names(self.path, self.name)}

    def digest(self, digests: FileDigests, check: Callable[[], None] | None = None) -> str:
        """What names the content, whatever the model is called and wherever it lies.

        Args:
            check: called now and then while a large file is hashed; what it raises ends that.

        Raises:
            ModelFileError: a file is missing or cannot be read.
        """
        checks = [check] if check else []
        try:
            own = self._own()
            if not own and not self.beside:
                return digests.of_file(self.path, *checks)
            return digests.of_files({**(own or {"": self.path}), **self.beside}, *checks)
        except OSError as error:
            raise ModelFileError(f"the checkpoint '{self.name}' cannot be read: {error}") from None

    def check(self) -> None:
        """See that everything is there and can be used. Raises ModelFileError."""
        self.family.check(self.path, self.name)


def find_model(folders: Folders, kind: str, name: str) -> ModelSource:
    """The files of a model.

    Raises:
        MissingModelError: no models folder has it. ModelFileError: it is a pickle, or of no known family.
    """
    path = folders.require(kind, name)
    family = next((family for family in FAMILIES.values() if family.recognises(path)), None)
    if family is not None:
        beside = getattr(family, "beside", None)
        return ModelSource(family, path, name, beside(path, folders) if beside else {})
    if path.is_dir():
        raise ModelFileError(
            f"the checkpoint '{name}' is a folder without model_index.json, so it is no diffusers pipeline; fetch the "
            f"folder again, or use a plugin that knows its family"
        )
    if path.suffix.lower() in SAFE_SUFFIXES | PICKLE_SUFFIXES:
        content = file_content(read_header(path).tensors)
        known = (
            "known are single files of Stable Diffusion 1, 2, XL and 3, Flux, PixArt, Z-Image, HiDream and Qwen-Image, "
            "and diffusers folders; use one of these, or a plugin that knows its family"
        )
        raise ModelFileError(
            f"'{name}' is no checkpoint of a known family: going by its tensors it is {content}; "
            f"{LOADED_BY.get(content, known)}"
        )
    raise ModelFileError(f"'{name}' is no file of weights ({path.suffix}); use the model's .safetensors file")


def recipe_source(source: Source, folders: Folders) -> ModelSource:
    """The files of a recipe. Raises what `find_model` does."""
    return find_model(folders, source.folder, source.name)


def source_files(source: Source, folders: Folders) -> list[Path]:
    """The files of weights of a source. Raises what `find_model` does."""
    path = folders.require(source.folder, source.name)
    if path.is_file():
        return [path]
    names = find_model(folders, source.folder, source.name).family.file_names(path, source.name)
    return [path / name for name in names if Path(name).suffix.lower() in SAFE_SUFFIXES]


def load_recipe(recipe: Recipe, residency: Residency) -> Loaded:
    """What a recipe becomes, by the family of its files, if they still are what it was made of.

    Raises:
        MissingModelError, ModelFileError: its files are gone, changed, damaged or not known.
        OutOfMemoryError: it does not fit.
    """
    source, *_ = [unchanged_source(each, residency.folders) for each in (recipe.source, *recipe.further)]
    return source.family.load(recipe, source.path, residency)


def unchanged_source(recipe_of: Source, folders: Folders) -> ModelSource:
    """The files of a recipe, if they still are what it was made of.

    Raises:
        MissingModelError, ModelFileError: they are gone, changed or not known.
    """
    source = recipe_source(recipe_of, folders)
    if source.digest(file_digests(folders.home)) != recipe_of.digest:
        raise ModelFileError(
            f"the checkpoint '{source.name}' is not the one that this value was made from: its files have changed; "
            f"run the workflow again"
        )
    return source


def register_loaders(models: Residency) -> None:
    """Let a residency manager materialise models, text encoders and VAEs."""
    for kind in ("model", "clip", "vae"):
        models.register(kind, load_recipe)
