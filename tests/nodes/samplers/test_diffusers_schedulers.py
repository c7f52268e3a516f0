"""Every diffusers scheduler against diffusers' own loop, over a tiny network with random weights."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from mezzotint.nodes.samplers.diffusers_schedulers import (
    SCHEDULER_NAMES,
    diffusers_sampler,
    make_scheduler,
    scheduler_sigmas,
)
from mezzotint.nodes.samplers.sampler import Denoising
from mezzotint.nodes.samplers.schedules import DiscreteSigmas, FlowSigmas, ModelSigmas, schedule_sigmas
from mezzotint.nodes.sampling.noise import SeededStepNoise, initial_noise

# DEIS multiplies numpy arrays and tensors.
pytestmark = pytest.mark.filterwarnings("ignore:__array_wrap__ must accept context:DeprecationWarning")

Denoiser = Callable[[Tensor, float], Tensor]

STEPS = 10
SHAPE = (1, 4, 8, 8)
STOCHASTIC = ("DDPMScheduler", "EulerAncestralDiscreteScheduler", "LCMScheduler", "SASolverScheduler", "TCDScheduler")
CONFIG = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}
DISCRETE_NAMES = [name for name in SCHEDULER_NAMES if not name.startswith("FlowMatch")]
FLOW_NAMES = [name for name in SCHEDULER_NAMES if name.startswith("FlowMatch")]


class Network:
    """A tiny U-Net that knows its timestep and a text; its weights are random but always the same."""

    def __init__(self) -> None:
        from diffusers import UNet2DConditionModel

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            unet = UNet2DConditionModel(
                sample_size=8,
                block_out_channels=(16, 32),
                layers_per_block=1,
                norm_num_groups=8,
                cross_attention_dim=8,
                attention_head_dim=4,
                down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
                up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            )
            self.text = torch.randn(1, 5, 8)
        self.unet = unet.eval().requires_grad_(False)

    def __call__(self, x: Tensor, timestep: Any) -> Tensor:
        output: Tensor = self.unet(x, timestep, self.text).sample
        return output


@pytest.fixture(scope="module")
def network() -> Network:
    return Network()


def drive(steps: Denoising, denoiser: Denoiser) -> Tensor:
    try:
        asked = next(steps)
        while True:
            asked = steps.send(denoiser(*asked))
    except StopIteration as finished:
        result: Tensor = finished.value
        return result


def denoiser_of(network: Network, model: ModelSigmas) -> Denoiser:
    def denoiser(x: Tensor, sigma: float) -> Tensor:
        scalings = model.preconditioning(sigma)
        return scalings.denoised(x, network(scalings.model_input(x), scalings.timestep))

    return denoiser


def own_loop(scheduler: Any, sample: Tensor, timesteps: Tensor, network: Network) -> Tensor:
    """The denoising loop of diffusers' pipelines."""
    options = {}
    if "generator" in inspect.signature(scheduler.step).parameters:
        options["generator"] = SeededStepNoise(sample, torch.ones(2), 0).generator
    for t in timesteps:
        seen = scheduler.scale_model_input(sample, t) if hasattr(scheduler, "scale_model_input") else sample
        sample = scheduler.step(network(seen, t), t, sample, return_dict=False, **options)[0]
    return sample


def own_run(scheduler: Any, network: Network) -> Tensor:
    scheduler.set_timesteps(STEPS)
    sample = initial_noise(SHAPE, 0) * getattr(scheduler, "init_noise_sigma", 1.0)
    return own_loop(scheduler, sample, scheduler.timesteps, network)


def our_run(
    scheduler: Any, network: Network, model: ModelSigmas, sigmas: Tensor, latent: Tensor, **options: Any
) -> Tensor:
    x = model.start(initial_noise(SHAPE, 0), latent, float(sigmas[0]))
    steps = diffusers_sampler(x, sigmas, SeededStepNoise(x, sigmas, 0), model, scheduler=scheduler, **options)
    return drive(steps, denoiser_of(network, model))


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).norm() / theirs.norm())


