"""DPM-Solver in steps of its own choice: their orders, their number, and where they end."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from mezzotint.nodes.samplers.dpm_solver import StepControl, orders_for
from mezzotint.nodes.samplers.schedules import ModelSigmas, schedule_sigmas

from .normal_data import FAMILIES, SD15, Gaussian, flow_error, geometric, sample


def run(name: str, sigmas: Tensor, model: ModelSigmas = SD15, **options: Any) -> tuple[Tensor, list[float], float]:
    """What a sampler makes of the flow from the first level, the levels it asked for, and how far off it is."""
    data, z, asked = Gaussian(model), torch.linspace(-2, 2, 9, dtype=torch.float64), list[float]()

    def denoiser(x: Tensor, sigma: float) -> Tensor:
        asked.append(sigma)
        return data.denoised(x, sigma)

    x = sample(name, model, sigmas, data.x_at(z, float(sigmas[0])), denoiser, **options)
    return x, asked, float((x - data.x_at(z, float(sigmas[-1]))).abs().max())


@pytest.mark.parametrize("count", range(1, 25))
def test_the_orders_of_dpm_fast_make_up_the_predictions(count: int) -> None:
    orders = orders_for(count)
    assert sum(orders) == count
    assert len(orders) == count // 3 + 1  # M of the paper
    assert orders == sorted(orders, reverse=True)


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 12, 20])
def test_dpm_fast_predicts_once_for_each_step_and_once_more_at_the_end(steps: int) -> None:
    sigmas = schedule_sigmas(SD15, "karras", steps)
    _, asked, _ = run("dpm_fast", sigmas)
    assert len(asked) == (steps + 1 if steps > 1 else 1)
    assert (asked[0], asked[-1]) == (float(sigmas[0]), float(sigmas[-2]))
    assert asked == sorted(asked, reverse=True)
    assert len(run("dpm_fast", sigmas[:-1])[1]) == steps - 1


def test_dpm_fast_is_of_third_order() -> None:
    """With numbers that leave 2 over; the last step is of first order otherwise."""
    coarse, fine = flow_error("dpm_fast", 41), flow_error("dpm_fast", 83)
    assert math.log2(coarse / fine) == pytest.approx(3, abs=0.3)


@pytest.mark.parametrize("order", [2, 3])
def test_the_tolerance_of_dpm_adaptive_decides_its_error_and_its_cost(order: int) -> None:
    runs = [run("dpm_adaptive", geometric(10, 0.1, 4), rtol=rtol, atol=rtol / 10, order=order)
            for rtol in (1e-1, 1e-3, 1e-5)]  # fmt: skip
    errors, counts = [error for *_, error in runs], [len(asked) for _, asked, _ in runs]
    assert errors[0] > 2 * errors[1] > 200 * errors[2]
    assert counts == sorted(counts)
    # an error falls with the power of the step that the lower order has, so the count grows with its root
    assert math.log(counts[2] / counts[1]) / math.log(100) == pytest.approx(1 / order, abs=0.12)


def test_dpm_adaptive_asks_for_no_given_number_of_steps() -> None:
    results = {steps: run("dpm_adaptive", schedule_sigmas(SD15, "karras", steps)) for steps in (5, 50)}
    assert results[5][1] == results[50][1]
    assert torch.equal(results[5][0], results[50][0])


@FAMILIES
@pytest.mark.parametrize("scheduler", ["karras", "simple", "sgm_uniform"])
@pytest.mark.parametrize("name", ["dpm_fast", "dpm_adaptive"])
def test_a_run_to_level_0_ends_in_the_flow_whatever_level_is_before_it(
    name: str, scheduler: str, model: ModelSigmas
) -> None:
    sigmas = schedule_sigmas(model, scheduler, 30)
    _, asked, error = run(name, sigmas, model)
    assert asked[-1] == float(sigmas[-2])
    assert error < 0.2
    assert all(level == float(torch.tensor(level)) for level in asked)


@pytest.mark.parametrize("name", ["dpm_fast", "dpm_adaptive"])
def test_it_turns_a_picture_into_noise_and_back(name: str) -> None:
    downwards = geometric(10, 0.1, 60)
    options = {"rtol": 1e-3, "atol": 1e-4} if name == "dpm_adaptive" else {}
    for sigmas in (downwards, downwards.flip(0)):
        assert run(name, sigmas, **options)[2] < 0.02


@pytest.mark.parametrize("name", ["dpm_fast", "dpm_adaptive"])
def test_beginning_at_level_0_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cannot begin at the noise level 0"):
        run(name, torch.tensor([0.0, 1.0]))


def test_steps_that_fail_are_tried_shorter_and_share_a_prediction() -> None:
    """A kink in the flow makes the control overreach."""
    asked: list[float] = []

    def kinked(x: Tensor, sigma: float) -> Tensor:
        asked.append(sigma)
        return x * (0.99 if sigma > 1 else 0.01)

    sample("dpm_adaptive", SD15, torch.tensor([10.0, 0.1]), torch.ones(1, 4, 2, 2, dtype=torch.float64), kinked)
    assert any(later > earlier for earlier, later in pairwise(asked))
    assert max(Counter(asked).values()) == 1


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_run_of_values_that_are_no_numbers_comes_to_its_end(bad: float) -> None:
    sigmas = schedule_sigmas(SD15, "karras", 5)
    x = sample("dpm_adaptive", SD15, sigmas, torch.ones(1, 4, 2, 2), lambda x, sigma: x * bad)
    assert not x.isfinite().all()


def test_a_tolerance_that_nothing_meets_comes_to_its_end() -> None:
    sigmas = torch.tensor([0.2, 0.19])
    assert run("dpm_adaptive", sigmas, rtol=0.0, atol=1e-30)[2] < 1e-6


@pytest.mark.parametrize("name", ["dpm_fast", "dpm_adaptive"])
def test_levels_that_lie_as_near_as_can_be_are_no_trouble(name: str) -> None:
    high = torch.tensor(0.2)
    low = torch.nextafter(high, torch.tensor(0.0))
    for sigmas in (torch.stack([high, low]), torch.stack([*[high] * 20, low])):
        assert run(name, sigmas)[2] < 1e-6


def test_the_control_follows_its_rule() -> None:
    integral = StepControl(3, 0.0, 1.0, 0.0, 0.81)
    for error in (0.2, 1.0, 4.0):
        is_fine, factor = integral.judge(error)
        assert factor == pytest.approx(1 + math.atan(error ** (-1 / 3) - 1), rel=1e-6)
        assert is_fine == (factor >= 0.81)
    pid = StepControl(2, 0.3, 0.4, 0.1, 0.81)
    errors, powers = [0.5, 0.8, 0.3], (0.8 / 2, -0.5 / 2, 0.1 / 2)
    for k, error in enumerate(errors):
        newest = [error, *errors[:k][::-1], *[errors[0]] * 3][:3]
        raw = math.prod((1 / one) ** power for one, power in zip(newest, powers, strict=True))
        assert pid.judge(error) == (True, pytest.approx(1 + math.atan(raw - 1), rel=1e-6))
