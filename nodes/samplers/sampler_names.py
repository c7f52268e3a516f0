"""The samplers, schedules and guiders by name. Listing nodes and validating a workflow need no torch: things are named
here by where they are imported from, and imported when one is used.

What is registered here comes through the hooks that a plugin's samplers, schedules and guiders come through.
"""

from __future__ import annotations

from mezzotint.engine.catalogue import Register, catalogue

TAKES_SINGLE_STEPS = "takes_single_steps"
"""Needs one prediction a step and remembers nothing, so that its steps can be taken outside its loop."""
RENOISES_MASK_AFRESH = "renoises_mask_afresh"
"""The kept (unmasked) region is noised with noise of the next seed, instead of the initial noise."""
SEES_UNCONDITIONAL = "sees_unconditional"
"""Is sent the guided prediction and the one for the negative conditioning: a `cfg_plus_plus_samplers.GuidedPair`."""
DISCARDS_PENULTIMATE = "discards_penultimate"
"""Is given one step more, without the least noise level before 0."""

DIFFUSERS_SCHEDULER_NAMES = (
    "DDIMScheduler",
    "DDPMScheduler",
    "DEISMultistepScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler",
    "EulerAncestralDiscreteScheduler",
    "EulerDiscreteScheduler",
    "FlowMatchEulerDiscreteScheduler",
    "FlowMatchHeunDiscreteScheduler",
    "HeunDiscreteScheduler",
    "LCMScheduler",
    "LMSDiscreteScheduler",
    "PNDMScheduler",
    "SASolverScheduler",
    "TCDScheduler",
    "UniPCMultistepScheduler",
)
"""The classes of diffusers that are known to work."""


