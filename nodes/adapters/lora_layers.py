"""Which layers of a network the layers of a LoRA file are, by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from torch import nn

from .patched_layer import is_patchable

ORIGINAL_NAMES = ("input_blocks", "middle_block", "output_blocks", "time_embed_", "label_emb_", "out_2")
"""What names in the U-Net of the original code hold, which kohya and others keep for SDXL."""
OLD_TEXT_NAMES = {
    "self_attn_to_q": "self_attn_q_proj",
    "self_attn_to_k": "self_attn_k_proj",
    "self_attn_to_v": "self_attn_v_proj",
    "self_attn_to_out": "self_attn_out_proj",
}


def find_layers(names: Iterable[str], network: nn.Module) -> dict[str, str]:
    """Names of a LoRA file, with '_' for '.' → those of the network's layers; what is not found is left out."""
    layers = {name.replace(".", "_"): name for name, layer in network.named_modules() if is_patchable(layer)}
    found = {name: layers[known] for name in names if (known := _known(name, layers))}
    missing = [name for name in names if name not in found and any(part in name for part in ORIGINAL_NAMES)]
    for name, other in _from_original(missing, network):
        if known := _known(other, layers):
            found[name] = layers[known]
    return found


def _known(name: str, layers: dict[str, str]) -> str | None:
    return next((other for other in _spellings(name) if other in layers), None)


def _spellings(name: str) -> Iterator[str]:
    yield name
    yield f"{name}_0"  # the output layer of attention, a list in diffusers
    for old, new in OLD_TEXT_NAMES.items():
        if name.endswith(old):
            name = name.removesuffix(old) + new
    yield name
    yield name.removeprefix("text_model_")  # transformers 4 and 5 differ in this prefix
    yield f"text_model_{name}"


def _from_original(names: list[str], network: Any) -> Iterator[tuple[str, str]]:
    """Names of the original U-Net, each with that of diffusers, by the rules that diffusers itself has for kohya."""
    from diffusers.loaders import lora_conversion_utils as rules
    from diffusers.utils.state_dict_utils import convert_unet_state_dict_to_peft

    config = getattr(network, "config", None)
    if not names or not isinstance(getattr(config, "layers_per_block", None), int):
        return
    try:
        keys: dict[str, str] = rules._maybe_map_sgm_blocks_to_diffusers(
            {f"lora_unet_{name}.lora_down.weight": name for name in names}, config
        )
        converted = {rules._convert_unet_lora_key(key): name for key, name in keys.items()}
    except (ValueError, IndexError):  # a name that only looks like one of the original code
        return
    for key, name in convert_unet_state_dict_to_peft(converted).items():
        yield name, key.removesuffix(".lora_A.weight").replace(".", "_")
