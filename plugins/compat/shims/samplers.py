"""`comfy.samplers`: names, noise levels, samplers and guiders."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from mezzotint.engine.catalogue import catalogue
from mezzotint.engine.request import Requests
from mezzotint.nodes.samplers.sampler_names import DISCARDS_PENULTIMATE
from mezzotint.nodes.sampling.denoise import Denoise
from mezzotint.nodes.sampling.guidance import CFGGuider as _NativeGuider
from mezzotint.nodes.sampling.sampler_value import NamedSampler
from mezzotint.plugins.compat.function_sampler import FunctionSampler as _FunctionSampler
from mezzotint.plugins.compat.native_call import run_requests
from mezzotint.plugins.compat.pack_sampling import Callback, latent_of, noise_of, sampled, steps_of

from . import sampling

if TYPE_CHECKING:
    from torch import Tensor

    from mezzotint.nodes.models.recipe import Recipe

KSAMPLER = _FunctionSampler
SAMPLER_NAMES = KSAMPLER_NAMES = [*catalogue("sampler").names]
SCHEDULER_NAMES = [*catalogue("schedule").names]


class SchedulerHandler(NamedTuple):
    """A schedule: of the model's noise levels and a number of steps, or of `n`, `sigma_min` and `sigma_max`."""

    handler: Callable[..., Tensor]
    use_ms: bool = True

    def levels(self, model_sampling: Any, steps: int) -> Tensor:
        """The noise levels of so many steps."""
        if self.use_ms:
            return self.handler(model_sampling, steps)
        sigma_min, sigma_max = float(model_sampling.sigma_min), float(model_sampling.sigma_max)
        return self.handler(n=steps, sigma_min=sigma_min, sigma_max=sigma_max)


SCHEDULER_HANDLERS: dict[str, SchedulerHandler] = {}


def find(name: str) -> Any:
    """What is found under a second name."""
    return import_module("comfy.k_diffusion.sampling") if name == "k_diffusion_sampling" else None


class KSampler:
    """The names, where packs look for them; and a run of a named sampler."""

    SAMPLERS = SAMPLER_NAMES
    SCHEDULERS = SCHEDULER_NAMES
    DISCARD_PENULTIMATE_SIGMA_SAMPLERS = frozenset(catalogue("sampler").having(DISCARDS_PENULTIMATE))

    def __init__(
        self, model: Any, steps: int, device: Any = None, sampler: str | None = None, scheduler: str | None = None,
        denoise: float | None = None, model_options: Any = None,
    ) -> None:  # fmt: skip
        self.model, self.steps, self.denoise = model, steps, denoise
        self.sampler = sampler if sampler in self.SAMPLERS else self.SAMPLERS[0]
        self.scheduler = scheduler if scheduler in self.SCHEDULERS else self.SCHEDULERS[0]
        self.sigmas = steps_of(model, self.sampler, self.scheduler, steps, denoise)

    def sample(
        self, noise: Tensor, positive: Any, negative: Any, cfg: float, latent_image: Tensor,
        start_step: int | None = None, last_step: int | None = None, force_full_denoise: bool = False,
        denoise_mask: Tensor | None = None, sigmas: Tensor | None = None, callback: Callback | None = None,
        disable_pbar: bool = False, seed: int | None = None,
    ) -> Tensor:  # fmt: skip
        """The samples of a latent [B, C, h, w]."""
        return sampling.sample(
            self.model, noise, self.steps, cfg, self.sampler, self.scheduler, positive, negative, latent_image,
            1.0 if self.denoise is None else self.denoise, start_step=start_step, last_step=last_step,
            force_full_denoise=force_full_denoise, noise_mask=denoise_mask, sigmas=sigmas, callback=callback, seed=seed,
        )  # fmt: skip