def register_samplers(register: Register) -> None:
    """Register the built-in samplers, in the order that editors list them; a plugin's come after."""
    at = "mezzotint.nodes.samplers."
    single = {TAKES_SINGLE_STEPS}
    twice = {DISCARDS_PENULTIMATE}
    pair = {SEES_UNCONDITIONAL}
    plus = f"{at}cfg_plus_plus_samplers:"
    register("euler", f"{at}basic_samplers:euler", traits=single)
    register("euler_cfg_pp", f"{plus}euler_cfg_pp", traits=pair)
    register("euler_ancestral", f"{at}basic_samplers:euler_ancestral", traits=single)
    register("euler_ancestral_cfg_pp", f"{plus}euler_ancestral_cfg_pp", traits=pair)
    register("heun", f"{at}basic_samplers:heun")
    register("heunpp2", f"{at}runge_kutta_samplers:heunpp2")
    register("exp_heun_2_x0", f"{at}log_snr_samplers:exp_heun_2_x0")
    register("exp_heun_2_x0_sde", f"{at}log_snr_samplers:exp_heun_2_x0_sde")
    register("dpm_2", f"{at}runge_kutta_samplers:dpm_2", traits=twice)
    register("dpm_2_ancestral", f"{at}runge_kutta_samplers:dpm_2_ancestral", traits=twice)
    register("lms", f"{at}multistep_samplers:lms")
    register("dpm_fast", f"{at}dpm_solver:dpm_fast")
    register("dpm_adaptive", f"{at}dpm_solver:dpm_adaptive")
    register("dpmpp_2s_ancestral", f"{at}log_snr_samplers:dpmpp_2s_ancestral")
    register("dpmpp_2s_ancestral_cfg_pp", f"{plus}dpmpp_2s_ancestral_cfg_pp", traits=pair)
    register("dpmpp_sde", f"{at}log_snr_samplers:dpmpp_sde")
    register("dpmpp_sde_gpu", f"{at}log_snr_samplers:dpmpp_sde", noise_on_device=True)
    register("dpmpp_2m", f"{at}basic_samplers:dpmpp_2m")
    register("dpmpp_2m_cfg_pp", f"{plus}dpmpp_2m_cfg_pp", traits=pair)
    register("dpmpp_2m_sde", f"{at}basic_samplers:dpmpp_2m_sde")
    register("dpmpp_2m_sde_gpu", f"{at}basic_samplers:dpmpp_2m_sde", noise_on_device=True)
    register("dpmpp_2m_sde_heun", f"{at}basic_samplers:dpmpp_2m_sde", solver_type="heun")
    register("dpmpp_2m_sde_heun_gpu", f"{at}basic_samplers:dpmpp_2m_sde", solver_type="heun", noise_on_device=True)
    register("dpmpp_3m_sde", f"{at}log_snr_samplers:dpmpp_3m_sde")
    register("dpmpp_3m_sde_gpu", f"{at}log_snr_samplers:dpmpp_3m_sde", noise_on_device=True)
    register("ddpm", f"{at}basic_samplers:ddpm", traits=single)
    register("lcm", f"{at}basic_samplers:lcm", traits=single)
    register("ipndm", f"{at}multistep_samplers:ipndm")
    register("ipndm_v", f"{at}multistep_samplers:ipndm_v")
    register("deis", f"{at}multistep_samplers:deis")
    register("res_multistep", f"{at}log_snr_samplers:res_multistep")
    register("res_multistep_cfg_pp", f"{plus}res_multistep_cfg_pp", traits=pair)
    register("res_multistep_ancestral", f"{at}log_snr_samplers:res_multistep_ancestral")
    register("res_multistep_ancestral_cfg_pp", f"{plus}res_multistep_ancestral_cfg_pp", traits=pair)
    register("gradient_estimation", f"{at}multistep_samplers:gradient_estimation")
    register("gradient_estimation_cfg_pp", f"{plus}gradient_estimation_cfg_pp", traits=pair)
    register("er_sde", f"{at}log_snr_samplers:er_sde")
    register("seeds_2", f"{at}log_snr_samplers:seeds_2")
    register("seeds_3", f"{at}log_snr_samplers:seeds_3")
    register("sa_solver", f"{at}sa_solver:sa_solver")
    register("sa_solver_pece", f"{at}sa_solver:sa_solver", evaluates_twice=True)
    register("ddim", f"{at}basic_samplers:ddim", traits={TAKES_SINGLE_STEPS, RENOISES_MASK_AFRESH})
    register("uni_pc", f"{at}uni_pc:uni_pc", traits=twice)
    register("uni_pc_bh2", f"{at}uni_pc:uni_pc", traits=twice, variant="bh2")


def register_schedules(register: Register) -> None:
    """Register the built-in schedules, in the order that editors list them; a plugin's come after."""
    at = "mezzotint.nodes.samplers.schedules:"
    for name in (
        "simple", "sgm_uniform", "karras", "exponential", "ddim_uniform", "beta", "normal", "linear_quadratic",
        "kl_optimal",
    ):  # fmt: skip
        register(name, f"{at}{name}")


def register_guiders(register: Register) -> None:
    """Register the built-in guiders."""
    register("cfg", "mezzotint.nodes.sampling.guidance:CFGGuider")
    register("positive only", "mezzotint.nodes.sampling.guidance:positive_guider")


SAMPLERS = catalogue("sampler").describe(
    {TAKES_SINGLE_STEPS, RENOISES_MASK_AFRESH, SEES_UNCONDITIONAL, DISCARDS_PENULTIMATE}, register_samplers
)
"""Name → `sampler.SamplerFunction`."""
SCHEDULES = catalogue("schedule").describe((), register_schedules)
"""Name → `schedules.ScheduleFunction`."""
GUIDERS = catalogue("guider").describe((), register_guiders)
"""Name → a function of model, positive, negative and cfg that makes a `sampling.guidance.GuiderValue`."""


def discards_penultimate(sampler_name: str | None) -> bool:
    """Whether a sampler is given one step more, without the least noise level before 0."""
    return sampler_name is not None and SAMPLERS.has_trait(sampler_name, DISCARDS_PENULTIMATE)


def single_step_names() -> list[str]:
    """The samplers that can take a step outside their loop."""
    return SAMPLERS.having(TAKES_SINGLE_STEPS)
