"""Random checkpoints of full size in one file, written without ever being in memory."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from . import ldm_layout as ldm
from . import tiny_models as tiny
from .single_files import UNET, VAE

BLOCK = 1 << 22
NUMBER_NBYTES = 2


def sd15() -> dict[str, dict[str, Tensor]]:
    """Stable Diffusion 1.5: the tensors of its networks, of which only shapes are there, by prefix."""
    with torch.device("meta"):
        unet = tiny.unet(
            768, block_out_channels=(320, 640, 1280, 1280),
            down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
            up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        )  # fmt: skip
        return {
            UNET: ldm.unet_tensors(unet),
            VAE: ldm.vae_tensors(_vae()),
            "cond_stage_model.transformer.": ldm.clip_tensors(tiny.text_encoder(768, 12, inner=3072)),
        }


def sdxl() -> dict[str, dict[str, Tensor]]:
    """SDXL."""
    with torch.device("meta"):
        unet = tiny.sdxl_unet(
            2048, 1280, block_out_channels=(320, 640, 1280), attention_head_dim=[5, 10, 20],
            transformer_layers_per_block=[1, 2, 10],
        )  # fmt: skip
        large = tiny.text_encoder(1280, 32, projection=1280, activation="gelu", inner=5120)
        return {
            UNET: ldm.unet_tensors(unet),
            VAE: ldm.vae_tensors(_vae()),
            "conditioner.embedders.0.transformer.": ldm.clip_tensors(tiny.text_encoder(768, 12, inner=3072)),
            "conditioner.embedders.1.model.": ldm.open_clip_tensors(large),
        }


def _vae() -> Any:
    return tiny.vae(
        block_out_channels=(128, 256, 512, 512), down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
    )  # fmt: skip


def write(path: Path, parts: Mapping[str, Mapping[str, Tensor]]) -> None:
    """A safetensors file of such tensors in half precision, with small random numbers."""
    shapes = {
        f"{prefix}{name}": list(tensor.shape)
        for prefix, part in parts.items()
        for name, tensor in part.items()
        if tensor.is_floating_point()
    }
    header, end = {}, 0
    for name, shape in shapes.items():
        begin, end = end, end + NUMBER_NBYTES * math.prod(shape)
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [begin, end]}
    said = json.dumps(header).encode()
    said += b" " * (-len(said) % 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(len(said).to_bytes(8, "little") + said)
        for block in _random(end):
            file.write(block)


def _random(nbytes: int) -> Iterator[bytes]:
    generator = torch.Generator().manual_seed(0)
    block = (0.02 * torch.randn(BLOCK, generator=generator)).half().numpy().tobytes()
    while nbytes > 0:
        yield block[:nbytes]
        nbytes -= len(block)
