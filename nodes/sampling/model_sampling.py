"""What sampling must know of a model before its weights are there: noise levels, prediction, scale of latents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from mezzotint import Context
from mezzotint.engine.errors import ModelFileError

from ..models.model_source import recipe_source
from ..models.recipe import SAMPLING
from .sampling_change import changed

if TYPE_CHECKING:
    from torch import Tensor

    from ..models.component_weights import CheckpointFiles
    from ..models.recipe import Recipe
    from ..samplers.schedules import DiscreteSigmas, FlowSigmas


@dataclass(frozen=True, eq=False)
class ModelSampling:
    """How a diffusion model is sampled, read from the configuration files of its checkpoint.

    Attributes:
        sigmas: its noise levels and what they mean. prediction_type: what the network's output is: `"epsilon"`,
            `"v_prediction"`, `"sample"` or `"flow"`.
        latent_channels: of its latents. downscale: pixels to one latent cell, each way.
        scaling_factor, shift_factor: the model sees (latent - shift) * scale.
        scheduler_config: of the diffusers scheduler that comes with it.
    """

    sigmas: DiscreteSigmas | FlowSigmas
    prediction_type: str
    latent_channels: int
    downscale: int
    scaling_factor: float
    shift_factor: float
    scheduler_config: Mapping[str, Any]

    def to_model(self, latent: Tensor) -> Tensor:
        """A latent as the VAE gives it → as the model sees it. An empty (all zero) latent stays empty."""
        if self.shift_factor == 0:
            return latent * self.scaling_factor
        return (latent - self.shift_factor) * self.scaling_factor if latent.any() else latent

    def to_latent(self, x: Tensor) -> Tensor:
        """The inverse of `to_model`, for latents that are not empty."""
        latent = x / self.scaling_factor
        return latent if self.shift_factor == 0 else latent + self.shift_factor


def model_sampling(recipe: Recipe, ctx: Context) -> ModelSampling:
    """How the model of a recipe is sampled. Reads small files once for each content; no weights.

    Raises:
        MissingModelError: the checkpoint is gone. ModelFileError: its configuration cannot be used.
        SamplingChangeError: a node has it sampled as it cannot be.
    """
    source = recipe_source(recipe.source, ctx.folders)
    sampling: ModelSampling = source.family.sampling(source.path, source.name, recipe.source.digest)
    change = dict(recipe.options).get(SAMPLING)
    return sampling if change is None else changed(sampling, change)


@lru_cache(maxsize=64)
def read_sampling(files: CheckpointFiles, digest: str) -> ModelSampling:
    """How the model of a checkpoint is sampled; one object for each place and content.

    Raises:
        ModelFileError: a configuration is missing, or says something that is not known.
    """
    try:
        return _read(files)
    except (ValueError, TypeError) as error:
        raise ModelFileError(
            f"the configuration of the checkpoint '{files.name}' cannot be used for sampling: {error}"
        ) from None


def _read(files: CheckpointFiles) -> ModelSampling:
    unet, vae, scheduler = (files.config(component) for component in ("unet", "vae", "scheduler"))
    is_flow = "FlowMatch" in str(scheduler.get("_class_name"))
    return ModelSampling(
        sigmas=_sigmas(files, scheduler, is_flow),
        prediction_type="flow" if is_flow else scheduler.get("prediction_type", "epsilon"),
        latent_channels=int(unet.get("out_channels", 4)),
        downscale=2 ** (len(vae.get("block_out_channels", [64])) - 1),
        scaling_factor=float(vae.get("scaling_factor") or 0.18215),
        shift_factor=float(vae.get("shift_factor") or 0.0),
        scheduler_config=scheduler,
    )


def _sigmas(files: CheckpointFiles, scheduler: Mapping[str, Any], is_flow: bool) -> DiscreteSigmas | FlowSigmas:
    from ..samplers.schedules import DiscreteSigmas, FlowSigmas

    if is_flow:
        steps = int(scheduler.get("num_train_timesteps", 1000))
        return FlowSigmas(shift=float(scheduler.get("shift", 1.0)), multiplier=steps, table_size=steps)
    if "beta_schedule" not in scheduler and not scheduler.get("trained_betas"):
        raise ModelFileError(
            f"the checkpoint '{files.name}' has a {scheduler.get('_class_name', 'scheduler')} that names no "
            f"beta_schedule, so its noise levels are not known"
        )
    return DiscreteSigmas.from_config(scheduler)
