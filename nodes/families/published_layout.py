"""Networks as single files have them: the inverse of what `single_file` reads.

In all functions, `tensors` are by the network's own names.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..models.weights_writer import DeferredTensor
from .file_parts import CLIP, LDM, OPEN_CLIP, PIXART, PUBLISHED, T5, Part
from .ldm_config import OF_OPENAI, VOCABULARY_END
from .pipeline_folder import TRANSFORMER
from .published_names import parted, published_names
from .published_transformers import published_plan
from .single_file import read_config
from .transformer_file import FAMILIES

if TYPE_CHECKING:
    from torch import Tensor

Deferred = Mapping[str, DeferredTensor]
VAE_LAYERS = {
    "conv_shortcut": "nin_shortcut", "group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v",
    "to_out.0": "proj_out",
}  # fmt: skip
OPEN_CLIP_LAYERS = {
    "layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}  # fmt: skip
OPEN_CLIP_ENDS = {
    "embeddings.token_embedding.weight": "token_embedding.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "final_layer_norm.weight": "ln_final.weight",
    "final_layer_norm.bias": "ln_final.bias",
}
T5_CLASS = "T5EncoderModel"
QUERY, KEY, VALUE = "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"
LAYERS = "encoder.layers."
IRRELEVANT = frozenset({
    "sample_size", "scaling_factor", "shift_factor", "force_upcast", "upcast_attention", "dropout",
    "bos_token_id", "eos_token_id", "pad_token_id", "projection_dim", "axes_lens",
})  # fmt: skip
"""Of configurations, what makes no difference to a network's forward, or stands elsewhere."""


def family_of(transformer: Any) -> str:
    """The family of a transformer as `file_parts` has it; empty where single files of none are known."""
    name = type(transformer).__name__
    return next((family for family, published in FAMILIES.items() if published.transformer == name), "")


def layout_of(component: str, network: Any) -> str:
    """The layout that a component is published in; text encoders, where they have files of their own."""
    if component == TRANSFORMER:
        return PUBLISHED
    if not component.startswith("text_encoder"):
        return LDM
    if type(network).__name__ == T5_CLASS:
        return T5
    return CLIP if network.config.hidden_act == OF_OPENAI else OPEN_CLIP


def published_tensors(component: str, network: Any, tensors: Deferred, layout: str) -> dict[str, DeferredTensor]:
    """The tensors of a network by their published names in a layout, without a prefix.

    Args:
        component: `"unet"`, `"transformer"`, `"vae"`, `"text_encoder"`, ...
    """
    if component == TRANSFORMER:
        return _transformer(family_of(network), tensors)
    if component == "unet":
        name_of = published_names(network)
        return {name_of(name): tensor for name, tensor in tensors.items()}
    if component == "vae":
        return _vae(network, tensors)
    if layout == T5:  # it has its vectors twice
        return {name: tensor for name, tensor in tensors.items() if name != "encoder.embed_tokens.weight"}
    plain = {name.removeprefix("text_model."): tensor for name, tensor in tensors.items()}
    if layout == OPEN_CLIP:
        return _open_clip(plain)
    return {name if name.startswith("text_projection") else f"text_model.{name}": each for name, each in plain.items()}


def _transformer(family: str, tensors: Deferred) -> dict[str, DeferredTensor]:
    made = {}
    for name, parts in published_plan(family, tensors).items():
        own = [tensors[each] for each in parts.names]
        tensor = _joined(own) if len(own) > 1 else own[0]
        made[name] = tensor.changed(tensor.shape, _swapped) if parts.is_swapped else tensor
    return made


def _swapped(tensor: Tensor) -> Tensor:
    import torch

    return torch.cat([*tensor.chunk(2)][::-1])


def _vae(vae: Any, tensors: Deferred) -> dict[str, DeferredTensor]:
    prefixes = _vae_prefixes(len(vae.config.block_out_channels), vae.config.layers_per_block)
    made = {}
    for name, tensor in tensors.items():
        block, rest = parted(name, prefixes)
        layer, end = parted(rest[1:], VAE_LAYERS)
        published = prefixes.get(block, block) + (f".{VAE_LAYERS[layer]}{end}" if layer else rest)
        is_projection = ".attn_1." in published and len(tensor.shape) == 2  # they were convolutions
        made[published] = tensor.changed((*tensor.shape, 1, 1), _as_kernel) if is_projection else tensor
    return made


def _as_kernel(matrix: Tensor) -> Tensor:
    return matrix[:, :, None, None]


