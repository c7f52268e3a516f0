"""Which networks a weights file holds, and under what names: seen from the names and shapes of its tensors.

| layout | of | names of tensors, after a prefix |
|---|---|---|
| `LDM` | U-Net, VAE | `input_blocks.0.0.weight`, `decoder.up.0.block.0.conv1.weight`: as first published |
| `DIFFUSERS` | U-Net, VAE | `down_blocks.0.resnets.0.conv1.weight`, `decoder.up_blocks.0.resnets.0.conv1.weight` |
| `CLIP` | text encoder | `text_model.encoder.layers.0.mlp.fc1.weight`: transformers' |
| `OPEN_CLIP` | text encoder | `transformer.resblocks.0.mlp.c_fc.weight` |
| `T5` | text encoder | `encoder.block.0.layer.0.SelfAttention.q.weight`: transformers' |
| `LLAMA` | text encoder | `model.layers.0.self_attn.q_proj.weight`: transformers' |
| `PUBLISHED` | transformer | `double_blocks.0.img_attn.qkv.weight`: as first published |
| `DIFFUSERS` | transformer | `transformer_blocks.0.attn.to_q.weight` |
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ..models.component_weights import LAST_LAYER, SDXL_READING, TextReading
from ..models.network_names import TEXT_ENCODERS
from ..models.weight_scales import is_scale
from .ldm_config import Shapes

LDM, DIFFUSERS, CLIP, OPEN_CLIP, T5, LLAMA = "ldm", "diffusers", "clip", "open_clip", "t5", "llama"
PUBLISHED = "published"
FLUX, SD3, PIXART, Z_IMAGE, QWEN_IMAGE, HIDREAM = "flux", "sd3", "pixart", "z_image", "qwen_image", "hidream"
"""Families of transformers."""
POOLED_TEXT, LAST = "time_text_embed.text_embedder.linear_1.weight", "proj_out.weight"
TRANSFORMER_MARKS = {
    (FLUX, PUBLISHED): ("double_blocks.0.img_attn.qkv.weight", "final_layer.linear.weight"),
    (FLUX, DIFFUSERS): ("single_transformer_blocks.0.proj_mlp.weight", POOLED_TEXT, LAST),
    (SD3, PUBLISHED): ("joint_blocks.0.x_block.attn.qkv.weight", "final_layer.linear.weight"),
    (SD3, DIFFUSERS): ("transformer_blocks.0.norm1_context.linear.weight", "pos_embed.pos_embed", POOLED_TEXT, LAST),
    (Z_IMAGE, PUBLISHED): ("layers.0.adaLN_modulation.0.weight", "layers.0.attention.qkv.weight", "x_embedder.weight"),
    (Z_IMAGE, DIFFUSERS): ("layers.0.adaLN_modulation.0.weight", "all_x_embedder.2-1.weight"),
    (PIXART, DIFFUSERS): (
        "adaln_single.linear.weight",
        "caption_projection.linear_1.weight",
        "pos_embed.proj.weight",
        LAST,
    ),
    (HIDREAM, DIFFUSERS): (
        "double_stream_blocks.0.block.adaLN_modulation.1.weight",
        "caption_projection.0.linear.weight",
        "final_layer.linear.weight",
    ),
    (QWEN_IMAGE, DIFFUSERS): ("transformer_blocks.0.img_mod.1.weight", "txt_norm.weight", LAST),
}
"""Family and layout → tensors that are in such files together. A ControlNet has no last layer."""
CHECKPOINT_L, CHECKPOINT_G = "text_encoders.clip_l.transformer.", "text_encoders.clip_g.transformer."
CHECKPOINT_T5 = "text_encoders.t5xxl.transformer."
"""Prefixes of text encoders in checkpoints of SD3 and Flux."""
TOKENIZER_TENSOR = "tokenizer_json"
"""Of T5 in files that were saved here: the bytes of its tokenizer.json, which other programs take no notice of."""
OLD_CLIP_MARK = "embeddings.position_embedding.weight"
"""Of CLIP under transformers' names; old merges lack `text_model.` before it."""
T5_MARK = "encoder.block.0.layer.0.SelfAttention.q.weight"
LLAMA_PREFIX, LLAMA_LAYER = "model.", "model.layers.0."
LLAMA_WEIGHTS = frozenset(
    f"{LLAMA_LAYER}{name}.weight"
    for name in (
        "input_layernorm", "post_attention_layernorm", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj",
        "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
    )
)  # fmt: skip
"""Of its first layer, all: Qwen's and Gemma's have more."""
UNET_PREFIXES = ("model.diffusion_model.", "")
VAE_PREFIXES = ("first_stage_model.", "vae.", "")
TEXT_PREFIXES = {
    "cond_stage_model.transformer.": CLIP,  # Stable Diffusion 1
    "cond_stage_model.model.": OPEN_CLIP,  # Stable Diffusion 2
    "conditioner.embedders.0.transformer.": CLIP,  # SDXL
    "conditioner.embedders.0.model.": OPEN_CLIP,  # its refiner
    "conditioner.embedders.1.model.": OPEN_CLIP,
    CHECKPOINT_L: CLIP,
    CHECKPOINT_G: CLIP,
}
SECOND_READING = TextReading(-2, True)
"""Of Stable Diffusion 2, whose text encoder was used without its last layer."""
WIDTH_OF_SECOND, WIDTH_OF_SDXL = 1024, 1280
"""Of the text encoders of OpenCLIP that Stable Diffusion 2 and SDXL use."""


