"""A checkpoint in one safetensors file, or one of its networks alone; recognised by its tensors."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from statistics import pstdev
from typing import TYPE_CHECKING, Any

from mezzotint.engine.errors import ModelFileError

from ..models.component_weights import ComponentWeights, TextReading, names_of_today
from ..models.file_content import file_content
from ..models.network_names import TEXT_ENCODERS
from ..models.weight_scales import by_layer, other_form, row_scales, without_scales
from ..models.weights_file import PICKLE_SUFFIXES, WeightsHeader, read_header, read_tensors
from . import diffusers_config, ldm_config, transformer_config
from .file_parts import (
    CHECKPOINT_G,
    CLIP,
    DIFFUSERS,
    FLUX,
    LDM,
    LLAMA,
    OPEN_CLIP,
    SD3,
    T5,
    TOKENIZER_TENSOR,
    Z_IMAGE,
    Part,
    find_parts,
    plain_shapes,
)  # fmt: skip
from .published_transformers import published_shapes

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import Tensor, nn

    from ..text.prompt_chunks import ChunkLayout

LEFT_OVER = ("position_ids", "logit_scale", "text_projection.weight", "text_projection")
"""What ends the names of tensors in text encoders that not all of transformers' networks want."""
SDXL_SCALE, SCALE = 0.13025, 0.18215
"""Of latents: Podell et al. 2023, and Rombach et al. 2022."""
USUAL_VAE_WIDTHS = (128, 256, 512, 512)
"""Of the VAE that belongs to a file that holds none."""
V_PREDICTION_DEVIATION = 0.09
V_PREDICTION_MARKS = {
    LDM: "output_blocks.11.1.transformer_blocks.0.norm1.bias",
    DIFFUSERS: "up_blocks.3.attentions.2.transformer_blocks.0.norm1.bias",
}
"""The biases of this norm deviate by more where Stable Diffusion 2 predicts v, and nothing in its file says so."""
OTHER_FAMILIES = {
    "edm_mean": "Playground 2.5",
    "edm_vpred.sigma_max": "CosXL",
    "conditioner.embedders.3.encoder.": "Stable Video Diffusion",
}
"""Tensors (or what their names begin with) of families whose networks look like those that are known."""
PICTURE_STATISTICS = {"mean": "noise_augmentor.data_mean", "std": "noise_augmentor.data_std"}
"""Of unCLIP models; those that were trained without are published without."""
IN_WORDS = {
    "unet": "diffusion model", "transformer": "diffusion model", "vae": "VAE", "text_encoder": "text encoder",
    "text_encoder_2": "text encoder", "text_encoder_3": "text encoder",
}  # fmt: skip
LOADERS = {"diffusion model": "UNETLoader", "VAE": "VAELoader", "text encoder": "CLIPLoader"}
"""The nodes that load a component by itself."""
CONFIGURATIONS: Mapping[tuple[str, str], Callable[[ldm_config.Shapes], dict[str, Any]]] = {
    ("unet", LDM): ldm_config.unet_config,
    ("unet", DIFFUSERS): diffusers_config.unet_config,
    ("vae", LDM): ldm_config.vae_config,
    ("vae", DIFFUSERS): diffusers_config.vae_config,
    **{(component, T5): transformer_config.t5_config for component in TEXT_ENCODERS},
    **{(component, LLAMA): transformer_config.llama_config for component in TEXT_ENCODERS},
    **{(component, CLIP): ldm_config.clip_config for component in TEXT_ENCODERS},
    **{(component, OPEN_CLIP): ldm_config.open_clip_config for component in TEXT_ENCODERS},
}
TRANSFORMERS = {
    FLUX: "convert_flux_transformer_checkpoint_to_diffusers",
    SD3: "convert_sd3_transformer_checkpoint_to_diffusers",
    Z_IMAGE: "convert_z_image_transformer_checkpoint_to_diffusers",
}
"""What of diffusers turns published names of transformers into its own."""


@lru_cache(maxsize=64)
def _parts_of(header: WeightsHeader) -> dict[str, Part]:
    return find_parts(header.shapes)