def _vae_prefixes(levels: int, layers: int) -> dict[str, str]:
    names: dict[str, str] = {}
    for half in ("encoder", "decoder"):
        names |= {f"{half}.mid_block.resnets.{place}": f"{half}.mid.block_{place + 1}" for place in range(2)}
        names |= {f"{half}.mid_block.attentions.0": f"{half}.mid.attn_1", f"{half}.conv_norm_out": f"{half}.norm_out"}
    for level in range(levels):
        up = levels - 1 - level
        names |= {
            f"encoder.down_blocks.{level}.downsamplers.0": f"encoder.down.{level}.downsample",
            f"decoder.up_blocks.{level}.upsamplers.0": f"decoder.up.{up}.upsample",
        }
        for layer in range(layers + 1):  # the decoder has one more
            names[f"encoder.down_blocks.{level}.resnets.{layer}"] = f"encoder.down.{level}.block.{layer}"
            names[f"decoder.up_blocks.{level}.resnets.{layer}"] = f"decoder.up.{up}.block.{layer}"
    return names


def _open_clip(tensors: Deferred) -> dict[str, DeferredTensor]:
    made = {}
    for name, tensor in tensors.items():
        if name == "text_projection.weight":
            made["text_projection"] = tensor.changed(tensor.shape[::-1], lambda matrix: matrix.t())
        elif QUERY in name:
            parts = [tensors[name.replace(QUERY, part)] for part in (QUERY, KEY, VALUE)]
            layer, end = name.removeprefix(LAYERS).split(f".{QUERY}.")
            made[f"transformer.resblocks.{layer}.attn.in_proj_{end}"] = _joined(parts)
        elif KEY not in name and VALUE not in name:
            made[_open_clip_name(name)] = tensor
    return made


def _open_clip_name(name: str) -> str:
    if not name.startswith(LAYERS):
        return OPEN_CLIP_ENDS.get(name, name)
    number, _, inner = name.removeprefix(LAYERS).partition(".")
    layer, end = parted(inner, OPEN_CLIP_LAYERS)
    return f"transformer.resblocks.{number}.{OPEN_CLIP_LAYERS.get(layer, layer)}{end}"


def _joined(parts: list[DeferredTensor]) -> DeferredTensor:
    import torch

    first = parts[0]
    shape = (sum(part.shape[0] for part in parts), *first.shape[1:])
    return first.changed(shape, lambda tensor: torch.cat([tensor, *(part.make() for part in parts[1:])]))


def with_unused_layer(tensors: Deferred, layers: int) -> dict[str, DeferredTensor]:
    """OpenCLIP's published tensors with one more layer, which changes nothing, and a projection that changes nothing.

    Stable Diffusion 2 was published with a last layer that is not used; diffusers leaves it out.
    """
    import torch

    beginning = f"transformer.resblocks.{layers - 1}."
    made = dict(tensors)
    for name, tensor in tensors.items():
        if name.startswith(beginning):
            zeros = tensor.changed(tensor.shape, torch.zeros_like)
            made[f"transformer.resblocks.{layers}.{name.removeprefix(beginning)}"] = zeros
    width, dtype = tensors["ln_final.weight"].shape[0], tensors["ln_final.weight"].dtype
    made.setdefault("text_projection", DeferredTensor((width, width), dtype, lambda: torch.eye(width).to(dtype)))
    return made


def unlike(component: str, network: Any, tensors: Deferred, part: Part) -> str | None:
    """What of a network a single file cannot say: the first of its options that would be read otherwise; None if none.

    Args:
        tensors: by published names. part: as what they would be read.
    """
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    try:
        read = read_config(component, part, shapes)
    except (KeyError, StopIteration, IndexError, ZeroDivisionError) as error:
        return f"lacks {error}"
    if component.startswith("text_encoder"):
        if part.layout != T5:
            read["vocab_size"] = VOCABULARY_END + 1
        wanted = {name: getattr(network.config, name) for name in read}
    else:
        given = inspect.signature(type(network).__init__).parameters
        wanted = {name: value for name, value in network.config.items() if name in given}
        read = {**{name: given[name].default for name in wanted}, **read}
        if "out_channels" in wanted and wanted["out_channels"] is None:
            wanted["out_channels"] = wanted["in_channels"]
    blocks = wanted.get("down_block_types", ())
    ignored = IRRELEVANT - {"sample_size"} if part.family == PIXART else IRRELEVANT  # it has its positions by that
    for name in sorted(wanted.keys() - ignored):
        if _plain(name, read[name], blocks) != _plain(name, wanted[name], blocks):
            return f"{name} is {wanted[name]}, and would be read as {read[name]}"
    return None


def _plain(name: str, value: Any, blocks: Sequence[str]) -> Any:
    """A value with a list for each level where one number may stand for all, and without what is not used."""
    if name in ("attention_head_dim", "transformer_layers_per_block", "layers_per_block") and isinstance(value, int):
        value = [value] * len(blocks)
    if name == "transformer_layers_per_block":  # the last is that of the middle, too
        used = [depth for depth, block in zip(value, blocks, strict=True) if block.startswith("CrossAttn")]
        return [*used, value[-1]]
    return [*value] if isinstance(value, list | tuple) else value
