"""`comfy.k_diffusion.sampling`: samplers as functions that call a model, and what such functions are made of.

The module that packs add samplers to; see `compat/added_names.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from mezzotint.engine.catalogue import catalogue
from mezzotint.nodes.samplers.sampler_names import SEES_UNCONDITIONAL

if TYPE_CHECKING:
    from torch import Tensor


def append_zero(x: Tensor) -> Tensor:
    """Noise levels [n] and a last one of 0."""
    import torch

    return torch.cat([x, x.new_zeros(1)])


def append_dims(x: Tensor, target_dims: int) -> Tensor:
    """x with further axes of size 1, up to so many."""
    return x.reshape(*x.shape, *[1] * (target_dims - x.ndim))


def to_d(x: Tensor, sigma: Tensor, denoised: Tensor) -> Tensor:
    """The direction dx/dsigma. `sigma` is a number or [B]."""
    return (x - denoised) / append_dims(sigma, x.ndim)


def get_ancestral_step(sigma_from: Any, sigma_to: Any, eta: float = 1.0) -> tuple[Any, Any]:
    """The level to step down to and the noise to add then. Song et al. 2021 (DDIM), equation 16."""
    if not eta:
        return sigma_to, 0.0
    up = min(sigma_to, eta * (sigma_to**2 * (sigma_from**2 - sigma_to**2) / sigma_from**2) ** 0.5)
    return (sigma_to**2 - up**2) ** 0.5, up


NoiseSampler = Callable[[Any, Any], "Tensor"]


def default_noise_sampler(x: Tensor, seed: int | None = None) -> NoiseSampler:
    """Noise for each step, that of our own samplers for this seed."""
    from mezzotint.nodes.sampling.noise import SeededStepNoise

    noise = SeededStepNoise(x, x.new_zeros(0), seed or 0)
    return lambda sigma, sigma_next: noise.fresh()


class BrownianTreeNoiseSampler:
    """The increments of a Brownian path between two noise levels, scaled to unit variance."""

    def __init__(
        self, x: Tensor, sigma_min: Any, sigma_max: Any, seed: int | None = None,
        transform: Callable[[Any], Any] = lambda level: level, cpu: bool = False,
    ) -> None:  # fmt: skip
        import torch

        from mezzotint.nodes.sampling.noise import SeededStepNoise

        ends = torch.tensor([float(transform(level)) for level in (sigma_max, sigma_min)])
        self._noise, self._transform, self._on_device = SeededStepNoise(x, ends, seed or 0), transform, not cpu

    def __call__(self, sigma: Any, sigma_next: Any) -> Tensor:
        begin, end = (float(self._transform(level)) for level in (sigma, sigma_next))
        return self._noise.between(begin, end, on_device=self._on_device)


def find(name: str) -> Any:
    """`sample_NAME`, our own sampler of a name as a function."""
    sampler = name.removeprefix("sample_")
    return partial(_sample, sampler) if sampler != name and sampler in catalogue("sampler") else None


def _sample(
    sampler_name: str, model: Any, x: Tensor, sigmas: Tensor, extra_args: dict[str, Any] | None = None,
    callback: Callable[[dict[str, Any]], None] | None = None, disable: Any = None, noise_sampler: Any = None,
    **options: Any,
) -> Tensor:  # fmt: skip
    """x [B, C, h, w] after one of our samplers, which calls `model(x, sigma [B], **extra_args)`."""
    from mezzotint.nodes.sampling.noise import SeededStepNoise

    if noise_sampler is not None or catalogue("sampler").has_trait(sampler_name, SEES_UNCONDITIONAL):
        raise NotImplementedError(
            f"sample_{sampler_name} cannot be called with a noise sampler of one's own, nor where it ends in cfg_pp; "
            f"make a sampler of its name by comfy.samplers.sampler_object instead"
        )
    extra_args = extra_args or {}
    noise = SeededStepNoise(x, sigmas, extra_args.get("seed") or 0)
    levels = model.inner_model.model_sampling.levels
    steps = catalogue("sampler")[sampler_name](x, sigmas, noise, levels, **options)
    try:
        shown, sigma = next(steps)
        for i in range(10**9):
            denoised = model(shown, shown.new_full((len(shown),), sigma), **extra_args)
            if callback is not None:
                callback({"x": shown, "i": i, "sigma": sigma, "sigma_hat": sigma, "denoised": denoised})
            shown, sigma = steps.send(denoised)
    except StopIteration as end:
        x = end.value
    return x
