"""What travels on CONTROL_NET links: which file, not its weights."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from mezzotint import value_type

from ..models.file_recipe import FileRecipe
from ..models.recipe import Recipe, Source

if TYPE_CHECKING:
    from mezzotint.engine.residency import Loaded, Residency


@value_type("mezzotint.ControlNetRecipe")
@dataclass(frozen=True, slots=True)
class ControlNetRecipe(FileRecipe):
    """A ControlNet or T2I-Adapter.

    Attributes:
        control_type: what kind of picture steers it, for networks that take several kinds; -1 where they find out.
        base: the model that its weights are added to, where its file holds differences.
        sees_latents: whether it is shown a picture as a latent, so needs a VAE. sees_mask: whether it fills in what a
            mask selects, so needs one.
    """

    source: Source
    control_type: int = -1
    base: Recipe | None = None
    sees_latents: bool = False
    sees_mask: bool = False
    kind: ClassVar[str] = "control_net"

    def with_type(self, control_type: int) -> ControlNetRecipe:
        """A copy for one kind of picture."""
        return replace(self, control_type=control_type)

    @property
    def weights(self) -> ControlNetRecipe:
        return replace(self, control_type=-1)

    def configure(self, loaded: Any) -> Any:
        return loaded.with_type(self.control_type)

    def load(self, residency: Residency) -> Loaded:
        """A `ControlNetwork`, an `AdapterNetwork` or a `TransformerControl`.

        Raises:
            MissingModelError: the file is gone. ModelFileError: it has changed, is damaged or of no known layout.
            OutOfMemoryError: it does not fit.
        """
        from .control_net_file import load_control_net

        return load_control_net(self.source, residency, self.base)
