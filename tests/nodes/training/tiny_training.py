"""Tiny networks with random weights and random latents, for trainings of milliseconds."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import torch

from mezzotint.nodes.training.network_plan import NetworkPlan, NewNetworks
from mezzotint.nodes.training.new_configs import (
    autoencoder_config,
    text_encoder_config,
    train_tokenizer,
    unet_config,
)
from mezzotint.nodes.training.noise_nodes import noise_process
from mezzotint.nodes.training.picture_set import LatentSet
from mezzotint.nodes.training.state import TrainingState

CAPTIONS = ("a red circle", "a blue star", "a green ring", "one yellow bar", "a pink cross")
SCHEDULE = dict(noise_process(prediction="v_prediction").config)

Begin = Callable[..., TrainingState]


def tiny_plan(trained: tuple[str, ...] = ("unet", "text_encoder"), **changes: Any) -> NetworkPlan:
    """Networks for latents of 4 channels and 8×8 cells. `unet`, `text_encoder`: changes of their configurations."""
    tokenizer, size = train_tokenizer(CAPTIONS, 540)
    configs = (
        ("unet", json.dumps(unet_config([16], 1, 8, 32, 4, 8) | changes.pop("unet", {}))),
        ("text_encoder", json.dumps(text_encoder_config(size, 32, 2, 8) | changes.pop("text_encoder", {}))),
        ("vae", json.dumps(autoencoder_config([8, 16], 4, 1, 16))),
    )
    schedule = tuple(sorted({**SCHEDULE, **changes.pop("schedule", {})}.items()))
    return NetworkPlan(trained, new=NewNetworks(configs, tokenizer, schedule, seed=1), **changes)  # type: ignore[arg-type]


def random_latents(count: int = 5, views: int = 2, dropout: float = 0.3) -> LatentSet:
    samples = torch.randn(count, views, 4, 8, 8, generator=torch.Generator().manual_seed(5))
    return LatentSet(samples, CAPTIONS[:count], dropout, size=16)


def masked_latents(count: int = 5) -> LatentSet:
    """The same with classes 0 to 2, and with masks."""
    plain, generator = random_latents(count), torch.Generator().manual_seed(6)
    masks = torch.rand(count, 2, 1, 8, 8, generator=generator).round()
    masked = torch.randn(plain.samples.shape, generator=generator)
    labels = tuple(index % 3 for index in range(count))
    return LatentSet(plain.samples, plain.captions, 0.3, 16, masks, masked, labels, ("one", "two", "three"))


def weights(state: TrainingState) -> torch.Tensor:
    """All that is trained, in one row, copied."""
    return torch.cat([parameter.detach().flatten() for parameter in state.parameters()]).clone()
