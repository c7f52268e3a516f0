"""What a file of a ControlNet or T2I-Adapter holds, read off the names and shapes of its tensors.

| layout | names begin like |
|---|---|
| ControlNet of diffusers | `controlnet_cond_embedding.conv_in` |
| ControlNet of the original code | `control_model.input_hint_block.0`, or `input_hint_block.0` |
| T2I-Adapter of diffusers | `adapter.body.0.resnets.0.block1` |
| T2I-Adapter of the original code | `body.0.block1`, `body.0.body.0.block1` (light) |

Those of Stable Diffusion 3 and Flux: see `transformer_control_layout`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from mezzotint.engine.errors import ModelFileError

from .transformer_control_layout import (
    FLUX,
    FLUX_HINT,
    SD3,
    SD3_HINT,
    XLABS_HINT,
    FilePart,
    count_numbers,
    flux_entrance,
    flux_layout,
    sd3_layout,
)

Shapes = Mapping[str, tuple[int, ...]]
CONTROL_NET, UNION, ADAPTER = "ControlNetModel", "ControlNetUnionModel", "T2IAdapter"
ORIGINAL_PREFIX = "control_model."
DIFFERENCE = "difference"
"""The tensor in files whose weights are to be added to those of a model."""
HINT, ORIGINAL_HINT = "controlnet_cond_embedding.conv_in.weight", "input_hint_block.0.weight"
HEADS, HEAD_WIDTH, NUMBER_WIDTH = 8, 64, 256
"""Of Stable Diffusion's attention, of its successors', and of SDXL's embeddings of sizes."""
UNSHUFFLES = (16, 8)
"""By how much T2I-Adapters make pictures smaller at first: those of SDXL, and others."""
ELSEWHERE = {
    "img_in.": "Qwen-Image",
    "lora_controlnet": "Control-LoRA",
}


@dataclass(frozen=True)
class ControlNetLayout:
    """What a file is.

    Attributes:
        class_name: of diffusers: `"ControlNetModel"`, `"ControlNetUnionModel"`, `"T2IAdapter"`,
            `"SD3ControlNetModel"` or `"FluxControlNetModel"`.
        names: the network's names → the file's. config: of the class, as far as shapes tell.
        sees_latents: whether it is shown a picture as a latent. sees_mask: with a mask beside it.
    """

    class_name: str
    names: Mapping[str, FilePart]
    config: Mapping[str, Any]
    sees_latents: bool = False
    sees_mask: bool = False


def read_layout(shapes: Shapes, name: str) -> ControlNetLayout:
    """What a file with tensors of these shapes is.

    Args:
        name: what the user calls it, for messages.

    Raises:
        ModelFileError: it is none of these, or lacks a part.
    """
    try:
        if SD3_HINT in shapes:
            sd3_names, config = sd3_layout(shapes)
            return ControlNetLayout(SD3, sd3_names, config, True, config["extra_conditioning_channels"] > 0)
        if (FLUX_HINT in shapes and "img_in.weight" not in shapes) or XLABS_HINT in shapes:
            flux_names, config = flux_layout(shapes)
            sees_mask = flux_entrance(flux_names, shapes) > config["in_channels"]
            sees_latents = config["conditioning_embedding_channels"] is None
            return ControlNetLayout(FLUX, flux_names, config, sees_latents, sees_mask)
        if HINT in shapes:
            return _control_net({key: key for key in shapes if key != DIFFERENCE}, shapes)
        if {ORIGINAL_HINT, ORIGINAL_PREFIX + ORIGINAL_HINT} & shapes.keys():
            return _control_net(_from_original(shapes), shapes)
        if any(re.match(r"(adapter\.)?body\.0\.", key) for key in shapes):
            return _adapter(shapes)
    except (KeyError, IndexError, ValueError, StopIteration) as error:
        raise ModelFileError(
            f"'{name}' is a ControlNet or T2I-Adapter that lacks a part ({error}); fetch it again"
        ) from None
    family = next((family for part, family in ELSEWHERE.items() if any(part in key for key in shapes)), None)
    what = f"one for {family}, which is not supported" if family else "of no known layout"
    first = next(iter(shapes), "none")
    raise ModelFileError(
        f"the ControlNet '{name}' is {what} (its first tensor is '{first}'); known are ControlNets and T2I-Adapters "
        f"for Stable Diffusion 1, 2 and XL, in the layouts of diffusers and of the original code, and ControlNets for "
        f"Stable Diffusion 3 and Flux in those of diffusers, Stability AI and XLabs"
    )


def _from_original(shapes: Shapes) -> dict[str, str]:
    """Names of diffusers → those of a ControlNet of the original code, by the rules of diffusers."""
    from diffusers.loaders.single_file_utils import convert_controlnet_checkpoint

    inside = ORIGINAL_PREFIX if ORIGINAL_PREFIX + ORIGINAL_HINT in shapes else ""
    ours = {name.removeprefix(inside): name for name in shapes if name.startswith(inside)}
    first = next(block for block in range(1, len(ours)) if f"input_blocks.{block}.0.op.weight" in ours)
    names: dict[str, str | None] = convert_controlnet_checkpoint(dict(ours), {"layers_per_block": first - 1})
    for layer, original in {"linear_1": "label_emb.0.0", "linear_2": "label_emb.0.2"}.items():
        for part in ("weight", "bias"):
            names[f"add_embedding.{layer}.{part}"] = ours.get(f"{original}.{part}")
    return {name: original for name, original in names.items() if original}


