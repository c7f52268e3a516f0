"""The network for pictures as OpenCLIP and OpenAI published it, under transformers' names.

unCLIP checkpoints have it inside. Layouts are those of github.com/mlfoundations/open_clip (Cherti et al. 2023).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

PREFIXES = ("embedder.model.visual.", "visual.")
"""What its names begin with in unCLIP checkpoints, and in files of CLIP as a whole."""
MARK = "conv1.weight"
ENDS = {
    "conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "class_embedding": "vision_model.embeddings.class_embedding",
    "positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "ln_pre.weight": "vision_model.pre_layrnorm.weight",
    "ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "ln_post.weight": "vision_model.post_layernorm.weight",
    "ln_post.bias": "vision_model.post_layernorm.bias",
    "proj": "visual_projection.weight",
}
LAYERS = "transformer.resblocks."
PARTS = {
    "ln_1": "layer_norm1", "ln_2": "layer_norm2", "attn.out_proj": "self_attn.out_proj", "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}  # fmt: skip
JOINED, QUERIES = "attn.in_proj_", ("q_proj", "k_proj", "v_proj")


def open_clip_names(names: Collection[str]) -> dict[str, str]:
    """transformers' names → those in the file, where it is in this layout; those of the joined weights come thrice."""
    prefix = open_clip_prefix(names)
    found = [name for name in names if name.startswith(prefix)] if prefix else []
    return {ours: name for name in found for ours in _ours(name.removeprefix(prefix))}


def open_clip_prefix(names: Collection[str]) -> str:
    """What the names begin with, one of `PREFIXES`; empty where it is not in this layout."""
    return next((prefix for prefix in PREFIXES if prefix + MARK in names), "")


def _ours(name: str) -> Iterator[str]:
    if name in ENDS:
        yield ENDS[name]
    number, _, inner = name.removeprefix(LAYERS).partition(".")
    layer = f"vision_model.encoder.layers.{number}"
    part, _, end = inner.rpartition(".")
    if inner.startswith(JOINED):
        yield from (f"{layer}.self_attn.{query}.{inner.removeprefix(JOINED)}" for query in QUERIES)
    elif part in PARTS:
        yield f"{layer}.{PARTS[part]}.{end}"


def open_clip_shapes(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """The shapes of a file in this layout by transformers' names; of joined weights, those of all three."""
    named = {ours: shapes[name] for ours, name in open_clip_names(shapes).items()}
    return {name: shape[::-1] if name == ENDS["proj"] else shape for name, shape in named.items()}


def open_clip_tensor(name: str, tensor: Tensor) -> Tensor:
    """What transformers' tensor `name` is of the one in the file: a third of the joined weights, or it turned."""
    if name == ENDS["proj"]:
        return tensor.t().contiguous()
    query = next((k for k, query in enumerate(QUERIES) if f".{query}." in name), None)
    return tensor if query is None else tensor.chunk(3)[query].contiguous()
