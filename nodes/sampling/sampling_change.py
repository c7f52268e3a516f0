"""Nodes that have a model sampled otherwise than its checkpoint says: other noise levels, another kind of prediction.

What they change is an option of the recipe, `SAMPLING`; the network and its weights are shared with all others.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Literal, Protocol

from pydantic import Field

from mezzotint import Model, Widget, node
from mezzotint.engine.errors import MezzotintError
from mezzotint.engine.value_type import value_type

from ..models.recipe import SAMPLING

if TYPE_CHECKING:
    from torch import Tensor

    from ..samplers.schedules import Prediction
    from .model_sampling import ModelSampling

DiscreteKind = Literal["eps", "v_prediction", "lcm", "x0", "img_to_img"]
Shift = Annotated[
    float, Field(ge=0, le=100, description="Above 1, more of the steps go to high noise."), Widget(step=0.01)
]
Level = Annotated[float, Field(ge=0, le=1000), Widget(step=0.001, round=False)]
Mu = Annotated[float, Field(ge=0, le=100), Widget(step=0.01)]
Side = Annotated[int, Field(ge=16, le=16384), Widget(step=8)]

PREDICTIONS: dict[DiscreteKind, Prediction] = {
    "eps": "epsilon",
    "lcm": "epsilon",
    "v_prediction": "v_prediction",
    "x0": "sample",
    "img_to_img": "direct",
}
ContinuousKind = Literal["v_prediction", "edm", "edm_playground_v2.5", "eps", "cosmos_rflow"]
LEAST_TOKENS, MOST_TOKENS = 256, 4096
"""Between these numbers of tokens of a picture, the shift of Flux grows in a line."""


class SamplingChangeError(MezzotintError):
    """A model cannot be sampled in this way."""


class SamplingChange(Hashable, Protocol):
    """The value of a model's option `SAMPLING`."""

    def applied(self, sampling: ModelSampling) -> ModelSampling:
        """How the model is then sampled. Raises SamplingChangeError where it cannot be."""


@lru_cache(maxsize=64)
def changed(sampling: ModelSampling, change: SamplingChange) -> ModelSampling:
    """`change.applied(sampling)`: one object for each pair."""
    return change.applied(sampling)


@value_type("mezzotint.DiscreteChange")
@dataclass(frozen=True, slots=True)
class DiscreteChange:
    """Discrete timesteps with another prediction, or levels that end in no signal at all (`zero_snr`)."""

    kind: DiscreteKind
    zero_snr: bool

    def applied(self, sampling: ModelSampling) -> ModelSampling:
        from ..samplers.distilled_sigmas import DistilledSigmas
        from ..samplers.schedules import DiscreteSigmas, rescale_to_zero_terminal_snr

        table = _discrete(sampling, "ModelSamplingDiscrete")
        if self.zero_snr:
            alphas_cumprod = rescale_to_zero_terminal_snr(1 / (table.double() ** 2 + 1))
            table = DiscreteSigmas.from_alphas_cumprod(alphas_cumprod).table
        prediction = PREDICTIONS[self.kind]
        made = DistilledSigmas.of(table) if self.kind == "lcm" else DiscreteSigmas(table, prediction)
        config = {**sampling.scheduler_config, "prediction_type": prediction, "rescale_betas_zero_snr": self.zero_snr}
        return replace(sampling, sigmas=made, prediction_type=prediction, scheduler_config=config)


@value_type("mezzotint.ContinuousChange")
@dataclass(frozen=True, slots=True)
class ContinuousChange:
    """Noise levels that are no timesteps, from the least to the greatest."""

    kind: ContinuousKind
    sigma_min: float
    sigma_max: float

    def applied(self, sampling: ModelSampling) -> ModelSampling:
        from .continuous_sigmas import ContinuousSigmas, with_playground_latents

        _discrete(sampling, "ModelSamplingContinuousEDM")
        kind = "edm" if self.kind == "edm_playground_v2.5" else self.kind
        made = replace(sampling, sigmas=ContinuousSigmas.between(self.sigma_min, self.sigma_max, kind))
        return with_playground_latents(made) if kind != self.kind else made


