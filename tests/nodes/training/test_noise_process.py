"""The forward process against its closed form, against diffusers, and back again."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from mezzotint.nodes.training.noise_nodes import noise_process, noise_process_picture
from mezzotint.nodes.training.noise_process import NoiseProcess, NoiseProcessError

SCHEDULES = ("linear", "scaled_linear", "cosine")
PREDICTIONS = ("epsilon", "v_prediction", "sample")


def alpha_bar(schedule: str, t: int, start: float = 0.00085, end: float = 0.012, count: int = 1000) -> float:
    """The product of 1 - beta up to t, in Python's own numbers."""
    if schedule == "cosine":

        def f(u: float) -> float:
            return math.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2

        betas = [min(1 - f((i + 1) / count) / f(i / count), 0.999) for i in range(t + 1)]
    elif schedule == "linear":
        betas = [start + (end - start) * i / (count - 1) for i in range(t + 1)]
    else:
        betas = [(start**0.5 + (end**0.5 - start**0.5) * i / (count - 1)) ** 2 for i in range(t + 1)]
    return math.prod(1 - beta for beta in betas)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("t", [0, 1, 250, 999])
def test_mean_and_variance_are_those_of_the_closed_form(schedule: Any, t: int) -> None:
    process = noise_process(schedule)
    x0 = torch.full((1, 1, 512, 512), 1.7)
    noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(1))
    x_t = process.add_noise(x0, noise, torch.tensor([t]))
    share = alpha_bar(schedule, t)
    deviation = math.sqrt(1 - share)
    standard_error = deviation / 512
    assert x_t.mean().item() == pytest.approx(math.sqrt(share) * 1.7, abs=5 * standard_error)
    assert x_t.var().item() == pytest.approx(1 - share, rel=0.02)
    exact = math.sqrt(share) * 1.7 + deviation * noise.double()
    assert torch.allclose(x_t.double(), exact, atol=2e-6)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("zero_terminal_snr", [False, True])
def test_x0_is_recovered_from_the_target(schedule: Any, prediction: Any, zero_terminal_snr: bool) -> None:
    process = noise_process(schedule, zero_terminal_snr=zero_terminal_snr, prediction=prediction)
    last = 998 if prediction == "epsilon" and zero_terminal_snr else 999
    timesteps = torch.tensor([0, 10, 500, 900 if schedule == "cosine" else last])
    generator = torch.Generator().manual_seed(2)
    x0, noise = torch.randn(2, 4, 3, 8, 8, generator=generator)
    x_t = process.add_noise(x0, noise, timesteps)
    recovered = process.recover(x_t, process.target(x0, noise, timesteps), timesteps)
    scale = 1 / process.alpha_sigma(timesteps)[0] if prediction == "epsilon" else torch.ones(4, 1, 1, 1)
    assert ((recovered - x0).abs() <= 2e-6 * scale).all()


@pytest.mark.parametrize("config", [{"beta_schedule": "linear"}, {"rescale_betas_zero_snr": True}, {}])
def test_noise_and_velocity_are_those_of_diffusers(config: dict[str, Any]) -> None:
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

    given = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, **config}
    theirs = DDPMScheduler(prediction_type="v_prediction", **given)
    ours = NoiseProcess.from_config({**given, "prediction_type": "v_prediction"})
    timesteps = torch.tensor([3, 400, 999])
    x0, noise = torch.randn(2, 3, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    assert torch.allclose(ours.add_noise(x0, noise, timesteps), theirs.add_noise(x0, noise, timesteps), atol=2e-6)
    assert torch.allclose(ours.target(x0, noise, timesteps), theirs.get_velocity(x0, noise, timesteps), atol=2e-6)


def test_nothing_of_the_picture_is_left_at_zero_terminal_snr() -> None:
    process = noise_process(zero_terminal_snr=True, prediction="v_prediction")
    x0, noise = torch.ones(1, 1, 2, 2), torch.randn(1, 1, 2, 2)
    assert torch.equal(process.add_noise(x0, noise, torch.tensor([999])), noise)
    assert torch.equal(process.recover(noise, -x0, torch.tensor([999])), x0)


def test_epsilon_says_nothing_at_zero_terminal_snr() -> None:
    process = noise_process(zero_terminal_snr=True)
    noise = torch.randn(1, 1, 2, 2)
    with pytest.raises(NoiseProcessError, match="use v_prediction"):
        process.recover(noise, noise, torch.tensor([999]))


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_min_snr_weights_make_the_error_of_x0_weigh_min_of_snr_and_gamma(prediction: Any) -> None:
    """An output that is off stands for an x0 that is off: the weighted loss is min(SNR, 5) times that error."""
    process = noise_process(prediction=prediction)
    timesteps = torch.tensor([2, 300, 700])
    x0, noise, wrong = torch.randn(3, 3, 4, 4, 4, generator=torch.Generator().manual_seed(4))
    x_t = process.add_noise(x0, noise, timesteps)
    target = process.target(x0, noise, timesteps)
    of_x0 = (process.recover(x_t, target + wrong, timesteps) - x0).square().flatten(1).mean(1)
    weighted = wrong.square().flatten(1).mean(1) * process.snr_weights(timesteps, 5.0)
    snr = torch.tensor([alpha_bar("scaled_linear", t) / (1 - alpha_bar("scaled_linear", t)) for t in (2, 300, 700)])
    assert torch.allclose(weighted, of_x0 * snr.clamp(max=5), rtol=1e-3)


def test_a_flow_model_is_refused() -> None:
    with pytest.raises(NoiseProcessError, match="predicts 'flow'"):
        NoiseProcess.from_config({"_class_name": "FlowMatchEulerDiscreteScheduler"})


def test_the_picture_goes_from_the_image_to_noise() -> None:
    image = torch.zeros(1, 32, 32, 3)
    drawn = noise_process_picture(noise_process(zero_terminal_snr=True), image, 5, 0)
    assert drawn.shape == (1, 32 + 96, 5 * 32, 3)
    assert drawn[0, :32, :32].mean() < 0.05
    assert drawn[0, :32, -32:].std() > 0.3
