"""GLIGEN as an entry of a recipe: layers that let a U-Net draw things in boxes (Li et al. 2023, arXiv 2301.07093)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from mezzotint import value_type

from ..models.file_recipe import FileRecipe
from ..models.recipe import Recipe, Source

if TYPE_CHECKING:
    from mezzotint.engine.residency import Loaded, Residency


@value_type("mezzotint.GligenPatch")
@dataclass(frozen=True, slots=True)
class GligenPatch:
    """What travels on GLIGEN links, and what sampling adds to the model. Where the boxes are, conditionings say."""

    source: Source

    def parts(self, base: Recipe) -> tuple[GligenWeights]:
        return (GligenWeights(base, self.source),)

    def apply(self, loaded: Any, *parts: Any) -> Any:
        from .gligen_network import with_gligen

        (fitted,) = parts
        return with_gligen(loaded, fitted)


@dataclass(frozen=True, slots=True)
class GligenWeights(FileRecipe):
    """The layers of a GLIGEN file for one base, on its device."""

    base: Recipe
    source: Source
    kind: ClassVar[str] = "gligen"

    def load(self, residency: Residency) -> Loaded:
        """A `FittedGligen`.

        Raises:
            MissingModelError: the file is gone. ModelFileError: it has changed, is damaged, or is for another model.
            OutOfMemoryError: it does not fit.
        """
        from .gligen_network import load_gligen

        return load_gligen(self.base, self.source, residency)
