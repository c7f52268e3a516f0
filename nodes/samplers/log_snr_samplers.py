"""Samplers that step in half the log-SNR, lambda = ln(alpha / sigma), with exponential integrators; see `sampler`.

What a network predicts, x0, is taken as constant, linear or quadratic in lambda over a step of h. With noise (eta > 0)
x decays faster and fresh noise makes up for it: the SDE of Lu et al. 2022b, section 4.3.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from torch import Tensor

from .sampler import Denoising, NoiseScaling, StepNoise, as_level, steps_of


def level_at(half_log_snr: float, scaling: NoiseScaling) -> float:
    """The noise level at half a log-SNR."""
    return as_level(1 / (1 + math.exp(half_log_snr)) if scaling.is_flow else math.exp(-half_log_snr))


@dataclass(frozen=True, slots=True)
class AncestralStep:
    """An ancestral step: x moves by a prediction, then gets noise. Song et al. 2021 (DDIM), equation 16, of x / alpha.

    Attributes:
        h: how far x moves in half the log-SNR. shrink: the factor of x. noise: the factor of standard noise.
        alpha: at the level of arrival.
    """

    h: float
    shrink: float
    noise: float
    alpha: float

    @classmethod
    def between(cls, sigma: float, sigma_next: float, eta: float, scaling: NoiseScaling) -> AncestralStep:
        ratio, ratio_next = (math.exp(-scaling.half_log_snr(level)) for level in (sigma, sigma_next))
        up = min(ratio_next, eta * ratio_next * math.sqrt(max(1 - (ratio_next / ratio) ** 2, 0.0)))
        down = math.sqrt(ratio_next**2 - up**2)
        alpha = scaling.alpha(sigma_next)
        return cls(math.log(ratio / down), alpha * down / sigma, alpha * up, alpha)

    def moved(self, x: Tensor, denoised: Tensor) -> Tensor:
        """x at the level down, seen at the scale of the level of arrival."""
        return x * self.shrink - denoised * (self.alpha * math.expm1(-self.h))

    def moved_by_two(self, x: Tensor, denoised: Tensor, before: tuple[float, Tensor] | None) -> Tensor:
        """`moved` along the line through two predictions; `before`: how far off (below 0, in lambda), and the other."""
        if before is None:
            return self.moved(x, denoised)
        phi_1 = -math.expm1(-self.h) / self.h
        share = (1 - phi_1) / before[0]
        return x * self.shrink + (denoised * (phi_1 - share) + before[1] * share) * (self.alpha * self.h)


def dpmpp_2s_ancestral(
    x: Tensor, sigmas: Tensor, step_noise: StepNoise, scaling: NoiseScaling, *, eta: float = 1.0, s_noise: float = 1.0
) -> Denoising:
    """DPM-Solver++(2S) to the level down, then fresh noise. Lu et al. 2022b, algorithm 1, with r = 1/2."""
    for sigma, sigma_next in steps_of(sigmas):
        denoised = yield x, sigma
        if sigma_next == 0:
            return denoised
        if sigma_next == sigma:
            continue
        step = AncestralStep.between(sigma, sigma_next, eta, scaling)
        middle = level_at(scaling.half_log_snr(sigma) + step.h / 2, scaling)
        x_middle = AncestralStep.between(sigma, middle, 0.0, scaling).moved(x, denoised)
        x = step.moved(x, (yield x_middle, middle))
        if eta > 0:
            x = x + step_noise.fresh() * (step.noise * s_noise)
    return x


def dpmpp_sde(
    x: Tensor,
    sigmas: Tensor,
    step_noise: StepNoise,
    scaling: NoiseScaling,
    *,
    eta: float = 1.0,
    s_noise: float = 1.0,
    r: float = 0.5,
    noise_on_device: bool = False,
) -> Denoising:
    """DPM-Solver++ of two predictions a step, with noise after each: `r` is where, in lambda, the second is made.

    The noise is a Brownian path's, drawn on the CPU unless `noise_on_device`. Lu et al. 2022b, section 4.
    """

    def noised(x: Tensor, step: AncestralStep, sigma: float, sigma_next: float) -> Tensor:
        if eta == 0 or s_noise == 0:
            return x
        noise = step_noise.between(sigma, sigma_next, on_device=noise_on_device)
        return x + noise * (step.noise * s_noise)

    for sigma, sigma_next in steps_of(sigmas):
        denoised = yield x, sigma
        if sigma_next == 0:
            return denoised
        if sigma_next == sigma:
            continue
        here, there = scaling.half_log_snr(sigma), scaling.half_log_snr(sigma_next)
        middle = level_at(here + r * (there - here), scaling)
        first = AncestralStep.between(sigma, middle, eta, scaling)
        x_middle = noised(first.moved(x, denoised), first, sigma, middle)
        share = 1 / (2 * r)
        denoised = denoised * (1 - share) + (yield x_middle, middle) * share
        step = AncestralStep.between(sigma, sigma_next, eta, scaling)
        x = noised(step.moved(x, denoised), step, sigma, sigma_next)
    return x


def dpmpp_3m_sde(
    x: Tensor,
    sigmas: Tensor,
    step_noise: StepNoise,
    scaling: NoiseScaling,
    *,
    eta: float = 1.0,
    s_noise: float = 1.0,
    noise_on_device: bool = False,
) -> Denoising:
    """SDE-DPM-Solver++ with two earlier predictions: third order without noise. Lu et al. 2022b, appendix B."""
    earlier: list[tuple[float, Tensor]] = []  # steps in lambda that led here, and predictions, the newest first
    for sigma, sigma_next in steps_of(sigmas):
        denoised = yield x, sigma
        if sigma_next == 0:
            return denoised
        h = scaling.half_log_snr(sigma_next) - scaling.half_log_snr(sigma)
        if h == 0:
            continue
        h_eta, alpha = h * (1 + eta), scaling.alpha(sigma_next)
        x = x * (sigma_next / sigma * math.exp(-h * eta)) - denoised * (alpha * math.expm1(-h_eta))
        phi_2 = math.expm1(-h_eta) / h_eta + 1
        if len(earlier) == 1:
            x = x + (denoised - earlier[0][1]) * (alpha * phi_2 * h / earlier[0][0])
        elif earlier:
            (h_1, first), (h_2, second) = earlier
            slope_1, slope_2 = (denoised - first) * (h / h_1), (first - second) * (h / h_2)
            curve = (slope_1 - slope_2) * (h / (h_1 + h_2))
            slope = slope_1 + curve * (h_1 / h)
            x = x + slope * (alpha * phi_2) - curve * (alpha * (phi_2 / h_eta - 0.5))
        if eta > 0 and s_noise > 0:
            noise = step_noise.between(sigma, sigma_next, on_device=noise_on_device)
            x = x + noise * (sigma_next * math.sqrt(-math.expm1(-2 * h * eta)) * s_noise)
        earlier = [(h, denoised), *earlier][:2]
    return x


def res_multistep(x: Tensor, sigmas: Tensor, step_noise: StepNoise, scaling: NoiseScaling) -> Denoising:
    """The refined exponential solver, of two steps. Zhang et al. 2023 (RES), equation 8 and algorithm 3."""
    return (yield from res_multistep_ancestral(x, sigmas, step_noise, scaling, eta=0.0))


def res_multistep_ancestral(
    x: Tensor, sigmas: Tensor, step_noise: StepNoise, scaling: NoiseScaling, *, eta: float = 1.0, s_noise: float = 1.0
) -> Denoising:
    """`res_multistep` to the level down, then fresh noise."""
    before: tuple[float, Tensor] | None = None  # half the log-SNR of the step before, and the prediction there
    for sigma, sigma_next in steps_of(sigmas):
        denoised = yield x, sigma
        if sigma_next == 0:
            return denoised
        if sigma_next == sigma:
            continue
        here, step = scaling.half_log_snr(sigma), AncestralStep.between(sigma, sigma_next, eta, scaling)
        x = step.moved_by_two(x, denoised, before and (before[0] - here, before[1]))
        if eta > 0:
            x = x + step_noise.fresh() * (step.noise * s_noise)
        before = here, denoised
    return x


class _Stage(NamedTuple):
    """A place within a step of SEEDS.

    Attributes:
        sigma, alpha: the level there. decay: the factor of x at the step's beginning. h_eta: how far from there, as
            h (1 + eta). keep: the factor of the noise that the stage before had. noise: of what came in since.
    """

    sigma: float
    alpha: float
    decay: float
    h_eta: float
    keep: float
    noise: float

    @property
    def reach(self) -> float:
        """The factor of a constant prediction."""
        return -math.expm1(-self.h_eta)


def _stages(sigma: float, levels: list[float], eta: float, scaling: NoiseScaling) -> list[_Stage]:
    here, made, done = scaling.half_log_snr(sigma), list[_Stage](), 0.0
    for level in levels:
        h = scaling.half_log_snr(level) - here
        since = (h - done) * eta
        before = made[-1].sigma if made else sigma
        made.append(
            _Stage(
                level, scaling.alpha(level), level / sigma * math.exp(-h * eta), h * (1 + eta),
                level / before * math.exp(-since), level * math.sqrt(-math.expm1(-2 * since)),
            )
        )  # fmt: skip
        done = h
    return made


def seeds_2(
    x: Tensor,
    sigmas: Tensor,
    step_noise: StepNoise,
    scaling: NoiseScaling,
    *,
    eta: float = 1.0,
    s_noise: float = 1.0,
    r: float = 0.5,
) -> Denoising:
    """SEEDS-2: two predictions a step, noise exact in lambda. Gonzalez et al. 2023, algorithm 2."""

    def combine(stage: int, stages: list[_Stage], predictions: list[Tensor]) -> Tensor:
        if stage == 0:
            return predictions[0] * (stages[0].alpha * stages[0].reach)
        share = 1 / (2 * r)
        mixed = predictions[0] * (1 - share) + predictions[1] * share
        return mixed * (stages[1].alpha * stages[1].reach)

    return (yield from _seeds(x, sigmas, step_noise, scaling, (r,), combine, eta, s_noise))


def seeds_3(
    x: Tensor,
    sigmas: Tensor,
    step_noise: StepNoise,
    scaling: NoiseScaling,
    *,
    eta: float = 1.0,
    s_noise: float = 1.0,
    r_1: float = 1 / 3,
    r_2: float = 2 / 3,
) -> Denoising:
    """SEEDS-3: three predictions a step. Gonzalez et al. 2023, algorithm 3."""

    def combine(stage: int, stages: list[_Stage], predictions: list[Tensor]) -> Tensor:
        at = stages[stage]
        first = predictions[0] * (at.alpha * at.reach)
        if stage == 0:
            return first
        slope = (predictions[stage] - predictions[0]) * (r_2 / r_1 if stage == 1 else 1 / r_2)
        return first + slope * (at.alpha * (1 - at.reach / at.h_eta))

    return (yield from _seeds(x, sigmas, step_noise, scaling, (r_1, r_2), combine, eta, s_noise))


Combine = Callable[[int, list[_Stage], list[Tensor]], Tensor]


def _seeds(
    x: Tensor,
    sigmas: Tensor,
    step_noise: StepNoise,
    scaling: NoiseScaling,
    places: tuple[float, ...],
    combine: Combine,
    eta: float,
    s_noise: float,
) -> Denoising:
    """Stages of a step, each from x at its beginning, with one path of noise through all of them."""
    for sigma, sigma_next in steps_of(sigmas):
        predictions = [(yield x, sigma)]
        if sigma_next == 0:
            return predictions[0]
        if sigma_next == sigma:
            continue
        here, there = scaling.half_log_snr(sigma), scaling.half_log_snr(sigma_next)
        levels = [*(level_at(here + place * (there - here), scaling) for place in places), sigma_next]
        stages, noise, at = _stages(sigma, levels, eta, scaling), None, sigma
        for k, stage in enumerate(stages):
            moved = x * stage.decay + combine(k, stages, predictions)
            if eta > 0 and s_noise > 0:
                fresh = step_noise.between(at, stage.sigma) * (stage.noise * s_noise)
                noise = fresh if noise is None else noise * stage.keep + fresh
                moved = moved + noise
            at = stage.sigma
            if k < len(places):
                predictions.append((yield moved, stage.sigma))
        x = moved
    return x


def exp_heun_2_x0(x: Tensor, sigmas: Tensor, step_noise: StepNoise, scaling: NoiseScaling) -> Denoising:
    """Heun's method as an exponential integrator of x0: two predictions a step. Cox and Matthews 2002 (ETD2RK)."""
    return (yield from exp_heun_2_x0_sde(x, sigmas, step_noise, scaling, eta=0.0))


