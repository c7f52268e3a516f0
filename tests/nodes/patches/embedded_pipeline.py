"""The embedded model drawn by our nodes and by pipelines of diffusers, from the same noise."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mezzotint import Context
from mezzotint.engine.request import drive
from mezzotint.nodes.conditioning.conditioning import encode_text
from mezzotint.nodes.latents.latent import empty_latent_image
from mezzotint.nodes.models.checkpoints import Checkpoint
from mezzotint.nodes.sampling import sampling_nodes as sampling
from mezzotint.nodes.sampling.noise import initial_noise
from mezzotint.nodes.sampling.noise_levels import basic_scheduler
from mezzotint.nodes.sampling.sampler_parts import diffusers_sampler

SEED, STEPS, CFG, SIDE = 7, 4, 4.0, 64
PROMPT, NEGATIVE = "a red apple", "blue"


def prompts(checkpoint: Checkpoint, context: Context) -> list[Any]:
    return [encode_text(text, checkpoint.CLIP, ctx=context) for text in (PROMPT, NEGATIVE)]


def drawn(model: Any, given: list[Any], context: Context, latent: Any = None, cfg: float = CFG) -> Tensor:
    """Latents of KSampler, by Euler's method."""
    positive, negative = given
    body = sampling.ksampler(
        model, seed=SEED, steps=STEPS, cfg=cfg, scheduler="simple", positive=positive, negative=negative,
        latent_image=latent or empty_latent_image(SIDE, SIDE), ctx=context,
    )  # fmt: skip
    samples: Tensor = drive(body, context)["samples"]
    return samples


def drawn_by_ddim(model: Any, given: list[Any], context: Context, cfg: float = CFG) -> Tensor:
    """Latents of SamplerCustom, by diffusers' DDIM."""
    positive, negative = given
    body = sampling.sampler_custom(
        model, noise_seed=SEED, cfg=cfg, positive=positive, negative=negative,
        sampler=diffusers_sampler("DDIMScheduler", "trailing"),
        sigmas=basic_scheduler(model, "simple", STEPS, ctx=context),
        latent_image=empty_latent_image(SIDE, SIDE), ctx=context,
    )  # fmt: skip
    samples: Tensor = drive(body, context).output["samples"]
    return samples


def pipeline(
    class_name: str, path: Path, scheduler: str = "EulerDiscreteScheduler", prediction_type: str = "", **given: Any
) -> Any:
    """A pipeline of diffusers with the embedded model.

    Args:
        prediction_type: what its network is taken to predict, if not what it does. given: further components.
    """
    import diffusers

    base = diffusers.StableDiffusionPipeline.from_pretrained(path, local_files_only=True, low_cpu_mem_usage=False)
    changes = {"prediction_type": prediction_type} if prediction_type else {}
    levels = getattr(diffusers, scheduler).from_config(base.scheduler.config, timestep_spacing="trailing", **changes)
    made = getattr(diffusers, class_name)(
        **{**base.components, "scheduler": levels}, requires_safety_checker=False, **given
    )
    made.to(torch.float32).set_progress_bar_config(disable=True)
    return made


def pipeline_latents(made: Any, **given: Any) -> Tensor:
    """What a pipeline draws from the noise of our seed."""
    noise = initial_noise((1, 8, 8, 8), SEED)
    if type(made.scheduler).__name__ == "EulerDiscreteScheduler":
        made.scheduler.set_timesteps(STEPS)
        sigma = float(made.scheduler.sigmas[0])
        noise = noise * math.sqrt(1 + sigma**2) / sigma
    settings = {"guidance_scale": CFG, "num_inference_steps": STEPS, "output_type": "latent", "latents": noise}
    with torch.no_grad():
        latents: Tensor = made(
            PROMPT, negative_prompt=NEGATIVE, height=SIDE, width=SIDE, **{**settings, **given}
        ).images
    return latents


def error(actual: Tensor, expected: Tensor) -> float:
    return float((actual - expected).norm() / expected.norm())
