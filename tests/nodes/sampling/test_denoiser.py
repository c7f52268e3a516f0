from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mezzotint import Context
from mezzotint.nodes.models.checkpoints import Checkpoint, load_checkpoint
from mezzotint.nodes.samplers.schedules import DiscreteSigmas, FlowSigmas
from mezzotint.nodes.sampling.denoiser import ActivationShape, Denoiser
from mezzotint.nodes.sampling.model_sampling import ModelSampling, model_sampling

SIGMAS = (0.03, 0.7, 3.0, 14.6)


def noised_latent(batch: int = 2, sigma: float = 1.0) -> tuple[Tensor, Tensor]:
    """A latent at a noise level, and conditioning for it."""
    generator = torch.Generator().manual_seed(7)
    x0, noise = torch.randn(2, batch, 8, 8, 8, generator=generator)
    return x0 + noise * sigma, torch.randn(batch, 20, 128, generator=generator)


def sampling_of(sigmas: DiscreteSigmas | FlowSigmas) -> ModelSampling:
    return ModelSampling(sigmas, "", 8, 8, 1.0, 0.0, {})


def denoiser_of(network: nn.Module, sigmas: DiscreteSigmas | FlowSigmas) -> Denoiser:
    shape = ActivationShape((96, 192), 1)
    return Denoiser(network, sampling_of(sigmas), torch.device("cpu"), torch.float32, shape)