@pytest.mark.parametrize("name", DISCRETE_NAMES)
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_a_scheduler_gives_what_diffusers_own_loop_gives(
    network: Network, name: str, prediction: str, spacing: str
) -> None:
    config = CONFIG | {"prediction_type": prediction, "timestep_spacing": spacing}
    model = DiscreteSigmas.from_config(config)
    theirs = own_run(make_scheduler(name, config), network)
    sigmas = schedule_sigmas(model, "normal", STEPS)
    ours = our_run(make_scheduler(name, config), network, model, sigmas, torch.zeros(SHAPE))
    assert relative_error(ours, theirs) < 1e-5


@pytest.mark.parametrize("name", FLOW_NAMES)
def test_a_flow_scheduler_gives_what_diffusers_own_loop_gives(network: Network, name: str) -> None:
    model = FlowSigmas(shift=3.0)
    theirs = own_run(make_scheduler(name, {"shift": 3.0}), network)
    sigmas = schedule_sigmas(model, "simple", STEPS)
    ours = our_run(make_scheduler(name, {"shift": 3.0}), network, model, sigmas, torch.zeros(SHAPE))
    assert relative_error(ours, theirs) < 1e-5


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
        ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
        ("UniPCMultistepScheduler", {"solver_order": 3}),
        ("DDIMScheduler", {"prediction_type": "sample"}),
        ("PNDMScheduler", {"skip_prk_steps": False}),
        ("DDIMScheduler", {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"}),
    ],
)
def test_the_options_of_a_scheduler_are_kept(network: Network, name: str, options: dict[str, Any]) -> None:
    config = CONFIG | {"timestep_spacing": "trailing"} | options
    model = DiscreteSigmas.from_config(config)
    theirs = own_run(make_scheduler(name, config), network)
    sigmas = schedule_sigmas(model, "normal", STEPS)
    ours = our_run(make_scheduler(name, config), network, model, sigmas, torch.zeros(SHAPE))
    assert relative_error(ours, theirs) < 1e-4


