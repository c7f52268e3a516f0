"""Transformers under the names that they were published with: what diffusers' conversion makes diffusers' names of."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import FunctionType

import pytest
import torch
from torch import Tensor

FLUX_BLOCK = {
    "norm1.linear": "img_mod.lin", "norm1_context.linear": "txt_mod.lin", "attn.norm_q": "img_attn.norm.query_norm",
    "attn.norm_k": "img_attn.norm.key_norm", "attn.norm_added_q": "txt_attn.norm.query_norm",
    "attn.norm_added_k": "txt_attn.norm.key_norm", "ff.net.0.proj": "img_mlp.0", "ff.net.2": "img_mlp.2",
    "ff_context.net.0.proj": "txt_mlp.0", "ff_context.net.2": "txt_mlp.2", "attn.to_out.0": "img_attn.proj",
    "attn.to_add_out": "txt_attn.proj",
}  # fmt: skip
FLUX_SINGLE = {
    "norm.linear": "modulation.lin", "attn.norm_q": "norm.query_norm", "attn.norm_k": "norm.key_norm",
    "proj_out": "linear2",
}  # fmt: skip
FLUX = {
    "time_text_embed.timestep_embedder.linear_1": "time_in.in_layer",
    "time_text_embed.timestep_embedder.linear_2": "time_in.out_layer",
    "time_text_embed.text_embedder.linear_1": "vector_in.in_layer",
    "time_text_embed.text_embedder.linear_2": "vector_in.out_layer",
    "time_text_embed.guidance_embedder.linear_1": "guidance_in.in_layer",
    "time_text_embed.guidance_embedder.linear_2": "guidance_in.out_layer",
    "context_embedder": "txt_in", "x_embedder": "img_in", "proj_out": "final_layer.linear",
    "norm_out.linear": "final_layer.adaLN_modulation.1",
}  # fmt: skip
SD3_BLOCK = {
    "norm1.linear": "x_block.adaLN_modulation.1", "norm1_context.linear": "context_block.adaLN_modulation.1",
    "ff.net.0.proj": "x_block.mlp.fc1", "ff.net.2": "x_block.mlp.fc2", "ff_context.net.0.proj": "context_block.mlp.fc1",
    "ff_context.net.2": "context_block.mlp.fc2", "attn.to_out.0": "x_block.attn.proj",
    "attn.to_add_out": "context_block.attn.proj", "attn.norm_q": "x_block.attn.ln_q",
    "attn.norm_k": "x_block.attn.ln_k", "attn.norm_added_q": "context_block.attn.ln_q",
    "attn.norm_added_k": "context_block.attn.ln_k", "attn2.norm_q": "x_block.attn2.ln_q",
    "attn2.norm_k": "x_block.attn2.ln_k", "attn2.to_out.0": "x_block.attn2.proj",
}  # fmt: skip
SD3 = {
    "time_text_embed.timestep_embedder.linear_1": "t_embedder.mlp.0",
    "time_text_embed.timestep_embedder.linear_2": "t_embedder.mlp.2",
    "time_text_embed.text_embedder.linear_1": "y_embedder.mlp.0",
    "time_text_embed.text_embedder.linear_2": "y_embedder.mlp.2",
    "context_embedder": "context_embedder", "pos_embed.proj": "x_embedder.proj", "proj_out": "final_layer.linear",
    "norm_out.linear": "final_layer.adaLN_modulation.1",
}  # fmt: skip


def narrow_flux_conversion(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tell diffusers' conversion of Flux, which knows the width of the real one alone, that of a small one: 64."""
    from diffusers.loaders import single_file_utils

    name = "convert_flux_transformer_checkpoint_to_diffusers"
    code = getattr(single_file_utils, name).__code__
    constants = tuple(64 if constant == 3072 else constant for constant in code.co_consts)
    narrowed = FunctionType(code.replace(co_consts=constants), vars(single_file_utils))
    monkeypatch.setattr(single_file_utils, name, narrowed)


