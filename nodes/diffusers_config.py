"""Configurations of networks read off their shapes, as `ldm_config`, for files with diffusers' own names."""

from __future__ import annotations

from typing import Any

from .ldm_config import HEAD_WIDTH, HEADS, NUMBER_WIDTH, Shapes, count


def unet_config(shapes: Shapes) -> dict[str, Any]:
    """Of diffusers' `UNet2DConditionModel`."""
    levels = count(shapes, "down_blocks.")
    widths = [shapes[f"down_blocks.{level}.resnets.0.conv1.weight"][0] for level in range(levels)]
    depths = [count(shapes, f"down_blocks.{level}.attentions.0.transformer_blocks.") for level in range(levels)]
    middle = count(shapes, "mid_block.attentions.0.transformer_blocks.")
    attention = next(name.removesuffix("proj_in.weight") for name in shapes if name.endswith("proj_in.weight"))
    is_linear = len(shapes[f"{attention}proj_in.weight"]) == 2
    config = {
        "in_channels": shapes["conv_in.weight"][1],
        "out_channels": shapes["conv_out.weight"][0],
        "block_out_channels": widths,
        "layers_per_block": count(shapes, "down_blocks.0.resnets."),
        "down_block_types": ["CrossAttnDownBlock2D" if depth else "DownBlock2D" for depth in depths],
        "up_block_types": ["CrossAttnUpBlock2D" if depth else "UpBlock2D" for depth in reversed(depths)],
        "transformer_layers_per_block": [*(depth or 1 for depth in depths[:-1]), depths[-1] or middle],
        "cross_attention_dim": shapes[f"{attention}transformer_blocks.0.attn2.to_k.weight"][1],
        "use_linear_projection": is_linear,
        "attention_head_dim": [max(width // HEAD_WIDTH, 1) for width in widths] if is_linear else HEADS,
    }
    if "add_embedding.linear_1.weight" in shapes:
        config |= {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": NUMBER_WIDTH,
            "projection_class_embeddings_input_dim": shapes["add_embedding.linear_1.weight"][1],
        }
    return config


def vae_config(shapes: Shapes) -> dict[str, Any]:
    """Of diffusers' `AutoencoderKL`, without the scale of its latents."""
    levels = count(shapes, "encoder.down_blocks.")
    return {
        "block_out_channels": [
            shapes[f"encoder.down_blocks.{level}.resnets.0.conv1.weight"][0] for level in range(levels)
        ],
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "layers_per_block": count(shapes, "encoder.down_blocks.0.resnets."),
        "latent_channels": shapes["decoder.conv_in.weight"][1],
        "use_quant_conv": "quant_conv.weight" in shapes,
        "use_post_quant_conv": "post_quant_conv.weight" in shapes,
    }
