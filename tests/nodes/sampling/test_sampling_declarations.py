"""The sampling nodes are declared as saved workflows expect them, and declaring them loads no torch."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from mezzotint.engine.definition import define
from mezzotint.engine.node import nodes_in
from mezzotint.engine.registry import Registry
from mezzotint.nodes.samplers import diffusers_schedulers, sampler_names
from mezzotint.nodes.sampling import denoise_step, noise_levels, sampler_parts, sampling_nodes

SAMPLER_NAMES = [
    "euler", "euler_cfg_pp", "euler_ancestral", "euler_ancestral_cfg_pp", "heun", "heunpp2", "exp_heun_2_x0",
    "exp_heun_2_x0_sde", "dpm_2", "dpm_2_ancestral", "lms", "dpm_fast", "dpm_adaptive", "dpmpp_2s_ancestral",
    "dpmpp_2s_ancestral_cfg_pp", "dpmpp_sde", "dpmpp_sde_gpu", "dpmpp_2m", "dpmpp_2m_cfg_pp", "dpmpp_2m_sde",
    "dpmpp_2m_sde_gpu", "dpmpp_2m_sde_heun", "dpmpp_2m_sde_heun_gpu", "dpmpp_3m_sde", "dpmpp_3m_sde_gpu", "ddpm",
    "lcm", "ipndm", "ipndm_v", "deis", "res_multistep", "res_multistep_cfg_pp", "res_multistep_ancestral",
    "res_multistep_ancestral_cfg_pp", "gradient_estimation", "gradient_estimation_cfg_pp", "er_sde", "seeds_2",
    "seeds_3", "sa_solver", "sa_solver_pece", "ddim", "uni_pc", "uni_pc_bh2",
]  # fmt: skip
"""Those of the field, in its order."""
SCHEDULE_NAMES = [
    "simple", "sgm_uniform", "karras", "exponential", "ddim_uniform", "beta", "normal", "linear_quadratic",
    "kl_optimal",
]  # fmt: skip

SEED_ROW = ["INT", {"default": 0, "min": 0, "max": 2**64 - 1, "control_after_generate": True}]
STEPS_ROW = ["INT", {"default": 20, "min": 1, "max": 10000}]
CFG_ROW = ["FLOAT", {"default": 8.0, "min": 0, "max": 100, "step": 0.1, "round": 0.01}]
DENOISE_ROW = ["FLOAT", {"default": 1.0, "min": 0, "max": 1, "step": 0.01}]
SAMPLER_ROW = [SAMPLER_NAMES, {"default": "euler"}]
SCHEDULER_ROW = [SCHEDULE_NAMES, {"default": "simple"}]
START_ROW, END_ROW = (["INT", {"default": value, "min": 0, "max": 10000}] for value in (0, 10000))
SHARE_ROW = ["FLOAT", {"default": 1.0, "min": 0, "max": 100, "step": 0.01, "round": False}]


def number(default: float, low: float, high: float, step: float) -> list[Any]:
    return ["FLOAT", {"default": default, "min": low, "max": high, "step": step, "round": False}]


def combo(*choices: str) -> list[Any]:
    return [list(choices), {"default": choices[0]}]


MODEL, POSITIVE, LATENT, SIGMAS = (["MODEL"], ["CONDITIONING"], ["LATENT"], ["SIGMAS"])
NAMED_PAIR = {"output": ["LATENT", "LATENT"], "output_name": ["output", "denoised_output"]}
CUSTOM = "sampling/custom_sampling"
RANGE = {"sigma_max": number(14.614642, 0, 5000, 0.01), "sigma_min": number(0.0291675, 0, 5000, 0.01)}
SPLIT = {"output": ["SIGMAS", "SIGMAS"], "output_name": ["high_sigmas", "low_sigmas"]}

ROWS: dict[str, tuple[str, str, dict[str, Any], dict[str, Any]]] = {
    "KSampler": (
        "KSampler", "sampling",
        {"model": MODEL, "seed": SEED_ROW, "steps": STEPS_ROW, "cfg": CFG_ROW, "sampler_name": SAMPLER_ROW,
         "scheduler": SCHEDULER_ROW, "positive": POSITIVE, "negative": POSITIVE, "latent_image": LATENT,
         "denoise": DENOISE_ROW},
        {"output": ["LATENT"]},
    ),
    "KSamplerAdvanced": (
        "KSampler (Advanced)", "sampling",
        {"model": MODEL, "add_noise": combo("enable", "disable"), "noise_seed": SEED_ROW, "steps": STEPS_ROW,
         "cfg": CFG_ROW, "sampler_name": SAMPLER_ROW, "scheduler": SCHEDULER_ROW, "positive": POSITIVE,
         "negative": POSITIVE, "latent_image": LATENT, "start_at_step": START_ROW, "end_at_step": END_ROW,
         "return_with_leftover_noise": combo("disable", "enable")},
        {"output": ["LATENT"]},
    ),
    "SamplerCustom": (
        "SamplerCustom", CUSTOM,
        {"model": MODEL, "add_noise": ["BOOLEAN", {"default": True}], "noise_seed": SEED_ROW, "cfg": CFG_ROW,
         "positive": POSITIVE, "negative": POSITIVE, "sampler": ["SAMPLER"], "sigmas": SIGMAS, "latent_image": LATENT},
        NAMED_PAIR,
    ),
    "SamplerCustomAdvanced": (
        "SamplerCustomAdvanced", CUSTOM,
        {"noise": ["NOISE"], "guider": ["GUIDER"], "sampler": ["SAMPLER"], "sigmas": SIGMAS, "latent_image": LATENT},
        NAMED_PAIR,
    ),
    "KSamplerSelect": (
        "KSamplerSelect", f"{CUSTOM}/samplers", {"sampler_name": SAMPLER_ROW}, {"output": ["SAMPLER"]}
    ),
    "SamplerEulerAncestral": (
        "SamplerEulerAncestral", f"{CUSTOM}/samplers", {"eta": SHARE_ROW, "s_noise": SHARE_ROW}, {"output": ["SAMPLER"]}
    ),
    "SamplerDPMPP_2M_SDE": (
        "SamplerDPMPP_2M_SDE", f"{CUSTOM}/samplers",
        {"solver_type": combo("midpoint", "heun"), "eta": SHARE_ROW, "s_noise": SHARE_ROW,
         "noise_device": combo("gpu", "cpu")},
        {"output": ["SAMPLER"]},
    ),
    "SamplerDPMPP_SDE": (
        "SamplerDPMPP_SDE", f"{CUSTOM}/samplers",
        {"eta": SHARE_ROW, "s_noise": SHARE_ROW, "r": ["FLOAT", {**SHARE_ROW[1], "default": 0.5}],
         "noise_device": combo("gpu", "cpu")},
        {"output": ["SAMPLER"]},
    ),
    "SamplerLMS": (
        "SamplerLMS", f"{CUSTOM}/samplers", {"order": ["INT", {"default": 4, "min": 1, "max": 100}]},
        {"output": ["SAMPLER"]},
    ),
    "SamplerLCMUpscale": (
        "SamplerLCMUpscale", f"{CUSTOM}/samplers",
        {"scale_ratio": number(1.0, 0.1, 20, 0.01),
         "scale_steps": ["INT", {"default": -1, "min": -1, "max": 1000}],
         "upscale_method": combo("bislerp", "nearest-exact", "bilinear", "area", "bicubic")},
        {"output": ["SAMPLER"]},
    ),
    "BasicScheduler": (
        "BasicScheduler", f"{CUSTOM}/schedulers",
        {"model": MODEL, "scheduler": SCHEDULER_ROW, "steps": STEPS_ROW, "denoise": DENOISE_ROW},
        {"output": ["SIGMAS"]},
    ),
    "KarrasScheduler": (
        "KarrasScheduler", f"{CUSTOM}/schedulers", {"steps": STEPS_ROW, **RANGE, "rho": number(7.0, 0, 100, 0.01)},
        {"output": ["SIGMAS"]},
    ),
    "ExponentialScheduler": (
        "ExponentialScheduler", f"{CUSTOM}/schedulers", {"steps": STEPS_ROW, **RANGE}, {"output": ["SIGMAS"]}
    ),
    "BetaSamplingScheduler": (
        "BetaSamplingScheduler", f"{CUSTOM}/schedulers",
        {"model": MODEL, "steps": STEPS_ROW, "alpha": number(0.6, 0, 50, 0.01), "beta": number(0.6, 0, 50, 0.01)},
        {"output": ["SIGMAS"]},
    ),
    "PolyexponentialScheduler": (
        "PolyexponentialScheduler", f"{CUSTOM}/schedulers",
        {"steps": STEPS_ROW, **RANGE, "rho": number(1.0, 0, 100, 0.01)}, {"output": ["SIGMAS"]},
    ),
    "VPScheduler": (
        "VPScheduler", f"{CUSTOM}/schedulers",
        {"steps": STEPS_ROW, "beta_d": number(19.9, 0, 5000, 0.01), "beta_min": number(0.1, 0, 5000, 0.01),
         "eps_s": number(0.001, 0, 1, 0.0001)},
        {"output": ["SIGMAS"]},
    ),
    "LaplaceScheduler": (
        "LaplaceScheduler", f"{CUSTOM}/schedulers",
        {"steps": STEPS_ROW, **RANGE, "mu": number(0.0, -10, 10, 0.1), "beta": number(0.5, 0, 10, 0.1)},
        {"output": ["SIGMAS"]},
    ),
    "SDTurboScheduler": (
        "SDTurboScheduler", f"{CUSTOM}/schedulers",
        {"model": MODEL, "steps": ["INT", {"default": 1, "min": 1, "max": 10}], "denoise": DENOISE_ROW},
        {"output": ["SIGMAS"]},
    ),
    "AlignYourStepsScheduler": (
        "AlignYourStepsScheduler", f"{CUSTOM}/schedulers",
        {"model_type": combo("SD1", "SDXL", "SVD"), "steps": ["INT", {"default": 10, "min": 1, "max": 10000}],
         "denoise": DENOISE_ROW},
        {"output": ["SIGMAS"]},
    ),
    "SplitSigmas": ("SplitSigmas", f"{CUSTOM}/sigmas", {"sigmas": SIGMAS, "step": START_ROW}, SPLIT),
    "SplitSigmasDenoise": (
        "SplitSigmasDenoise", f"{CUSTOM}/sigmas", {"sigmas": SIGMAS, "denoise": DENOISE_ROW}, SPLIT
    ),
    "FlipSigmas": ("FlipSigmas", f"{CUSTOM}/sigmas", {"sigmas": SIGMAS}, {"output": ["SIGMAS"]}),
    "SetFirstSigma": (
        "SetFirstSigma", f"{CUSTOM}/sigmas", {"sigmas": SIGMAS, "sigma": number(136.0, 0, 20000, 0.001)},
        {"output": ["SIGMAS"]},
    ),
    "RandomNoise": ("RandomNoise", f"{CUSTOM}/noise", {"noise_seed": SEED_ROW}, {"output": ["NOISE"]}),
    "DisableNoise": ("DisableNoise", f"{CUSTOM}/noise", {}, {"output": ["NOISE"]}),
    "AddNoise": (
        "AddNoise", "_for_testing/custom_sampling/noise",
        {"model": MODEL, "noise": ["NOISE"], "sigmas": SIGMAS, "latent_image": LATENT}, {"output": ["LATENT"]},
    ),
    "BasicGuider": (
        "BasicGuider", f"{CUSTOM}/guiders", {"model": MODEL, "conditioning": POSITIVE}, {"output": ["GUIDER"]}
    ),
    "CFGGuider": (
        "CFGGuider", f"{CUSTOM}/guiders",
        {"model": MODEL, "positive": POSITIVE, "negative": POSITIVE, "cfg": CFG_ROW}, {"output": ["GUIDER"]},
    ),
}  # fmt: skip
OURS = {"DiffusersSampler", "GuiderSelect", "LatentNoise", "UNetDenoise", "SchedulerStep"}


@pytest.fixture(scope="module")
def registry() -> Registry:
    registry = Registry()
    for function in nodes_in(sampling_nodes, sampler_parts, noise_levels, denoise_step):
        registry.register(function)
    return registry


def without_tooltips(given: list[Any]) -> list[Any]:
    options = {key: value for options in given[1:] for key, value in options.items() if key != "tooltip"}
    return [given[0], options] if options else [given[0]]


@pytest.mark.parametrize("name", ROWS)
def test_a_node_is_what_saved_workflows_expect(name: str, registry: Registry) -> None:
    title, category, inputs, outputs = ROWS[name]
    made = define(registry[name])
    declared = made["input"].get("required", {})
    assert (made["display_name"], made["category"]) == (title, category)
    assert {key: without_tooltips(value) for key, value in declared.items()} == inputs
    assert list(declared) == list(inputs)  # saved workflows give the values of widgets in this order
    assert "optional" not in made["input"]
    assert {key: made[key] for key in outputs} == outputs


def test_all_nodes_are_accounted_for_and_say_what_they_do(registry: Registry) -> None:
    assert {spec.name for spec in registry} == {*ROWS, *OURS}
    assert [spec.name for spec in registry if not spec.description] == []


def test_what_samples_runs_on_the_device_and_the_rest_does_not(registry: Registry) -> None:
    on_device = {spec.name for spec in registry if spec.lane == "device"}
    samplers = {"KSampler", "KSamplerAdvanced", "SamplerCustom", "SamplerCustomAdvanced"}
    assert on_device == {*samplers, "LatentNoise", "UNetDenoise", "SchedulerStep"}


def test_the_names_are_those_there_are_and_what_is_behind_each_can_be_imported() -> None:
    assert [*sampler_names.SAMPLERS] == SAMPLER_NAMES
    assert [*sampler_names.SCHEDULES] == SCHEDULE_NAMES
    assert sampler_names.single_step_names() == ["euler", "euler_ancestral", "ddpm", "lcm", "ddim"]
    for catalogue in (sampler_names.SAMPLERS, sampler_names.SCHEDULES, sampler_names.GUIDERS):
        assert all(callable(thing) for thing in catalogue.values())
    assert diffusers_schedulers.SCHEDULER_NAMES == sampler_names.DIFFUSERS_SCHEDULER_NAMES


def test_declaring_the_nodes_and_listing_the_samplers_loads_no_torch() -> None:
    modules = "sampling_nodes, sampler_parts, noise_levels, denoise_step"
    lines = (f"from mezzotint.nodes.sampling import {modules}", "from mezzotint.nodes.samplers import sampler_names")
    code = "\n".join([*lines, "sampler_names.SAMPLERS.names", "import sys", "print('torch' in sys.modules)"])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
