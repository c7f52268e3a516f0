"""GLIGEN's layers on the device of the model that they are for, through diffusers' own."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mezzotint.engine.errors import ModelFileError
from mezzotint.engine.residency import Loaded, Residency

from ..families.published_names import unet_prefixes
from ..models.component_weights import one_line
from ..models.file_content import file_content
from ..models.network_names import DENOISER
from ..models.network_overlay import with_copies
from ..models.weights_file import read_header, read_tensors
from ..models.weights_source import weights_path
from ..sampling.network_call import BOXES, GLIGEN, ConditioningError, NamedTensors, NetworkCall, Target, for_each

if TYPE_CHECKING:
    from ..models.recipe import Recipe, Source

FUSER = re.compile(
    r"(?:^|\.)(?P<block>(?:input_blocks|middle_block|output_blocks|down_blocks|mid_block|up_blocks)\..+)"
    r"\.fuser\.(?P<rest>.+)$"
)
"""A layer's name: the block of the U-Net that it is in, by published names or diffusers', and its own name there."""
POSITION = re.compile(r"(?:^|\.)position_net\.(?P<rest>.+)$")
TEXT_LAYER, NOTHING = "linears.0.weight", "null_positive_feature"
"""Of the network that takes boxes with texts; of ones that take pictures, too, they are named otherwise."""
MAX_BOXES = 30
"""What it was trained with."""
TEXTS, IS_BOX = "gligen_texts", "gligen_is_box"
INPUTS = (BOXES, TEXTS, IS_BOX)
"""Further inputs: [B, 30, 4] (left, top, right and bottom, 0 to 1), [B, 30, D] and [B, 30]."""


@dataclass(frozen=True, eq=False)
class FittedGligen:
    """The layers of a file.

    Attributes:
        position: from boxes with texts to tokens. fusers: transformer block of the U-Net → what lets it see these.
        text_width: D of a text.
    """

    position: nn.Module
    fusers: Mapping[str, nn.Module]
    text_width: int


def check_gligen(path: Path, name: str) -> None:
    """Raises ModelFileError: a file is damaged, or no GLIGEN for boxes with texts."""
    shapes = read_header(path).shapes
    if not any(FUSER.search(key) for key in shapes) or not any(POSITION.search(key) for key in shapes):
        raise ModelFileError(
            f"'{name}' is no GLIGEN file: going by its tensors it is {file_content(shapes)}; it wants tensors named "
            f"'fuser' and 'position_net', as gligen_sd14_textbox has them"
        )
    if not any((found := POSITION.search(key)) and found["rest"] == TEXT_LAYER for key in shapes):
        raise ModelFileError(
            f"'{name}' is a GLIGEN file of another kind than boxes with texts; use one such as gligen_sd14_textbox"
        )


def load_gligen(base: Recipe, source: Source, residency: Residency) -> Loaded:
    """A `FittedGligen`. Raises what `GligenWeights.load` says."""
    path = weights_path(source, residency.folders)
    check_gligen(path, source.name)
    with residency.borrow(base) as loaded, torch.inference_mode(False):
        network = getattr(loaded, "networks", {}).get(DENOISER)
        if not hasattr(network, "down_blocks") or not hasattr(network, "_set_pos_net_if_use_gligen"):
            raise _misfit(source.name, base.source.name, "it is for U-Nets of diffusers")
        shapes = read_header(path).shapes
        names = [name for name in shapes if FUSER.search(name) or POSITION.search(name)]
        nbytes = sum(math.prod(shapes[name]) for name in names) * loaded.dtype.itemsize
        residency.reserve(nbytes, f"loading the GLIGEN file '{source.name}'")
        tensors = {name: each.to(loaded.dtype) for name, each in read_tensors(path, str(loaded.device), names).items()}
        try:
            fitted = _fitted(network, tensors)
        except (KeyError, RuntimeError, AttributeError) as error:
            raise _misfit(source.name, base.source.name, one_line(error)) from None
    return Loaded(fitted, nbytes)


def _misfit(name: str, model: str, reason: str) -> ModelFileError:
    return ModelFileError(
        f"the GLIGEN file '{name}' is not for the model '{model}' ({reason}); use one that was made for this kind of "
        f"model, such as gligen_sd14_textbox with Stable Diffusion 1"
    )


def _fitted(network: Any, tensors: Mapping[str, Tensor]) -> FittedGligen:
    from diffusers.models.attention import GatedSelfAttentionDense
    from diffusers.models.embeddings import GLIGENTextBoundingboxProjection

    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if found := FUSER.search(name):
            parts.setdefault(found["block"], {})[found["rest"]] = tensor
    position = {found["rest"]: tensor for name, tensor in tensors.items() if (found := POSITION.search(name))}
    published = {theirs: ours for ours, theirs in unet_prefixes(network).items()}
    fusers = {}
    with torch.device("meta"):
        for block, held in parts.items():
            place = _in_network(block, published)
            width, context = held["linear.weight"].shape
            attention = network.get_submodule(place).attn1
            if attention.to_q.in_features != width:
                raise KeyError(f"{place} has {attention.to_q.in_features} channels, and the file's layer {width}")
            fusers[place] = GatedSelfAttentionDense(width, context, attention.heads, width // attention.heads)
        text_width, token_width = len(position[NOTHING]), next(iter(parts.values()))["linear.weight"].shape[1]
        projection = GLIGENTextBoundingboxProjection(text_width, token_width)
    for module, held in [(projection, position), *zip(fusers.values(), parts.values(), strict=True)]:
        module.load_state_dict(held, assign=True)
        module.requires_grad_(False).eval()
    return FittedGligen(projection, fusers, text_width)


def _in_network(block: str, published: Mapping[str, str]) -> str:
    """A transformer block's name in diffusers' U-Net: `input_blocks.1.1.transformer_blocks.0` is published."""
    module, dot, rest = block.partition(".transformer_blocks.")
    return published.get(module, module) + dot + rest


def with_gligen(loaded: Any, fitted: FittedGligen) -> Any:
    """What a model became, with the layers of a GLIGEN file; it shares the model's weights."""
    made, blocks = with_copies(loaded.networks[DENOISER], fitted.fusers)
    made._modules["position_net"] = fitted.position
    for name, block in blocks.items():
        block._modules["fuser"] = fitted.fusers[name]
    patched = loaded.with_networks({**loaded.networks, DENOISER: made})
    patched.call = GligenCall(loaded.call, fitted.text_width)
    return patched


