"""Nodes that say which networks are trained and how; they read no weights."""

from __future__ import annotations

import json
from typing import Annotated, Literal

from pydantic import Field

from mezzotint import Clip, Model, Vae, Widget, node

from .network_plan import LoraPlan, NetworkPlan, NewNetworks, Part
from .optimiser_plan import OptimiserName, OptimiserPlan, RateSchedule
from .ports import Latents, Networks, Optimiser, Process
from .state import TrainingError

Widths = Annotated[str, Field(pattern=r"^\s*\d+(\s*,\s*\d+)*\s*$", description="Channels of each level, by commas.")]
Small = Annotated[float, Field(ge=0, le=1), Widget(step=0.00001, round=0.0000001)]


@node("CheckpointNetworks", title="Networks of Checkpoint", category="training/networks")
def checkpoint_networks(
    model: Model,
    clip: Clip,
    vae: Vae,
    train_unet: bool = True,
    train_text_encoder: Annotated[bool, Field(description="Change the text encoder, too.")] = False,
) -> Networks:
    """Train a checkpoint further: copies of its networks, of which those chosen are changed.

    Raises:
        TrainingError: none is chosen.
    """
    parts: list[Part] = [*(["unet"] if train_unet else []), *(["text_encoder"] if train_text_encoder else [])]  # type: ignore[list-item]
    if not parts:
        raise TrainingError("nothing is to be trained; turn train_unet or train_text_encoder on")
    return NetworkPlan(tuple(parts), model=model, clip=clip, vae=vae)


@node("LoraNetworks", title="LoRA of Networks", category="training/networks")
def lora_networks(
    networks: Networks,
    rank: Annotated[int, Field(ge=1, le=1024)] = 8,
    alpha: Annotated[float, Field(gt=0, le=4096, description="Changes weigh alpha / rank.")] = 8.0,
    targets: Annotated[
        str, Field(description="Ends of the names of the layers changed, parted by commas.")
    ] = "to_q, to_k, to_v, to_out.0, q_proj, k_proj, v_proj, out_proj",
) -> Networks:
    """Train low-rank changes (LoRA) of the networks in place of their weights. Needs the extra `training` (peft)."""
    from dataclasses import replace

    names = tuple(name.strip() for name in targets.split(",") if name.strip())
    return replace(networks, lora=LoraPlan(rank, alpha, names))


@node("NewDiffusionNetworks", title="New Diffusion Networks", category="training/networks")
def new_diffusion_networks(
    latents: Latents,
    vae: Vae,
    process: Process,
    channels: Widths = "96, 192",
    layers: Annotated[int, Field(ge=1, le=8, description="Residual blocks of each level.")] = 1,
    head_channels: Annotated[int, Field(ge=8, le=512, description="Width of an attention head.")] = 32,
    text_width: Annotated[int, Field(ge=32, le=4096, multiple_of=32)] = 128,
    text_layers: Annotated[int, Field(ge=1, le=48)] = 2,
    tokens: Annotated[int, Field(ge=4, le=512, description="Length of a prompt, with its two ends.")] = 20,
    vocabulary: Annotated[int, Field(ge=514, le=100_000, description="Size of the tokeniser, at most.")] = 2000,
    seed: Annotated[int, Field(ge=0, le=2**63)] = 0,
    by_class: Annotated[bool, Field(description="Condition it by the classes of the latents, too.")] = False,
) -> Networks:
    """Begin a text-to-image model from nothing: a U-Net and a text encoder with random weights, for latents of a VAE.

    The tokeniser learns its words from the captions. The model sees latents scaled to a standard deviation of 1. Where
    the latents come with masks, it is a model for inpainting: it takes the mask and what it leaves as further channels.

    Raises:
        TrainingError: the widths do not fit each other, or the latents have no classes.
    """
    from .new_configs import CLASS_NAMES, text_encoder_config, train_tokenizer, unet_config

    widths = _numbers(channels)
    tokenizer, size = train_tokenizer(latents.captions, vocabulary)
    cells = latents.samples.shape[-1]
    if by_class and not latents.class_names:
        raise TrainingError("by_class is on, and the pictures have no classes; set classes where they are loaded")
    unet = unet_config(widths, layers, head_channels, text_width, latents.samples.shape[2], cells)
    unet["in_channels"] += latents.further_channels
    if by_class:  # one more stands for none of them
        unet |= {"num_class_embeds": len(latents.class_names) + 1, CLASS_NAMES: latents.class_names}
    text = text_encoder_config(size, text_width, text_layers, tokens)
    configs: tuple[tuple[Part, str], ...] = (("unet", json.dumps(unet)), ("text_encoder", json.dumps(text)))
    scale = 1 / max(float(latents.samples.std()), 1e-6)
    new = NewNetworks(configs, tokenizer, process.config, seed, scaling_factor=scale)
    return NetworkPlan(("unet", "text_encoder"), vae=vae, new=new)