def read_config(component: str, part: Part, shapes: ldm_config.Shapes) -> dict[str, Any]:
    """The configuration of a network, by the shapes of its tensors.

    Raises:
        KeyError, StopIteration, IndexError, ZeroDivisionError: one that all such networks have is missing.
    """
    if not part.family:
        config = CONFIGURATIONS[component, part.layout](shapes)
        return {**config, "hidden_act": ldm_config.OF_OPEN_CLIP} if part.prefix == CHECKPOINT_G else config
    published = published_shapes(part.family, shapes) if part.layout == DIFFUSERS else shapes
    return transformer_config.CONFIGURATIONS[part.family](published)


@dataclass(frozen=True)
class SingleFile:
    """A file, one of `CheckpointFiles`.

    Attributes:
        path: where it lies. name: what the user calls it, for messages.
    """

    path: Path
    name: str

    @cached_property
    def header(self) -> WeightsHeader:
        """What it holds. Raises ModelFileError: it is damaged."""
        return read_header(self.path)

    @cached_property
    def parts(self) -> dict[str, Part]:
        """The networks in it by component."""
        return _parts_of(self.header)

    @property
    def text_encoders(self) -> tuple[str, ...]:
        return tuple(component for component in TEXT_ENCODERS if component in self.parts)

    def reading(self, component: str) -> TextReading:
        return self.parts[component].reading

    def has_tokenizer(self, component: str) -> bool:
        """Whether a tokenizer lies with a text encoder."""
        return self.parts[component].prefix + TOKENIZER_TENSOR in self.header.tensors

    def check(self) -> None:
        """See that what is there is whole, and of a family that is known. Raises ModelFileError: it isn't."""
        for mark, family in OTHER_FAMILIES.items():
            if any(name.startswith(mark) for name in self.header.tensors):
                raise ModelFileError(
                    f"'{self.name}' is a model of {family}, going by its tensor '{mark}', and models of that kind "
                    f"cannot be used yet; known are Stable Diffusion 1, 2 and XL"
                )
        if form := other_form(self.header.tensors):
            raise ModelFileError(
                f"the weights of '{self.name}' are packed as {form}, which cannot be read; use the model's file in 16 "
                f"bits, or in 8 (float8)"
            )
        for component in self.parts:
            self.config(component)

    def _part(self, component: str) -> Part:
        part = self.parts.get(component)
        if part is None:
            raise ModelFileError(
                f"'{self.name}' holds no {IN_WORDS[component]}; going by its tensors it is "
                f"{file_content(self.header.tensors)}: load the {IN_WORDS[component]} from another file with "
                f"{LOADERS[IN_WORDS[component]]}"
            )
        return part

    def config(self, component: str) -> Mapping[str, Any]:
        if component == "scheduler":
            return self._scheduler_config
        if component == "image_noising_scheduler":
            return ldm_config.PICTURE_NOISE
        if component == "vae" and component not in self.parts:
            return {"block_out_channels": USUAL_VAE_WIDTHS, "scaling_factor": self._scale}
        part = self._part(component)
        try:
            config = read_config(component, part, plain_shapes(self.header.shapes, part.prefix))
        except (KeyError, StopIteration, IndexError, ZeroDivisionError) as error:
            raise ModelFileError(
                f"the checkpoint '{self.name}' lacks {error} of its {component}: the file is not whole, or of a family "
                f"that is not known; fetch it again"
            ) from None
        return {**config, "scaling_factor": self._scale, "force_upcast": True} if component == "vae" else config

    @cached_property
    def is_sdxl(self) -> bool:
        """Whether its U-Net is told the size of the picture."""
        return "unet" in self.parts and "addition_embed_type" in self.config("unet")

    @property
    def _scale(self) -> float:
        return SDXL_SCALE if self.is_sdxl else SCALE

    @cached_property
    def _scheduler_config(self) -> dict[str, Any]:
        told: dict[str, Any] = {"prediction_type": "v_prediction"} if self._predicts_v() else {}
        if "ztsnr" in self.header.tensors:
            told["rescale_betas_zero_snr"] = True
        return {**ldm_config.SCHEDULER, **told}

    def _predicts_v(self) -> bool:
        said = self.header.metadata.get("modelspec.prediction_type", "")
        if said:
            return said.startswith("v")
        part = self._part("unet")
        mark = part.prefix + V_PREDICTION_MARKS[part.layout]
        if self.is_sdxl or mark not in self.header.tensors or not self.config("unet")["use_linear_projection"]:
            return "v_pred" in self.header.tensors
        return pstdev(self._numbers(mark)) > V_PREDICTION_DEVIATION

    def _numbers(self, name: str) -> list[float]:
        """A small tensor's numbers; of a safetensors file read with no library."""
        if self.path.suffix.lower() in PICKLE_SUFFIXES:
            return [*map(float, read_tensors(self.path, "cpu", [name])[name].flatten().tolist())]
        tensor = self.header.tensors[name]
        with self.path.open("rb") as file:
            file.seek(tensor.start)
            raw = file.read(tensor.stop - tensor.start)
        if tensor.dtype == "BF16":  # the upper half of a float32
            raw = b"".join(b"\0\0" + raw[i : i + 2] for i in range(0, len(raw), 2))
        form = {"F64": "d", "F16": "e"}.get(tensor.dtype, "f")
        return [*struct.unpack(f"<{len(raw) // struct.calcsize(form)}{form}", raw)]

    def origin(self, component: str) -> tuple[Path, Part]:
        """Where a component lies in which file. Raises ModelFileError: there is none."""
        return self.path, self._part(component)

    def weights(self, component: str) -> ComponentWeights:
        part, config = self._part(component), self.config(component)

        def names_for(weights: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
            plain, scales = without_scales({name[len(part.prefix) :]: tensor for name, tensor in weights.items()})
            rows = row_scales(plain, scales) if scales else {}
            named = _converted(component, part, plain, config, network)
            return {**named, **by_layer(_converted(component, part, rows, config, network))} if scales else named

        return ComponentWeights([self.path], self.header.below(part.prefix), names_for)

    def picture_statistics(self) -> dict[str, Tensor]:
        names = {part: name for part, name in PICTURE_STATISTICS.items() if name in self.header.tensors}
        found = read_tensors(self.path, "cpu", names.values())
        return {part: found[name].float() for part, name in names.items()}

    def tokenizer(self, component: str, length: int) -> tuple[Tokenizer, ChunkLayout]:
        from ..text.clip_vocabulary import END_ID, START_ID, clip_tokenizer
        from ..text.prompt_chunks import ChunkLayout

        is_of_openai = self.config(component)["hidden_act"] == ldm_config.OF_OPENAI
        return clip_tokenizer(), ChunkLayout(START_ID, END_ID, END_ID if is_of_openai else 0, length)


def _converted(
    component: str, part: Part, weights: dict[str, Tensor], config: Mapping[str, Any], network: nn.Module
) -> dict[str, Tensor]:
    """The weights of a component under the network's names, by diffusers' own conversion."""
    from diffusers.loaders import single_file_utils as published

    layout = part.layout
    if layout == LDM:
        if component == "unet":
            prefixed = {f"{published.LDM_UNET_KEY}{name}": tensor for name, tensor in weights.items()}
            unet: dict[str, Tensor] = published.convert_ldm_unet_checkpoint(prefixed, config)
            return unet
        vae: dict[str, Tensor] = published.convert_ldm_vae_checkpoint(weights, config)
        return vae
    if part.family and layout != DIFFUSERS:
        transformer: dict[str, Tensor] = getattr(published, TRANSFORMERS[part.family])(weights)
        return transformer
    if layout == OPEN_CLIP:
        weights = published.convert_open_clip_checkpoint(network, weights, prefix="")
    wanted = network.state_dict().keys()
    named = names_of_today(weights, network)
    if layout == DIFFUSERS:
        return named
    return {name: tensor for name, tensor in named.items() if name in wanted or not name.endswith(LEFT_OVER)}
