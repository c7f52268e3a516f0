"""The noise levels against published values, and what holds for all of them."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mezzotint.nodes.samplers.sampler_names import SCHEDULES
from mezzotint.nodes.samplers.schedules import (
    DiscreteSigmas,
    FlowSigmas,
    ModelSigmas,
    betas_from_config,
    schedule_sigmas,
    slice_sigmas,
)

SD15 = DiscreteSigmas.from_config()
SD3 = FlowSigmas()
FLUX = FlowSigmas(shift=math.exp(1.15), multiplier=1.0, table_size=10_000)
AURA = FlowSigmas(shift=1.73, multiplier=1.0)
MODELS = [SD15, SD3, FLUX, AURA]


def levels(text: str) -> list[float]:
    return [float(level) for level in text.split()]


def assert_levels(sigmas: Tensor, text: str) -> None:
    assert sigmas.dtype == torch.float32
    assert sigmas.tolist() == pytest.approx(levels(text), abs=6e-6)


@pytest.mark.parametrize(
    ("scheduler", "steps", "expected"),
    [
        ("normal", 4, "14.61464 2.91831 0.93236 0.02917 0"),
        ("sgm_uniform", 4, "14.61464 4.08608 1.61558 0.69515 0"),
        ("simple", 4, "14.61464 4.08173 1.61289 0.6932 0"),
        ("karras", 4, "14.61464 3.1686 0.44692 0.02917 0"),
        ("exponential", 4, "14.61464 1.84002 0.23166 0.02917 0"),
        ("ddim_uniform", 4, "4.1167 1.62369 0.6984 0.04131 0"),
        ("beta", 4, "14.61464 5.68659 1.61828 0.51539 0"),
        ("linear_quadratic", 4, "14.61464 14.43196 14.24928 10.59562 0"),
        ("kl_optimal", 4, "14.61463 1.59707 0.57291 0.02917 0"),
        ("normal", 10, "14.61464 7.83988 4.60917 2.91831 1.95016 1.34493 0.93236 0.62498 0.36866 0.02917 0"),
        ("karras", 10, "14.61464 9.10293 5.47839 3.1686 1.74942 0.91407 0.44692 0.2014 0.08191 0.02917 0"),
    ],
)
def test_a_discrete_schedule_has_the_published_levels(scheduler: str, steps: int, expected: str) -> None:
    assert_levels(schedule_sigmas(SD15, scheduler, steps), expected)


@pytest.mark.parametrize(
    ("scheduler", "expected"),
    [
        ("normal", "1 .85769 .60215 .00893 0"),
        ("simple", "1 .9 .75 .5 0"),
        ("sgm_uniform", "1 .90036 .75112 .50299 0"),
        ("beta", "1 .93353 .75075 .39217 0"),
    ],
)
def test_a_flow_schedule_has_the_published_levels(scheduler: str, expected: str) -> None:
    assert_levels(schedule_sigmas(SD3, scheduler, 4), expected)


@pytest.mark.parametrize(
    ("sampler", "scheduler", "steps", "denoise", "expected"),
    [
        ("euler", "normal", 4, 0.5, "1.27683 0.79126 0.43967 0.02917 0"),
        ("dpm_2", "karras", 4, 1.0, "14.61464 4.79653 1.2741 0.24795 0"),
        ("uni_pc", "normal", 5, 0.6, "2.49597 1.61558 1.07116 0.69515 0.3997 0"),
    ],
)
def test_denoise_and_the_sampler_decide_which_levels_are_kept(
    sampler: str, scheduler: str, steps: int, denoise: float, expected: str
) -> None:
    assert_levels(schedule_sigmas(SD15, scheduler, steps, denoise, sampler), expected)


def test_the_ends_of_the_table_are_those_of_stable_diffusion() -> None:
    assert SD15.sigma_min == pytest.approx(0.0291672, abs=5e-8)
    assert SD15.sigma_max == pytest.approx(14.614641, abs=1e-6)
    assert SD3.sigma_max == 1
    assert len(FLUX.table) == 10_000
    assert AURA.sigma_to_t(0.25) == 0.25


@pytest.mark.parametrize(
    ("model", "expected"), [(SD15, "5.09241 1.61558 0.57119"), (SD3, ".92308 .75 .42857")], ids=["discrete", "flow"]
)
def test_a_share_of_the_range_is_a_noise_level(model: ModelSigmas, expected: str) -> None:
    assert [model.percent_to_sigma(share) for share in (0.2, 0.5, 0.8)] == pytest.approx(levels(expected), abs=6e-6)
    assert model.percent_to_sigma(0) == (1.0 if model is SD3 else 999999999.9)
    assert model.percent_to_sigma(1) == 0


def test_flux_shifts_by_the_exponential_of_mu() -> None:
    u = torch.tensor([0.1, 0.5, 0.9])
    torch.testing.assert_close(FLUX.t_to_sigma(u), math.exp(1.15) / (math.exp(1.15) + (1 / u - 1)))


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(MODELS), st.sampled_from(list(SCHEDULES)), st.integers(1, 200))
def test_every_schedule_falls_to_zero(model: ModelSigmas, scheduler: str, steps: int) -> None:
    sigmas = schedule_sigmas(model, scheduler, steps)
    assert sigmas.dtype == torch.float32
    assert sigmas.isfinite().all()
    assert (sigmas.diff() < 0).all()
    assert sigmas[-1] == 0
    assert float(sigmas[0]) <= model.sigma_max * (1 + 1e-6)
    if scheduler == "ddim_uniform":
        assert len(sigmas) >= steps + 1
    elif scheduler == "beta":
        assert len(sigmas) <= steps + 1
    else:
        assert len(sigmas) == steps + 1


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(MODELS),
    st.sampled_from(sorted(set(SCHEDULES) - {"beta"})),
    st.integers(1, 60),
    st.floats(0.05, 0.9999),
    st.sampled_from(["euler", "dpm_2"]),
)
def test_denoise_keeps_the_number_of_steps(
    model: ModelSigmas, scheduler: str, steps: int, denoise: float, sampler: str
) -> None:
    sigmas = schedule_sigmas(model, scheduler, steps, denoise, sampler)
    assert len(sigmas) == steps + 1
    assert sigmas[-1] == 0


def test_no_denoising_needs_no_levels() -> None:
    assert len(schedule_sigmas(SD15, "karras", 20, 0.0)) == 0
    assert len(schedule_sigmas(SD15, "karras", 20, -1.0)) == 0


def test_more_steps_than_trained_levels_still_end_in_zero() -> None:
    for scheduler in SCHEDULES:
        sigmas = schedule_sigmas(SD15, scheduler, 1500)
        assert (sigmas.diff() <= 0).all()
        assert sigmas[-1] == 0


def test_normal_appends_nothing_where_the_least_level_is_zero_already() -> None:
    model = DiscreteSigmas(torch.cat([torch.tensor([1e-7]), SD15.table[1:]]))
    sigmas = schedule_sigmas(model, "normal", 4)
    assert_levels(sigmas, "14.61464 4.08608 1.61558 0.69515 0") if len(sigmas) == 5 else pytest.fail(str(sigmas))


def test_a_scheduler_that_is_not_known_is_named() -> None:
    with pytest.raises(ValueError, match="scheduler 'karas' is not known; there are simple, sgm_uniform, karras"):
        schedule_sigmas(SD15, "karas", 4)


def test_fewer_steps_than_one_are_refused() -> None:
    with pytest.raises(ValueError, match="steps is 0"):
        schedule_sigmas(SD15, "karras", 0)


def test_a_slice_that_ends_early_goes_to_zero_unless_the_noise_is_kept() -> None:
    sigmas = torch.tensor([5.0, 4.0, 3.0, 2.0, 0.0])
    assert slice_sigmas(sigmas, 1, 3).tolist() == [4, 3, 0]
    assert slice_sigmas(sigmas, 1, 3, keep_leftover_noise=True).tolist() == [4, 3, 2]
    assert slice_sigmas(sigmas, 0, 10_000).tolist() == sigmas.tolist()
    assert slice_sigmas(sigmas, 2, 4).tolist() == [3, 2, 0]
    assert sigmas.tolist() == [5, 4, 3, 2, 0]


@pytest.mark.parametrize(("start", "end"), [(4, 10_000), (3, 3), (5, 2), (0, 0)])
def test_a_slice_with_nothing_in_it_is_empty(start: int, end: int) -> None:
    assert len(slice_sigmas(torch.tensor([5.0, 4.0, 3.0, 2.0, 0.0]), start, end)) == 0


def test_a_timestep_is_the_nearest_trained_level_in_log_sigma() -> None:
    logs = SD15.table.double().log()
    for sigma in torch.linspace(0.02, 16.0, 57, dtype=torch.float64).tolist():
        assert SD15.sigma_to_t(sigma) == int((logs - math.log(sigma)).abs().argmin())
    assert SD15.sigma_to_t(0.0) == 0
    assert SD15.sigma_to_t(999999999.9) == 999


@given(st.integers(0, 999))
def test_a_whole_timestep_survives_the_way_to_sigma_and_back(t: int) -> None:
    assert SD15.sigma_to_t(float(SD15.t_to_sigma(torch.tensor(float(t))))) == t


def test_sigmas_between_timesteps_are_log_linear() -> None:
    between = float(SD15.t_to_sigma(torch.tensor(500.25)))
    low, high = SD15.table[500:502].double().log().tolist()
    assert math.log(between) == pytest.approx(0.75 * low + 0.25 * high, abs=1e-6)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_the_network_s_output_becomes_the_latent_it_was_made_from(prediction: str) -> None:
    model = DiscreteSigmas.from_config({"prediction_type": prediction})
    latent, noise = torch.randn(2, 1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    sigma = 1.7
    x = model.noised(latent, noise, sigma)
    alpha, width = 1 / math.sqrt(1 + sigma**2), sigma / math.sqrt(1 + sigma**2)
    output = {"epsilon": noise, "v_prediction": alpha * noise - width * latent, "sample": latent}[prediction]
    scalings = model.preconditioning(sigma)
    torch.testing.assert_close(scalings.denoised(x, output), latent)
    torch.testing.assert_close(scalings.model_input(x), alpha * latent + width * noise)
    assert scalings.timestep == model.sigma_to_t(sigma)


def test_a_flow_network_s_velocity_becomes_the_latent_it_was_made_from() -> None:
    latent, noise = torch.randn(2, 1, 16, 8, 8, generator=torch.Generator().manual_seed(0))
    x = SD3.noised(latent, noise, 0.3)
    scalings = SD3.preconditioning(0.3)
    torch.testing.assert_close(scalings.denoised(x, noise - latent), latent)
    assert scalings.model_input(x) is x
    assert scalings.timestep == pytest.approx(300)


def test_sampling_from_the_top_starts_as_wide_as_the_training_data_and_noise() -> None:
    latent, noise = torch.full((1, 4, 2, 2), 0.5), torch.ones(1, 4, 2, 2)
    top = SD15.sigma_max
    for sigma in (top, top * (1 - 5e-6), 20.0):
        assert float(SD15.start(noise, latent, sigma)[0, 0, 0, 0]) == pytest.approx(0.5 + math.sqrt(1 + sigma**2))
    assert float(SD15.start(noise, latent, 3.0)[0, 0, 0, 0]) == pytest.approx(3.5)
    assert float(SD3.start(noise, latent, 0.8)[0, 0, 0, 0]) == pytest.approx(0.8 + 0.2 * 0.5)


def test_a_flow_run_that_stops_early_can_be_taken_up_without_new_noise() -> None:
    x = torch.randn(1, 16, 4, 4, generator=torch.Generator().manual_seed(0))
    handed_on = SD3.finish(x, 0.4)
    torch.testing.assert_close(handed_on, x / 0.6)
    torch.testing.assert_close(SD3.start(torch.zeros_like(x), handed_on, 0.4), x)
    assert SD3.finish(x, 0.0) is x
    assert SD15.finish(x, 0.4) is x


def test_a_half_log_snr_is_finite_at_the_top_of_a_flow() -> None:
    assert SD3.half_log_snr(1.0) == SD3.half_log_snr(SD3.percent_to_sigma(1e-4))
    assert SD3.half_log_snr(0.5) == 0
    assert SD15.half_log_snr(math.e) == pytest.approx(-1)


def test_zero_terminal_snr_has_a_finite_last_level() -> None:
    model = DiscreteSigmas.from_config({"rescale_betas_zero_snr": True})
    assert model.sigma_max == pytest.approx(4096, rel=1e-3)
    assert model.sigma_min == pytest.approx(SD15.sigma_min, rel=1e-5)


def test_the_levels_are_those_of_diffusers_schedulers() -> None:
    from diffusers import DDIMScheduler

    for schedule in ("linear", "scaled_linear", "squaredcos_cap_v2"):
        config = {"beta_schedule": schedule, "beta_start": 0.0001, "beta_end": 0.02, "num_train_timesteps": 500}
        theirs = DDIMScheduler(**config).alphas_cumprod
        ours = DiscreteSigmas.from_config(config).table
        torch.testing.assert_close(ours, DiscreteSigmas.from_alphas_cumprod(theirs).table, rtol=2e-3, atol=0)


def test_trained_betas_go_before_any_formula() -> None:
    assert betas_from_config({"trained_betas": [0.1, 0.2], "beta_schedule": "linear"}).tolist() == [0.1, 0.2]


def test_what_a_configuration_asks_for_and_is_not_known_is_named() -> None:
    with pytest.raises(ValueError, match="beta_schedule 'sigmoid' is not known"):
        DiscreteSigmas.from_config({"beta_schedule": "sigmoid"})
    with pytest.raises(ValueError, match="prediction 'score' is not known"):
        DiscreteSigmas.from_config({"prediction_type": "score"})