def exp_heun_2_x0_sde(
    x: Tensor, sigmas: Tensor, step_noise: StepNoise, scaling: NoiseScaling, *, eta: float = 1.0, s_noise: float = 1.0
) -> Denoising:
    """`exp_heun_2_x0` with noise, a Brownian path's, which both predictions of a step share."""
    for sigma, sigma_next in steps_of(sigmas):
        denoised = yield x, sigma
        if sigma_next == 0:
            return denoised
        if sigma_next == sigma:
            continue
        (stage,) = _stages(sigma, [sigma_next], eta, scaling)
        x = x * stage.decay + denoised * (stage.alpha * stage.reach)
        if eta > 0 and s_noise > 0:
            x = x + step_noise.between(sigma, sigma_next) * (stage.noise * s_noise)
        change = (yield x, sigma_next) - denoised
        x = x + change * (stage.alpha * (1 - stage.reach / stage.h_eta))
    return x


def _er_noise(ratio: np.ndarray | float) -> np.ndarray | float:
    """The function phi of ER-SDE-5, by which noise and direction share a step."""
    return ratio * (np.exp(np.power(ratio, 0.3)) + 10.0)


POINTS = 200
"""Of the sums that stand for integrals in `er_sde`."""


def er_sde(
    x: Tensor,
    sigmas: Tensor,
    step_noise: StepNoise,
    scaling: NoiseScaling,
    *,
    s_noise: float = 1.0,
    max_stage: int = 3,
) -> Denoising:
    """ER-SDE-Solver-3 with the noise function 5. Cui et al. 2023, algorithm 3; `max_stage` is the order, 1 to 3."""
    earlier: list[tuple[float, Tensor]] = []  # sigma / alpha, and the prediction or its slope there
    slope_before: Tensor | None = None
    for sigma, sigma_next in steps_of(sigmas):
        denoised = yield x, sigma
        if sigma_next == 0:
            return denoised
        if sigma_next == sigma:
            continue
        ratio, ratio_next = (math.exp(-scaling.half_log_snr(level)) for level in (sigma, sigma_next))
        alpha, phi, phi_next = scaling.alpha(sigma_next), float(_er_noise(ratio)), float(_er_noise(ratio_next))
        r = phi_next / phi
        x = x * (alpha * r * ratio / sigma) + denoised * (alpha * (1 - r))
        if earlier and max_stage >= 2:
            width = (ratio - ratio_next) / POINTS
            places = ratio_next + np.arange(POINTS) * width
            slope = (denoised - earlier[-1][1]) / (ratio - earlier[-1][0])
            x = x + slope * (alpha * (ratio_next - ratio + float(np.sum(width / _er_noise(places))) * phi_next))
            if slope_before is not None and max_stage >= 3:
                curve = (slope - slope_before) / ((ratio - earlier[-2][0]) / 2)
                integral = float(np.sum((places - ratio) * width / _er_noise(places)))
                x = x + curve * (alpha * ((ratio_next - ratio) ** 2 / 2 + integral * phi_next))
            slope_before = slope
        if s_noise > 0:
            x = x + step_noise.fresh() * (alpha * s_noise * math.sqrt(max(ratio_next**2 - (ratio * r) ** 2, 0.0)))
        earlier = [*earlier, (ratio, denoised)][-2:]
    return x
