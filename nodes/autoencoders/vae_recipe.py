"""A VAE in a folder of its own, as a recipe: the diffusers layout, weights with a config.json beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from mezzotint import value_type

from ..models.recipe import Source

if TYPE_CHECKING:
    from mezzotint.engine.residency import Loaded, Residency

CONFIG_NAME = "config.json"
BESIDE = (CONFIG_NAME,)
"""Files of diffusers that belong to the weights which they lie beside."""


@value_type("mezzotint.VaeRecipe")
@dataclass(frozen=True, slots=True)
class VaeRecipe:
    """A VAE that is no part of a checkpoint.

    Attributes:
        patches: none; what training asks of a recipe.
    """

    source: Source
    kind: ClassVar[str] = "vae_folder"
    patches: ClassVar[tuple[Any, ...]] = ()

    @property
    def weights(self) -> VaeRecipe:
        return self

    def configure(self, loaded: Any) -> Any:
        return loaded

    def load(self, residency: Residency) -> Loaded:
        """The `Autoencoder`.

        Raises:
            MissingModelError: the files are gone. ModelFileError: they changed, or are damaged. OutOfMemoryError: it
            does not fit.
        """
        from .vae_folder import load_vae

        return load_vae(self.source, residency)
