"""What travels on CLIP_VISION links: which file, not its weights; and what such a network makes of pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from mezzotint import value_type

from ..models.file_recipe import FileRecipe
from ..models.recipe import Source

if TYPE_CHECKING:
    from torch import Tensor

    from mezzotint.engine.residency import Loaded, Residency


@value_type("mezzotint.ClipVisionRecipe")
@dataclass(frozen=True, slots=True)
class ClipVisionRecipe(FileRecipe):
    """A network that reads pictures (Radford et al. 2021)."""

    source: Source
    kind: ClassVar[str] = "clip_vision"

    def load(self, residency: Residency) -> Loaded:
        """A `ClipVision`.

        Raises:
            MissingModelError: the file is gone. ModelFileError: it has changed, is damaged or of no known layout.
            OutOfMemoryError: it does not fit.
        """
        from .clip_vision_network import load_clip_vision

        return load_clip_vision(self.source, residency)


@value_type("mezzotint.ClipVisionOutput")
@dataclass(frozen=True, eq=False)
class ClipVisionOutput:
    """Pictures, read. All float32 on the CPU, one row for each picture.

    Attributes:
        image_embeds: projected to the space of texts, [B, P]. last_hidden_state, penultimate_hidden_states: of the last
            layer and the one before, [B, T, D].
        blank: the one before of a picture of the mean colour, [1, T, D], for what asks for a contrast.
    """

    image_embeds: Tensor
    last_hidden_state: Tensor
    penultimate_hidden_states: Tensor
    blank: Tensor
