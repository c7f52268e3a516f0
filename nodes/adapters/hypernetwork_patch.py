"""A hypernetwork as an entry of a recipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from mezzotint import value_type

from ..models.file_recipe import FileRecipe
from ..models.recipe import Recipe, Source

if TYPE_CHECKING:
    from mezzotint.engine.residency import Loaded, Residency


@value_type("mezzotint.HypernetworkPatch")
@dataclass(frozen=True, slots=True)
class HypernetworkPatch:
    """A hypernetwork: the file, and how strong it is; 1 is as it was trained, below 0 the opposite."""

    source: Source
    strength: float

    def parts(self, base: Recipe) -> tuple[HypernetworkWeights]:
        return (HypernetworkWeights(base, self.source),)

    def apply(self, loaded: Any, *parts: Any) -> Any:
        from .hypernetwork_network import with_hypernetwork

        (fitted,) = parts
        return with_hypernetwork(loaded, fitted, self.strength)


@dataclass(frozen=True, slots=True)
class HypernetworkWeights(FileRecipe):
    """The weights of a hypernetwork for one base, on its device; of every strength, so strengths share them."""

    base: Recipe
    source: Source
    kind: ClassVar[str] = "hypernetwork"

    def load(self, residency: Residency) -> Loaded:
        """A `FittedHypernetwork`.

        Raises:
            MissingModelError: the file is gone. ModelFileError: it has changed, is damaged, or is for another model.
            OutOfMemoryError: it does not fit.
        """
        from .hypernetwork_network import load_hypernetwork

        return load_hypernetwork(self.base, self.source, residency)
