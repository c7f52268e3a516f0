"""Pictures turned into stored latents, and for inpainting masks drawn by chance, with what they leave of a picture."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from mezzotint.engine.context import Context

from ..images.image_layout import GREY
from .picture_set import LatentSet, PictureSet

if TYPE_CHECKING:
    from ..autoencoders.autoencoder import Autoencoder

AT_ONCE = 16
WHOLE_SHARE = 0.25
"""So many masks select the whole picture: so the network learns to draw without one (as Stable Diffusion's does)."""


def encode_pictures(
    pictures: PictureSet, autoencoder: Autoencoder, views: int, seed: int, masks: bool, ctx: Context
) -> LatentSet:
    """The latents of `views` crops and mirrorings of each picture, each with a mask if wanted.

    Raises:
        TrainingDataError: a picture cannot be read any more.
    """
    generator, chance = torch.Generator().manual_seed(seed), random.Random(seed)
    encoded, drawn, masked = [], [], []
    total = len(pictures) * views
    for start in range(0, total, AT_ONCE):
        ctx.progress(start, total)
        indices = range(start, min(start + AT_ONCE, total))
        batch = torch.stack([pictures.picture(index // views, generator) for index in indices])
        pixels = batch.movedim(1, -1).contiguous().float() / 255  # laid out as pictures are: norms of flat areas differ
        encoded.append(autoencoder.encode(pixels))
        if masks:
            selected = torch.stack([random_mask(pictures.size, chance) for _ in indices])
            masked.append(autoencoder.encode(torch.where(selected.movedim(1, -1) > 0, GREY, pixels)))
            drawn.append(interpolate(selected, encoded[-1].shape[-2:], mode="bilinear").round())
    ctx.progress(total, total)

    def of_views(parts: list[Tensor]) -> Tensor:
        joined = torch.cat(parts)
        return joined.reshape(len(pictures), views, *joined.shape[1:])

    return LatentSet(
        of_views(encoded),
        pictures.captions,
        pictures.dropout,
        pictures.size,
        of_views(drawn) if masks else None,
        of_views(masked) if masks else None,
        pictures.labels,
        pictures.class_names,
    )


def random_mask(size: int, chance: random.Random) -> Tensor:
    """A mask float32 [1, size, size] of zeros and ones: one to four rectangles or bands, or all of it.

    Rectangles have sides of an eighth to two thirds of the picture; bands are a picture long and up to a third wide.
    """
    mask = torch.zeros(1, size, size)
    if chance.random() < WHOLE_SHARE:
        return mask + 1
    for _ in range(chance.randint(1, 4)):
        height, width = (round(size * chance.uniform(1 / 8, 2 / 3)) for _ in range(2))
        if chance.random() < 0.25:
            height, width = chance.choice([(size, width // 2), (height // 2, size)])
        top, left = chance.randint(0, size - height), chance.randint(0, size - width)
        mask[:, top : top + height, left : left + width] = 1
    return mask