@value_type("mezzotint.ShiftChange")
@dataclass(frozen=True, slots=True)
class ShiftChange:
    """A flow model with another shift. node_name: who asks, for messages."""

    shift: float
    node_name: str

    def applied(self, sampling: ModelSampling) -> ModelSampling:
        from ..samplers.schedules import FlowSigmas

        if not isinstance(sampling.sigmas, FlowSigmas):
            raise SamplingChangeError(
                f"{self.node_name}: the model is no flow model (it has discrete timesteps), so it has no shift; use "
                f"ModelSamplingDiscrete, or remove the node"
            )
        config = {**sampling.scheduler_config, "shift": self.shift, "use_dynamic_shifting": False}
        return replace(sampling, sigmas=replace(sampling.sigmas, shift=self.shift), scheduler_config=config)


def _discrete(sampling: ModelSampling, node_name: str) -> Tensor:
    """The table of noise levels. Raises SamplingChangeError for a flow model."""
    from ..samplers.schedules import DiscreteSigmas

    if not isinstance(sampling.sigmas, DiscreteSigmas):
        raise SamplingChangeError(
            f"{node_name}: the model is a flow model, which has no discrete timesteps; use ModelSamplingSD3 or "
            f"ModelSamplingFlux, or remove the node"
        )
    return sampling.sigmas.table


@node("ModelSamplingDiscrete", category="advanced/model")
def model_sampling_discrete(
    model: Model,
    sampling: Annotated[DiscreteKind, Field(description="What the network predicts.")] = "eps",
    zsnr: Annotated[bool, Field(description="Stretch the noise levels until the last has no signal.")] = False,
) -> Model:
    """Say what a model of discrete timesteps predicts, where its checkpoint does not, and stretch its noise levels.

    `lcm` is for models that were distilled for few steps, by the sampler of that name.
    """
    return model.with_option(SAMPLING, DiscreteChange(sampling, zsnr))


@node("ModelSamplingContinuousEDM", category="advanced/model")
def model_sampling_continuous_edm(
    model: Model,
    sampling: Annotated[ContinuousKind, Field(description="What the network predicts.")] = "v_prediction",
    sigma_max: Level = 120.0,
    sigma_min: Level = 0.002,
) -> Model:
    """Sample a model that was trained on noise levels of any size, as Karras et al. 2022 have it (EDM).

    `edm_playground_v2.5` is EDM with the scale of that model's latents.
    """
    if not 0 < sigma_min < sigma_max:
        raise SamplingChangeError(
            f"ModelSamplingContinuousEDM: sigma_min is {sigma_min:g} and sigma_max {sigma_max:g}; allowed is a "
            f"sigma_min above 0 and below sigma_max, such as 0.002 and 120"
        )
    return model.with_option(SAMPLING, ContinuousChange(sampling, sigma_min, sigma_max))


@node("ModelSamplingSD3", category="advanced/model")
def model_sampling_sd3(model: Model, shift: Shift = 3.0) -> Model:
    """Shift the noise levels of a flow model: sigma = shift u / (1 + (shift - 1) u). Esser et al. 2024, equation 23."""
    return model.with_option(SAMPLING, ShiftChange(shift, "ModelSamplingSD3"))


@node("ModelSamplingAuraFlow", category="advanced/model")
def model_sampling_aura_flow(model: Model, shift: Shift = 1.73) -> Model:
    """Shift the noise levels of a flow model, with the default of AuraFlow."""
    return model.with_option(SAMPLING, ShiftChange(shift, "ModelSamplingAuraFlow"))


@node("ModelSamplingFlux", category="advanced/model")
def model_sampling_flux(
    model: Model, max_shift: Mu = 1.15, base_shift: Mu = 0.5, width: Side = 1024, height: Side = 1024
) -> Model:
    """Shift the noise levels of a flow model by the size of the picture, as Flux does.

    The shift is e^mu; mu goes in a line from `base_shift` at 256 tokens (of 16 × 16 pixels) to `max_shift` at 4096.
    """
    slope = (max_shift - base_shift) / (MOST_TOKENS - LEAST_TOKENS)
    mu = base_shift + slope * (width * height / 256 - LEAST_TOKENS)
    return model.with_option(SAMPLING, ShiftChange(math.exp(mu), "ModelSamplingFlux"))
