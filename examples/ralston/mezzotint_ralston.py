"""The sampler `ralston`: the Runge-Kutta method of second order with the least bound on its error, of Ralston 1962,
"Runge-Kutta Methods with Minimum Error Bounds".

Written in sigma: a step looks two thirds of the way ahead, and counts the direction there three times as much as the
one at its beginning.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from mezzotint import hookimpl

if TYPE_CHECKING:
    from torch import Tensor

    from mezzotint.engine.catalogue import Register
    from mezzotint.nodes.samplers.sampler import Denoising, NoiseScaling, StepNoise


@hookimpl
def register_samplers(register: Register) -> None:
    register("ralston", ralston)


def ralston(x: Tensor, sigmas: Tensor, step_noise: StepNoise, scaling: NoiseScaling) -> Denoising:
    """Second order, two predictions a step."""
    for sigma, sigma_next in pairwise(sigmas.tolist()):
        d = (x - (yield x, sigma)) / sigma
        ahead = sigma + (sigma_next - sigma) * 2 / 3
        x_ahead = x + d * (ahead - sigma)
        d_ahead = (x_ahead - (yield x_ahead, ahead)) / ahead
        x = x + (d + d_ahead * 3) * ((sigma_next - sigma) / 4)
    return x