@pytest.fixture(scope="module")
def theirs(embedded_path: Path) -> Any:
    """The embedded U-Net as diffusers loads it."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel.from_pretrained(
        embedded_path / "unet", torch_dtype=torch.float32, local_files_only=True, low_cpu_mem_usage=False
    )


@pytest.mark.parametrize("sigma", SIGMAS)
def test_the_embedded_model_predicts_what_diffusers_own_step_does(
    embedded: Checkpoint, model_context: Context, embedded_path: Path, theirs: Any, sigma: float
) -> None:
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler.from_pretrained(embedded_path / "scheduler", local_files_only=True)
    scheduler.set_timesteps(1000)
    with model_context.models.borrow(embedded.MODEL) as denoiser, torch.no_grad():
        timestep = round(denoiser.sampling.sigmas.sigma_to_t(sigma))
        sigma = float(denoiser.sampling.sigmas.table[timestep])
        x, conditioning = noised_latent(sigma=sigma)
        denoised = denoiser.predict(x, sigma, conditioning)
        sample = x / (1 + sigma**2) ** 0.5
        output = theirs(sample, timestep, encoder_hidden_states=conditioning).sample
    expected = scheduler.step(output, timestep, sample).pred_original_sample
    assert denoised.dtype == torch.float32
    torch.testing.assert_close(denoised, expected, rtol=1e-4, atol=1e-4)


class Echo(nn.Module):
    """A network whose output is known: what it was given, by a factor. Remembers its arguments."""

    def __init__(self, factor: float = 0.5) -> None:
        super().__init__()
        self.factor = factor
        self.given: list[tuple[Tensor, Tensor, Tensor]] = []

    def forward(
        self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor, return_dict: bool
    ) -> tuple[Tensor]:
        assert not return_dict
        self.given.append((sample, timestep, encoder_hidden_states))
        return (sample * self.factor,)


@pytest.mark.parametrize("sigma", SIGMAS)
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_each_kind_of_output_becomes_the_denoised_latent(prediction: Any, sigma: float) -> None:
    network = Echo()
    x, conditioning = noised_latent(sigma=sigma)
    denoised = denoiser_of(network, DiscreteSigmas.from_config({"prediction_type": prediction})).predict(
        x, sigma, conditioning
    )
    # With alpha² + s² = 1 and sample = alpha * x0 + s * noise, as in Salimans and Ho 2022:
    alpha = torch.tensor(1 / (1 + sigma**2), dtype=torch.float64).sqrt()
    s = (1 - alpha**2).sqrt()
    sample, output = x * alpha, x * alpha * 0.5
    expected = {
        "epsilon": (sample - s * output) / alpha,
        "v_prediction": alpha * sample - s * output,
        "sample": output,
    }[prediction]
    torch.testing.assert_close(denoised, expected.float(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(network.given[0][0], sample.float())


def test_the_output_of_a_flow_model_becomes_the_denoised_latent() -> None:
    network = Echo()
    x, conditioning = noised_latent()
    denoised = denoiser_of(network, FlowSigmas(shift=3.0)).predict(x, 0.25, conditioning)
    torch.testing.assert_close(denoised, x - 0.25 * (0.5 * x))
    torch.testing.assert_close(network.given[0][0], x)
    assert network.given[0][1].item() == 250


def test_the_network_is_told_the_timestep_as_a_float() -> None:
    network = Echo()
    sigmas = DiscreteSigmas.from_config()
    x, conditioning = noised_latent()
    denoiser_of(network, sigmas).predict(x, float(sigmas.table[321]), conditioning)
    assert network.given[0][1].tolist() == [321.0]
    assert network.given[0][1].dtype == torch.float32


@pytest.mark.parametrize("form", [list, tuple, torch.tensor])
def test_a_batch_of_several_noise_levels_is_predicted_as_each_alone(form: Callable[[Any], Any]) -> None:
    sigmas = [0.5, 3.0, 14.0]
    for levels in (DiscreteSigmas.from_config(), FlowSigmas()):
        denoiser = denoiser_of(Echo(), levels)
        x, conditioning = noised_latent(batch=3)
        together = denoiser.predict(x, form(sigmas), conditioning)
        alone = [denoiser.predict(x[i : i + 1], sigma, conditioning[i : i + 1]) for i, sigma in enumerate(sigmas)]
        assert torch.equal(together, torch.cat(alone))


def test_equal_noise_levels_of_a_batch_are_one() -> None:
    network = Echo()
    denoiser = denoiser_of(network, DiscreteSigmas.from_config())
    x, conditioning = noised_latent()
    assert torch.equal(denoiser.predict(x, [3.0, 3.0], conditioning), denoiser.predict(x, 3.0, conditioning))
    assert network.given[0][1].shape == (1,)


def test_the_merged_prediction_of_the_embedded_model_is_that_of_each_alone(
    embedded: Checkpoint, model_context: Context
) -> None:
    x, conditioning = noised_latent(batch=3)
    with model_context.models.borrow(embedded.MODEL) as denoiser:
        together = denoiser.predict(x, [0.5, 3.0, 14.0], conditioning)
        last = denoiser.predict(x[2:], 14.0, conditioning[2:])
    torch.testing.assert_close(together[2:], last, rtol=1e-4, atol=1e-4)


def test_inputs_are_left_as_they_are(embedded: Checkpoint, model_context: Context) -> None:
    x, conditioning = noised_latent()
    before = x.clone(), conditioning.clone()
    with model_context.models.borrow(embedded.MODEL) as denoiser:
        denoiser.predict(x, 3.0, conditioning)
    assert torch.equal(x, before[0])
    assert torch.equal(conditioning, before[1])


def test_half_precision_networks_take_and_give_float32() -> None:
    network = Echo()
    denoiser = denoiser_of(network, DiscreteSigmas.from_config())
    denoiser.dtype = torch.float16
    x, conditioning = noised_latent()
    assert denoiser.predict(x, 3.0, conditioning).dtype == torch.float32
    assert {tensor.dtype for tensor in (network.given[0][0], network.given[0][2])} == {torch.float16}


def test_options_reach_the_network() -> None:
    class Optional(Echo):
        def forward(self, *args: Any, hint: str = "", **options: Any) -> tuple[Tensor]:
            assert hint == "yes"
            return super().forward(*args, **options)

    x, conditioning = noised_latent()
    denoiser_of(Optional(), DiscreteSigmas.from_config()).predict(x, 1.0, conditioning, options={"hint": "yes"})


def test_what_steers_is_told_what_the_network_is_given_and_gives_more() -> None:
    class Open(Echo):
        def forward(self, *args: Any, residual: str = "", **more: Any) -> tuple[Tensor]:
            assert residual == "yes"
            return super().forward(*args, **more)

    network, steered = Open(), []

    def steer(*given: Any) -> dict[str, Any]:
        steered.extend(given)
        return {"residual": "yes"}

    x, conditioning = noised_latent()
    denoiser_of(network, DiscreteSigmas.from_config()).predict(x, 3.0, conditioning, steering=steer)
    assert all(torch.equal(*pair) for pair in zip(steered[:3], network.given[0], strict=True))
    assert steered[3] == {}


def test_a_network_records_no_gradients_and_its_weights_can_be_trained_on(
    embedded: Checkpoint, model_context: Context
) -> None:
    with torch.inference_mode():
        borrowing = model_context.models.borrow(embedded.MODEL)
        denoiser = borrowing.__enter__()
    x, conditioning = noised_latent()
    assert not denoiser.predict(x, 3.0, conditioning).requires_grad
    denoiser.predict(x.requires_grad_(), 3.0, conditioning).sum().backward()
    assert x.grad is not None
    borrowing.__exit__(None, None, None)


def test_what_a_prediction_costs_beside_the_network_is_small() -> None:
    class Nothing(nn.Module):
        def forward(self, sample: Tensor, *_: Any, **__: Any) -> tuple[Tensor]:
            return (sample,)

    denoiser = denoiser_of(Nothing(), DiscreteSigmas.from_config())
    x, conditioning = noised_latent()
    levels = denoiser.sampling.sigmas.table[::50].tolist()

    def once() -> float:
        began = time.perf_counter()
        for sigma in levels:
            denoiser.predict(x, sigma, conditioning)
        return (time.perf_counter() - began) / len(levels)

    with torch.inference_mode():
        assert min(once() for _ in range(30)) < 150e-6  # 10 µs measured; the margin is for busy machines


def test_the_estimate_grows_with_the_latent_and_the_batch() -> None:
    denoiser = denoiser_of(Echo(), DiscreteSigmas.from_config())
    one = denoiser.estimate_nbytes((1, 8, 64, 64))
    assert denoiser.estimate_nbytes((2, 8, 128, 64)) == 4 * one
    assert denoiser.estimate_nbytes((1, 8, 2048, 2048)) > 50 * 10**9


def test_sampling_is_read_from_the_configuration_alone(embedded: Checkpoint, model_context: Context) -> None:
    sampling = model_sampling(embedded.MODEL, model_context)
    assert (sampling.prediction_type, sampling.latent_channels, sampling.downscale) == ("v_prediction", 8, 8)
    assert (sampling.scaling_factor, sampling.shift_factor) == (0.9962239341485278, 0.0)
    assert sampling.sigmas.sigma_max == pytest.approx(14.614641, abs=1e-5)
    assert sampling.scheduler_config["timestep_spacing"] == "trailing"
    assert model_sampling(embedded.MODEL, model_context) is sampling


def test_a_denoiser_shares_the_sampling_of_its_recipe(embedded: Checkpoint, model_context: Context) -> None:
    with model_context.models.borrow(embedded.MODEL) as denoiser:
        assert denoiser.sampling is model_sampling(embedded.MODEL, model_context)


@pytest.mark.parametrize("shift", [0.0, 0.0609])
def test_latents_are_scaled_for_the_model_and_back(shift: float) -> None:
    sampling = ModelSampling(FlowSigmas(), "flow", 16, 8, 1.5305, shift, {})
    latent = torch.randn(1, 16, 4, 4)
    torch.testing.assert_close(sampling.to_model(latent), (latent - shift) * 1.5305)
    torch.testing.assert_close(sampling.to_latent(sampling.to_model(latent)), latent)
    assert not sampling.to_model(torch.zeros(1, 16, 4, 4)).any()


def test_other_schedulers_give_other_noise_levels(
    own_context: Context, change_config: Callable[[str, dict[str, Any]], None]
) -> None:
    name = "scheduler/scheduler_config.json"
    change_config(name, {"prediction_type": "epsilon", "rescale_betas_zero_snr": True})
    sampling = model_sampling(load_checkpoint("copy", ctx=own_context).MODEL, own_context)
    assert sampling.prediction_type == "epsilon"
    assert sampling.sigmas.sigma_max > 1000
    change_config(name, {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0})
    flow = model_sampling(load_checkpoint("copy", ctx=own_context).MODEL, own_context)
    assert flow.prediction_type == "flow"
    assert flow.sigmas == FlowSigmas(shift=3.0)
