"""SA-Solver: its coefficients against those of diffusers, its order, and how much noise it adds and where."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from mezzotint.nodes.samplers.sa_solver import integrals
from mezzotint.nodes.samplers.schedules import schedule_sigmas

from .normal_data import SD3, SD15, Gaussian, flow_error, sample


@pytest.mark.parametrize("tau", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("places", [(0.5,), (0.2, 0.5), (-0.4, 0.2, 0.5), (-0.4, 0.2, 0.5, 1.3)])
def test_the_coefficients_are_those_of_diffusers(places: tuple[float, ...], tau: float) -> None:
    from diffusers import SASolverScheduler

    begin, end, decay = 0.5, 1.3, 1 + tau**2
    newest_first = torch.tensor(places[::-1], dtype=torch.float64)
    theirs = SASolverScheduler().get_coefficients_fn(
        len(places),
        *torch.tensor([begin, end], dtype=torch.float64),
        [*newest_first],
        torch.tensor(tau, dtype=torch.float64),
    )
    expected = [float(one) * decay * math.exp(-decay * end) for one in theirs][::-1]
    assert integrals(places, begin, end, decay) == pytest.approx(expected, rel=1e-9)


def test_the_coefficients_of_a_constant_are_exact_even_over_a_long_step() -> None:
    for reach in (0.01, 1.0, 8.0, 15.0):
        assert sum(integrals([0.0, -1.0, -3.0], 0.0, reach, 2.0)) == pytest.approx(-math.expm1(-2 * reach), rel=1e-6)


@pytest.mark.parametrize(("orders", "order"), [((1, 0), 1), ((2, 0), 2), ((3, 4), 4)], ids=str)
def test_without_noise_the_error_falls_with_the_order(orders: tuple[int, int], order: float) -> None:
    given = {"eta": 0.0, "predictor_order": orders[0], "corrector_order": orders[1]}
    coarse, fine = flow_error("sa_solver", 80, **given), flow_error("sa_solver", 160, **given)
    assert math.log2(coarse / fine) == pytest.approx(order, abs=0.2)


def test_the_corrector_makes_it_better_and_a_second_prediction_better_still() -> None:
    alone = flow_error("sa_solver", 40, eta=0.0, corrector_order=0)
    corrected, twice = (flow_error(name, 40, eta=0.0) for name in ("sa_solver", "sa_solver_pece"))
    assert alone > 2 * corrected > 2 * twice


def test_diffusers_without_noise_arrives_at_the_same() -> None:
    """At first order, since diffusers changes the second for few steps."""
    from diffusers import SASolverScheduler

    scheduler = SASolverScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", predictor_order=1, corrector_order=1,
        tau_func=lambda t: 0, timestep_spacing="trailing", prediction_type="sample",
    )  # fmt: skip
    scheduler.set_timesteps(12)
    sigmas, data = scheduler.sigmas.double(), Gaussian(SD15)
    widths = (1 + sigmas**2).sqrt().tolist()
    start = torch.linspace(-2, 2, 9, dtype=torch.float64) * 14
    x = start / widths[0]
    for sigma, width, t in zip(sigmas.tolist(), widths, scheduler.timesteps, strict=False):
        x = scheduler.step(data.denoised(x * width, sigma), t, x, return_dict=False)[0]
    ours = sample("sa_solver", SD15, sigmas, start, data.denoised, eta=0.0, predictor_order=1, corrector_order=1)
    torch.testing.assert_close(ours, x * widths[-1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("model", [SD15, SD3], ids=["discrete", "flow"])
def test_noise_is_added_between_two_shares_of_the_range_only(model: object) -> None:
    sigmas = schedule_sigmas(model, "normal", 20)  # type: ignore[arg-type]
    noisy: dict[bool, list[int]] = {False: [], True: []}
    target = torch.zeros(1, 4, 4, 4)

    def run(part: Tensor, s_noise: float) -> Tensor:
        return sample("sa_solver", model, part, target, lambda x, sigma: target, s_noise=s_noise)  # type: ignore[arg-type]

    highest, lowest = (model.percent_to_sigma(share) for share in (0.2, 0.8))  # type: ignore[attr-defined]
    for k in range(19):
        part = sigmas[k : k + 2]
        added = not torch.equal(run(part, 1.0), target)
        noisy[added].append(k)
        assert added == (lowest <= float(part[1]) <= highest)
        if added:
            assert float(run(part, 2.0).std()) == pytest.approx(2 * float(run(part, 1.0).std()))
    assert noisy[False]
    assert noisy[True]
    assert np.diff(noisy[True]).max() == 1