class CFGGuider:
    """Guidance that a pack sets up, and may change by overriding `predict_noise`. It travels on GUIDER links."""

    def __init__(self, model_patcher: Any) -> None:
        self.model_patcher, self.cfg = model_patcher, 1.0
        self.conds: dict[str, Any] = {}

    @property
    def model_options(self) -> Mapping[str, Any]:
        options: Mapping[str, Any] = self.model_patcher.model_options
        return options

    @property
    def inner_model(self) -> Any:
        """What is handed to `sampling_function`."""
        return self.model_patcher

    def set_conds(self, positive: Any, negative: Any) -> None:
        """Say what is drawn, and what not."""
        self.inner_set_conds({"positive": positive, "negative": negative})

    def inner_set_conds(self, conds: Mapping[str, Any]) -> None:
        """Set conditionings by name."""
        self.conds = dict(conds)

    def set_cfg(self, cfg: float) -> None:
        """Set the guidance scale."""
        self.cfg = cfg

    def predict_noise(self, x: Tensor, timestep: Tensor, model_options: Any = None, seed: int | None = None) -> Tensor:
        """The prediction of the clean latent for x [B, C, h, w] at noise levels [B]."""
        return sampling_function(
            self.inner_model, x, timestep, self.conds.get("negative"), self.conds.get("positive"), self.cfg
        )

    def sample(
        self, noise: Tensor, latent_image: Tensor, sampler: Any, sigmas: Tensor, denoise_mask: Tensor | None = None,
        callback: Callback | None = None, disable_pbar: bool = False, seed: int | None = None,
    ) -> Tensor:  # fmt: skip
        """The samples of a latent [B, C, h, w]."""
        latent = sampled(self, sampler, sigmas, noise_of(noise, seed), latent_of(latent_image, denoise_mask), callback)
        samples: Tensor = latent["samples"]
        return samples

    # what our own driver asks of it, see `nodes.sampling.guidance.GuiderValue`

    @property
    def model(self) -> Recipe:
        recipe: Recipe = self.model_patcher.plain
        return recipe

    @property
    def evaluations(self) -> int:
        return sum(len(conditioning) for conditioning in self.conds.values())

    def predict(self, x: Tensor, sigma: float) -> Requests[Tensor]:
        """The prediction; by requests unless a pack overrides `predict_noise`."""
        if type(self).predict_noise is not CFGGuider.predict_noise:
            return self.predict_noise(x, x.new_full((x.shape[0],), sigma), {}, None)
        native = _NativeGuider(self.model, self.conds["positive"], self.conds.get("negative") or [], self.cfg)
        return (yield from native.predict(x, sigma))


def sampling_function(
    model: Any, x: Tensor, timestep: Tensor, uncond: Any, cond: Any, cond_scale: float, model_options: Any = None,
    seed: int | None = None,
) -> Tensor:  # fmt: skip
    """The guided prediction of the clean latent."""
    guider = _NativeGuider(model.plain, cond, [] if uncond is None else uncond, 1.0 if uncond is None else cond_scale)
    prediction: Tensor = run_requests(guider.predict(x, float(timestep.flatten()[0])))
    return prediction


def calc_cond_batch(
    model: Any, conds: list[Any], x_in: Tensor, timestep: Tensor, model_options: Any = None
) -> list[Tensor]:
    """The prediction of the clean latent for each conditioning."""
    level = float(timestep.flatten()[0])

    def body() -> Requests[list[Tensor]]:
        predictions = yield Denoise(model.plain, x_in, level, conds)
        return [*predictions]

    predictions: list[Tensor] = run_requests(body())
    return predictions


def sampler_object(name: str) -> NamedSampler:
    """The sampler of a name."""
    return NamedSampler(name)


def ksampler(sampler_name: str, extra_options: Mapping[str, Any] = {}, inpaint_options: Any = None) -> NamedSampler:
    """The sampler of a name, with options of its own."""
    return NamedSampler(sampler_name, tuple(sorted(extra_options.items())))


def calculate_sigmas(model_sampling: Any, scheduler_name: str, steps: int) -> Tensor:
    """The noise levels of a schedule, float32 [steps + 1]."""
    from mezzotint.nodes.samplers.schedules import schedule_sigmas

    return schedule_sigmas(model_sampling.levels, scheduler_name, steps)


def sample(
    model: Any, noise: Tensor, positive: Any, negative: Any, cfg: float, device: Any, sampler: Any, sigmas: Tensor,
    model_options: Any = None, latent_image: Tensor | None = None, denoise_mask: Tensor | None = None,
    callback: Callback | None = None, disable_pbar: bool = False, seed: int | None = None,
) -> Tensor:  # fmt: skip
    """The samples of a latent; of an empty one when none is given."""
    latent = noise.new_zeros(noise.shape) if latent_image is None else latent_image
    return sampling.sample_custom(
        model, noise, cfg, sampler, sigmas, positive, negative, latent, denoise_mask, callback, seed=seed
    )
