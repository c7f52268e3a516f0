"""A transformer in a single file, as the family of pipelines takes it: what a diffusers folder of it would say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from mezzotint.engine.errors import ModelFileError

from ..models.component_weights import ComponentWeights
from .file_parts import FLUX, HIDREAM, PIXART, QWEN_IMAGE, SD3, Z_IMAGE
from .pipeline_folder import TRANSFORMER, PipelinePart
from .single_file import SCALE, SDXL_SCALE, SingleFile

WIDTHS = [128, 256, 512, 512]
LINEAR = {
    "_class_name": "DPMSolverMultistepScheduler", "beta_schedule": "linear", "beta_start": 0.0001, "beta_end": 0.02,
    "num_train_timesteps": 1000, "prediction_type": "epsilon",
}  # fmt: skip
FLOW = {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000}


class Published(NamedTuple):
    """What a published file of a family says nothing of.

    Attributes:
        pipeline, transformer, vae_class: classes of diffusers. scheduler, vae: what their configurations say.
    """

    pipeline: str
    transformer: str
    scheduler: Mapping[str, Any]
    vae: Mapping[str, Any]
    vae_class: str = "AutoencoderKL"


def _vae(scaling_factor: float, shift_factor: float = 0.0, channels: int = 16) -> dict[str, Any]:
    scale = {"scaling_factor": scaling_factor, "shift_factor": shift_factor}
    blocks = {"down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4}
    return {"block_out_channels": WIDTHS, "latent_channels": channels, **scale, **blocks}


OF_FLUX = _vae(0.3611, 0.1159)
FAMILIES = {
    SD3: Published("StableDiffusion3Pipeline", "SD3Transformer2DModel", {**FLOW, "shift": 3.0}, _vae(1.5305, 0.0609)),
    FLUX: Published("FluxPipeline", "FluxTransformer2DModel", {**FLOW, "shift": 1.0}, OF_FLUX),
    Z_IMAGE: Published("ZImagePipeline", "ZImageTransformer2DModel", {**FLOW, "shift": 3.0}, OF_FLUX),
    PIXART: Published("PixArtSigmaPipeline", "PixArtTransformer2DModel", LINEAR, _vae(SDXL_SCALE, channels=4)),
    HIDREAM: Published(
        "HiDreamImagePipeline", "HiDreamImageTransformer2DModel", {**FLOW, "shift": 3.0}, OF_FLUX
    ),
    QWEN_IMAGE: Published(
        "QwenImagePipeline", "QwenImageTransformer2DModel",
        {**FLOW, "use_dynamic_shifting": True, "base_shift": 0.5, "max_shift": 0.9}, {"z_dim": 16},
        "AutoencoderKLQwenImage",
    ),
}  # fmt: skip
"""Esser et al. 2024, Black Forest Labs 2024, Alibaba 2025, Chen et al. 2024, HiDream 2025, and Qwen 2025."""
PIXART_ALPHA = FAMILIES[PIXART]._replace(pipeline="PixArtAlphaPipeline", vae=_vae(SCALE, channels=4))
"""Of the transformers that are told the size of the picture. Chen et al. 2023."""
GUIDED = {"use_dynamic_shifting": True, "base_shift": 0.5, "max_shift": 1.15, "shift": 3.0}
"""Of Flux's scheduler where the network is told how strong guidance is (dev), and not made for few steps (schnell)."""


def published_of(family: str, config: Mapping[str, Any]) -> Published:
    """What a family's file says nothing of, by its transformer's configuration."""
    if family == PIXART and config["use_additional_conditions"]:
        return PIXART_ALPHA
    found = FAMILIES[family]
    is_guided = family == FLUX and config["guidance_embeds"]
    return found._replace(scheduler={**found.scheduler, **GUIDED}) if is_guided else found


def latents_of(published: Published) -> Mapping[str, Any]:
    """What tells how its latents are made: of a VAE's configuration, with the keys that all have."""
    channels = published.vae.get("latent_channels") or published.vae["z_dim"]
    return {**published.vae, "latent_channels": channels, "downscale": 2 ** (len(WIDTHS) - 1)}


@dataclass(frozen=True)
class TransformerFile:
    """Of `PipelineFolder`, what a model of a transformer needs.

    Attributes:
        file: has a transformer.
    """

    file: SingleFile

    @property
    def name(self) -> str:
        return self.file.name

    @property
    def published(self) -> Published:
        return published_of(self.file.parts[TRANSFORMER].family, self.config(TRANSFORMER))

    @property
    def parts(self) -> dict[str, PipelinePart]:
        return {
            TRANSFORMER: PipelinePart("diffusers", self.published.transformer),
            "vae": PipelinePart("diffusers", self.published.vae_class),
        }

    def check(self) -> None:
        """See that it takes what is given to it. Raises ModelFileError: it wants more channels."""
        config = self.config(TRANSFORMER)
        if self.file.parts[TRANSFORMER].family == FLUX and config["in_channels"] != config["out_channels"]:
            raise ModelFileError(
                f"'{self.name}' takes {config['in_channels']} channels and gives {config['out_channels']}: variants "
                f"that are shown a picture (Fill, Canny, Depth) cannot be used from a single file; use the model "
                f"without it"
            )

    def config(self, component: str) -> Mapping[str, Any]:
        if component == TRANSFORMER:
            return self.file.config(TRANSFORMER)
        return self.published.vae if component == "vae" else self.published.scheduler

    def sampling_config(self) -> Mapping[str, Any]:
        return latents_of(self.published)

    def weights(self, component: str) -> ComponentWeights:
        return self.file.weights(component)

    def component_class(self, component: str) -> Any:
        import diffusers

        return getattr(diffusers, self.parts[component].class_name)

    def pipeline(self) -> Any:
        import diffusers

        return getattr(diffusers, self.published.pipeline)
