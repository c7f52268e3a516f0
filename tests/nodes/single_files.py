"""Small random checkpoints in one file, a kind for each family, with diffusers' pipeline of the same networks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from . import ldm_layout as ldm
from . import tiny_models as tiny

UNET, VAE = "model.diffusion_model.", "first_stage_model."
TRAINED = {
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "timestep_spacing": "trailing",
    "steps_offset": 1,
}


@dataclass
class Family:
    """A checkpoint's networks, those of its text encoders by the prefix that they have in the file."""

    unet: Any
    vae: Any
    text: dict[str, nn.Module]
    pipeline_class: str
    prediction_type: str = "epsilon"
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def is_sdxl(self) -> bool:
        return "XL" in self.pipeline_class

    def write(self, path: Path, dtype: torch.dtype = torch.float32) -> None:
        parts = {UNET: ldm.unet_tensors(self.unet), VAE: ldm.vae_tensors(self.vae)}
        for prefix, network in self.text.items():
            is_open_clip = prefix.endswith(".model.")
            parts[prefix] = (ldm.open_clip_tensors if is_open_clip else ldm.clip_tensors)(network)
        floats = {
            prefix: {name: each.to(dtype) if each.is_floating_point() else each for name, each in part.items()}
            for prefix, part in parts.items()
        }
        ldm.write_single_file(path, floats, **self.metadata)

    def pipeline(self, pipeline_class: str = "") -> Any:
        """diffusers' pipeline; Euler's method at the noise levels that the schedule `simple` has."""
        import diffusers

        scheduler = diffusers.EulerDiscreteScheduler(**TRAINED, prediction_type=self.prediction_type)
        class_ = getattr(diffusers, pipeline_class or self.pipeline_class)
        made = class_(unet=self.unet, vae=self.vae, scheduler=scheduler, **self._text(), **self._options(class_))
        made.set_progress_bar_config(disable=True)
        return made

    def _text(self) -> dict[str, Any]:
        if not self.is_sdxl:
            (network,) = self.text.values()
            is_second = "cond_stage_model.model." in self.text  # of Stable Diffusion 2, which leaves its last layer out
            return {
                "text_encoder": without_last_layer(network) if is_second else network,
                "tokenizer": tiny.clip_tokenizer("!" if is_second else "<|endoftext|>"),
            }
        first, second = [None, *self.text.values()][-2:]
        return {
            "text_encoder": first, "tokenizer": first and tiny.clip_tokenizer(),
            "text_encoder_2": second, "tokenizer_2": tiny.clip_tokenizer("!"),
        }  # fmt: skip

    def _options(self, class_: type) -> dict[str, Any]:
        if not self.is_sdxl:
            return {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
        wants_score = len(self.text) == 1
        return {"add_watermarker": False, **({"requires_aesthetics_score": True} if wants_score else {})}


def without_last_layer(encoder: Any) -> Any:
    from transformers import CLIPTextModel

    layers = encoder.config.num_hidden_layers
    shorter = CLIPTextModel(
        type(encoder.config).from_dict({**encoder.config.to_dict(), "num_hidden_layers": layers - 1})
    )
    shorter.load_state_dict(encoder.state_dict(), strict=False)
    return shorter.eval()


def sd1(in_channels: int = 4) -> Family:
    text = {"cond_stage_model.transformer.": tiny.text_encoder(24)}
    name = "StableDiffusionPipeline" if in_channels == 4 else "StableDiffusionInpaintPipeline"
    return Family(tiny.unet(24, in_channels), tiny.vae(), text, name)


def sd2(prediction_type: str = "epsilon") -> Family:
    text = {"cond_stage_model.model.": tiny.text_encoder(128, 4, activation="gelu")}
    unet = tiny.linear_unet(
        128, block_out_channels=(64, 64, 64, 64), attention_head_dim=[1, 1, 1, 1], layers_per_block=2,
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    )  # fmt: skip
    bias = unet.up_blocks[3].attentions[2].transformer_blocks[0].norm1.bias
    torch.nn.init.normal_(bias, std=0.2 if prediction_type == "v_prediction" else 0.02)
    return Family(unet, tiny.vae(), text, "StableDiffusionPipeline", prediction_type)


def sdxl(in_channels: int = 4) -> Family:
    text = {
        "conditioner.embedders.0.transformer.": tiny.text_encoder(64, 3),
        "conditioner.embedders.1.model.": tiny.text_encoder(128, 3, projection=96, activation="gelu"),
    }
    name = "StableDiffusionXLPipeline" if in_channels == 4 else "StableDiffusionXLInpaintPipeline"
    return Family(tiny.sdxl_unet(192, 96, in_channels=in_channels), tiny.vae(scaling_factor=0.13025), text, name)


def refiner() -> Family:
    text = {"conditioner.embedders.0.model.": tiny.text_encoder(128, 3, projection=96, activation="gelu")}
    unet = tiny.sdxl_unet(128, 96, numbers=5)
    return Family(unet, tiny.vae(scaling_factor=0.13025), text, "StableDiffusionXLImg2ImgPipeline")


FAMILIES: dict[str, Callable[[], Family]] = {
    "sd1": sd1,
    "sd1-inpainting": lambda: sd1(9),
    "sd2": sd2,
    "sd2-v": lambda: sd2("v_prediction"),
    "sdxl": sdxl,
    "sdxl-inpainting": lambda: sdxl(9),
    "refiner": refiner,
}
