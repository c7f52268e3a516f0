"""What travels on STYLE_MODEL links: which file, not its weights; and the network that it becomes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from mezzotint import value_type
from mezzotint.engine.errors import ModelFileError

from ..models.file_content import file_content
from ..models.file_recipe import FileRecipe
from ..models.recipe import Source
from ..models.weights_file import read_header

if TYPE_CHECKING:
    from torch import Tensor

    from mezzotint.engine.residency import Loaded, Residency

    from ..models.network_file import LoadedNetwork

UP, DOWN = "redux_up.weight", "redux_down.weight"


@value_type("mezzotint.StyleModelRecipe")
@dataclass(frozen=True, slots=True)
class StyleModelRecipe(FileRecipe):
    """A network that turns a picture, as SigLIP read it, into tokens of a text (Flux Redux)."""

    source: Source
    kind: ClassVar[str] = "style_model"

    def load(self, residency: Residency) -> Loaded:
        """A `StyleModel`.

        Raises:
            MissingModelError: the file is gone. ModelFileError: it has changed, or is damaged.
            OutOfMemoryError: it does not fit.
        """
        from diffusers.pipelines.flux.modeling_flux import ReduxImageEncoder

        from ..models.network_file import load_network
        from ..models.weights_source import weights_path

        path = weights_path(self.source, residency.folders)
        widths = style_widths(path, self.source.name)
        loaded = load_network(
            path,
            f"the style model '{self.source.name}'",
            lambda: ReduxImageEncoder(*widths),
            lambda network: {name: name for name in network.state_dict()},
            residency,
        )
        return loaded.loaded(StyleModel(loaded))


class StyleWidths(NamedTuple):
    """D of what it reads, and of the tokens that it makes."""

    read: int
    made: int


def style_widths(path: Path, name: str) -> StyleWidths:
    """What a file takes and gives. Raises ModelFileError: it is damaged, or no style model of Flux."""
    shapes = read_header(path).shapes
    if UP not in shapes or DOWN not in shapes:
        raise ModelFileError(
            f"'{name}' is no style model that is known: going by its tensors it is {file_content(shapes)}; known is "
            f"Flux Redux; use IP-Adapter for other models"
        )
    return StyleWidths(shapes[UP][1], shapes[DOWN][0])


class StyleModel:
    """A `ReduxImageEncoder` of diffusers on its device."""

    def __init__(self, loaded: LoadedNetwork) -> None:
        self.network, self.device, self.dtype = loaded.network, loaded.device, loaded.dtype
        self.widths = StyleWidths(self.network.config.redux_dim, self.network.config.txt_in_features)

    def tokens(self, read: Tensor) -> Tensor:
        """The tokens of pictures [B, T, D], one after the other: float32 [1, B * T, D of texts] on the CPU."""
        made: Tensor = self.network(read.to(self.device, self.dtype)).image_embeds.float().cpu()
        return made.reshape(1, -1, made.shape[-1])
