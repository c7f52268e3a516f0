"""LoRA files for tests: the same random factors in each of the layouts that people have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

DENOISER, TEXT = "denoiser", "text_encoder"


@dataclass(frozen=True)
class Factors:
    """Of one layer: up [out, rank], down [rank, in, ...], and alpha."""

    up: Tensor
    down: Tensor
    alpha: float

    @property
    def delta(self) -> Tensor:
        """alpha / rank * up @ down in float64, the closed form."""
        product = self.up.double().flatten(1) @ self.down.double().flatten(1)
        return product.reshape(len(self.up), *self.down.shape[1:]) * (self.alpha / self.up.shape[1])


Lora = dict[str, Factors]
"""Layer of a network → its factors."""


def attention_layers(network: nn.Module) -> dict[str, Any]:
    """The layers that LoRAs mostly change."""
    ends = ("to_q", "to_k", "to_v", "to_out.0", "q_proj", "k_proj", "v_proj", "out_proj")
    return {name: layer for name, layer in network.named_modules() if name.endswith(ends)}


def random_lora(layers: Mapping[str, Any], rank: int = 4, alpha: float = 2.0, seed: int = 0, size: float = 0.2) -> Lora:
    """Factors for these layers, so large that the changes are plain to see."""
    generator = torch.Generator().manual_seed(seed)
    made = {}
    for name, layer in layers.items():
        outputs, *inputs = layer.weight.shape
        ones = [1] * (layer.weight.ndim - 2)
        up = torch.randn(outputs, rank, *ones, generator=generator) * size
        down = torch.randn(rank, *inputs, generator=generator) * size
        made[name] = Factors(up, down, alpha)
    return made


def merged(network: nn.Module, *loras: tuple[Lora, float]) -> nn.Module:
    """A copy of a network whose weights are W + sum of strength * delta, added up in float64."""
    from copy import deepcopy

    made = deepcopy(network)
    for lora, strength in loras:
        for name, factors in lora.items():
            weight: Any = made.get_submodule(name).weight
            weight.data = (weight.data.double() + strength * factors.delta).to(weight.dtype)
    return made


# layouts: each gives the tensors of a file


def kohya(network: str, lora: Lora) -> dict[str, Tensor]:
    prefix = {DENOISER: "lora_unet_", TEXT: "lora_te_"}[network]
    tensors = {}
    for name, factors in lora.items():
        flat = prefix + _full(network, name).replace(".", "_")
        tensors[f"{flat}.lora_up.weight"] = factors.up
        tensors[f"{flat}.lora_down.weight"] = factors.down
        tensors[f"{flat}.alpha"] = torch.tensor(factors.alpha)
    return tensors


def peft(network: str, lora: Lora) -> dict[str, Tensor]:
    return _dotted(network, lora, lambda name: f"{name}.lora_B.weight", lambda name: f"{name}.lora_A.weight")


def diffusers(network: str, lora: Lora) -> dict[str, Tensor]:
    """Names that diffusers wrote before it used those of peft."""
    kind = "lora" if network == DENOISER else "lora_linear_layer"
    return _dotted(network, lora, lambda name: f"{name}.{kind}.up.weight", lambda name: f"{name}.{kind}.down.weight")


def attention_processors(network: str, lora: Lora) -> dict[str, Tensor]:
    """Names of the first LoRAs of diffusers."""
    return _dotted(
        network,
        lora,
        lambda name: f"{_processor(name)}_lora.up.weight",
        lambda name: f"{_processor(name)}_lora.down.weight",
    )


def _processor(name: str) -> str:
    attention, _, last = name.removesuffix(".0").rpartition(".")
    if attention.endswith("self_attn"):
        return f"{attention}.to_{last.removesuffix('_proj')}"
    return f"{attention}.processor.{last}"


def _dotted(network: str, lora: Lora, up: Callable[[str], str], down: Callable[[str], str]) -> dict[str, Tensor]:
    prefix = {DENOISER: "unet.", TEXT: "text_encoder."}[network]
    tensors = {}
    for name, factors in lora.items():
        full = prefix + _full(network, name)
        scale = factors.alpha / factors.up.shape[1]  # these layouts have no alpha
        tensors[up(full)], tensors[down(full)] = factors.up * scale, factors.down
    return tensors


def _full(network: str, name: str) -> str:
    """Names of text encoders, as files have them; transformers 5 has left out their first part."""
    return f"text_model.{name}" if network == TEXT and not name.startswith("text_model.") else name
