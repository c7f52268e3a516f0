"""Models that are sampled otherwise than their files say, against what diffusers has for it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from mezzotint import Context
from mezzotint.engine.value_type import canonical, pack, unpack
from mezzotint.nodes.models.checkpoints import Checkpoint
from mezzotint.nodes.models.recipe import SAMPLING, Recipe
from mezzotint.nodes.samplers.distilled_sigmas import DistilledSigmas
from mezzotint.nodes.samplers.schedules import DiscreteSigmas, FlowSigmas
from mezzotint.nodes.sampling.guidance import Guided
from mezzotint.nodes.sampling.model_sampling import ModelSampling, model_sampling
from mezzotint.nodes.sampling.rescaled_guidance import RescaledGuidance, rescale_cfg
from mezzotint.nodes.sampling.sampling_change import (
    DiscreteChange,
    SamplingChangeError,
    ShiftChange,
    model_sampling_discrete,
    model_sampling_flux,
    model_sampling_sd3,
)

SD15 = ModelSampling(DiscreteSigmas.from_config(), "epsilon", 4, 8, 1.0, 0.0, {})
FLOW = replace(SD15, sigmas=FlowSigmas(shift=1.0), prediction_type="flow")


def test_levels_stretched_to_no_signal_are_those_of_diffusers() -> None:
    from diffusers import DDIMScheduler

    options = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    theirs = DDIMScheduler(**options, rescale_betas_zero_snr=True).alphas_cumprod
    ours = DiscreteChange("v_prediction", True).applied(SD15).sigmas
    assert isinstance(ours, DiscreteSigmas)
    alphas_cumprod = 1 / (ours.table**2 + 1)
    torch.testing.assert_close(alphas_cumprod[:-1], theirs[:-1], rtol=1e-3, atol=1e-6)
    assert theirs[-1] == 0
    assert math.isfinite(ours.sigma_max)


def test_a_distilled_model_is_asked_at_the_timesteps_and_scaled_as_in_diffusers() -> None:
    from diffusers import LCMScheduler

    scheduler = LCMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    scheduler.set_timesteps(50)
    sigmas = DiscreteChange("lcm", False).applied(SD15).sigmas
    assert isinstance(sigmas, DistilledSigmas)
    assert [sigmas.sigma_to_t(float(sigma)) for sigma in sigmas.table.flip(0)] == scheduler.timesteps.tolist()
    for timestep in (999, 499, 19):
        sigma = float(sigmas.t_to_sigma(torch.tensor(float(timestep))))
        assert sigma == pytest.approx(float(SD15.sigmas.t_to_sigma(torch.tensor(float(timestep)))), rel=1e-6)
        c_skip, c_out = scheduler.get_scalings_for_boundary_condition_discrete(torch.tensor(timestep))
        x, output = torch.tensor(0.7), torch.tensor(-0.4)
        denoised = sigmas.preconditioning(sigma).denoised(x, output)
        torch.testing.assert_close(denoised, (c_out * (x - sigma * output) + c_skip * x).float(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["eps", "v_prediction", "x0", "img_to_img"])
def test_the_network_that_predicts_perfectly_gives_the_clean_latent(kind: str) -> None:
    x0, noise, sigma = torch.tensor(0.3), torch.tensor(-1.2), 2.5
    change = DiscreteChange(kind, False)  # type: ignore[arg-type]
    scale = 1 / math.sqrt(1 + sigma**2)
    output = {"eps": noise, "v_prediction": (noise - sigma * x0) * scale, "x0": x0, "img_to_img": x0}[kind]
    found = change.applied(SD15).sigmas.preconditioning(sigma)
    x = x0 + sigma * noise
    torch.testing.assert_close(found.denoised(x, output), x0)
    torch.testing.assert_close(found.model_input(x), x if kind == "img_to_img" else x * scale)


def test_the_shift_of_flux_grows_with_the_picture() -> None:
    from diffusers.pipelines.flux.pipeline_flux import calculate_shift

    model = Recipe("model", None)  # type: ignore[arg-type]
    for side in (256, 512, 1024):
        change = dict(model_sampling_flux(model, width=side, height=side).options)[SAMPLING]
        assert change.shift == pytest.approx(math.exp(calculate_shift((side // 16) ** 2)))
        assert change.applied(FLOW).sigmas == FlowSigmas(shift=change.shift)


def test_a_change_for_another_kind_of_model_is_refused() -> None:
    with pytest.raises(SamplingChangeError, match="ModelSamplingSD3: the model is no flow model"):
        ShiftChange(3.0, "ModelSamplingSD3").applied(SD15)
    with pytest.raises(SamplingChangeError, match="ModelSamplingDiscrete: the model is a flow model"):
        DiscreteChange("eps", False).applied(FLOW)


def test_the_change_reaches_the_noise_levels_and_the_network_and_nobody_else(
    embedded: Checkpoint, model_context: Context
) -> None:
    model = embedded.MODEL
    same, other = (model_sampling_discrete(model, kind) for kind in ("v_prediction", "eps"))
    stretched = model_sampling_discrete(model, "v_prediction", zsnr=True)
    assert model_sampling(stretched, model_context).sigmas.sigma_max > 1000
    assert model_sampling(stretched, model_context) is model_sampling(stretched, model_context)
    x, tokens = torch.ones(1, 8, 8, 8), torch.zeros(1, 20, 128)

    def predicted(recipe: Recipe) -> torch.Tensor:
        with torch.inference_mode(), model_context.models.borrow(recipe) as denoiser:
            found: torch.Tensor = denoiser.predict(x, 2.0, tokens)
            return found

    plain = predicted(model)
    assert torch.equal(predicted(same), plain)
    assert not torch.allclose(predicted(other), plain)
    assert torch.equal(predicted(model), plain)
    with model_context.models.borrow(same) as first, model_context.models.borrow(same) as second:
        assert first is second
    with pytest.raises(SamplingChangeError, match="no flow model"):
        model_sampling(model_sampling_sd3(model), model_context)


def test_rescaled_guidance_is_that_of_diffusers_on_v() -> None:
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import rescale_noise_cfg

    generator = torch.Generator().manual_seed(0)
    x, positive, negative = (torch.randn(2, 4, 8, 8, generator=generator) for _ in range(3))
    sigma, scale = 1.7, 7.5
    c_skip, c_out = 1 / (1 + sigma**2), -sigma / math.sqrt(1 + sigma**2)
    guided_v = negative + (positive - negative) * scale
    conditional, unconditional, prediction = (x * c_skip + v * c_out for v in (positive, negative, guided_v))
    expected = x * c_skip + rescale_noise_cfg(guided_v, positive, 0.7) * c_out
    any_model: Any = None
    found = Guided(prediction, conditional, unconditional, x, sigma, scale, [], [], any_model, {})
    torch.testing.assert_close(RescaledGuidance(0.7)(found), expected)
    torch.testing.assert_close(RescaledGuidance(0.0)(found), prediction)
    assert torch.equal(RescaledGuidance(0.7)(found._replace(unconditional=None)), prediction)


def test_the_changes_travel_with_the_recipe(embedded: Checkpoint) -> None:
    model = rescale_cfg(model_sampling_discrete(embedded.MODEL, "v_prediction", zsnr=True), 0.5)
    assert unpack(pack(model)) == model
    assert canonical(model) != canonical(rescale_cfg(model, 0.5))