def _control_net(names: dict[str, str], file_shapes: Shapes) -> ControlNetLayout:
    shapes = {name: file_shapes[original] for name, original in names.items()}
    blocks = count_numbers(shapes, "down_blocks.")
    depths = [count_numbers(shapes, f"down_blocks.{block}.attentions.0.transformer_blocks.") for block in range(blocks)]
    middle = count_numbers(shapes, "mid_block.attentions.0.transformer_blocks.")
    widths = [shapes[f"down_blocks.{block}.resnets.0.conv1.weight"][0] for block in range(blocks)]
    projection = shapes["mid_block.attentions.0.proj_in.weight"]
    is_linear = len(projection) == 2
    hint = "controlnet_cond_embedding"
    config: dict[str, Any] = {
        "in_channels": shapes["conv_in.weight"][1],
        "conditioning_channels": shapes[HINT][1],
        "conditioning_embedding_out_channels": [
            shapes[HINT][0],
            *(
                shapes[f"{hint}.blocks.{block}.weight"][0]
                for block in range(1, count_numbers(shapes, f"{hint}.blocks."), 2)
            ),
        ],
        "block_out_channels": widths,
        "layers_per_block": count_numbers(shapes, "down_blocks.0.resnets."),
        "down_block_types": ["CrossAttnDownBlock2D" if depth else "DownBlock2D" for depth in depths],
        "transformer_layers_per_block": [depth or middle for depth in depths],
        "cross_attention_dim": shapes["mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"][1],
        "use_linear_projection": is_linear,
        "attention_head_dim": [max(width // HEAD_WIDTH, 1) for width in widths] if is_linear else HEADS,
    }
    if "add_embedding.linear_1.weight" in shapes:
        config |= {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": NUMBER_WIDTH,
            "projection_class_embeddings_input_dim": shapes["add_embedding.linear_1.weight"][1],
        }
    if "task_embedding" not in shapes:
        return ControlNetLayout(CONTROL_NET, _whole(names), config)
    kinds, width = shapes["task_embedding"]
    union = {
        "num_control_type": kinds,
        "num_trans_channel": width,
        "num_trans_layer": count_numbers(shapes, "transformer_layes."),
        "num_proj_channel": shapes["spatial_ch_projs.weight"][0],
    }
    return ControlNetLayout(UNION, _whole(names), {**config, **union})


def _adapter(shapes: Shapes) -> ControlNetLayout:
    plain = {name.removeprefix("adapter."): name for name in shapes}
    is_light = "body.0.out_conv.weight" in plain
    blocks = 1 if is_light or "body.0.resnets.0.block1.weight" in plain else 2
    names = {f"adapter.{_adapter_name(name, blocks)}": original for name, original in plain.items()}
    of = {name.removeprefix("adapter."): shapes[original] for name, original in names.items()}
    stages = count_numbers(of, "body.")
    entrance = of["body.0.in_conv.weight" if is_light else "conv_in.weight"][1]
    unshuffle = next(factor for factor in UNSHUFFLES if entrance in (factor**2, 3 * factor**2))
    widths = [of[f"body.{stage}.{'out_conv' if is_light else 'resnets.0.block1'}.weight"][0] for stage in range(stages)]
    kind: Literal["light_adapter", "full_adapter", "full_adapter_xl"] = "light_adapter" if is_light else "full_adapter"
    config = {
        "in_channels": entrance // unshuffle**2,
        "channels": widths[:-1] if is_light else widths,
        "num_res_blocks": count_numbers(of, "body.0.resnets."),
        "downscale_factor": unshuffle,
        "adapter_type": "full_adapter_xl" if kind == "full_adapter" and unshuffle == UNSHUFFLES[0] else kind,
    }
    return ControlNetLayout(ADAPTER, _whole(names), config)


def _adapter_name(name: str, blocks: int) -> str:
    """A name of the original code as diffusers has it, where so many residual blocks are a stage."""
    name = re.sub(r"^body\.(\d+)\.body\.(\d+)", r"body.\1.resnets.\2", name)
    flat = re.match(r"body\.(\d+)\.(in_conv|block\d)\.(.*)", name)
    if flat is None or blocks == 1:
        return name
    stage, block = divmod(int(flat[1]), blocks)
    inner = flat[2] if flat[2] == "in_conv" else f"resnets.{block}.{flat[2]}"
    return f"body.{stage}.{inner}.{flat[3]}"


def _whole(names: Mapping[str, str]) -> dict[str, FilePart]:
    return {name: FilePart(original) for name, original in names.items()}
