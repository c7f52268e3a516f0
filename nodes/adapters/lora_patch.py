"""A LoRA as an entry of a recipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from mezzotint import value_type

from ..models.file_recipe import FileRecipe
from ..models.recipe import Recipe, Source

if TYPE_CHECKING:
    from mezzotint.engine.residency import Loaded, Residency


@value_type("mezzotint.LoraPatch")
@dataclass(frozen=True, slots=True)
class LoraPatch:
    """A LoRA: the file, and how strong it is; 1 is as it was trained, below 0 the opposite."""

    source: Source
    strength: float

    def parts(self, base: Recipe) -> tuple[LoraWeights]:
        return (LoraWeights(base, self.source),)

    def apply(self, loaded: Any, *parts: Any) -> Any:
        (fitted,) = parts
        return fitted.apply(loaded, self.strength)


@dataclass(frozen=True, slots=True)
class LoraWeights(FileRecipe):
    """The weights of a LoRA for one base, on its device; of every strength, so strengths share them."""

    base: Recipe
    source: Source
    kind: ClassVar[str] = "lora"

    def load(self, residency: Residency) -> Loaded:
        """A `FittedLora`.

        Raises:
            MissingModelError: the file is gone. ModelFileError: it has changed, is damaged, or is for another model.
            OutOfMemoryError: it does not fit.
        """
        from mezzotint.engine.errors import ModelFileError

        from ..models.weights_source import weights_path
        from .lora_conversion import in_names_of
        from .lora_file import LoraFile
        from .lora_weights import fit_lora

        file = LoraFile(weights_path(self.source, residency.folders), self.source.name)
        with residency.borrow(self.base) as loaded:
            networks = getattr(loaded, "networks", None)
            if networks is None:
                raise ModelFileError(
                    f"the model '{self.base.source.name}' is of a family whose plugin takes no LoRA; leave out "
                    f"'{file.name}'"
                )
            return fit_lora(in_names_of(file, loaded), networks, self.base.source.name, residency)
