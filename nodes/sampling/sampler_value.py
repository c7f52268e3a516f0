"""What travels on SAMPLER links: which sampler and its options, not the function.

So a sampler hashes, caches and serialises like a number. Torch is loaded when one is begun, not when one is named.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from mezzotint.engine.errors import MezzotintError
from mezzotint.engine.value_type import value_type

from ..samplers.sampler_names import SAMPLERS

if TYPE_CHECKING:
    from torch import Tensor

    from ..resize import LatentMethod
    from ..samplers.sampler import Denoising, SamplerFunction, StepNoise
    from .model_sampling import ModelSampling

Options = tuple[tuple[str, Any], ...]


class SamplerError(MezzotintError):
    """A sampler that is not known, or that cannot be used as asked."""


class SamplerValue(Protocol):
    """What the driver wants of a value on a SAMPLER link."""

    @property
    def name(self) -> str:
        """The sampler's wire name, or its class."""

    def begin(self, x: Tensor, sigmas: Tensor, step_noise: StepNoise, sampling: ModelSampling) -> Denoising:
        """The generator that samples; see `samplers.sampler`.

        Raises:
            SamplerError: it is not known, or not for this kind of model.
        """


@value_type("mezzotint.NamedSampler")
@dataclass(frozen=True, slots=True)
class NamedSampler:
    """One of `sampler_names.SAMPLERS`.

    Attributes:
        options: keyword arguments of the sampler, as pairs: `(("eta", 0.5),)`.
    """

    name: str
    options: Options = ()

    @property
    def function(self) -> SamplerFunction:
        """The sampler itself.

        Raises:
            SamplerError: there is none of this name.
        """
        if self.name not in SAMPLERS:
            raise SamplerError(f"the sampler '{self.name}' is not known; there are {', '.join(SAMPLERS)}")
        function: SamplerFunction = SAMPLERS[self.name]
        return function

    def begin(self, x: Tensor, sigmas: Tensor, step_noise: StepNoise, sampling: ModelSampling) -> Denoising:
        return self.function(x, sigmas, step_noise, sampling.sigmas, **dict(self.options))


@value_type("mezzotint.UpscalingSampler")
@dataclass(frozen=True, slots=True)
class UpscalingSampler:
    """`lcm` with a latent that grows; see `lcm_upscale.lcm_upscale` for what the attributes mean."""

    scale_ratio: float
    scale_steps: int | None
    method: LatentMethod
    name = "lcm_upscale"

    def begin(self, x: Tensor, sigmas: Tensor, step_noise: StepNoise, sampling: ModelSampling) -> Denoising:
        from ..samplers.lcm_upscale import lcm_upscale

        return lcm_upscale(
            x, sigmas, step_noise, sampling.sigmas,
            scale_ratio=self.scale_ratio, scale_steps=self.scale_steps, method=self.method,
        )  # fmt: skip


@value_type("mezzotint.DiffusersSampler")
@dataclass(frozen=True, slots=True)
class DiffusersSampler:
    """A scheduler of diffusers, by the name of its class, configured as the model's own scheduler is.

    Attributes:
        name: one of `sampler_names.DIFFUSERS_SCHEDULER_NAMES`. options: overrides of its configuration, as pairs:
            `(("use_karras_sigmas", True),)`.
    """

    name: str
    options: Options = ()

    def begin(self, x: Tensor, sigmas: Tensor, step_noise: StepNoise, sampling: ModelSampling) -> Denoising:
        from ..samplers.diffusers_schedulers import diffusers_sampler, make_scheduler

        try:
            scheduler = make_scheduler(self.name, {**sampling.scheduler_config, **dict(self.options)})
        except ValueError as error:
            raise SamplerError(str(error)) from error
        return diffusers_sampler(x, sigmas, step_noise, sampling.sigmas, scheduler=scheduler)