@pytest.mark.parametrize(
    "name",
    [
        "DDIMScheduler",
        "DPMSolverMultistepScheduler",
        "EulerDiscreteScheduler",
        "HeunDiscreteScheduler",
        "UniPCMultistepScheduler",
    ],
)
def test_half_the_denoising_is_that_of_diffusers_image_to_image(network: Network, name: str) -> None:
    config = CONFIG | {"timestep_spacing": "trailing"}
    model, theirs = DiscreteSigmas.from_config(config), make_scheduler(name, config)
    latent = initial_noise(SHAPE, 9)
    theirs.set_timesteps(STEPS)
    begin = STEPS // 2 * theirs.order
    timesteps = theirs.timesteps[begin:]
    if hasattr(theirs, "set_begin_index"):
        theirs.set_begin_index(begin)
    sample = theirs.add_noise(latent, initial_noise(SHAPE, 0), timesteps[:1])
    expected = own_loop(theirs, sample, timesteps, network)

    scheduler = make_scheduler(name, config)
    sigmas = scheduler_sigmas(scheduler, STEPS // 2, denoise=0.5)
    assert relative_error(our_run(scheduler, network, model, sigmas, latent), expected) < 1e-4
    given_total = our_run(scheduler, network, model, sigmas, latent, total_steps=STEPS)
    assert relative_error(given_total, expected) < 1e-4


@pytest.mark.parametrize(
    "name", ["DDIMScheduler", "EulerDiscreteScheduler", "HeunDiscreteScheduler", "FlowMatchEulerDiscreteScheduler"]
)
def test_a_run_in_two_parts_is_the_run_in_one(network: Network, name: str) -> None:
    config = {"shift": 3.0} if name in FLOW_NAMES else CONFIG | {"timestep_spacing": "trailing"}
    model = FlowSigmas() if name in FLOW_NAMES else DiscreteSigmas.from_config(config)
    scheduler = make_scheduler(name, config)
    sigmas = scheduler_sigmas(scheduler, STEPS)
    denoiser = denoiser_of(network, model)
    x = whole = initial_noise(SHAPE, 0) * 12
    for part in (sigmas[:6], sigmas[5:]):
        noise = SeededStepNoise(x, sigmas, 0)
        x = drive(diffusers_sampler(x, part, noise, model, scheduler=scheduler, total_steps=STEPS), denoiser)
    steps = diffusers_sampler(whole, sigmas, SeededStepNoise(x, sigmas, 0), model, scheduler=scheduler)
    assert relative_error(x, drive(steps, denoiser)) < 1e-4


@pytest.mark.parametrize("denoise", [0.3, 0.5, 0.9])
@pytest.mark.parametrize("name", DISCRETE_NAMES)
def test_a_late_start_still_reaches_the_data(name: str, denoise: float) -> None:
    config = CONFIG | {"timestep_spacing": "trailing"}
    model, mean, deviation = DiscreteSigmas.from_config(config), 0.7, 0.5
    z = torch.linspace(-2, 2, 64).reshape(1, 1, 8, 8)
    sigmas = schedule_sigmas(model, "normal", 40, denoise)
    x = mean + z * math.hypot(deviation, float(sigmas[0]))
    steps = diffusers_sampler(x, sigmas, SeededStepNoise(x, sigmas, 0), model, scheduler=make_scheduler(name, config))

    def denoiser(x: Tensor, sigma: float) -> Tensor:
        return mean + (x - mean) * (deviation**2 / (deviation**2 + sigma**2))

    error = drive(steps, denoiser) - (mean + z * deviation)
    assert float(error.abs().mean()) < (1.0 if name in STOCHASTIC else 0.05)


def test_pndm_repeats_its_first_step_wherever_it_starts() -> None:
    config = CONFIG | {"timestep_spacing": "trailing"}
    model, scheduler = DiscreteSigmas.from_config(config), make_scheduler("PNDMScheduler", config)
    for denoise in (1.0, 0.9, 0.5):
        sigmas, asked = scheduler_sigmas(scheduler, 5, denoise), []

        def denoiser(x: Tensor, sigma: float) -> Tensor:
            asked.append(sigma)  # noqa: B023 - called within the round
            return x * 0.5

        x = torch.ones(SHAPE)
        drive(diffusers_sampler(x, sigmas, SeededStepNoise(x, sigmas, 0), model, scheduler=scheduler), denoiser)
        levels = sigmas[:-1].tolist()
        assert asked == pytest.approx([*levels[:2], *levels[1:]])


def test_sampling_leaves_the_scheduler_and_the_global_generator_alone(network: Network) -> None:
    scheduler, model = make_scheduler("EulerAncestralDiscreteScheduler", CONFIG), DiscreteSigmas.from_config(CONFIG)
    sigmas = schedule_sigmas(model, "normal", 3)
    before, timesteps = torch.get_rng_state(), scheduler.timesteps.clone()
    once = our_run(scheduler, network, model, sigmas, torch.zeros(SHAPE))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(scheduler.timesteps, timesteps)
    assert torch.equal(our_run(scheduler, network, model, sigmas, torch.zeros(SHAPE)), once)


def test_no_step_changes_nothing() -> None:
    model, x = DiscreteSigmas.from_config(CONFIG), torch.ones(SHAPE)
    steps = diffusers_sampler(
        x,
        torch.zeros(0),
        SeededStepNoise(x, torch.zeros(0), 0),
        model,
        scheduler=make_scheduler("DDIMScheduler", CONFIG),
    )
    assert drive(steps, lambda x, sigma: x * 0) is x


@pytest.mark.parametrize(
    ("name", "model"),
    [("DDIMScheduler", FlowSigmas()), ("FlowMatchEulerDiscreteScheduler", DiscreteSigmas.from_config())],
)
def test_a_scheduler_for_another_family_of_models_is_refused(network: Network, name: str, model: ModelSigmas) -> None:
    with pytest.raises(ValueError, match=f"{name} is for .*; this model is one of the "):
        our_run(make_scheduler(name, {}), network, model, torch.tensor([1.0, 0.0]), torch.zeros(SHAPE))


def test_an_unknown_scheduler_is_named() -> None:
    with pytest.raises(ValueError, match="scheduler 'NoScheduler' is not known; there are DDIMScheduler"):
        make_scheduler("NoScheduler", {})


def test_a_scheduler_does_not_clip_latents_unless_it_is_asked_to() -> None:
    assert not make_scheduler("DDIMScheduler", {}).config["clip_sample"]
    assert make_scheduler("DDIMScheduler", {"clip_sample": True}).config["clip_sample"]