@node("NewAutoencoderNetworks", title="New Autoencoder Networks", category="training/networks")
def new_autoencoder_networks(
    channels: Widths = "16, 32, 64, 96",
    latent_channels: Annotated[int, Field(ge=1, le=64)] = 8,
    layers: Annotated[int, Field(ge=1, le=8)] = 1,
    size: Annotated[int, Field(ge=8, le=4096, description="Of the pictures; noted in the configuration.")] = 64,
    seed: Annotated[int, Field(ge=0, le=2**63)] = 0,
) -> Networks:
    """Begin an autoencoder (VAE) from nothing; each level after the first halves the size.

    Raises:
        TrainingError: the widths have no common divisor for their norms.
    """
    from .new_configs import autoencoder_config

    config = autoencoder_config(_numbers(channels), latent_channels, layers, size)
    return NetworkPlan(("vae",), new=NewNetworks((("vae", json.dumps(config)),), seed=seed))


@node("AutoencoderNetworks", title="Networks of VAE", category="training/networks")
def autoencoder_networks(
    vae: Vae,
    part: Annotated[
        Literal["all", "decoder"],
        Field(description="With the decoder alone, latents keep their meaning and models go on to fit."),
    ] = "all",
) -> Networks:
    """Train an autoencoder (VAE) further."""
    return NetworkPlan(("vae",), vae=vae, vae_part=part)


@node("TrainingOptimiser", title="Training Optimiser", category="training")
def training_optimiser(
    optimiser: OptimiserName = "adamw",
    learning_rate: Annotated[float, Field(gt=0, le=10), Widget(step=0.00001, round=0.0000001)] = 1e-4,
    weight_decay: Small = 0.01,
    rate_schedule: Annotated[RateSchedule, Field(description="The learning rate over the steps.")] = "constant",
    warmup_steps: Annotated[int, Field(ge=0, le=1_000_000)] = 0,
    steps: Annotated[int, Field(ge=1, le=100_000_000, description="Where the schedule ends.")] = 1000,
    ema_decay: Annotated[
        float, Field(ge=0, lt=1, description="Of the average of the weights that is saved and drawn with; 0 for none.")
    ] = 0.0,
    accumulate: Annotated[int, Field(ge=1, le=4096, description="Batches to one optimiser step.")] = 1,
    clip_norm: Annotated[float, Field(ge=0, le=1e6, description="Greatest norm of the gradients; 0 for any.")] = 1.0,
    beta_1: Small = 0.9,
    beta_2: Small = 0.999,
    momentum: Annotated[Small, Field(description="Of sgd.")] = 0.9,
) -> Optimiser:
    """Say how weights are changed: the optimiser, its learning rate over time, averages, accumulation and clipping."""
    return OptimiserPlan(
        optimiser, learning_rate, weight_decay, beta_1, beta_2, momentum, rate_schedule, warmup_steps, steps,
        ema_decay, accumulate, clip_norm,
    )  # fmt: skip


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]
