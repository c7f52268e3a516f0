"""Configurations of transformers, T5 and Llama in single files, read off the shapes of their tensors, as `ldm_config`.

Of transformers, the shapes are those of their published names.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from .file_parts import FLUX, HIDREAM, PIXART, QWEN_IMAGE, SD3, Z_IMAGE
from .ldm_config import Shapes, count

HEAD_WIDTH = 64
"""Of SD3's attention, where nothing in a file says so."""
PACKED = 4
"""Cells of the latent that Z-Image, HiDream and Qwen-Image take as one."""
HIDREAM_HEAD_WIDTH = 128
LLAMA_HEAD_WIDTH, LLAMA_LAYERS = 128, 32
LLAMA_ROPE = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}  # fmt: skip
"""How places of tokens turn into angles, for texts that are longer than those it was trained with at first."""
PIXART_HEAD_WIDTH, PIXART_SIDE = 72, 128
"""Of PixArt's attention, and of the pictures of 1024 pixels that it was trained with; nothing in a file says so."""


def flux_config(shapes: Shapes) -> dict[str, Any]:
    """Of diffusers' `FluxTransformer2DModel`, for the names of Black Forest Labs."""
    width, in_channels = shapes["img_in.weight"]
    (head,) = shapes["double_blocks.0.img_attn.norm.query_norm.scale"]
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
        "axes_dims_rope": _axes(head),
    }


def _axes(head: int) -> list[int]:
    """Numbers for positions: one part in eight for the kind of token, the rest for rows and columns alike."""
    side = 7 * head // 16
    return [head - 2 * side, side, side]


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


def z_image_config(shapes: Shapes) -> dict[str, Any]:
    """Of diffusers' `ZImageTransformer2DModel`, for the names of Alibaba."""
    width, packed = shapes["x_embedder.weight"]
    (head,) = shapes["layers.0.attention.q_norm.weight"]
    rows = shapes["layers.0.attention.qkv.weight"][0]
    side = 3 * head // 8  # positions: a quarter for the text, the rest for rows and columns alike
    return {
        "all_patch_size": (2,),
        "all_f_patch_size": (1,),
        "in_channels": packed // PACKED,
        "dim": width,
        "n_layers": count(shapes, "layers."),
        "n_refiner_layers": count(shapes, "noise_refiner."),
        "n_heads": width // head,
        "n_kv_heads": (rows - width) // (2 * head),
        "cap_feat_dim": shapes["cap_embedder.1.weight"][1],
        "axes_dims": [head - 2 * side, side, side],
        "axes_lens": [1536, 512, 512],
    }


def pixart_config(shapes: Shapes) -> dict[str, Any]:
    """Of diffusers' `PixArtTransformer2DModel`, for diffusers' names."""
    width, in_channels, patch, _ = shapes["pos_embed.proj.weight"]
    return {
        "sample_size": PIXART_SIDE,
        "patch_size": patch,
        "in_channels": in_channels,
        "out_channels": shapes["proj_out.weight"][0] // patch**2,
        "num_layers": count(shapes, "transformer_blocks."),
        "attention_head_dim": PIXART_HEAD_WIDTH,
        "num_attention_heads": width // PIXART_HEAD_WIDTH,
        "cross_attention_dim": shapes["transformer_blocks.0.attn2.to_k.weight"][1],
        "caption_channels": shapes["caption_projection.linear_1.weight"][1],
        "use_additional_conditions": "adaln_single.emb.resolution_embedder.linear_1.weight" in shapes,
    }


def qwen_image_config(shapes: Shapes) -> dict[str, Any]:
    """Of diffusers' `QwenImageTransformer2DModel`, for diffusers' names."""
    width, in_channels = shapes["img_in.weight"]
    (head,) = shapes["transformer_blocks.0.attn.norm_q.weight"]
    return {
        "patch_size": 2,
        "in_channels": in_channels,
        "out_channels": shapes["proj_out.weight"][0] // PACKED,
        "num_layers": count(shapes, "transformer_blocks."),
        "attention_head_dim": head,
        "num_attention_heads": width // head,
        "joint_attention_dim": shapes["txt_in.weight"][1],
        "axes_dims_rope": _axes(head),
    }


def hidream_config(shapes: Shapes) -> dict[str, Any]:
    """Of diffusers' `HiDreamImageTransformer2DModel`, for its own names, which are diffusers'."""
    width, packed = shapes["x_embedder.proj.weight"]
    layers, single_layers = (count(shapes, f"{kind}_stream_blocks.") for kind in ("double", "single"))
    first, last = (shapes[f"caption_projection.{place}.linear.weight"][1] for place in (0, layers + single_layers))
    return {
        "patch_size": 2,
        "in_channels": packed // PACKED,
        "out_channels": shapes["final_layer.linear.weight"][0] // PACKED,
        "num_layers": layers,
        "num_single_layers": single_layers,
        "attention_head_dim": HIDREAM_HEAD_WIDTH,
        "num_attention_heads": width // HIDREAM_HEAD_WIDTH,
        "caption_channels": [last, first],
        "text_emb_dim": shapes["p_embedder.pooled_embedder.linear_1.weight"][1],
        "num_routed_experts": count(shapes, "double_stream_blocks.0.block.ff_i.experts."),
        "num_activated_experts": 2,
        "axes_dims_rope": [HIDREAM_HEAD_WIDTH // 2, HIDREAM_HEAD_WIDTH // 4, HIDREAM_HEAD_WIDTH // 4],
        "max_resolution": [128, 128],
        "llama_layers": [min(layer, LLAMA_LAYERS - 1) for layer in range(layers + single_layers)],
    }


CONFIGURATIONS: Mapping[str, Callable[[Shapes], dict[str, Any]]] = {
    FLUX: flux_config,
    SD3: sd3_config,
    PIXART: pixart_config,
    Z_IMAGE: z_image_config,
    QWEN_IMAGE: qwen_image_config,
    HIDREAM: hidream_config,
}
"""By family."""


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


def llama_config(shapes: Shapes) -> dict[str, Any]:
    """Of transformers' `LlamaModel`, for Llama 3.1 (Grattafiori et al. 2024, arXiv 2407.21783)."""
    vocabulary, width = shapes["embed_tokens.weight"]
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": shapes["layers.0.mlp.gate_proj.weight"][0],
        "num_hidden_layers": count(shapes, "layers."),
        "num_attention_heads": shapes["layers.0.self_attn.q_proj.weight"][0] // LLAMA_HEAD_WIDTH,
        "num_key_value_heads": shapes["layers.0.self_attn.k_proj.weight"][0] // LLAMA_HEAD_WIDTH,
        "head_dim": LLAMA_HEAD_WIDTH,
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
        "rope_scaling": LLAMA_ROPE,
    }
