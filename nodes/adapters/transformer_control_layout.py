"""ControlNets of Stable Diffusion 3 and Flux: what their files hold, read off the names and shapes of the tensors.

| layout | names like |
|---|---|
| Stable Diffusion 3, of diffusers | `pos_embed_input.proj.weight`, `transformer_blocks.0.attn.to_q.weight` |
| Stable Diffusion 3.5 Large, of Stability AI | `pos_embed_input.proj.weight`, `transformer_blocks.0.attn.qkv.weight` |
| Flux, of diffusers | `controlnet_x_embedder.weight` |
| Flux, of XLabs | `pos_embed_input.weight`, `double_blocks.0.img_attn.qkv.weight` |
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

Shapes = Mapping[str, tuple[int, ...]]
SD3, FLUX = "SD3ControlNetModel", "FluxControlNetModel"
SD3_HINT, FLUX_HINT, XLABS_HINT = (
    "pos_embed_input.proj.weight", "controlnet_x_embedder.weight", "pos_embed_input.weight",
)  # fmt: skip
CONTROL_TYPE = "control_type"
"""The number in files of Stability AI that says what pictures steer it."""
JOINED = ".attn.qkv."
STABILITY_NAMES = {
    "adaLN_modulation.1": "norm1.linear", "attn.proj": "attn.to_out.0", "mlp.fc1": "ff.net.0.proj",
    "mlp.fc2": "ff.net.2",
}  # fmt: skip
XLABS_NAMES = {
    "pos_embed_input": "controlnet_x_embedder", "img_in": "x_embedder", "txt_in": "context_embedder",
    "time_in.in_layer": "time_text_embed.timestep_embedder.linear_1",
    "time_in.out_layer": "time_text_embed.timestep_embedder.linear_2",
    "vector_in.in_layer": "time_text_embed.text_embedder.linear_1",
    "vector_in.out_layer": "time_text_embed.text_embedder.linear_2",
    "guidance_in.in_layer": "time_text_embed.guidance_embedder.linear_1",
    "guidance_in.out_layer": "time_text_embed.guidance_embedder.linear_2",
    "input_hint_block.0": "input_hint_block.conv_in", "input_hint_block.14": "input_hint_block.conv_out",
    **{f"input_hint_block.{2 * k}": f"input_hint_block.blocks.{k - 1}" for k in range(1, 7)},
}  # fmt: skip
"""Of modules; every other layer of the hint's is an activation."""
XLABS_LAYERS = {
    "img_mod.lin": "norm1.linear", "txt_mod.lin": "norm1_context.linear", "img_attn.proj": "attn.to_out.0",
    "txt_attn.proj": "attn.to_add_out", "img_mlp.0": "ff.net.0.proj", "img_mlp.2": "ff.net.2",
    "txt_mlp.0": "ff_context.net.0.proj", "txt_mlp.2": "ff_context.net.2",
    "img_attn.norm.query_norm": "attn.norm_q", "img_attn.norm.key_norm": "attn.norm_k",
    "txt_attn.norm.query_norm": "attn.norm_added_q", "txt_attn.norm.key_norm": "attn.norm_added_k",
}  # fmt: skip
"""Of modules of a block."""
XLABS_JOINED = {
    "img_attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "txt_attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
}
HEAD_WIDTH = 64
"""Of Stable Diffusion 3's attention."""
ROTATED = (2, 7, 7)
"""Of 16 numbers of a head of Flux, how many stand for each axis of a place."""


class FilePart(NamedTuple):
    """A part of a tensor in a file: number `part` of `parts` that are equal along its first axis."""

    name: str
    part: int = 0
    parts: int = 1

    def of(self, tensor: Tensor) -> Tensor:
        """The part of the tensor."""
        return tensor if self.parts == 1 else tensor.chunk(self.parts)[self.part]


Names = Mapping[str, FilePart]


def sd3_layout(shapes: Shapes) -> tuple[Names, dict[str, Any]]:
    """The network's names → the file's, and the configuration. Raises KeyError: it lacks a part."""
    names = _from_stability(shapes)
    blocks = range(count_numbers(names, "transformer_blocks."))
    patch = shapes[SD3_HINT]
    width = shapes["controlnet_blocks.0.weight"][0]
    norm = shapes.get("transformer_blocks.0.attn.norm_q.weight")
    head = norm[0] if norm else min(HEAD_WIDTH, width)
    has_places, text = "pos_embed.proj.weight" in shapes, shapes.get("context_embedder.weight")
    channels = shapes["pos_embed.proj.weight"][1] if has_places else patch[1]
    config: dict[str, Any] = {
        "patch_size": patch[2],
        "in_channels": channels,
        "extra_conditioning_channels": patch[1] - channels,
        "num_layers": len(blocks),
        "attention_head_dim": head,
        "num_attention_heads": width // head,
        "joint_attention_dim": text[1] if text else None,
        "caption_projection_dim": text[0] if text else width,
        "pooled_projection_dim": shapes["time_text_embed.text_embedder.linear_1.weight"][1],
        "out_channels": channels,
        "dual_attention_layers": [n for n in blocks if f"transformer_blocks.{n}.attn2.to_q.weight" in shapes],
        "qk_norm": "rms_norm" if norm else None,
        "use_pos_embed": has_places,
        "pos_embed_max_size": math.isqrt(shapes["pos_embed.pos_embed"][1]) if has_places else None,
        "pos_embed_type": "sincos" if has_places else None,
        "force_zeros_for_pooled_projection": has_places,
    }
    return names, config


