"""Noise from seeds: what a latent starts from, what is added between steps, and what holds masked regions in place.

Torch's global generators are never seeded, read or advanced here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ..samplers.sampler import NoiseScaling
from ..samplers.sampler_names import RENOISES_MASK_AFRESH, SAMPLERS

if TYPE_CHECKING:
    from torchsde import BrownianTree

SEED_RANGE = 2**64


def next_seed(seed: int) -> int:
    """The seed after `seed`, 0 after 2**64 - 1."""
    return (seed + 1) % SEED_RANGE


def initial_noise(shape: Sequence[int], seed: int, batch_index: Sequence[int] | None = None) -> Tensor:
    """Standard normal noise of a latent's shape [B, ...] for a 64-bit seed: float32, on the CPU whatever the device.

    It is one draw of the whole shape, so noise of image k depends on the batch before it, and the first image's is what
    it would be alone when an image has a multiple of 16 values. With `batch_index`, images 0, 1, ... are drawn one by
    one and image k of the result is number `batch_index[k]`. Raises ValueError when their count is not B, and for a
    negative index.
    """
    generator = torch.Generator("cpu").manual_seed(seed)
    if batch_index is None:
        return torch.randn(tuple(shape), generator=generator)
    if len(batch_index) != shape[0] or min(batch_index, default=0) < 0:
        raise ValueError(f"batch_index {list(batch_index)} must hold a number >= 0 for each of {shape[0]} images.")
    wanted = set(batch_index)
    drawn: dict[int, Tensor] = {}
    for index in range(max(batch_index, default=-1) + 1):
        image = torch.randn((1, *shape[1:]), generator=generator)
        if index in wanted:
            drawn[index] = image
    return torch.cat([drawn[index] for index in batch_index]) if batch_index else torch.zeros(tuple(shape))


def no_noise(shape: Sequence[int]) -> Tensor:
    """What DisableNoise gives: zeros, float32, on the CPU. Step noise is then that of seed 0."""
    return torch.zeros(tuple(shape))


def mask_noise(sampler_name: str, noise: Tensor, seed: int) -> Tensor:
    """The noise that kept regions are noised with: the initial one, or the next seed's for `RENOISES_MASK_AFRESH`."""
    if not SAMPLERS.has_trait(sampler_name, RENOISES_MASK_AFRESH):
        return noise
    return initial_noise(noise.shape, next_seed(seed)).to(noise)


@dataclass(frozen=True, eq=False)
class SeededStepNoise:
    """The `StepNoise` of a run: of the shape, dtype and device of `x`, from `seed` alone.

    `sigmas` are the noise levels of the whole run, which bound the Brownian path. `skip` draws of `fresh` are passed
    over, so that a run taken up at step k continues with the noise it would have had.
    """

    x: Tensor
    sigmas: Tensor
    seed: int
    skip: int = 0
    _trees: dict[torch.device, BrownianTree] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def generator(self) -> torch.Generator:
        """On the latent's device; on the CPU of the next seed, since its own would repeat the initial noise."""
        device = self.x.device
        seed = next_seed(self.seed) if device.type == "cpu" else self.seed
        generator = torch.Generator(device).manual_seed(seed)
        for _ in range(self.skip):
            self._draw(generator)
        return generator

    def _draw(self, generator: torch.Generator) -> Tensor:
        return torch.randn(self.x.shape, dtype=self.x.dtype, device=self.x.device, generator=generator)

    def fresh(self) -> Tensor:
        """Noise that is independent of all before it."""
        return self._draw(self.generator)

    def between(self, sigma: float, sigma_next: float, *, on_device: bool = False) -> Tensor:
        """The increment of the Brownian path of `seed` from `sigma` to `sigma_next`, scaled to unit variance.

        The path lies on the CPU, so all devices get the same, unless `on_device`. Both levels lie within the run's.
        """
        tree = self._tree(self.x.device if on_device else torch.device("cpu"))
        # torchsde rounds its ends and the levels asked for like this, but compares them first and warns.
        low, high = sorted((round(sigma, 6), round(sigma_next, 6)))
        increment: Tensor = tree(low, high).to(self.x.device) / math.sqrt(abs(sigma - sigma_next))
        return increment if sigma < sigma_next else -increment

    def _tree(self, device: torch.device) -> BrownianTree:
        if device not in self._trees:
            from torchsde import BrownianTree

            levels = self.sigmas[self.sigmas > 0].tolist()
            zero = torch.zeros(self.x.shape, dtype=self.x.dtype, device=device)
            self._trees[device] = BrownianTree(min(levels), zero, max(levels), entropy=self.seed)
        return self._trees[device]


def fit_mask(mask: Tensor, shape: Sequence[int]) -> Tensor:
    """A noise mask fitted to a latent of `shape` [B, C, ..., h, w]: float32 [B, 1, ..., h, w], bilinear.

    `mask`: [H, W] or any leading axes before it; 1 is where the latent is to change. Masks beyond the batch are left
    out, missing ones repeat from the first.
    """
    masks = mask.reshape(-1, 1, *mask.shape[-2:]).float()
    if masks.shape[-2:] != torch.Size(shape[-2:]):
        masks = interpolate(masks, size=tuple(shape[-2:]), mode="bilinear")
    masks = masks[torch.arange(shape[0]) % len(masks)]
    return masks.reshape(shape[0], *(1 for _ in shape[1:-2]), *shape[-2:])


@dataclass(frozen=True, eq=False)
class Masking:
    """Keeps a latent where its mask is 0, around every prediction of a run.

    `mask` is as from `fit_mask`, `latent` what is kept, `noise` as from `mask_noise`; all on one device.
    """

    mask: Tensor
    latent: Tensor
    noise: Tensor
    scaling: NoiseScaling

    def before(self, x: Tensor, sigma: float) -> Tensor:
        """The x to predict from: outside the mask, the latent noised to sigma."""
        return self._within(x, self.scaling.noised(self.latent, self.noise, sigma), sigma)

    def after(self, denoised: Tensor, sigma: float) -> Tensor:
        """The prediction to send to the sampler: outside the mask, the latent."""
        return self._within(denoised, self.latent, sigma)

    def mask_at(self, sigma: float) -> Tensor:
        """The mask that counts at a noise level."""
        return self.mask

    def _within(self, changed: Tensor, kept: Tensor, sigma: float) -> Tensor:
        mask = self.mask_at(sigma)
        return changed * mask + kept * (1 - mask)


@dataclass(frozen=True, eq=False)
class DifferentialMasking(Masking):
    """A mask whose greys say how much of a run changes a cell: the darker, the later it is let go.

    Levin and Fried 2023, "Differential Diffusion: Giving Each Pixel Its Strength". Cells are free once their mask is at
    least the share of the run's timesteps that is left; `strength` below 1 mixes that with the mask as it is.

    Attributes:
        timestep: of a noise level. first, last: the timesteps that the run begins and ends at.
    """

    timestep: Callable[[float], float]
    first: float
    last: float
    strength: float = 1.0

    def mask_at(self, sigma: float) -> Tensor:
        left = (self.timestep(sigma) - self.last) / (self.first - self.last) if self.first != self.last else 0.0
        free = (self.mask >= left).to(self.mask.dtype)
        return free if self.strength >= 1 else self.strength * free + (1 - self.strength) * self.mask