class Part(NamedTuple):
    """A network in a file.

    Attributes:
        prefix: of its tensors' names. layout: the names after it. reading: of a text encoder, what of it is used.
        family: of a transformer.
    """

    prefix: str
    layout: str
    reading: TextReading = LAST_LAYER
    family: str = ""


def find_parts(shapes: Shapes) -> dict[str, Part]:
    """The networks in a file by the names that diffusers' pipelines have for them."""
    networks = {"unet": _unet(shapes), "transformer": _transformer(shapes), "vae": _vae(shapes)}
    found = {**networks, **_text_encoders(shapes)}
    return {name: part for name, part in found.items() if part is not None}


def _unet(shapes: Shapes) -> Part | None:
    for prefix in UNET_PREFIXES:
        if f"{prefix}input_blocks.0.0.weight" in shapes and f"{prefix}out.2.weight" in shapes:
            return Part(prefix, LDM)
    # A ControlNet has no last convolution.
    if {"time_embedding.linear_1.weight", "conv_in.weight", "conv_out.weight"} <= shapes.keys():
        return Part("", DIFFUSERS)
    return None


def _transformer(shapes: Shapes) -> Part | None:
    for prefix in UNET_PREFIXES:
        for (family, layout), marks in TRANSFORMER_MARKS.items():
            if all(prefix + mark in shapes for mark in marks):
                return Part(prefix, layout, family=family)
    return None


def _vae(shapes: Shapes) -> Part | None:
    for prefix in VAE_PREFIXES:
        if f"{prefix}decoder.conv_in.weight" in shapes and f"{prefix}encoder.conv_in.weight" in shapes:
            return Part(prefix, LDM if f"{prefix}decoder.mid.block_1.conv1.weight" in shapes else DIFFUSERS)
    return None


def _text_encoders(shapes: Shapes) -> dict[str, Part]:
    found = [
        Part(prefix, layout, _reading(prefix, layout, width))
        for prefix, layout in TEXT_PREFIXES.items()
        if (width := _text_width(shapes, prefix))
    ]
    if not found and (width := _text_width(shapes, "")):  # in a file of its own
        layout = OPEN_CLIP if "positional_embedding" in shapes else CLIP
        found = [Part("", layout, _reading("", layout, width))]
    if {name for name in shapes if name.startswith(LLAMA_LAYER) and not is_scale(name)} == LLAMA_WEIGHTS:
        found.append(Part(LLAMA_PREFIX, LLAMA))
    found += [Part(prefix, T5) for prefix in (CHECKPOINT_T5, "") if prefix + T5_MARK in shapes]
    return dict(zip(TEXT_ENCODERS, found, strict=False))


def _text_width(shapes: Shapes, prefix: str) -> int | None:
    for name in (f"text_model.{OLD_CLIP_MARK}", OLD_CLIP_MARK, "positional_embedding"):
        if f"{prefix}{name}" in shapes:
            return shapes[f"{prefix}{name}"][1]
    return None


def _reading(prefix: str, layout: str, width: int) -> TextReading:
    if prefix.startswith("conditioner.") or (not prefix and width >= WIDTH_OF_SDXL):
        return SDXL_READING
    if layout == OPEN_CLIP or (not prefix and width >= WIDTH_OF_SECOND):
        return SECOND_READING
    return LAST_LAYER


def plain_shapes(shapes: Mapping[str, tuple[int, ...]], prefix: str) -> dict[str, tuple[int, ...]]:
    """Those of one network, by name without its prefix; of scales of weights in 8 bits, none."""
    own = {name[len(prefix) :]: shape for name, shape in shapes.items() if name.startswith(prefix)}
    return {name: shape for name, shape in own.items() if not is_scale(name)}