def _from_stability(shapes: Shapes) -> dict[str, FilePart]:
    """As they are, where the file has the names of diffusers."""
    names: dict[str, FilePart] = {}
    for name in shapes:
        if JOINED in name:
            before, end = name.split(JOINED)
            names |= {f"{before}.attn.to_{part}.{end}": FilePart(name, k, 3) for k, part in enumerate("qkv")}
        elif name != CONTROL_TYPE:
            found = next((old for old in STABILITY_NAMES if f".{old}." in name), None)
            names[name.replace(found, STABILITY_NAMES[found]) if found else name] = FilePart(name)
    return names


def flux_layout(file_shapes: Shapes) -> tuple[Names, dict[str, Any]]:
    """The network's names → the file's, and the configuration. Raises KeyError: it lacks a part."""
    names = _from_xlabs(file_shapes) if XLABS_HINT in file_shapes else {name: FilePart(name) for name in file_shapes}
    shapes = {name: file_shapes[part.name] for name, part in names.items()}
    width, channels = shapes["x_embedder.weight"]
    head = next(shape[0] for name, shape in shapes.items() if re.search(r"blocks\.0\.attn\.norm_q\.weight$", name))
    hint, modes = shapes.get("input_hint_block.conv_out.weight"), shapes.get("controlnet_mode_embedder.weight")
    config: dict[str, Any] = {
        "patch_size": math.isqrt(channels // hint[0]) if hint else 1,
        "in_channels": channels,
        "num_layers": count_numbers(shapes, "transformer_blocks."),
        "num_single_layers": count_numbers(shapes, "single_transformer_blocks."),
        "attention_head_dim": head,
        "num_attention_heads": width // head,
        "joint_attention_dim": shapes["context_embedder.weight"][1],
        "pooled_projection_dim": shapes["time_text_embed.text_embedder.linear_1.weight"][1],
        "guidance_embeds": "time_text_embed.guidance_embedder.linear_1.weight" in shapes,
        "axes_dims_rope": [head * share // sum(ROTATED) for share in ROTATED],
        "num_mode": modes[0] if modes else None,
        "conditioning_embedding_channels": hint[0] if hint else None,
    }
    return names, config


def _from_xlabs(shapes: Shapes) -> dict[str, FilePart]:
    names: dict[str, FilePart] = {}
    for name in shapes:
        module, _, end = name.rpartition(".")
        end = "weight" if end == "scale" else end
        block = re.fullmatch(r"double_blocks\.(\d+)\.(.+)", module)
        if block is None:
            names[f"{XLABS_NAMES.get(module, module)}.{end}"] = FilePart(name)
        elif block[2] in XLABS_JOINED:
            for k, layer in enumerate(XLABS_JOINED[block[2]]):
                names[f"transformer_blocks.{block[1]}.{layer}.{end}"] = FilePart(name, k, 3)
        else:
            names[f"transformer_blocks.{block[1]}.{XLABS_LAYERS.get(block[2], block[2])}.{end}"] = FilePart(name)
    return names


def flux_entrance(names: Mapping[str, FilePart], file_shapes: Shapes) -> int:
    """How many numbers of a picture a network takes for each token; those of a mask come to those of a latent."""
    return file_shapes[names[FLUX_HINT].name][1]


def build_flux(config: Mapping[str, Any], entrance: int) -> Any:
    """The network; one that is shown a mask beside the latent takes more channels than its class knows of.

    Args:
        entrance: how many numbers of a picture it takes for each token.
    """
    from diffusers.models.controlnets.controlnet_flux import FluxControlNetModel
    from torch import nn

    with warnings.catch_warnings():  # its class has yet to move to where diffusers moved one of its parts
        warnings.filterwarnings("ignore", "`FluxPosEmbed`", FutureWarning)
        network = FluxControlNetModel(**config)
    if network.controlnet_x_embedder.in_features != entrance:
        network.controlnet_x_embedder = nn.Linear(entrance, network.inner_dim)
    return network


def count_numbers(names: Iterable[str], prefix: str) -> int:
    """How many numbers follow the prefix: `blocks.` in `blocks.0.weight`, `blocks.1.weight` → 2."""
    return len({name[len(prefix) :].split(".")[0] for name in names if name.startswith(prefix)})
