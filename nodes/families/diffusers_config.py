"""Configurations of networks read off their shapes, as `ldm_config`, for files with diffusers' own names."""

from __future__ import annotations

from typing import Any

from .ldm_config import Shapes, count, described_unet


def unet_config(shapes: Shapes) -> dict[str, Any]:
    """Of diffusers' `UNet2DConditionModel`."""
    levels = count(shapes, "down_blocks.")
    widths = [shapes[f"down_blocks.{level}.resnets.0.conv1.weight"][0] for level in range(levels)]
    depths = [count(shapes, f"down_blocks.{level}.attentions.0.transformer_blocks.") for level in range(levels)]
    middle = count(shapes, "mid_block.attentions.0.transformer_blocks.")
    layers_per_block = count(shapes, "down_blocks.0.resnets.")
    class_size, picture_size = (f"{name}_embedding.linear_1.weight" for name in ("class", "add"))
    ends = ("conv_in.weight", "conv_out.weight", class_size if class_size in shapes else picture_size)
    return described_unet(shapes, ends, widths, layers_per_block, [*depths, middle])


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
