"""Quick pictures of latents, for previews: a linear map from a latent's channels to red, green and blue.

The map of the embedded model was fitted by least squares (no regularisation) to 96 icons of its training data, drawn at
52×52 on 64×64 (half on white, half on a random colour): from the encoder's mean in each of the 6,144 cells to the mean
colour of the decoded picture there. The colours are off by 0.12 of the full range (root mean square; on 32 other
pictures, too), where those of the pictures vary by 0.32. `tests/nodes/test_latent_preview.py` sees that it still fits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..models.embedded_model import EMBEDDED_CHECKPOINT

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from ..models.recipe import Recipe

LONGEST_SIDE = 512
"""Previews are not scaled beyond so many pixels."""
PIXELS_TO_A_CELL = 8


@dataclass(frozen=True, slots=True)
class LatentColours:
    """The colours of one kind of latents.

    Attributes:
        rows: red, green and blue of each channel, for unscaled latents. offset: of a latent of zeros. All 0..1.
    """

    rows: tuple[tuple[float, float, float], ...]
    offset: tuple[float, float, float]

    def picture(self, samples: Tensor) -> Image:
        """A picture of the first latent of a batch [B, C, h, w], unscaled; 8 pixels to a cell where that is small."""
        import torch
        from PIL import Image

        rows, offset = torch.tensor(self.rows), torch.tensor(self.offset)
        cells = samples[0].detach().float().cpu().movedim(0, -1)
        pixels = (cells @ rows + offset).nan_to_num_().clamp_(0, 1).mul_(255).round_().byte()
        picture = Image.fromarray(pixels.numpy())
        scale = max(1, min(PIXELS_TO_A_CELL, LONGEST_SIDE // max(picture.size)))
        return picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.BICUBIC)


EMBEDDED_COLOURS = LatentColours(
    rows=(
        (-0.02474, 0.00487, 0.00358),
        (-0.06085, -0.00374, 0.01274),
        (0.07869, 0.02031, -0.00904),
        (-0.02475, -0.03147, -0.01008),
        (0.02374, 0.05437, 0.06404),
        (0.05334, 0.00070, 0.00268),
        (0.03916, 0.01480, 0.00880),
        (-0.04241, 0.02004, 0.02179),
    ),
    offset=(0.80274, 0.72120, 0.68378),
)


def latent_colours(model: Recipe) -> LatentColours | None:
    """How to draw the latents of a model; None where that was not fitted."""
    return EMBEDDED_COLOURS if model.source.name == EMBEDDED_CHECKPOINT else None
