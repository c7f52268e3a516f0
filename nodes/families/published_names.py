"""The names that weights were published with, from those that diffusers and transformers have for them.

Those of Stable Diffusion are of the code of latent diffusion (Rombach et al. 2022), of its text encoders those of
OpenCLIP; single files have them, and block merges go by them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
    "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
}  # fmt: skip
UNET = {
    "conv_in": "input_blocks.0.0", "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2",
    "class_embedding.linear_1": "label_emb.0.0", "class_embedding.linear_2": "label_emb.0.2",
    "mid_block.resnets.0": "middle_block.0", "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2", "conv_norm_out": "out.0", "conv_out": "out.2",
}  # fmt: skip
UNET_CLASS = "UNet2DConditionModel"


def published_names(network: Any) -> Callable[[str], str]:
    """A network's names for its layers and tensors → the published ones; of other families than U-Nets, its own."""
    if type(network).__name__ != UNET_CLASS:
        return lambda name: name
    prefixes = unet_prefixes(network)
    return lambda name: _unet_name(name, prefixes)


def unet_prefixes(unet: Any) -> dict[str, str]:
    """Blocks of a U-Net of diffusers → their published names, which count blocks through all levels."""
    prefixes = dict(UNET)
    block = 1
    for level, down in enumerate(unet.down_blocks):
        for layer in range(len(down.resnets)):
            prefixes[f"down_blocks.{level}.resnets.{layer}"] = f"input_blocks.{block}.0"
            prefixes[f"down_blocks.{level}.attentions.{layer}"] = f"input_blocks.{block}.1"
            block += 1
        if down.downsamplers:
            prefixes[f"down_blocks.{level}.downsamplers.0.conv"] = f"input_blocks.{block}.0.op"
            block += 1
    block = 0
    for level, up in enumerate(unet.up_blocks):
        for layer in range(len(up.resnets)):
            prefixes[f"up_blocks.{level}.resnets.{layer}"] = f"output_blocks.{block}.0"
            prefixes[f"up_blocks.{level}.attentions.{layer}"] = f"output_blocks.{block}.1"
            block += 1
        place = 2 if hasattr(up, "attentions") else 1
        prefixes[f"up_blocks.{level}.upsamplers.0.conv"] = f"output_blocks.{block - 1}.{place}.conv"
    return prefixes


def _unet_name(name: str, prefixes: Mapping[str, str]) -> str:
    block, rest = parted(name, prefixes)
    if ".resnets." in block and rest:
        part, rest = parted(rest[1:], RESNET)
        rest = f".{RESNET.get(part, '')}{rest}"
    return prefixes.get(block, block) + rest


def parted(name: str, prefixes: Mapping[str, str]) -> tuple[str, str]:
    """The longest beginning of a name, of whole words between dots, that is known, and the rest."""
    known = name
    while known and known not in prefixes:
        known = known.rpartition(".")[0]
    return known, name[len(known) :]
