"""CLIP's network for pictures on its device."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mezzotint.engine.errors import ModelFileError
from mezzotint.engine.residency import Loaded, Residency

from ..models.component_weights import one_line
from ..models.model_source import unchanged_source
from ..models.network_file import LoadedNetwork, load_network
from ..models.weights_file import read_header
from ..models.weights_source import weights_path
from ..resize import Crop, center_cut
from .clip_vision_recipe import ClipVisionOutput
from .open_clip_vision import open_clip_names, open_clip_prefix, open_clip_shapes, open_clip_tensor

if TYPE_CHECKING:
    from mezzotint.engine.folders import Folders

    from ..models.recipe import Source

CHECKPOINTS, COMPONENT = "checkpoints", "image_encoder"
"""The folder of models that have such a network inside, and where diffusers folders have it."""
BESIDE = ("config.json",)
"""A file of transformers that belongs to the weights which it lies beside."""
MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Of the colours that CLIP was trained with."""
HALF = (0.5, 0.5, 0.5)
"""Mean and deviation that SigLIP was trained with."""
SIGLIP = "siglip_vision_model"
SIGLIP_HEADS = {1152: 16}
"""Of the widths whose heads are not of 64."""
PREFIX = "vision_model."
WIDEST_OF_OPENAI, HEADS, HEAD_WIDTH = 1024, 16, 64
"""Wider ones are of OpenCLIP: they have 16 heads of whatever width, and the exact activation."""


class ClipVision:
    """A `CLIPVisionModelWithProjection` of transformers, or a `SiglipVisionModel`, whose pooled output stands for what
    CLIP's projects."""

    def __init__(self, loaded: LoadedNetwork) -> None:
        self.network, self.device, self.dtype = loaded.network, loaded.device, loaded.dtype
        self.is_siglip = self.network.config.model_type == SIGLIP
        self.side = int(self.network.config.image_size)

    def encode(self, image: Tensor, crop: Crop) -> ClipVisionOutput:
        """Read pictures, float32 [B, H, W, C] in 0..1: their middle, or squeezed where `crop` is disabled."""
        pixels = torch.cat([self._pixels(image, crop), torch.zeros(1, 3, self.side, self.side)])
        output = self.network(pixels.to(self.device, self.dtype), output_hidden_states=True)
        last, before = (output.last_hidden_state.float().cpu(), output.hidden_states[-2].float().cpu())
        embeds = output.pooler_output if self.is_siglip else output.image_embeds
        return ClipVisionOutput(embeds.float().cpu()[:-1], last[:-1], before[:-1], before[-1:])

    def _pixels(self, image: Tensor, crop: Crop) -> Tensor:
        pixels = image[..., :3].movedim(-1, 1).float().cpu()
        if crop == "center":
            pixels = center_cut(pixels, self.side, self.side)
        if pixels.shape[-2:] != (self.side, self.side):
            size = (self.side, self.side)
            pixels = torch.nn.functional.interpolate(pixels, size, mode="bicubic", antialias=True)
        in_steps = (pixels.clamp(0, 1) * 255).round() / 255  # as of a picture file, which CLIP was trained with
        mean, deviation = (
            torch.tensor(numbers).view(1, 3, 1, 1)
            for numbers in ((HALF, HALF) if self.is_siglip else (MEAN, DEVIATION))
        )
        return (in_steps - mean) / deviation


def load_clip_vision(source: Source, residency: Residency) -> Loaded:
    """A `ClipVision`. Raises what `ClipVisionRecipe.load` says."""
    path = _path(source, residency.folders)
    build = _builder(read_config(path, source.name))
    shapes = read_header(path).shapes
    published = open_clip_names(shapes)
    names = published or {name: name for name in shapes}
    loaded = load_network(
        path,
        f"the CLIP vision model '{source.name}'",
        build,
        lambda network: {name: _in_file(name, names) for name in network.state_dict()},
        residency,
        prefix=open_clip_prefix(shapes) if published else "",
        converted=open_clip_tensor if published else lambda name, tensor: tensor,
    )
    for module in loaded.network.modules():
        if isinstance(getattr(module, "position_ids", None), Tensor):  # no file holds them
            module.position_ids = torch.arange(module.position_ids.shape[-1], device=loaded.device)[None]
    return loaded.loaded(ClipVision(loaded))


def vision_file(path: Path) -> Path:
    """Which file of a checkpoint, a single one or a diffusers folder, its network for pictures is in."""
    if not path.is_dir():
        return path
    found = sorted((path / COMPONENT).glob("*.safetensors"))
    return found[0] if found else path / COMPONENT / "model.safetensors"


def _path(source: Source, folders: Folders) -> Path:
    if source.folder == CHECKPOINTS:
        return vision_file(unchanged_source(source, folders).path)
    return weights_path(source, folders, BESIDE)


def _builder(config: dict[str, Any]) -> Callable[[], Any]:
    """What makes the network of a configuration."""
    import transformers

    if config.get("model_type") == SIGLIP:
        siglip = transformers.SiglipVisionConfig.from_dict(config)
        return lambda: transformers.SiglipVisionModel(siglip)
    clip = transformers.CLIPVisionConfig.from_dict(config)
    return lambda: transformers.CLIPVisionModelWithProjection(clip)


def _in_file(name: str, names: Mapping[str, str]) -> str:
    """transformers 4 and 5 differ in a prefix."""
    ours = next((other for other in (name, PREFIX + name, name.removeprefix(PREFIX)) if other in names), name)
    return names.get(ours, name)


def read_config(path: Path, name: str) -> dict[str, Any]:
    """What `config.json` beside the file says, else what the shapes of its tensors tell.

    Raises:
        ModelFileError: it is damaged, or no CLIP vision model of transformers.
    """
    shapes = read_header(path).shapes
    published = open_clip_shapes(shapes)
    try:
        config = {} if published else json.loads(path.with_name(BESIDE[0]).read_bytes())
        if "hidden_size" in config and "patch_size" in config:
            return dict(config)
    except (OSError, ValueError, TypeError):
        pass  # there is none, or it is of something else
    try:
        return _config(published or shapes)
    except (KeyError, ValueError) as error:
        raise ModelFileError(
            f"'{name}' is no CLIP vision model in the layout of transformers or OpenCLIP ({one_line(error)}); use one "
            f"with such names, such as image_encoder/model.safetensors of IP-Adapter"
        ) from None


def _config(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    width, _, patch, _ = shapes[f"{PREFIX}embeddings.patch_embedding.weight"]
    positions = shapes[f"{PREFIX}embeddings.position_embedding.weight"][0]
    layers = {name.split(".")[3] for name in shapes if name.startswith(f"{PREFIX}encoder.layers.")}
    config = {
        "hidden_size": width,
        "patch_size": patch,
        "intermediate_size": shapes[f"{PREFIX}encoder.layers.0.mlp.fc1.weight"][0],
        "num_hidden_layers": len(layers),
    }
    heads = max(width // HEAD_WIDTH, 1)
    if f"{PREFIX}head.probe" in shapes:
        heads, side = SIGLIP_HEADS.get(width, heads), math.isqrt(positions)
        return {**config, "model_type": SIGLIP, "num_attention_heads": heads, "image_size": patch * side}
    is_of_openai = width <= WIDEST_OF_OPENAI
    return {
        **config,
        "image_size": patch * math.isqrt(positions - 1),
        "num_attention_heads": heads if is_of_openai else HEADS,
        "hidden_act": "quick_gelu" if is_of_openai else "gelu",
        "projection_dim": shapes["visual_projection.weight"][0],
    }
