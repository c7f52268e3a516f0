"""The names that transformers were published with, from diffusers': the inverse of its conversion.

They are those of the code of Black Forest Labs (Flux), Stability AI (SD3) and Alibaba (Z-Image). Other transformers
were published with diffusers' own names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from .file_parts import FLUX, SD3, Z_IMAGE
from .ldm_config import Shapes
from .published_names import parted


class Joined(NamedTuple):
    """What a published tensor is made of.

    Attributes:
        names: diffusers' tensors, put together along their first dimension. is_swapped: whether the halves of that
            change places: diffusers has scale and shift, others shift and scale.
    """

    names: tuple[str, ...]
    is_swapped: bool = False


class Names(NamedTuple):
    """Of a family, diffusers' names → published ones; what several have in common is joined, in the order given here.

    Attributes:
        blocks: the beginning of repeated blocks → its published form, and what follows their number.
        others: what belongs to no block. swapped: published names, see `Joined`.
    """

    blocks: Mapping[str, tuple[str, Mapping[str, str]]]
    others: Mapping[str, str]
    swapped: frozenset[str] = frozenset({"final_layer.adaLN_modulation.1"})


def _attention(published: str, *stems: str) -> dict[str, str]:
    return dict.fromkeys(stems, published)


TIME = "time_text_embed.timestep_embedder", "time_text_embed.text_embedder", "time_text_embed.guidance_embedder"
NAMES = {
    FLUX: Names(
        {
            "transformer_blocks": ("double_blocks", {
                **_attention("img_attn.qkv", "attn.to_q", "attn.to_k", "attn.to_v"),
                **_attention("txt_attn.qkv", "attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
                "norm1.linear": "img_mod.lin", "norm1_context.linear": "txt_mod.lin",
                "attn.norm_q.weight": "img_attn.norm.query_norm.scale",
                "attn.norm_k.weight": "img_attn.norm.key_norm.scale",
                "attn.norm_added_q.weight": "txt_attn.norm.query_norm.scale",
                "attn.norm_added_k.weight": "txt_attn.norm.key_norm.scale",
                "attn.to_out.0": "img_attn.proj", "attn.to_add_out": "txt_attn.proj",
                "ff.net.0.proj": "img_mlp.0", "ff.net.2": "img_mlp.2",
                "ff_context.net.0.proj": "txt_mlp.0", "ff_context.net.2": "txt_mlp.2",
            }),
            "single_transformer_blocks": ("single_blocks", {
                **_attention("linear1", "attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"),
                "norm.linear": "modulation.lin", "proj_out": "linear2",
                "attn.norm_q.weight": "norm.query_norm.scale", "attn.norm_k.weight": "norm.key_norm.scale",
            }),
        },
        {
            f"{TIME[0]}.linear_1": "time_in.in_layer", f"{TIME[0]}.linear_2": "time_in.out_layer",
            f"{TIME[1]}.linear_1": "vector_in.in_layer", f"{TIME[1]}.linear_2": "vector_in.out_layer",
            f"{TIME[2]}.linear_1": "guidance_in.in_layer", f"{TIME[2]}.linear_2": "guidance_in.out_layer",
            "context_embedder": "txt_in", "x_embedder": "img_in", "proj_out": "final_layer.linear",
            "norm_out.linear": "final_layer.adaLN_modulation.1",
        },
    ),
    SD3: Names(
        {
            "transformer_blocks": ("joint_blocks", {
                **_attention("x_block.attn.qkv", "attn.to_q", "attn.to_k", "attn.to_v"),
                **_attention("x_block.attn2.qkv", "attn2.to_q", "attn2.to_k", "attn2.to_v"),
                **_attention("context_block.attn.qkv", "attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
                "norm1.linear": "x_block.adaLN_modulation.1",
                "norm1_context.linear": "context_block.adaLN_modulation.1",
                "attn.norm_q": "x_block.attn.ln_q", "attn.norm_k": "x_block.attn.ln_k",
                "attn2.norm_q": "x_block.attn2.ln_q", "attn2.norm_k": "x_block.attn2.ln_k",
                "attn.norm_added_q": "context_block.attn.ln_q", "attn.norm_added_k": "context_block.attn.ln_k",
                "attn.to_out.0": "x_block.attn.proj", "attn2.to_out.0": "x_block.attn2.proj",
                "attn.to_add_out": "context_block.attn.proj",
                "ff.net.0.proj": "x_block.mlp.fc1", "ff.net.2": "x_block.mlp.fc2",
                "ff_context.net.0.proj": "context_block.mlp.fc1", "ff_context.net.2": "context_block.mlp.fc2",
            }),
        },
        {
            f"{TIME[0]}.linear_1": "t_embedder.mlp.0", f"{TIME[0]}.linear_2": "t_embedder.mlp.2",
            f"{TIME[1]}.linear_1": "y_embedder.mlp.0", f"{TIME[1]}.linear_2": "y_embedder.mlp.2",
            "pos_embed.pos_embed": "pos_embed", "pos_embed.proj": "x_embedder.proj", "proj_out": "final_layer.linear",
            "norm_out.linear": "final_layer.adaLN_modulation.1",
        },
    ),
    Z_IMAGE: Names(
        {
            block: (block, {
                **_attention("attention.qkv", "attention.to_q", "attention.to_k", "attention.to_v"),
                "attention.to_out.0": "attention.out", "attention.norm_q": "attention.q_norm",
                "attention.norm_k": "attention.k_norm",
            })
            for block in ("layers", "noise_refiner", "context_refiner")
        },
        {"all_x_embedder.2-1": "x_embedder", "all_final_layer.2-1": "final_layer"},
        frozenset(),
    ),
}  # fmt: skip
"""Of families that were published with other names than diffusers'."""


