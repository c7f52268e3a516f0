"""A checkpoint in one safetensors file, laid out as Stable Diffusion was published; recognised by its tensors.

model.diffusion_model.              the U-Net
first_stage_model.                  the VAE
cond_stage_model.transformer.       the text encoder of Stable Diffusion 1: CLIP
cond_stage_model.model.             of Stable Diffusion 2: OpenCLIP
conditioner.embedders.N.            those of SDXL: CLIP and OpenCLIP; its refiner has the second alone
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import pstdev
from typing import TYPE_CHECKING, Any, NamedTuple

from mezzotint.engine.errors import ModelFileError

from . import ldm_config
from .component_weights import LAST_LAYER, SDXL_READING, ComponentWeights, TextReading, names_of_today
from .weights_file import TensorInfo, WeightsHeader, read_header

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import Tensor, nn

    from .prompt_chunks import ChunkLayout

UNET, VAE = "model.diffusion_model.", "first_stage_model."
UNET_MARK = f"{UNET}input_blocks.0.0.weight"
"""A tensor that all of them have."""
LEFT_OVER = ("position_ids", "logit_scale", "text_projection.weight")
"""What ends the names of tensors in text encoders that not all of transformers' networks want."""
SDXL_SCALE, SCALE = 0.13025, 0.18215
"""Of latents: Podell et al. 2023, and Rombach et al. 2022."""
USUAL_VAE_WIDTHS = (128, 256, 512, 512)
"""Of the VAE that belongs to a file that holds none."""
V_PREDICTION_DEVIATION = 0.09
V_PREDICTION_MARK = f"{UNET}output_blocks.11.1.transformer_blocks.0.norm1.bias"
"""The biases of this norm deviate by more where Stable Diffusion 2 predicts v, and nothing in its file says so."""


class TextPart(NamedTuple):
    """A text encoder in a file.

    Attributes:
        prefix: of its tensors' names. is_open_clip: whose names they have after it. reading: what of it is used.
    """

    prefix: str
    is_open_clip: bool
    reading: TextReading


TEXT_PARTS = (
    TextPart("cond_stage_model.transformer.", False, LAST_LAYER),
    TextPart("cond_stage_model.model.", True, TextReading(-2, True)),
    TextPart("conditioner.embedders.0.transformer.", False, SDXL_READING),
    TextPart("conditioner.embedders.0.model.", True, SDXL_READING),
    TextPart("conditioner.embedders.1.model.", True, SDXL_READING),
)


