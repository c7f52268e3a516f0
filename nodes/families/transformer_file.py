"""A transformer in a single file, as the family of pipelines takes it: what a diffusers folder of it would say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from mezzotint.engine.errors import ModelFileError

from ..models.component_weights import ComponentWeights
from .file_parts import FLUX, SD3
from .pipeline_folder import TRANSFORMER, PipelinePart
from .single_file import SingleFile

WIDTHS = [128, 256, 512, 512]
FLOW = {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000}


class Published(NamedTuple):
    """What a published file of a family says nothing of.

    Attributes:
        pipeline, transformer: classes of diffusers. scheduler, vae: what their configurations say.
    """

    pipeline: str
    transformer: str
    scheduler: Mapping[str, Any]
    vae: Mapping[str, Any]


def _vae(scaling_factor: float, shift_factor: float) -> dict[str, Any]:
    scale = {"scaling_factor": scaling_factor, "shift_factor": shift_factor}
    blocks = {"down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4}
    return {"block_out_channels": WIDTHS, "latent_channels": 16, **scale, **blocks}


FAMILIES = {
    SD3: Published("StableDiffusion3Pipeline", "SD3Transformer2DModel", {**FLOW, "shift": 3.0}, _vae(1.5305, 0.0609)),
    FLUX: Published("FluxPipeline", "FluxTransformer2DModel", {**FLOW, "shift": 1.0}, _vae(0.3611, 0.1159)),
}
"""Esser et al. 2024, and Black Forest Labs 2024."""
GUIDED = {"use_dynamic_shifting": True, "base_shift": 0.5, "max_shift": 1.15, "shift": 3.0}
"""Of Flux's scheduler where the network is told how strong guidance is (dev), and not made for few steps (schnell)."""


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
        return FAMILIES[self.file.parts[TRANSFORMER].layout]

    @property
    def parts(self) -> dict[str, PipelinePart]:
        return {
            TRANSFORMER: PipelinePart("diffusers", self.published.transformer),
            "vae": PipelinePart("diffusers", "AutoencoderKL"),
        }

    def check(self) -> None:
        """See that it takes what is given to it. Raises ModelFileError: it wants more channels."""
        config = self.config(TRANSFORMER)
        if config["in_channels"] != config["out_channels"]:
            raise ModelFileError(
                f"'{self.name}' takes {config['in_channels']} channels and gives {config['out_channels']}: variants "
                f"that are shown a picture (Fill, Canny, Depth) cannot be used from a single file; use the model "
                f"without it"
            )

    def config(self, component: str) -> Mapping[str, Any]:
        if component == TRANSFORMER:
            return self.file.config(TRANSFORMER)
        if component == "vae":
            return self.published.vae
        is_guided = self.config(TRANSFORMER).get("guidance_embeds")
        return {**self.published.scheduler, **GUIDED} if is_guided else self.published.scheduler

    def sampling_config(self) -> Mapping[str, Any]:
        return {**self.published.vae, "downscale": 2 ** (len(WIDTHS) - 1)}

    def weights(self, component: str) -> ComponentWeights:
        return self.file.weights(component)

    def component_class(self, component: str) -> Any:
        import diffusers

        return getattr(diffusers, self.parts[component].class_name)

    def pipeline(self) -> Any:
        import diffusers

        return getattr(diffusers, self.published.pipeline)
