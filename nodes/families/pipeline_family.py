"""The model family of diffusers folders with a transformer: one for all of them, through their pipelines' own code."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .diffusers_folder import INDEX_NAME
from .pipeline_folder import TRANSFORMER, PipelineFolder

if TYPE_CHECKING:
    from mezzotint.engine.folders import Folders
    from mezzotint.engine.residency import Loaded, Residency

    from ..models.recipe import Recipe
    from ..sampling.model_sampling import ModelSampling
    from .transformer_file import TransformerFile


class PipelineFamily:
    """The `ModelFamily` of pipelines with a transformer."""

    def recognises(self, path: Path) -> bool:
        try:
            index = json.loads((path / INDEX_NAME).read_bytes())
        except (OSError, ValueError):
            return False
        return isinstance(index, dict) and TRANSFORMER in index

    def file_names(self, path: Path, name: str) -> Sequence[str]:
        return PipelineFolder(path, name).file_names()

    def check(self, path: Path, name: str) -> None:
        PipelineFolder(path, name).check()

    def sampling(self, path: Path, name: str, digest: str) -> ModelSampling:
        return pipeline_sampling(PipelineFolder(path, name), digest)

    def files(self, recipe: Recipe, path: Path, folders: Folders) -> PipelineFolder:
        """What a recipe's networks are read from."""
        return PipelineFolder(path, recipe.source.name)

    def load(self, recipe: Recipe, path: Path, residency: Residency) -> Loaded:
        from .pipeline_networks import LOADERS

        return LOADERS[recipe.kind](PipelineFolder(path, recipe.source.name), recipe, residency)


@lru_cache(maxsize=64)
def pipeline_sampling(folder: PipelineFolder | TransformerFile, digest: str) -> ModelSampling:
    """How the transformer of a pipeline is sampled; one object for each place and content.

    Raises:
        ModelFileError: a configuration is missing, or says something that is not known.
    """
    return sampling_of(folder.config("scheduler"), folder.sampling_config())


def sampling_of(scheduler: Mapping[str, Any], vae: Mapping[str, Any]) -> ModelSampling:
    """How it is sampled, by what the configurations of its scheduler and VAE say."""
    from ..samplers.schedules import DiscreteSigmas, FlowSigmas
    from ..sampling.model_sampling import ModelSampling

    sigmas: Any
    if _is_flow(scheduler):
        steps = int(scheduler.get("num_train_timesteps", 1000))
        sigmas = FlowSigmas(_shift(scheduler), multiplier=steps, table_size=10 * steps)
    else:
        sigmas = DiscreteSigmas.from_config(scheduler)
    has_statistics = bool(vae.get("latents_mean"))  # then what encodes and decodes applies them
    return ModelSampling(
        sigmas=sigmas,
        prediction_type="flow" if _is_flow(scheduler) else scheduler.get("prediction_type", "epsilon"),
        latent_channels=int(vae["latent_channels"]),
        downscale=int(vae["downscale"]),
        scaling_factor=1.0 if has_statistics else float(vae.get("scaling_factor") or 1.0),
        shift_factor=0.0 if has_statistics else float(vae.get("shift_factor") or 0.0),
        scheduler_config=scheduler,
    )


def _is_flow(scheduler: Mapping[str, Any]) -> bool:
    return "FlowMatch" in str(scheduler.get("_class_name")) or bool(scheduler.get("use_flow_sigmas"))


def _shift(scheduler: Mapping[str, Any]) -> float:
    """Where it depends on the size of the picture, that of the largest."""
    if scheduler.get("use_dynamic_shifting"):
        return math.exp(float(scheduler.get("max_shift", 1.15)))
    return float(scheduler.get("shift") or scheduler.get("flow_shift") or 1.0)


PIPELINE_FAMILY = PipelineFamily()
