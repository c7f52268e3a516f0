"""Configurations of transformers and of T5 in single files, read off the shapes of their tensors, as `ldm_config`."""

from __future__ import annotations

import math
from typing import Any

from .ldm_config import Shapes, count

HEAD_WIDTH = 64
"""Of SD3's attention, where nothing in a file says so."""
PACKED = 4
"""Cells of the latent that Flux takes as one."""


def flux_config(shapes: Shapes) -> dict[str, Any]:
    """Of diffusers' `FluxTransformer2DModel`, for the names of Black Forest Labs."""
    width, in_channels = shapes["img_in.weight"]
    (head,) = shapes["double_blocks.0.img_attn.norm.query_norm.scale"]
    side = 7 * head // 16  # positions: one part in eight for the kind of token, the rest for rows and columns alike
    return {
        "patch_size": 1,
        "in_channels": in_channels,
        "out_channels": shapes["final_layer.linear.weight"][0],
        "num_layers": count(shapes, "double_blocks."),
        "num_single_layers": count(shapes, "single_blocks."),
        "attention_head_dim": head,
        "num_attention_heads": width // head,
        "joint_attention_dim": shapes["txt_in.weight"][1],
        "pooled_projection_dim": shapes["vector_in.in_layer.weight"][1],
        "guidance_embeds": "guidance_in.in_layer.weight" in shapes,
        "axes_dims_rope": [head - 2 * side, side, side],
    }


def sd3_config(shapes: Shapes) -> dict[str, Any]:
    """Of diffusers' `SD3Transformer2DModel`, for the names of Stability AI."""
    width, in_channels, patch, _ = shapes["x_embedder.proj.weight"]
    normed = shapes.get("joint_blocks.0.x_block.attn.ln_q.weight")
    head = normed[0] if normed else HEAD_WIDTH
    layers = count(shapes, "joint_blocks.")
    return {
        "sample_size": 128,
        "patch_size": patch,
        "in_channels": in_channels,
        "out_channels": shapes["final_layer.linear.weight"][0] // patch**2,
        "num_layers": layers,
        "attention_head_dim": head,
        "num_attention_heads": width // head,
        "joint_attention_dim": shapes["context_embedder.weight"][1],
        "caption_projection_dim": shapes["context_embedder.weight"][0],
        "pooled_projection_dim": shapes["y_embedder.mlp.0.weight"][1],
        "pos_embed_max_size": math.isqrt(shapes["pos_embed"][1]),
        "qk_norm": "rms_norm" if normed else None,
        "dual_attention_layers": [
            layer for layer in range(layers) if f"joint_blocks.{layer}.x_block.attn2.qkv.weight" in shapes
        ],
    }


def t5_config(shapes: Shapes) -> dict[str, Any]:
    """Of transformers' `T5EncoderModel`."""
    vocabulary, width = shapes["shared.weight"]
    attention, gated = "encoder.block.0.layer.0.SelfAttention", "encoder.block.0.layer.1.DenseReluDense.wi_0.weight"
    buckets, heads = shapes[f"{attention}.relative_attention_bias.weight"]
    return {
        "vocab_size": vocabulary,
        "d_model": width,
        "d_kv": shapes[f"{attention}.q.weight"][0] // heads,
        "d_ff": shapes[gated if gated in shapes else gated.replace("wi_0", "wi")][0],
        "num_layers": count(shapes, "encoder.block."),
        "num_heads": heads,
        "relative_attention_num_buckets": buckets,
        "feed_forward_proj": "gated-gelu" if gated in shapes else "relu",
    }
