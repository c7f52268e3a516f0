"""Nodes of the forward process: schedules, noise at any timestep, what is to be predicted, and pictures of it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mezzotint import Context, Image, Model, Widget, node

from .noise_process import NoiseProcess, Prediction
from .ports import Process, Tensor

Beta = Annotated[float, Field(gt=0, lt=1), Widget(step=0.00001, round=0.00001)]
TrainingSteps = Annotated[int, Field(ge=2, le=100_000)]


@node("NoiseProcess", title="Noise Process", category="training/noise")
def noise_process(
    schedule: Annotated[
        Literal["scaled_linear", "linear", "cosine"], Field(description="How beta grows with the timestep.")
    ] = "scaled_linear",
    beta_start: Beta = 0.00085,
    beta_end: Beta = 0.012,
    timesteps: TrainingSteps = 1000,
    zero_terminal_snr: Annotated[bool, Field(description="The last timestep is nothing but noise.")] = False,
    prediction: Annotated[Prediction, Field(description="What the network is to say of a noisy latent.")] = "epsilon",
) -> Process:
    """Say how noise is added for training: beta from start to end (cosine has its own), and what is predicted."""
    config = {
        "_class_name": "DDIMScheduler",
        "beta_schedule": "squaredcos_cap_v2" if schedule == "cosine" else schedule,
        "beta_start": beta_start,
        "beta_end": beta_end,
        "num_train_timesteps": timesteps,
        "rescale_betas_zero_snr": zero_terminal_snr,
        "prediction_type": prediction,
        "clip_sample": False,
        "set_alpha_to_one": False,
        "steps_offset": 1,
        "timestep_spacing": "trailing",
    }
    return NoiseProcess.from_config(config)


@node("ModelNoiseProcess", title="Noise Process of Model", category="training/noise")
def model_noise_process(model: Model, *, ctx: Context) -> Process:
    """Read from a model's files how noise was added when it was trained.

    Raises:
        NoiseProcessError: it is a flow model. MissingModelError, ModelFileError: its files cannot be read.
    """
    from ..sampling.model_sampling import model_sampling

    sampling = model_sampling(model, ctx)
    return NoiseProcess.from_config(sampling.scheduler_config, sampling.scaling_factor, sampling.shift_factor)


@node("AddTrainingNoise", title="Add Training Noise", category="training/noise", cached=False)
def add_training_noise(latents: Tensor, noise: Tensor, timesteps: Tensor, process: Process) -> Tensor:
    """x_t = alpha_t x_0 + sigma_t noise, where x_0 are the latents as the model sees them."""
    return process.add_noise(process.to_model(latents), noise, timesteps)


@node("TrainingTarget", title="Training Target", category="training/noise", cached=False)
def training_target(latents: Tensor, noise: Tensor, timesteps: Tensor, process: Process) -> Tensor:
    """What the network should say: the noise (epsilon), v = alpha_t noise − sigma_t x_0, or x_0 (sample)."""
    return process.target(process.to_model(latents), noise, timesteps)


@node("NoiseProcessPicture", title="Noise Process Picture", category="training/noise")
def noise_process_picture(
    process: Process,
    image: Image,
    columns: Annotated[int, Field(ge=2, le=64)] = 9,
    seed: Annotated[int, Field(ge=0, le=2**63)] = 0,
) -> Image:
    """See a picture drown in noise: x_t at timesteps from first to last, and below the shares of picture and noise."""
    from .noise_picture import picture_of_process

    return picture_of_process(process, image[:1, ..., :3], columns, seed)