def published_plan(family: str, names: Iterable[str]) -> dict[str, Joined]:
    """What each published tensor is made of; for families that were published with diffusers' names, of itself.

    Args:
        family: as in `file_parts`. names: of all the transformer's tensors.
    """
    if family not in NAMES:
        return {name: Joined((name,)) for name in names}
    known = NAMES[family]
    found: dict[str, list[tuple[int, str]]] = {}
    for name in names:
        published, place = _published(name, known)
        found.setdefault(published, []).append((place, name))
    swapped = {*known.swapped, *_last_context(family, found)}
    return {
        published: Joined(tuple(name for _, name in sorted(parts)), published.rpartition(".")[0] in swapped)
        for published, parts in found.items()
    }


def published_shapes(family: str, shapes: Shapes) -> dict[str, tuple[int, ...]]:
    """The shapes of published tensors, from those of diffusers'."""
    plan = published_plan(family, shapes)
    return {
        name: (sum(shapes[each][0] for each in parts.names), *shapes[parts.names[0]][1:])
        if len(parts.names) > 1
        else shapes[parts.names[0]]
        for name, parts in plan.items()
    }


def _published(name: str, known: Names) -> tuple[str, int]:
    """A tensor's published name, and where it comes among those that are joined with it."""
    block, _, rest = name.partition(".")
    if block in known.blocks:
        published, inner = known.blocks[block]
        number, _, inside = rest.partition(".")
        stem, end = parted(inside, inner)
        return f"{published}.{number}.{inner.get(stem, stem)}{end}", [*inner].index(stem) if stem else 0
    stem, end = parted(name, known.others)
    return known.others.get(stem, stem) + end, 0


def _last_context(family: str, published: Iterable[str]) -> set[str]:
    """Of SD3, what the last block does to the text before its attention, which is all that it does to it."""
    if family != SD3:
        return set()
    last = max((int(name.split(".")[1]) for name in published if name.startswith("joint_blocks.")), default=0)
    return {f"joint_blocks.{last}.context_block.adaLN_modulation.1"}
