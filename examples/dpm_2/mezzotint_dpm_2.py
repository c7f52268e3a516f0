"""The sampler `dpm_2`: DPM-Solver-2 of Lu et al. 2022, "DPM-Solver: A Fast ODE Solver for Diffusion Probabilistic
Model Sampling in Around 10 Steps", algorithm 1.

Written in sigma: there, one step in half the log-SNR goes to the geometric mean of two noise levels and takes the
direction that the network sees in that place.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

from mezzotint import hookimpl

if TYPE_CHECKING:
    from torch import Tensor

    from mezzotint.engine.catalogue import Register
    from mezzotint.nodes.samplers import Denoising, NoiseScaling, StepNoise


@hookimpl
def register_samplers(register: Register) -> None:
    register("dpm_2", dpm_2, traits={"discards_penultimate"})


def dpm_2(x: Tensor, sigmas: Tensor, step_noise: StepNoise, scaling: NoiseScaling) -> Denoising:
    """Second order, two predictions a step; the step to 0, which has no log-SNR, takes the prediction as it is."""
    for sigma, sigma_next in pairwise(sigmas.tolist()):
        denoised = yield x, sigma
        if sigma_next == 0:
            return denoised
        middle = math.sqrt(sigma * sigma_next)
        x_middle = x + (x - denoised) * ((middle - sigma) / sigma)
        denoised = yield x_middle, middle
        x = x + (x_middle - denoised) * ((sigma_next - sigma) / middle)
    return x
