"""What unCLIP models are told of pictures: their embeddings by CLIP with noise, and how much of it there is.

Ramesh et al. 2022 (arXiv 2204.06125), as Stable Diffusion 2.1 unCLIP was trained with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .network_call import NOISE_SEED, UNCLIP, ConditioningError

if TYPE_CHECKING:
    from torch import Tensor

MERGED_NOISE = 0.05
"""The noise augmentation of the sum of several pictures."""
SEED_OFFSET = -10
"""From the seed of a run to that of this noise."""


@dataclass(frozen=True, eq=False)
class PictureVector:
    """Of one model, what makes its vectors of a conditioning.

    Attributes:
        mean, deviation: of embeddings, float32 [1, D]; the noise is added to normalised ones.
        kept: of each noise level, how much of the variance is the picture's, float32 [levels], descending.
    """

    mean: Tensor
    deviation: Tensor
    kept: Tensor

    @property
    def width(self) -> int:
        """D, how many numbers CLIP makes of a picture."""
        return self.mean.shape[-1]

    def of(self, options: Mapping[str, Any]) -> Tensor:
        """The vector of a conditioning's item, float32 [1, 2 * D]; zeros where it shows no picture.

        Several pictures are summed by their strengths, and the sum is noised once more.

        Raises:
            ConditioningError: a picture was read by another network.
        """
        import torch

        seed = int(options.get(NOISE_SEED, 0)) + SEED_OFFSET
        found: list[Tensor] = [
            self._noised(row[None].float(), shown["noise_augmentation"], seed) * shown["strength"]
            for shown in options.get(UNCLIP, ())
            for row in self._checked(shown["clip_vision_output"])
        ]
        if not found:
            return torch.zeros(1, 2 * self.width)
        if len(found) == 1:
            return found[0]
        return self._noised(torch.stack(found).sum(0)[:, : self.width], MERGED_NOISE, seed)

    def _checked(self, given: Any) -> Tensor:
        embeds: Tensor = given.image_embeds.cpu()
        if embeds.shape[-1] != self.width:
            raise ConditioningError(
                f"unCLIPConditioning was given a picture as {embeds.shape[-1]} numbers, and the model wants "
                f"{self.width}: it was read by another network; use the CLIP_VISION of unCLIPCheckpointLoader"
            )
        return embeds

    def _noised(self, embeds: Tensor, augmentation: float, seed: int) -> Tensor:
        """[1, D] → [1, 2 * D]: with noise of the level that is 0 to 1 of all, and the level's embedding."""
        import torch
        from diffusers.models.embeddings import get_timestep_embedding

        level = round((len(self.kept) - 1) * augmentation)
        noise = torch.randn(embeds.shape, generator=torch.Generator().manual_seed(seed))
        share = self.kept[level]
        normalised = (embeds - self.mean) / self.deviation * share.sqrt() + noise * (1 - share).sqrt()
        levels = get_timestep_embedding(torch.tensor([level]), self.width, flip_sin_to_cos=True, downscale_freq_shift=0)
        return torch.cat([normalised * self.deviation + self.mean, levels], dim=1)
