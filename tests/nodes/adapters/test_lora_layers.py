"""Names of layers in the original code of Stable Diffusion, which LoRAs for SDXL have, lead to those of diffusers."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch

from mezzotint.nodes.adapters.lora_keys import LoraKey, read_key
from mezzotint.nodes.adapters.lora_layers import find_layers

ORIGINAL = {
    "input_blocks.0.0": "conv_in",
    "input_blocks.1.0.in_layers.2": "down_blocks.0.resnets.0.conv1",
    "input_blocks.1.0.emb_layers.1": "down_blocks.0.resnets.0.time_emb_proj",
    "input_blocks.3.0.op": "down_blocks.0.downsamplers.0.conv",
    "input_blocks.4.0.skip_connection": "down_blocks.1.resnets.0.conv_shortcut",
    "input_blocks.4.1.transformer_blocks.0.attn1.to_q": "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q",
    "input_blocks.8.1.proj_in": "down_blocks.2.attentions.1.proj_in",
    "middle_block.1.transformer_blocks.0.ff.net.0.proj": "mid_block.attentions.0.transformer_blocks.0.ff.net.0.proj",
    "output_blocks.0.0.out_layers.3": "up_blocks.0.resnets.0.conv2",
    "output_blocks.2.1.transformer_blocks.1.attn2.to_out.0": (
        "up_blocks.0.attentions.2.transformer_blocks.1.attn2.to_out.0"
    ),
    "output_blocks.2.2.conv": "up_blocks.0.upsamplers.0.conv",
    "output_blocks.5.1.transformer_blocks.0.attn1.to_k": "up_blocks.1.attentions.2.transformer_blocks.0.attn1.to_k",
    "time_embed.0": "time_embedding.linear_1",
    "label_emb.0.2": "add_embedding.linear_2",
    "out.2": "conv_out",
}


@cache
def sdxl_network() -> Any:
    """A U-Net in the proportions of SDXL, with no weights."""
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        return UNet2DConditionModel(
            block_out_channels=(32, 64, 64), layers_per_block=2, transformer_layers_per_block=[1, 2, 2],
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"), cross_attention_dim=32,
            use_linear_projection=True, addition_embed_type="text_time", addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=64,
        )  # fmt: skip


@pytest.mark.parametrize("original", ORIGINAL)
@pytest.mark.parametrize("layout", ["kohya", "dotted"])
def test_original_names_of_sdxl(original: str, layout: str) -> None:
    flat = f"lora_unet_{original.replace('.', '_')}.lora_down.weight"
    key = read_key(flat if layout == "kohya" else f"diffusion_model.{original}.lora_A.weight")
    assert key is not None
    assert find_layers([key.layer], sdxl_network()) == {key.layer: ORIGINAL[original]}


def test_all_names_of_a_file_are_found_together() -> None:
    flat = {name.replace(".", "_"): place for name, place in ORIGINAL.items()}
    assert find_layers(flat, sdxl_network()) == flat


def test_names_that_only_look_original_are_not_found() -> None:
    names = ["input_blocks_x_1_to_q", "middle_block_9_to_q", "output_blocks", "input_blocks_40_1_proj_in"]
    assert find_layers(names, sdxl_network()) == {}


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("lora_te2_text_model_encoder_fc1.alpha", ("text_encoder_2", "text_model_encoder_fc1", "alpha")),
        ("text_encoder_2.text_model.encoder.fc1.lora_B.weight", ("text_encoder_2", "text_model_encoder_fc1", "up")),
        ("base_model.model.mid.to_q.lora_A.weight", ("denoiser", "mid_to_q", "down")),
        ("base_model.model.text_model.fc1.lora_A.default.weight", ("text_encoder", "text_model_fc1", "down")),
        ("unet.mid.to_q.lora_magnitude_vector", ("denoiser", "mid_to_q", "dora_scale")),
        ("transformer.blocks.0.attn.to_q.lora_A.weight", ("denoiser", "blocks_0_attn_to_q", "down")),
        ("lora_unet_mid.hada_w1_a", ("denoiser", "mid", "hada_w1_a")),
        ("lora_unet_mid.lokr_t2", ("denoiser", "mid", "lokr_t2")),
        ("lora_unet_mid.lora_mid.weight", ("denoiser", "mid", "mid")),
        ("lora_unet_mid.diff_b", ("denoiser", "mid", "diff_b")),
    ],
)  # fmt: skip
def test_names_say_what_a_tensor_is(name: str, key: tuple[str, str, str]) -> None:
    assert read_key(name) == LoraKey(*key)


@pytest.mark.parametrize("name", ["unet.conv_down.weight", "mid.weight", "alpha", "first_stage_model.up.0.weight", ""])
def test_other_names_are_of_no_lora(name: str) -> None:
    assert read_key(name) is None
