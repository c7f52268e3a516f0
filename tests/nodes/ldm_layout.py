"""Writes networks of diffusers and transformers as single files have them: the inverse of diffusers' conversion.

Written from the published code of latent diffusion and OpenCLIP, not from the conversion.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
    "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
}  # fmt: skip
UNET_ENDS = {
    "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2", "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0", "conv_out": "out.2", "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2", "class_embedding.linear_1": "label_emb.0.0",
    "class_embedding.linear_2": "label_emb.0.2", "mid_block.resnets.0": "middle_block.0",
    "mid_block.attentions.0": "middle_block.1", "mid_block.resnets.1": "middle_block.2",
}  # fmt: skip
OPEN_CLIP = {
    "embeddings.token_embedding": "token_embedding", "embeddings.position_embedding.weight": "positional_embedding",
    "final_layer_norm": "ln_final", "encoder.layers": "transformer.resblocks", "layer_norm1": "ln_1",
    "layer_norm2": "ln_2", "fc1": "c_fc", "fc2": "c_proj", "self_attn.out_proj": "attn.out_proj",
}  # fmt: skip


def unet_names(config: Mapping[str, Any]) -> dict[str, str]:
    """Prefixes of diffusers' names → those of single files."""
    names = dict(UNET_ENDS)
    layers, levels = config["layers_per_block"], len(config["block_out_channels"])
    block = 1
    for level in range(levels):
        for layer in range(layers):
            names[f"down_blocks.{level}.resnets.{layer}"] = f"input_blocks.{block}.0"
            names[f"down_blocks.{level}.attentions.{layer}"] = f"input_blocks.{block}.1"
            block += 1
        names[f"down_blocks.{level}.downsamplers.0.conv"] = f"input_blocks.{block}.0.op"
        block += 1
    block = 0
    for level in range(levels):
        for layer in range(layers + 1):
            names[f"up_blocks.{level}.resnets.{layer}"] = f"output_blocks.{block}.0"
            names[f"up_blocks.{level}.attentions.{layer}"] = f"output_blocks.{block}.1"
            block += 1
        has_attention = config["up_block_types"][level].startswith("CrossAttn")
        names[f"up_blocks.{level}.upsamplers.0.conv"] = f"output_blocks.{block - 1}.{1 + has_attention}.conv"
    return names


def vae_names(config: Mapping[str, Any]) -> dict[str, str]:
    levels, layers = len(config["block_out_channels"]), config["layers_per_block"]
    names = {}
    for half in ("encoder", "decoder"):
        names |= {
            f"{half}.mid_block.resnets.0": f"{half}.mid.block_1", f"{half}.mid_block.resnets.1": f"{half}.mid.block_2",
            f"{half}.mid_block.attentions.0": f"{half}.mid.attn_1", f"{half}.conv_norm_out": f"{half}.norm_out",
        }  # fmt: skip
    for level in range(levels):
        up = levels - 1 - level
        for layer in range(layers + 1):
            names[f"encoder.down_blocks.{level}.resnets.{layer}"] = f"encoder.down.{level}.block.{layer}"
            names[f"decoder.up_blocks.{level}.resnets.{layer}"] = f"decoder.up.{up}.block.{layer}"
        names[f"encoder.down_blocks.{level}.downsamplers.0.conv"] = f"encoder.down.{level}.downsample.conv"
        names[f"decoder.up_blocks.{level}.upsamplers.0.conv"] = f"decoder.up.{up}.upsample.conv"
    return names


def renamed(name: str, prefixes: Mapping[str, str]) -> str:
    known = max((prefix for prefix in prefixes if name.startswith(f"{prefix}.")), key=len, default=None)
    return name if known is None else prefixes[known] + name[len(known) :]


def unet_tensors(unet: Any) -> dict[str, Tensor]:
    names = unet_names(unet.config)
    tensors = {}
    for name, tensor in unet.state_dict().items():
        published = renamed(name, names)
        if ".resnets." in name:
            for ours, theirs in RESNET.items():
                published = published.replace(f".{ours}.", f".{theirs}.")
        tensors[published] = tensor
    return tensors


def vae_tensors(vae: Any) -> dict[str, Tensor]:
    names = vae_names(vae.config)
    tensors = {}
    for name, tensor in vae.state_dict().items():
        published = renamed(name, names).replace("conv_shortcut", "nin_shortcut")
        for ours, theirs in {
            "group_norm": "norm",
            "to_out.0": "proj_out",
            "to_q": "q",
            "to_k": "k",
            "to_v": "v",
        }.items():
            published = published.replace(f".{ours}.", f".{theirs}.")
        is_projection = ".attn_1." in published and published.endswith("weight") and tensor.ndim == 2
        tensors[published] = tensor[:, :, None, None] if is_projection else tensor  # they were convolutions
    return tensors


def clip_tensors(encoder: nn.Module) -> dict[str, Tensor]:
    plain = {name.removeprefix("text_model."): tensor for name, tensor in encoder.state_dict().items()}
    positions = torch.arange(len(plain["embeddings.position_embedding.weight"]))[None]
    return {f"text_model.{name}": tensor for name, tensor in plain.items()} | {
        "text_model.embeddings.position_ids": positions
    }


def open_clip_tensors(encoder: nn.Module) -> dict[str, Tensor]:
    tensors = {"logit_scale": torch.tensor(4.6)}
    plain = {name.removeprefix("text_model."): tensor for name, tensor in encoder.state_dict().items()}
    for name, tensor in plain.items():
        if "self_attn" in name and "out_proj" not in name:
            continue
        if name == "text_projection.weight":
            tensors["text_projection"] = tensor.T
            continue
        published = name
        for ours, theirs in OPEN_CLIP.items():
            published = published.replace(ours, theirs)
        tensors[published] = tensor
    layers = {name.split(".")[2] for name in plain if name.startswith("encoder.layers.")}
    for layer in layers:
        for end in ("weight", "bias"):
            parts = [plain[f"encoder.layers.{layer}.self_attn.{part}_proj.{end}"] for part in "qkv"]
            tensors[f"transformer.resblocks.{layer}.attn.in_proj_{end}"] = torch.cat(parts)
    return tensors


def write_single_file(path: Path, parts: Mapping[str, Mapping[str, Tensor]], **metadata: str) -> None:
    """Tensors of networks, by the prefix of their names."""
    tensors = {f"{prefix}{name}": tensor for prefix, part in parts.items() for name, tensor in part.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.clone().contiguous() for name, tensor in tensors.items()}, path, metadata or None)
