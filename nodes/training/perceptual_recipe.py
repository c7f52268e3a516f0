"""What travels on links of perceptual networks: which files, not their weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from mezzotint import value_type

from ..models.recipe import Source

if TYPE_CHECKING:
    from mezzotint.engine.residency import Loaded, Residency


@value_type("mezzotint.PerceptualRecipe")
@dataclass(frozen=True, slots=True)
class PerceptualRecipe:
    """A network whose features are compared, with the LPIPS heads of another file if there are."""

    source: Source
    heads: Source | None = None
    kind: ClassVar[str] = "perceptual"

    @property
    def weights(self) -> PerceptualRecipe:
        return self

    def configure(self, loaded: Any) -> Any:
        return loaded

    def load(self, residency: Residency) -> Loaded:
        """A `ConvolutionFeatures`. Raises what `load_convolutions` does."""
        from .perceptual_network import load_convolutions

        return load_convolutions(self.source, self.heads, residency)
