"""Configurations of the networks in single files, read off the shapes of their tensors.

Single files have the names of the code that latent diffusion was first published with (Rombach et al. 2022) and say
nothing else of themselves. In all functions, `shapes` are those of one network's tensors, by name without the prefix
that the network has in the file; a KeyError names a tensor that is missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Shapes = Mapping[str, tuple[int, ...]]
HEADS = 8
"""Of every attention in Stable Diffusion 1; later ones have heads of equal width."""
HEAD_WIDTH = 64
NUMBER_WIDTH = 256
"""Of SDXL's embeddings of a picture's size, for each number."""
VOCABULARY_END = 49407
OF_OPENAI, OF_OPEN_CLIP = "quick_gelu", "gelu"
"""What text encoders compute between layers: an approximation, and the exact function."""
WIDTH_OF_OPENAI = 768
"""At most; those of OpenCLIP that diffusion models use are wider."""
SCHEDULER = {
    "_class_name": "EulerDiscreteScheduler",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "interpolation_type": "linear",
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "timestep_spacing": "leading",
}
"""What all of Stable Diffusion was trained with, but for the kind of prediction."""

PICTURE_NOISE = {"num_train_timesteps": 1000, "beta_schedule": "squaredcos_cap_v2"}
"""What the pictures of unCLIP models were noised with in training."""


def unet_config(shapes: Shapes) -> dict[str, Any]:
    """Of diffusers' `UNet2DConditionModel`."""
    widths, depths = [shapes["input_blocks.0.0.weight"][0]], [0]
    layers = 0
    for block in range(1, count(shapes, "input_blocks.")):
        prefix = f"input_blocks.{block}"
        if f"{prefix}.0.op.weight" in shapes:
            widths.append(widths[-1])
            depths.append(0)
        else:
            widths[-1] = shapes[f"{prefix}.0.out_layers.3.weight"][0]
            depths[-1] = max(depths[-1], count(shapes, f"{prefix}.1.transformer_blocks."))
            layers += 1
    middle = count(shapes, "middle_block.1.transformer_blocks.")
    layers_per_block = layers // len(widths)
    ends = ("input_blocks.0.0.weight", "out.2.weight", "label_emb.0.0.weight")
    return described_unet(shapes, ends, widths, layers_per_block, [*depths, middle])


def described_unet(
    shapes: Shapes, ends: tuple[str, str, str], widths: list[int], layers_per_block: int, depths: list[int]
) -> dict[str, Any]:
    """Of diffusers' `UNet2DConditionModel`, whatever its tensors are named; attention is named alike everywhere.

    Args:
        ends: the weights that x comes in by, that it leaves by, and that a picture's size comes in by, or what unCLIP
            models are told of a picture.
        depths: transformer blocks of each level, and of the middle.
    """
    first, last, size = ends
    *depths, middle = depths
    attention = next(name.removesuffix("proj_in.weight") for name in shapes if name.endswith("proj_in.weight"))
    is_linear = len(shapes[f"{attention}proj_in.weight"]) == 2
    config = {
        "in_channels": shapes[first][1],
        "out_channels": shapes[last][0],
        "block_out_channels": widths,
        "layers_per_block": layers_per_block,
        "down_block_types": ["CrossAttnDownBlock2D" if depth else "DownBlock2D" for depth in depths],
        "up_block_types": ["CrossAttnUpBlock2D" if depth else "UpBlock2D" for depth in reversed(depths)],
        "transformer_layers_per_block": [*(depth or 1 for depth in depths[:-1]), depths[-1] or middle],
        "cross_attention_dim": shapes[f"{attention}transformer_blocks.0.attn2.to_k.weight"][1],
        "use_linear_projection": is_linear,
        "attention_head_dim": [max(width // HEAD_WIDTH, 1) for width in widths] if is_linear else HEADS,
    }
    if size in shapes and depths[0]:  # of Stable Diffusion 2; SDXL has no attention at full size
        config |= {"class_embed_type": "projection", "projection_class_embeddings_input_dim": shapes[size][1]}
    elif size in shapes:
        config |= {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": NUMBER_WIDTH,
            "projection_class_embeddings_input_dim": shapes[size][1],
        }
    return config


def vae_config(shapes: Shapes) -> dict[str, Any]:
    """Of diffusers' `AutoencoderKL`, without the scale of its latents."""
    levels = count(shapes, "encoder.down.")
    return {
        "block_out_channels": [shapes[f"encoder.down.{level}.block.0.conv1.weight"][0] for level in range(levels)],
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "layers_per_block": count(shapes, "encoder.down.0.block."),
        "latent_channels": shapes["decoder.conv_in.weight"][1],
        "use_quant_conv": "quant_conv.weight" in shapes,
        "use_post_quant_conv": "post_quant_conv.weight" in shapes,
    }


def clip_config(shapes: Shapes) -> dict[str, Any]:
    """Of transformers' `CLIPTextModel`, for CLIP of OpenAI under transformers' names, with `text_model.` or without."""
    if "embeddings.token_embedding.weight" in shapes:
        shapes = {f"text_model.{name}": shape for name, shape in shapes.items()}
    vocabulary, width = shapes["text_model.embeddings.token_embedding.weight"]
    inner = shapes["text_model.encoder.layers.0.mlp.fc1.weight"][0]
    length = shapes["text_model.embeddings.position_embedding.weight"][0]
    layers = count(shapes, "text_model.encoder.layers.")
    config = _text_config(vocabulary, width, inner, length, layers)
    projection = shapes.get("text_projection.weight")
    activation = OF_OPENAI if width <= WIDTH_OF_OPENAI else OF_OPEN_CLIP
    return {**config, "hidden_act": activation, "projection_dim": projection[0] if projection else width}


def open_clip_config(shapes: Shapes) -> dict[str, Any]:
    """Of transformers' `CLIPTextModel`, for CLIP of OpenCLIP (Cherti et al. 2023) under its own names."""
    vocabulary, width = shapes["token_embedding.weight"]
    inner = shapes["transformer.resblocks.0.mlp.c_fc.weight"][0]
    layers = count(shapes, "transformer.resblocks.")
    config = _text_config(vocabulary, width, inner, shapes["positional_embedding"][0], layers)
    projection = shapes.get("text_projection", (width, width))
    return {**config, "hidden_act": OF_OPEN_CLIP, "projection_dim": projection[1]}


def _text_config(vocabulary: int, width: int, inner: int, length: int, layers: int) -> dict[str, Any]:
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": inner,
        "max_position_embeddings": length,
        "num_hidden_layers": layers,
        "num_attention_heads": max(width // HEAD_WIDTH, 1),
        "bos_token_id": VOCABULARY_END - 1,
        "eos_token_id": VOCABULARY_END,
        "pad_token_id": VOCABULARY_END,
    }


def count(names: Iterable[str], prefix: str) -> int:
    """How many numbers follow the prefix: `blocks.` in `blocks.0.weight`, `blocks.1.weight` → 2."""
    return len({name[len(prefix) :].split(".")[0] for name in names if name.startswith(prefix)})
