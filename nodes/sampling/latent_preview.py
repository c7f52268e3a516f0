"""Quick pictures of latents, for previews: a linear map from a latent's channels to red, green and blue.

The map of the embedded model was fitted by least squares (no regularisation) to 256 pictures of its training data: from
the encoder's mean in each of the 16,384 cells to the mean colour of the decoded picture there. The colours are off by
0.10 of the full range (root mean square; on 64 other pictures, too), where those of the pictures vary by 0.28. It
belongs to the weights: `tests/nodes/sampling/test_latent_preview.py` sees that it still fits.
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
        (-0.24789, 0.13414, 0.13660),
        (0.17554, -0.27946, -0.03554),
        (-0.09592, 0.07338, -0.25538),
        (0.27477, -0.28640, -0.06298),
        (0.04759, 0.01215, -0.02002),
        (-0.01833, -0.19442, -0.22558),
        (0.10516, -0.11527, -0.09462),
        (-0.08616, 0.07223, 0.01799),
    ),
    offset=(0.77654, 0.68246, 0.63409),
)


def latent_colours(model: Recipe) -> LatentColours | None:
    """How to draw the latents of a model; None where that was not fitted."""
    return EMBEDDED_COLOURS if model.source.name == EMBEDDED_CHECKPOINT else None
