"""The names of samplers and schedules, so that listing nodes and validating a workflow need no torch.

The tuples repeat what `samplers`, `schedules` and `diffusers_schedulers` hold; a test holds them together. A plugin
that adds a sampler or a schedule has loaded those modules, so then they are asked.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

SAMPLER_NAMES = (
    "euler",
    "euler_ancestral",
    "heun",
    "dpmpp_2m",
    "dpmpp_2m_sde",
    "dpmpp_2m_sde_gpu",
    "dpmpp_2m_sde_heun",
    "dpmpp_2m_sde_heun_gpu",
    "lcm",
    "ddim",
)
SINGLE_STEP_NAMES = ("euler", "euler_ancestral", "lcm", "ddim")
"""The samplers that can take a step outside their loop."""
SCHEDULE_NAMES = (
    "simple",
    "sgm_uniform",
    "karras",
    "exponential",
    "ddim_uniform",
    "beta",
    "normal",
    "linear_quadratic",
    "kl_optimal",
)
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


def sampler_names() -> list[str]:
    """All samplers by their wire names, those of plugins last."""
    return _loaded("samplers", "SAMPLERS", SAMPLER_NAMES)


def schedule_names() -> list[str]:
    """All schedules by their wire names, those of plugins last."""
    return _loaded("schedules", "SCHEDULES", SCHEDULE_NAMES)


def _loaded(module: str, table: str, names: Iterable[str]) -> list[str]:
    return [*getattr(sys.modules.get(f"{__package__}.{module}"), table, names)]