@dataclass(frozen=True, eq=False)
class GligenCall:
    """How a U-Net with GLIGEN's layers is called: as without, and with boxes; a conditioning may have none."""

    base: NetworkCall
    text_width: int

    def inputs(self, options: Mapping[str, Any], target: Target) -> dict[str, Tensor]:
        positions = options[GLIGEN][2] if GLIGEN in options else []
        if len(positions) > MAX_BOXES:
            raise ConditioningError(
                f"a conditioning has {len(positions)} boxes of GLIGENTextBoxApply; allowed are {MAX_BOXES}"
            )
        boxes, texts = torch.zeros(1, MAX_BOXES, 4), torch.zeros(1, MAX_BOXES, self.text_width)
        is_box = torch.zeros(1, MAX_BOXES)
        for k, (pooled, height, width, y, x) in enumerate(positions):
            if pooled.shape[-1] != self.text_width:
                raise ConditioningError(
                    f"GLIGENTextBoxApply encoded its text as {pooled.shape[-1]} numbers, and the GLIGEN file wants "
                    f"{self.text_width}; use the CLIP of Stable Diffusion 1 that the file was made for"
                )
            rows, columns = target.shape[-2:]
            boxes[0, k] = torch.tensor([x / columns, y / rows, (x + width) / columns, (y + height) / rows])
            texts[0, k], is_box[0, k] = pooled[0], 1
        made = dict(zip(INPUTS, (boxes, texts, is_box), strict=True))
        further = {name: for_each(tensor.to(target.device), target.shape[0]) for name, tensor in made.items()}
        return {**self.base.inputs(options, target), **further}

    def forward(
        self,
        network: nn.Module,
        x: Tensor,
        timestep: Tensor,
        tokens: Tensor,
        inputs: NamedTensors,
        options: Mapping[str, Any],
    ) -> Tensor:
        rest = {name: tensor for name, tensor in inputs.items() if name not in INPUTS}
        seen = {"boxes": inputs[BOXES], "positive_embeddings": inputs[TEXTS], "masks": inputs[IS_BOX]}
        attention = {**options.get("cross_attention_kwargs", {}), "gligen": seen}
        return self.base.forward(network, x, timestep, tokens, rest, {**options, "cross_attention_kwargs": attention})
