"""Models of continuous noise levels against diffusers' schedulers for them."""

from __future__ import annotations

import math

import pytest
import torch

from mezzotint import Context
from mezzotint.nodes.models.checkpoints import Checkpoint
from mezzotint.nodes.samplers.schedules import DiscreteSigmas, FlowSigmas
from mezzotint.nodes.sampling.continuous_sigmas import ContinuousSigmas
from mezzotint.nodes.sampling.model_sampling import ModelSampling, model_sampling
from mezzotint.nodes.sampling.sampling_change import (
    ContinuousChange,
    SamplingChangeError,
    model_sampling_continuous_edm,
)

SDXL = ModelSampling(DiscreteSigmas.from_config(), "epsilon", 4, 8, 0.13025, 0.0, {})


def test_edm_is_that_of_diffusers() -> None:
    from diffusers import EDMEulerScheduler

    theirs = EDMEulerScheduler(sigma_min=0.002, sigma_max=80.0, sigma_data=0.5)
    ours = ContinuousSigmas.between(0.002, 80.0, "edm")
    x, output = torch.randn(1, 4, 8, 8), torch.randn(1, 4, 8, 8)
    for sigma in (0.01, 0.5, 3.0, 70.0):
        factors = ours.preconditioning(sigma)
        torch.testing.assert_close(factors.model_input(x), theirs.precondition_inputs(x, sigma))
        torch.testing.assert_close(factors.denoised(x, output), theirs.precondition_outputs(x, output, sigma))
        assert factors.timestep == pytest.approx(float(theirs.precondition_noise(sigma)), abs=1e-6)


def test_v_and_noise_predictions_are_those_of_unit_deviation() -> None:
    """v = (eps - sigma x0) / sqrt(1 + sigma²) of x = x0 + sigma eps (Salimans and Ho 2022)."""
    x0, noise, sigma = torch.randn(1, 4, 8, 8), torch.randn(1, 4, 8, 8), 2.5
    x = x0 + sigma * noise
    v = (noise - sigma * x0) / math.sqrt(1 + sigma**2)
    for kind, output in (("v_prediction", v), ("eps", noise)):
        factors = ContinuousSigmas.between(0.002, 120.0, kind).preconditioning(sigma)  # type: ignore[arg-type]
        torch.testing.assert_close(factors.denoised(x, output), x0, rtol=1e-4, atol=1e-5)


def test_the_flow_of_cosmos_is_a_flow_at_t() -> None:
    x0, noise, sigma = torch.randn(1, 4, 8, 8), torch.randn(1, 4, 8, 8), 2.5
    t = sigma / (1 + sigma)
    factors = ContinuousSigmas.between(0.002, 80.0, "cosmos_rflow").preconditioning(sigma)
    x = x0 + sigma * noise
    torch.testing.assert_close(factors.model_input(x), (1 - t) * x0 + t * noise)
    torch.testing.assert_close(factors.denoised(x, noise - x0), x0, rtol=1e-4, atol=1e-5)
    assert factors.timestep == pytest.approx(t)


@pytest.mark.parametrize("kind", ["eps", "cosmos_rflow"])
def test_levels_and_what_the_network_is_told_are_inverse(kind: str) -> None:
    levels = ContinuousSigmas.between(0.01, 80.0, kind)  # type: ignore[arg-type]
    told = torch.tensor([levels.sigma_to_t(sigma) for sigma in (0.02, 1.0, 60.0)])
    torch.testing.assert_close(levels.t_to_sigma(told), torch.tensor([0.02, 1.0, 60.0]), rtol=1e-3, atol=1e-5)
    assert levels.percent_to_sigma(0.5) == pytest.approx(math.sqrt(0.01 * 80), rel=1e-4)
    assert (levels.sigma_min, levels.sigma_max) == pytest.approx((0.01, 80.0), rel=1e-4)


def test_the_latents_of_playground_have_a_scale_by_channel() -> None:
    sampling = ContinuousChange("edm_playground_v2.5", 0.002, 120.0).applied(SDXL)
    latent = torch.randn(2, 4, 8, 8)
    seen = sampling.to_model(latent)
    torch.testing.assert_close(seen[:, 1], (latent[:, 1] - 1.886) * 0.5 / 5.9022)
    torch.testing.assert_close(sampling.to_latent(seen), latent)
    assert not sampling.to_model(torch.zeros(1, 4, 8, 8)).any()


def test_the_node_sets_the_range(embedded: Checkpoint, model_context: Context) -> None:
    changed = model_sampling(model_sampling_continuous_edm(embedded.MODEL, "edm", 80.0, 0.01), model_context)
    assert (changed.sigmas.sigma_min, changed.sigmas.sigma_max) == pytest.approx((0.01, 80.0), rel=1e-4)
    with pytest.raises(SamplingChangeError, match="sigma_min is 5 and sigma_max 5"):
        model_sampling_continuous_edm(embedded.MODEL, sigma_max=5.0, sigma_min=5.0)
    flow = ModelSampling(FlowSigmas(), "flow", 4, 8, 1.0, 0.0, {})
    with pytest.raises(SamplingChangeError, match="ModelSamplingContinuousEDM: the model is a flow model"):
        ContinuousChange("edm", 0.01, 80.0).applied(flow)