def flux_tensors(network: torch.nn.Module) -> dict[str, Tensor]:
    """Of a `FluxTransformer2DModel`, under the names of Black Forest Labs."""
    state = network.state_dict()
    made: dict[str, Tensor] = {}
    for name, tensor in state.items():
        stem, part = name.rpartition(".")[::2]
        if block := re.fullmatch(r"transformer_blocks\.(\d+)\.(.*)", stem):
            _place(made, f"double_blocks.{block[1]}.", block[2], part, tensor, FLUX_BLOCK)
        elif block := re.fullmatch(r"single_transformer_blocks\.(\d+)\.(.*)", stem):
            _place(made, f"single_blocks.{block[1]}.", block[2], part, tensor, FLUX_SINGLE)
        else:
            made[f"{FLUX[stem]}.{part}"] = _swapped(tensor) if stem == "norm_out.linear" else tensor
    for block in {name.partition(".attn.to_q")[0] for name in state if ".attn.to_q" in name}:
        number, is_single = block.rpartition(".")[2], block.startswith("single")
        for part in ("weight", "bias"):
            joined = {"img_attn.qkv": "to_{}", "txt_attn.qkv": "add_{}_proj"}
            if is_single:
                rows = [state[f"{block}.attn.to_{letter}.{part}"] for letter in "qkv"]
                made[f"single_blocks.{number}.linear1.{part}"] = torch.cat([*rows, state[f"{block}.proj_mlp.{part}"]])
                continue
            for published, ours in joined.items():
                rows = [state[f"{block}.attn.{ours.format(letter)}.{part}"] for letter in "qkv"]
                made[f"double_blocks.{number}.{published}.{part}"] = torch.cat(rows)
    return made


def sd3_tensors(network: torch.nn.Module) -> dict[str, Tensor]:
    """Of an `SD3Transformer2DModel`, under the names of Stability AI."""
    state = network.state_dict()
    made: dict[str, Tensor] = {}
    last = max(int(name.split(".")[1]) for name in state if name.startswith("transformer_blocks."))
    for name, tensor in state.items():
        stem, part = name.rpartition(".")[::2]
        if block := re.fullmatch(r"transformer_blocks\.(\d+)\.(.*)", stem):
            is_end = int(block[1]) == last and block[2] == "norm1_context.linear"
            _place(made, f"joint_blocks.{block[1]}.", block[2], part, _swapped(tensor) if is_end else tensor, SD3_BLOCK)
        elif name == "pos_embed.pos_embed":
            made["pos_embed"] = tensor
        else:
            made[f"{SD3[stem]}.{part}"] = _swapped(tensor) if stem == "norm_out.linear" else tensor
    for block in {name.partition(".attn.to_q")[0] for name in state if ".attn.to_q" in name}:
        for part in ("weight", "bias"):
            joined = {"x_block.attn": "attn.to_{}", "context_block.attn": "attn.add_{}_proj"}
            if f"{block}.attn2.to_q.{part}" in state:  # of SD3.5 medium
                joined["x_block.attn2"] = "attn2.to_{}"
            for published, ours in joined.items():
                rows = [state[f"{block}.{ours.format(letter)}.{part}"] for letter in "qkv"]
                made[f"joint_blocks.{block.rpartition('.')[2]}.{published}.qkv.{part}"] = torch.cat(rows)
    return made


def z_image_tensors(network: torch.nn.Module) -> dict[str, Tensor]:
    """Of a `ZImageTransformer2DModel`, under the names of Alibaba."""
    made: dict[str, Tensor] = {}
    state = network.state_dict()
    for name, tensor in state.items():
        if re.search(r"\.to_[kv]\.", name):
            continue
        if ".to_q." in name:
            rows = [state[name.replace(".to_q.", f".to_{letter}.")] for letter in "qkv"]
            made[name.replace(".to_q.", ".qkv.")] = torch.cat(rows)
            continue
        published = re.sub(r"^all_(x_embedder|final_layer)\.2-1\.", r"\1.", name).replace(".to_out.0.", ".out.")
        made[re.sub(r"norm_([qk])\.", r"\1_norm.", published)] = tensor
    return made


def _place(
    made: dict[str, Tensor], prefix: str, stem: str, part: str, tensor: Tensor, names: Mapping[str, str]
) -> None:
    if re.fullmatch(r"attn2?\.(to_[qkv]|add_[qkv]_proj)|proj_mlp", stem):
        return  # joined to one tensor
    is_norm = "query_norm" in names[stem] or "key_norm" in names[stem]
    made[f"{prefix}{names[stem]}.{'scale' if is_norm else part}"] = tensor


def _swapped(tensor: Tensor) -> Tensor:
    """Scale and shift → shift and scale."""
    return torch.cat([*tensor.chunk(2)][::-1])
