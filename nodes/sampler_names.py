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
DISCARDS_PENULTIMATE = "discards_penultimate"
"""Is given one step more, without the least noise level before 0."""

WELL_KNOWN_DISCARDERS = frozenset({"dpm_2", "dpm_2_ancestral", "uni_pc", "uni_pc_bh2"})
"""Samplers of other editors that do so; a plugin that brings one need not say it."""

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
    at = "mezzotint.nodes.samplers:"
    register("euler", f"{at}euler", traits={TAKES_SINGLE_STEPS})
    register("euler_ancestral", f"{at}euler_ancestral", traits={TAKES_SINGLE_STEPS})
    register("heun", f"{at}heun")
    register("dpmpp_2m", f"{at}dpmpp_2m")
    register("dpmpp_2m_sde", f"{at}dpmpp_2m_sde")
    register("dpmpp_2m_sde_gpu", f"{at}dpmpp_2m_sde", noise_on_device=True)
    register("dpmpp_2m_sde_heun", f"{at}dpmpp_2m_sde", solver_type="heun")
    register("dpmpp_2m_sde_heun_gpu", f"{at}dpmpp_2m_sde", solver_type="heun", noise_on_device=True)
    register("lcm", f"{at}lcm", traits={TAKES_SINGLE_STEPS})
    register("ddim", f"{at}ddim", traits={TAKES_SINGLE_STEPS, RENOISES_MASK_AFRESH})


def register_schedules(register: Register) -> None:
    """Register the built-in schedules, in the order that editors list them; a plugin's come after."""
    at = "mezzotint.nodes.schedules:"
    for name in (
        "simple", "sgm_uniform", "karras", "exponential", "ddim_uniform", "beta", "normal", "linear_quadratic",
        "kl_optimal",
    ):  # fmt: skip
        register(name, f"{at}{name}")


def register_guiders(register: Register) -> None:
    """Register the built-in guiders."""
    register("cfg", "mezzotint.nodes.guidance:CFGGuider")
    register("positive only", "mezzotint.nodes.guidance:positive_guider")


SAMPLERS = catalogue("sampler").describe(
    {TAKES_SINGLE_STEPS, RENOISES_MASK_AFRESH, DISCARDS_PENULTIMATE}, register_samplers
)
"""Name → `samplers.SamplerFunction`."""
SCHEDULES = catalogue("schedule").describe((), register_schedules)
"""Name → `schedules.ScheduleFunction`."""
GUIDERS = catalogue("guider").describe((), register_guiders)
"""Name → a function of model, positive, negative and cfg that makes a `guidance.GuiderValue`."""


def discards_penultimate(sampler_name: str | None) -> bool:
    """Whether a sampler is given one step more, without the least noise level before 0."""
    if sampler_name is None:
        return False
    return sampler_name in WELL_KNOWN_DISCARDERS or SAMPLERS.has_trait(sampler_name, DISCARDS_PENULTIMATE)


def single_step_names() -> list[str]:
    """The samplers that can take a step outside their loop."""
    return SAMPLERS.having(TAKES_SINGLE_STEPS)