@dataclass(frozen=True)
class SingleFile:
    """A checkpoint file, one of `CheckpointFiles`.

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
    def text_parts(self) -> dict[str, TextPart]:
        """Its text encoders by the names that diffusers has for them."""
        names = self.header.tensors
        found = [part for part in TEXT_PARTS if any(name.startswith(part.prefix) for name in names)]
        return dict(zip(("text_encoder", "text_encoder_2"), found, strict=False))

    @property
    def text_encoders(self) -> tuple[str, ...]:
        return tuple(self.text_parts)

    def reading(self, component: str) -> TextReading:
        return self.text_parts[component].reading

    @cached_property
    def is_sdxl(self) -> bool:
        """Whether its U-Net is told the size of the picture."""
        return f"{UNET}label_emb.0.0.weight" in self.header.tensors

    def check(self) -> None:
        """See that there is a U-Net, and that what is there is whole.

        Raises:
            ModelFileError: it isn't.
        """
        for component in ("unet", *self._others()):
            self.config(component)

    def _others(self) -> list[str]:
        has_vae = any(name.startswith(VAE) for name in self.header.tensors)
        return [*(["vae"] if has_vae else []), *self.text_encoders]

    def config(self, component: str) -> Mapping[str, Any]:
        if component == "scheduler":
            return self._scheduler_config
        if component == "vae" and component not in self._others():
            return {"block_out_channels": USUAL_VAE_WIDTHS, "scaling_factor": self._scale}
        make, prefix = self._configured(component)
        try:
            return make(self._shapes(prefix))
        except (KeyError, StopIteration, IndexError) as error:
            raise ModelFileError(
                f"the checkpoint '{self.name}' lacks {error} of its {component}: the file is not whole, or of a family "
                f"that is not known; fetch it again"
            ) from None

    def _configured(self, component: str) -> tuple[Callable[[ldm_config.Shapes], dict[str, Any]], str]:
        if component == "unet":
            return ldm_config.unet_config, UNET
        if component == "vae":
            return self._vae_config, VAE
        part = self.text_parts[component]
        return (ldm_config.open_clip_config if part.is_open_clip else ldm_config.clip_config), part.prefix

    def _vae_config(self, shapes: ldm_config.Shapes) -> dict[str, Any]:
        return {**ldm_config.vae_config(shapes), "scaling_factor": self._scale, "force_upcast": True}

    @property
    def _scale(self) -> float:
        return SDXL_SCALE if self.is_sdxl else SCALE

    def _shapes(self, prefix: str) -> dict[str, tuple[int, ...]]:
        found = self.header.below(prefix).tensors
        return {name[len(prefix) :]: tensor.shape for name, tensor in found.items()}

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
        mark = self.header.tensors.get(V_PREDICTION_MARK)
        if self.is_sdxl or mark is None or not self.config("unet")["use_linear_projection"]:
            return "v_pred" in self.header.tensors
        return pstdev(self._numbers(mark)) > V_PREDICTION_DEVIATION

    def _numbers(self, tensor: TensorInfo) -> list[float]:
        """A small tensor's numbers, read with no library."""
        with self.path.open("rb") as file:
            file.seek(tensor.start)
            raw = file.read(tensor.stop - tensor.start)
        if tensor.dtype == "BF16":  # the upper half of a float32
            raw = b"".join(b"\0\0" + raw[i : i + 2] for i in range(0, len(raw), 2))
        form = {"F64": "d", "F16": "e"}.get(tensor.dtype, "f")
        return [*struct.unpack(f"<{len(raw) // struct.calcsize(form)}{form}", raw)]

    def weights(self, component: str) -> ComponentWeights:
        if component == "vae" and "vae" not in self._others():
            raise ModelFileError(f"the checkpoint '{self.name}' holds no VAE; load one of its family with VAELoader")
        prefix = self._configured(component)[1]
        config = self.config(component)

        def names_for(weights: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
            return self._converted(component, weights, config, network)

        return ComponentWeights([self.path], self.header.below(prefix), names_for)

    def _converted(
        self, component: str, weights: dict[str, Tensor], config: Mapping[str, Any], network: nn.Module
    ) -> dict[str, Tensor]:
        from diffusers.loaders import single_file_utils as published

        plain: dict[str, Tensor]
        if component == "unet":
            plain = published.convert_ldm_unet_checkpoint(weights, config)
            return plain
        if component == "vae":
            plain = published.convert_ldm_vae_checkpoint(weights, config)
            return plain
        part = self.text_parts[component]
        plain = {name.removeprefix(part.prefix): tensor for name, tensor in weights.items()}
        if part.is_open_clip:
            plain = published.convert_open_clip_checkpoint(network, plain, prefix="")
        return _fitted(plain, network)

    def tokenizer(self, component: str, length: int) -> tuple[Tokenizer, ChunkLayout]:
        from .clip_vocabulary import END_ID, START_ID, clip_tokenizer
        from .prompt_chunks import ChunkLayout

        padding = 0 if self.text_parts[component].is_open_clip else END_ID
        return clip_tokenizer(), ChunkLayout(START_ID, END_ID, padding, length)


def _fitted(weights: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """A text encoder's weights without those that nobody wants, with or without the prefix that the network has."""
    wanted = network.state_dict().keys()
    named = names_of_today(weights, network)
    return {name: tensor for name, tensor in named.items() if name in wanted or not name.endswith(LEFT_OVER)}
