"""An IP-Adapter with its picture as an entry of a recipe (Ye et al. 2023, arXiv 2308.06721)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from mezzotint import value_type

from ..models.file_recipe import FileRecipe
from ..models.recipe import Recipe, Source
from ..tensor_value import TensorValue

if TYPE_CHECKING:
    from mezzotint.engine.residency import Loaded, Residency


@value_type("mezzotint.IPAdapterFile")
@dataclass(frozen=True, slots=True)
class IPAdapterFile:
    """What travels on IPADAPTER links.

    Attributes:
        reads_layers: whether it takes a hidden state of each part of a picture, and not one projection of it.
    """

    source: Source
    reads_layers: bool


@value_type("mezzotint.IPAdapterPatch")
@dataclass(frozen=True, slots=True)
class IPAdapterPatch:
    """An IP-Adapter.

    Attributes:
        weight: how strong it is. start_percent, end_percent: the part of sampling in which it is, 0 to 1.
        image: what CLIP made of the pictures, [1, pictures, ...]; contrast: what the other conditionings get.
    """

    source: Source
    weight: float
    start_percent: float
    end_percent: float
    image: TensorValue
    contrast: TensorValue

    def parts(self, base: Recipe) -> tuple[IPAdapterWeights]:
        return (IPAdapterWeights(base, self.source),)

    def apply(self, loaded: Any, *parts: Any) -> Any:
        from .ip_adapter_network import with_ip_adapter

        (fitted,) = parts
        return with_ip_adapter(loaded, fitted, self)


@dataclass(frozen=True, slots=True)
class IPAdapterWeights(FileRecipe):
    """The weights of an IP-Adapter for one base, on its device."""

    base: Recipe
    source: Source
    kind: ClassVar[str] = "ip_adapter"

    def load(self, residency: Residency) -> Loaded:
        """A `FittedIPAdapter`.

        Raises:
            MissingModelError: the file is gone. ModelFileError: it has changed, is damaged, or is for another model.
            OutOfMemoryError: it does not fit.
        """
        from .ip_adapter_network import load_ip_adapter

        return load_ip_adapter(self.base, self.source, residency)
