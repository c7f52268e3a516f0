"""What a saved model's file says of how it is sampled, and of what kind it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mezzotint import Context

from ..families import ldm_config
from ..families.pipeline_family import sampling_of
from ..families.pipeline_folder import TRANSFORMER
from ..families.single_file import PICTURE_STATISTICS, SCALE, SDXL_SCALE
from ..families.transformer_file import latents_of, published_of
from ..models.weights_writer import DeferredTensor
from ..sampling.model_sampling import model_sampling
from .saved_weights import ModelSaveError, SavedWeights

if TYPE_CHECKING:
    from ..models.recipe import Recipe
    from ..sampling.model_sampling import ModelSampling

PREDICTIONS = {"epsilon": "epsilon", "v_prediction": "v"}
"""Kinds of prediction, as ModelSpec has them (github.com/Stability-AI/ModelSpec)."""
TOLERANCE = 1e-3
"""Of noise levels, relative: those that were stretched to end in noise alone are rounded there."""
REFINER_WIDTH = 1280
"""Of the tokens that SDXL's refiner takes, all from its one text encoder."""


def saved_sampling(
    recipe: Recipe, model: SavedWeights, ctx: Context
) -> tuple[dict[str, str], dict[str, DeferredTensor]]:
    """Metadata of ModelSpec, and further tensors: empty ones that other programs look for, and statistics of unCLIP.

    Raises:
        ModelSaveError: single files have no words for how the model is sampled.
    """
    import torch

    from ..samplers.schedules import DiscreteSigmas

    sampling = model_sampling(recipe, ctx)
    if model.family:
        _require_usual(sampling, model)
        return {}, {}
    config = model.networks["unet"].config
    is_sdxl = config.addition_embed_type is not None
    ends_in_noise = bool(sampling.scheduler_config.get("rescale_betas_zero_snr"))
    usual = DiscreteSigmas.from_config({**ldm_config.SCHEDULER, "rescale_betas_zero_snr": ends_in_noise})
    if sampling.prediction_type not in PREDICTIONS or not _are_alike(sampling.sigmas, usual):
        raise _unsayable(model, f"its noise levels, or its prediction ({sampling.prediction_type}), are unusual")
    if sampling.scaling_factor != (scale := SDXL_SCALE if is_sdxl else SCALE):
        raise _unsayable(model, f"its latents are scaled by {sampling.scaling_factor}, and would be by {scale}")
    prediction = PREDICTIONS[sampling.prediction_type]
    marks = [*(["v_pred"] if prediction == "v" else []), *(["ztsnr"] if ends_in_noise else [])]
    metadata = {
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": _architecture(config, prediction),
        "modelspec.prediction_type": prediction,
    }
    return metadata, {**{name: DeferredTensor.of(torch.zeros(0)) for name in marks}, **_picture_statistics(model)}


def _picture_statistics(model: SavedWeights) -> dict[str, DeferredTensor]:
    """By which an unCLIP model normalises what it is shown."""
    pictures = getattr(model.loaded.call, "pictures", None)
    if pictures is None:
        return {}
    found = {"mean": pictures.mean, "std": pictures.deviation}
    return {PICTURE_STATISTICS[name]: DeferredTensor.of(tensor) for name, tensor in found.items()}


def _require_usual(sampling: ModelSampling, model: SavedWeights) -> None:
    """Raises ModelSaveError: a transformer is not sampled as those of its family are."""
    published = published_of(model.family, model.networks[TRANSFORMER].config)
    usual = sampling_of(published.scheduler, latents_of(published))
    if sampling.prediction_type != usual.prediction_type or not _are_alike(sampling.sigmas, usual.sigmas):
        raise _unsayable(model, "its noise levels, or their shift, are not those of its family")
    for name in ("latent_channels", "downscale", "scaling_factor", "shift_factor"):
        if (own := getattr(sampling, name)) != (read := getattr(usual, name)):
            raise _unsayable(model, f"the {name} of its latents is {own}, and would be {read}")


def _are_alike(sigmas: Any, usual: Any) -> bool:
    import torch

    table = getattr(sigmas, "table", None)
    if table is None or table.shape != usual.table.shape:
        return False
    return torch.allclose(table.double(), usual.table.double(), rtol=TOLERANCE)


def _unsayable(model: SavedWeights, why: str) -> ModelSaveError:
    return ModelSaveError(
        f"the model '{model.name}' cannot be written as a single file, which says little of how a model is sampled: "
        f"{why}; leave out the node that changes it, or keep the model as it is"
    )


def _architecture(config: Any, prediction: str) -> str:
    if config.addition_embed_type is not None:
        kind = "refiner" if config.cross_attention_dim == REFINER_WIDTH else "base"
        return f"stable-diffusion-xl-v1-{kind}"
    if not config.use_linear_projection:
        return "stable-diffusion-v1"
    return "stable-diffusion-v2-768-v" if prediction == "v" else "stable-diffusion-v2-512"
