"""The samplers against distributions whose probability flow is known in closed form."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mezzotint.nodes.samplers.basic_samplers import (
    dpmpp_2m,
    dpmpp_2m_sde,
    euler,
    euler_ancestral,
    euler_step,
    heun,
    lcm,
)
from mezzotint.nodes.samplers.sampler import ancestral_sigmas, single_step
from mezzotint.nodes.samplers.sampler_names import SAMPLERS, SEES_UNCONDITIONAL, single_step_names
from mezzotint.nodes.samplers.schedules import ModelSigmas, schedule_sigmas
from mezzotint.nodes.sampling.noise import SeededStepNoise, initial_noise

from .normal_data import FAMILIES, SD3, SD15, Gaussian, drive, flow_error, never_asked, sample


@pytest.mark.parametrize(
    ("name", "options", "order"),
    [
        ("euler", {}, 1),
        ("ddim", {}, 1),
        ("heun", {}, 2),
        ("dpmpp_2m", {}, 2),
        ("euler_ancestral", {"eta": 0.0}, 1),
        ("dpmpp_2m_sde", {"eta": 0.0}, 2),
        ("dpmpp_2m_sde_heun", {"eta": 0.0}, 2),
        ("heunpp2", {}, 1),
        ("dpm_2", {}, 2),
        ("dpm_2_ancestral", {"eta": 0.0}, 2),
        ("dpmpp_2s_ancestral", {"eta": 0.0}, 2),
        ("dpmpp_2s_ancestral_cfg_pp", {"eta": 0.0}, 2),
        ("exp_heun_2_x0", {}, 2),
        ("exp_heun_2_x0_sde", {"eta": 0.0}, 2),
        ("dpmpp_sde", {"eta": 0.0}, 2),
        ("dpmpp_sde", {"eta": 0.0, "r": 0.3}, 2),
        ("dpmpp_3m_sde", {"eta": 0.0}, 2),
        ("ipndm", {}, 2),
        ("lms", {"order": 1}, 1),
        ("lms", {"order": 2}, 2),
        ("res_multistep", {}, 2),
        ("gradient_estimation", {}, 1),
        ("seeds_2", {"eta": 0.0}, 2),
        ("seeds_3", {"eta": 0.0}, 3),
        ("uni_pc", {}, 2),
        ("uni_pc_bh2", {}, 2),
    ],
)
def test_the_error_falls_with_the_order_that_the_paper_claims(name: str, options: dict[str, float], order: int) -> None:
    coarse, fine = flow_error(name, 80, **options), flow_error(name, 160, **options)
    assert math.log2(coarse / fine) == pytest.approx(order, abs=0.15)


@pytest.mark.parametrize("name", ["lms", "ipndm_v", "deis"])
def test_more_than_two_directions_make_it_better_than_second_order(name: str) -> None:
    """Not of their full order, since the first steps, which know fewer, stay in the error."""
    assert math.log2(flow_error(name, 40) / flow_error(name, 80)) > 2.7


DETERMINISTIC = [
    "euler", "heun", "dpmpp_2m", "ddim", "heunpp2", "dpm_2", "lms", "ipndm", "ipndm_v", "deis", "res_multistep",
    "gradient_estimation", "uni_pc", "uni_pc_bh2", "exp_heun_2_x0", "dpm_fast",
]  # fmt: skip


@FAMILIES
@pytest.mark.parametrize("name", DETERMINISTIC)
def test_a_deterministic_sampler_arrives_where_the_flow_ends(model: ModelSigmas, name: str) -> None:
    data, z = Gaussian(model), torch.linspace(-2, 2, 9, dtype=torch.float64)
    sigmas = schedule_sigmas(model, "sgm_uniform", 300)
    x = sample(name, model, sigmas, data.x_at(z, float(sigmas[0])), data.denoised)
    torch.testing.assert_close(x, data.x_at(z, 0.0), atol=0.02, rtol=0)


@FAMILIES
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("euler_ancestral", {}),
        ("euler_ancestral", {"eta": 0.4}),
        ("dpmpp_2m_sde", {}),
        ("dpmpp_2m_sde", {"eta": 0.5}),
        ("dpmpp_2m_sde_heun", {}),
        ("dpmpp_2m_sde_gpu", {}),
        ("ddpm", {}),
        ("dpm_2_ancestral", {}),
        ("dpm_2_ancestral", {"eta": 0.5}),
        ("dpmpp_2s_ancestral", {}),
        ("dpmpp_2s_ancestral", {"eta": 0.5}),
        ("dpmpp_sde", {}),
        ("dpmpp_sde", {"eta": 0.5, "r": 0.4}),
        ("dpmpp_3m_sde", {}),
        ("dpmpp_3m_sde", {"eta": 0.5}),
        ("res_multistep_ancestral", {"eta": 0.3}),
        ("er_sde", {}),
        ("er_sde", {"max_stage": 1}),
        ("seeds_2", {}),
        ("seeds_2", {"eta": 0.5, "r": 0.3}),
        ("seeds_3", {}),
        ("seeds_3", {"eta": 0.5}),
        ("exp_heun_2_x0_sde", {}),
        ("exp_heun_2_x0_sde", {"eta": 0.5}),
        ("dpmpp_2s_ancestral_cfg_pp", {}),
        ("sa_solver", {}),
        ("sa_solver", {"start_percent": 0.0, "end_percent": 1.0}),
        ("sa_solver", {"eta": 0.5, "start_percent": 0.0, "end_percent": 1.0}),
        ("sa_solver_pece", {"start_percent": 0.0, "end_percent": 1.0}),
    ],
)
def test_a_stochastic_sampler_reaches_the_mean_and_the_variance(
    model: ModelSigmas, name: str, options: dict[str, float]
) -> None:
    data, z = Gaussian(model), initial_noise((20_000,), 1)
    steps = 240 if name in ("euler_ancestral", "ddpm", "er_sde", "res_multistep_ancestral") else 60
    sigmas = schedule_sigmas(model, "karras" if model is SD15 else "sgm_uniform", steps)
    x = sample(name, model, sigmas, data.x_at(z, float(sigmas[0])), data.denoised, seed=2, **options)
    assert float(x.mean()) == pytest.approx(data.mean, abs=0.03)
    assert float(x.std()) == pytest.approx(data.deviation, abs=0.03)


@FAMILIES
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_an_ancestral_step_arrives_at_the_next_noise_level(model: ModelSigmas, eta: float) -> None:
    sigma, sigma_next = 0.8, 0.5
    sigma_down, sigma_up = ancestral_sigmas(sigma, sigma_next, eta, model)
    kept = sigma_down * model.alpha(sigma_next) / model.alpha(sigma_down)
    assert math.hypot(kept, sigma_up) == pytest.approx(sigma_next)
    assert (sigma_up == pytest.approx(0, abs=1e-7)) == (eta == 0)


@FAMILIES
@pytest.mark.parametrize("name", SAMPLERS.having(SEES_UNCONDITIONAL))
def test_without_guidance_cfg_plus_plus_is_the_sampler_it_is_made_of(model: ModelSigmas, name: str) -> None:
    data, x, sigmas = Gaussian(model), initial_noise((1, 4, 8, 8), 0), schedule_sigmas(model, "simple", 12)
    expected = sample(name.removesuffix("_cfg_pp"), model, sigmas, x, data.denoised)
    torch.testing.assert_close(sample(name, model, sigmas, x, data.denoised), expected, rtol=1e-4, atol=1e-4)


@FAMILIES
@pytest.mark.parametrize("name", sorted({*SAMPLERS.having(SEES_UNCONDITIONAL)} - {"res_multistep_ancestral_cfg_pp"}))
def test_cfg_plus_plus_goes_to_the_guided_prediction_along_the_unconditional_noise(
    model: ModelSigmas, name: str
) -> None:
    x, sigmas = torch.full((1, 4, 2, 2), 0.4), torch.tensor([0.8, 0.5])
    steps = SAMPLERS[name](x, sigmas, SeededStepNoise(x, sigmas, 0), model, **({"eta": 0.0} if "anc" in name else {}))
    denoised, unconditional = torch.full_like(x, 0.3), torch.full_like(x, -0.2)
    reached = drive(steps, lambda x, sigma: (denoised, unconditional))  # type: ignore[arg-type, return-value]
    noise = (x - model.alpha(0.8) * unconditional) / 0.8
    torch.testing.assert_close(reached, model.alpha(0.5) * denoised + 0.5 * noise, rtol=1e-4, atol=1e-4)


def test_lcm_takes_the_prediction_and_noises_it_to_the_next_level() -> None:
    for model in (SD15, SD3):
        x, sigmas = torch.zeros(1, 4, 8, 8), torch.tensor([0.9, 0.4])
        x = drive(lcm(x, sigmas, SeededStepNoise(x, sigmas, 7), model), lambda x, sigma: torch.full_like(x, 2.0))
        noise = SeededStepNoise(x, sigmas, 7).fresh()
        torch.testing.assert_close(x, 2.0 * (0.6 if model is SD3 else 1.0) + 0.4 * noise)


@FAMILIES
@pytest.mark.parametrize("name", SAMPLERS)
def test_the_last_step_to_zero_gives_the_last_prediction(model: ModelSigmas, name: str) -> None:
    x, sigmas, predictions = initial_noise((1, 8, 8, 8), 0), schedule_sigmas(model, "simple", 5), []

    def denoiser(x: Tensor, sigma: float) -> Tensor:
        predictions.append(Gaussian(model).denoised(x, sigma))
        return predictions[-1]

    nearly = {"atol": 5e-3, "rtol": 0.0} if name.startswith("uni_pc") else {}  # it ends at 0.001
    torch.testing.assert_close(sample(name, model, sigmas, x, denoiser), predictions[-1], **nearly)


ASK_WITHIN_STEPS = {
    "heun", "heunpp2", "exp_heun_2_x0", "exp_heun_2_x0_sde", "dpm_2", "dpm_2_ancestral", "dpmpp_2s_ancestral",
    "dpmpp_2s_ancestral_cfg_pp", "dpmpp_sde", "dpmpp_sde_gpu", "seeds_2", "seeds_3", "sa_solver_pece",
}  # fmt: skip
CHOOSE_THEIR_LEVELS = {"dpm_fast", "dpm_adaptive"}


@FAMILIES
@pytest.mark.parametrize("name", [name for name in SAMPLERS if name not in CHOOSE_THEIR_LEVELS])
def test_the_levels_asked_for_are_those_of_the_schedule(model: ModelSigmas, name: str) -> None:
    asked: list[float] = []

    def denoiser(x: Tensor, sigma: float) -> Tensor:
        asked.append(sigma)
        return x * 0.5

    sigmas = schedule_sigmas(model, "normal", 4)
    sample(name, model, sigmas, torch.ones(1, 4, 2, 2), denoiser)
    levels = sigmas[:-1].tolist()
    if name not in ASK_WITHIN_STEPS:
        assert asked == levels
    assert list(dict.fromkeys(level for level in asked if level in levels)) == levels
    assert min(levels) <= min(asked) <= max(asked) == max(levels)
    assert all(level == float(torch.tensor(level)) for level in asked)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_schedule_of_no_step_changes_nothing_and_asks_nothing(name: str) -> None:
    x = torch.ones(1, 4, 2, 2)
    for sigmas in (torch.zeros(0), torch.tensor([3.0])):
        assert sample(name, SD15, sigmas, x, never_asked) is x


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name != "lcm"])
def test_a_level_that_repeats_changes_nothing(name: str) -> None:
    data, x = Gaussian(SD15), initial_noise((1, 4, 4, 4), 0) * 10
    once = sample(name, SD15, torch.tensor([10.0, 10.0]), x, data.denoised)
    torch.testing.assert_close(once, x)
    assert sample(name, SD15, torch.tensor([10.0, 4.0, 4.0, 1.0, 0.0]), x, data.denoised).isfinite().all()


@pytest.mark.parametrize("name", SAMPLERS)
def test_what_was_yielded_stays_as_it_was(name: str) -> None:
    kept: list[tuple[Tensor, Tensor]] = []

    def denoiser(x: Tensor, sigma: float) -> Tensor:
        denoised = x * 0.5
        kept.extend([(x, x.clone()), (denoised, denoised.clone())])
        return denoised

    sample(name, SD15, schedule_sigmas(SD15, "karras", 4), torch.ones(1, 4, 2, 2), denoiser)
    assert all(torch.equal(now, then) for now, then in kept)


@FAMILIES
@pytest.mark.parametrize("name", single_step_names())
def test_a_loop_of_single_steps_is_bit_equal_to_the_sampler(model: ModelSigmas, name: str) -> None:
    data, sigmas = Gaussian(model), schedule_sigmas(model, "normal", 6)
    start = initial_noise((1, 8, 8, 8), 3) * float(sigmas[0])
    x = start
    for i in range(6):
        sigma, sigma_next = float(sigmas[i]), float(sigmas[i + 1])
        noise = SeededStepNoise(start, sigmas, 5, skip=i)
        x = single_step(SAMPLERS[name], x, data.denoised(x, sigma), sigma, sigma_next, noise, model)
    assert torch.equal(x, sample(name, model, sigmas, start, data.denoised, seed=5))


def test_a_loop_of_euler_steps_is_bit_equal_to_euler() -> None:
    data, sigmas = Gaussian(SD15), schedule_sigmas(SD15, "karras", 6)
    start = x = initial_noise((1, 8, 8, 8), 3)
    for i in range(6):
        sigma = float(sigmas[i])
        x = euler_step(x, data.denoised(x, sigma), sigma, float(sigmas[i + 1]))
    assert torch.equal(x, sample("euler", SD15, sigmas, start, data.denoised))


def test_a_single_step_of_heun_is_refused() -> None:
    x = torch.ones(1)
    with pytest.raises(ValueError, match="more than one prediction a step"):
        single_step(heun, x, x, 3.0, 1.0, SeededStepNoise(x, torch.tensor([3.0, 1.0]), 0), SD15)


def test_an_unknown_solver_type_is_refused_before_any_step() -> None:
    x, sigmas = torch.ones(1), torch.tensor([3.0, 0.0])
    with pytest.raises(ValueError, match="'midpoint' and 'heun'"):
        next(dpmpp_2m_sde(x, sigmas, SeededStepNoise(x, sigmas, 0), SD15, solver_type="rk4"))  # type: ignore[arg-type]


def test_ancestral_without_eta_is_euler() -> None:
    x, sigmas, data = initial_noise((1, 4, 8, 8), 0) * 14, schedule_sigmas(SD15, "karras", 5), Gaussian(SD15)
    noise = SeededStepNoise(x, sigmas, 0)
    ancestral = drive(euler_ancestral(x, sigmas, noise, SD15, eta=0.0), data.denoised)
    torch.testing.assert_close(ancestral, drive(euler(x, sigmas, noise, SD15), data.denoised))


def test_2m_gives_a_constant_prediction_exactly() -> None:
    x, sigmas = initial_noise((1, 4, 8, 8), 0), torch.tensor([10.0, 5.0, 2.0, 1.0])
    target = torch.full_like(x, 0.3)
    reached = drive(dpmpp_2m(x * 10 + target, sigmas, SeededStepNoise(x, sigmas, 0), SD15), lambda x, sigma: target)
    torch.testing.assert_close(reached, x + target)


def test_a_sampler_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    for name in SAMPLERS:
        sample(name, SD15, schedule_sigmas(SD15, "karras", 3), torch.ones(1, 4, 2, 2), Gaussian(SD15).denoised)
    assert torch.equal(torch.get_rng_state(), before)


def wavy(x: Tensor, sigma: float) -> Tensor:
    """A prediction that is neither linear in x nor alike in all places."""
    ramp = torch.linspace(-1, 1, x.numel()).reshape(x.shape)
    return (x + ramp) / (1 + sigma**2) + 0.1 * torch.tanh(x * 3)


GOLDEN_SUMS = {
    "euler": (21.32695, 424.00934),
    "euler_cfg_pp": (21.32695, 424.00934),
    "euler_ancestral": (-14.89330, 496.17087),
    "euler_ancestral_cfg_pp": (-14.89330, 496.17087),
    "heun": (29.01585, 776.88220),
    "heunpp2": (21.95930, 435.66278),
    "exp_heun_2_x0": (24.55462, 560.66370),
    "exp_heun_2_x0_sde": (9.18407, 769.34009),
    "dpm_2": (27.43047, 672.62061),
    "dpm_2_ancestral": (-16.89844, 1470.00342),
    "lms": (23.78402, 484.19730),
    "dpm_fast": (28.62628, 719.22034),
    "dpm_adaptive": (26.24046, 650.21960),
    "dpmpp_2s_ancestral": (-16.94330, 809.41058),
    "dpmpp_2s_ancestral_cfg_pp": (-16.94330, 809.41058),
    "dpmpp_sde": (1.18790, 784.88727),
    "dpmpp_sde_gpu": (1.18790, 784.88727),
    "dpmpp_2m": (27.53469, 568.08704),
    "dpmpp_2m_cfg_pp": (27.53469, 568.08704),
    "dpmpp_2m_sde": (13.85215, 759.34888),
    "dpmpp_2m_sde_gpu": (13.85215, 759.34888),
    "dpmpp_2m_sde_heun": (16.64653, 886.14386),
    "dpmpp_2m_sde_heun_gpu": (16.64653, 886.14386),
    "dpmpp_3m_sde": (15.99727, 1083.43115),
    "dpmpp_3m_sde_gpu": (15.99727, 1083.43115),
    "ddpm": (-14.89330, 496.17087),
    "lcm": (-15.66558, 528.67163),
    "ipndm": (27.20720, 606.93292),
    "ipndm_v": (23.78402, 484.19730),
    "deis": (25.05118, 502.75772),
    "res_multistep": (29.09604, 602.58118),
    "res_multistep_cfg_pp": (29.09604, 602.58118),
    "res_multistep_ancestral": (-82.68996, 1687.18042),
    "res_multistep_ancestral_cfg_pp": (-82.68996, 1687.18042),
    "gradient_estimation": (28.37420, 608.08337),
    "gradient_estimation_cfg_pp": (28.37420, 608.08337),
    "er_sde": (3.87047, 505.49380),
    "seeds_2": (0.46016, 782.62653),
    "seeds_3": (-2.87598, 1019.31818),
    "sa_solver": (8.48415, 597.85046),
    "sa_solver_pece": (6.71692, 663.61084),
    "ddim": (21.32695, 424.00934),
    "uni_pc": (30.72095, 708.76599),
    "uni_pc_bh2": (29.32366, 649.61877),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_sums_of_a_toy_run_stay_as_they_were(name: str) -> None:
    sigmas = schedule_sigmas(SD15, "karras", 8)
    x = SD15.start(initial_noise((1, 4, 8, 8), 42), torch.zeros(1, 4, 8, 8), float(sigmas[0]))
    x = sample(name, SD15, sigmas, x, wavy, seed=42)
    assert (float(x.sum()), float(x.abs().sum())) == pytest.approx(GOLDEN_SUMS[name], rel=1e-4, abs=1e-3)
