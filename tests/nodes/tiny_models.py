"""Small random networks in the proportions of the families that single files have."""

from __future__ import annotations

from typing import Any

import torch

VOCABULARY = 49408


def unet(width: int = 24, in_channels: int = 4, **options: Any) -> Any:
    """As of Stable Diffusion 1: attention of 8 heads, in all levels but the last."""
    from diffusers import UNet2DConditionModel

    settled = {
        "block_out_channels": (32, 64, 64), "layers_per_block": 2, "cross_attention_dim": width, "sample_size": 64,
        "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    }  # fmt: skip
    return UNet2DConditionModel(**{**settled, "in_channels": in_channels, "out_channels": 4, **options}).eval()


def linear_unet(width: int, in_channels: int = 4, **options: Any) -> Any:
    """As of Stable Diffusion 2: linear projections, heads of 64."""
    settled = {"block_out_channels": (64, 128, 128), "use_linear_projection": True, "attention_head_dim": [1, 2, 2]}
    return unet(width, in_channels, **{**settled, **options})


def sdxl_unet(width: int, pooled: int, numbers: int = 6, in_channels: int = 4, **options: Any) -> Any:
    """As of SDXL: no attention in the first level, deeper and deeper below, told of the picture's size."""
    settled = {
        "block_out_channels": (32, 64, 128), "attention_head_dim": [1, 1, 2],
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": [1, 1, 2], "addition_embed_type": "text_time", "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": pooled + 256 * numbers,
    }  # fmt: skip
    return linear_unet(width, in_channels, **{**settled, **options})


def vae(**options: Any) -> Any:
    from diffusers import AutoencoderKL

    settled = {
        "block_out_channels": (32, 64), "layers_per_block": 2, "latent_channels": 4,
        "down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2,
    }  # fmt: skip
    return AutoencoderKL(**{**settled, **options}).eval()


def text_encoder(
    width: int = 24,
    layers: int = 3,
    projection: int = 0,
    activation: str = "quick_gelu",
    inner: int = 0,
    length: int = 77,
) -> Any:
    """CLIP with its real vocabulary and length. projection: of its pooled output, if it has one."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        vocab_size=VOCABULARY, hidden_size=width, intermediate_size=inner or 2 * width, num_hidden_layers=layers,
        num_attention_heads=max(width // 64, 1), max_position_embeddings=length, hidden_act=activation,
        bos_token_id=VOCABULARY - 2, eos_token_id=VOCABULARY - 1, pad_token_id=VOCABULARY - 1,
        projection_dim=projection or width,
    )  # fmt: skip
    return (CLIPTextModelWithProjection if projection else CLIPTextModel)(config).eval()


def clip_tokenizer(padding: str = "<|endoftext|>") -> Any:
    """transformers' own tokenizer over the vocabulary that comes with the package."""
    from mezzotint.nodes.text.clip_vocabulary import transformers_tokenizer

    return transformers_tokenizer(padding)


def seeded(make: Any, *arguments: Any, **options: Any) -> Any:
    """A network with weights that are the same each time."""
    torch.manual_seed(0)
    return make(*arguments, **options)
