"""Functions of packs that change what a U-Net computes: in its attention, and between its blocks.

They stay in memory: no other process can read a closure. A block is called by a pair: `("input", n)` on the way down,
where 0 is the first convolution, `("middle", 0)`, and `("output", n)` on the way up.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from mezzotint.nodes.patches.unet_blocks import MIDDLE, input_blocks, output_blocks, require_unet
from mezzotint.nodes.sampling.network_change import Around, Forward

if TYPE_CHECKING:
    from torch import Tensor, nn

Block = tuple[str, int]
Function = Callable[..., Any]

PATCHES = frozenset(
    {
        "attn1_patch", "attn1_output_patch", "attn2_patch", "attn2_output_patch", "input_block_patch",
        "input_block_patch_after_skip", "output_block_patch",
    }
)  # fmt: skip
"""Where functions may be put, several at each place: before self-attention (1) and attention to the text (2), behind
them, behind an input block with its skip connection and without, and where an output block joins one."""
REPLACED = frozenset({"attn1", "attn2"})
"""What a function may take the place of, block by block."""


class Site(NamedTuple):
    """Where an attention module lies: in which part of the transformer of a block, which is so many-th in all."""

    block: Block
    part: int
    transformer: int


@dataclass(frozen=True, eq=False)
class PackPatches:
    """A `NetworkChange`.

    Attributes:
        functions: by place, one of `PATCHES`, in the order they are called in.
        replacements: for one of `REPLACED` by `(*block,)` or, before that, by `(*block, part of its transformer)`.
    """

    functions: Mapping[str, tuple[Function, ...]] = field(default_factory=dict)
    replacements: Mapping[str, Mapping[tuple[Any, ...], Function]] = field(default_factory=dict)

    def with_function(self, place: str, function: Function) -> PackPatches:
        """With one more function at a place."""
        return replace(self, functions={**self.functions, place: (*self.functions.get(place, ()), function)})

    def with_replacement(self, name: str, key: tuple[Any, ...], function: Function) -> PackPatches:
        """With a function in the place of an attention."""
        of_name = {**self.replacements.get(name, {}), key: function}
        return replace(self, replacements={**self.replacements, name: of_name})

    def around(self, network: nn.Module) -> Mapping[str, Around]:
        unet = require_unet(network, "a patch of a node pack")
        found: dict[str, Around] = {"": self._told}
        for name, site in attention_sites(unet).items():
            kind = name.rpartition(".")[2]
            found[name] = partial(self._attention, kind, site, network.get_submodule(name))
            found[f"{name}.to_v"] = _of_other_values
            found[name.partition(".transformer_blocks.")[0]] = _with_shape
        if self.functions.keys() & {"input_block_patch", "input_block_patch_after_skip"}:
            _put(found, self._around_inputs(unet))
        if "output_block_patch" in self.functions:
            _put(found, self._around_outputs(unet))
        return found

    # what functions are told

    def as_options(self) -> dict[str, Any]:
        """The functions, as packs read them in `transformer_options`."""
        patches = {name: [*functions] for name, functions in self.functions.items()}
        return {"patches": patches, "patches_replace": {name: {**by} for name, by in self.replacements.items()}}

    def _told(self, forward: Forward, compute: Function, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        options = {
            **self.as_options(),
            "sigmas": x.new_full((len(x),), forward.sigma),
            "original_shape": [*x.shape],
            "cond_or_uncond": [*forward.columns] or [0],
        }
        with _set(_OPTIONS, options), _set(_SIZES, {}):
            return compute(x, *args, **kwargs)

    # attention

    def _attention(
        self, kind: str, site: Site, module: Any, forward: Forward, compute: Function, x: Tensor,
        encoder_hidden_states: Any = None, **kwargs: Any,
    ) -> Tensor:  # fmt: skip
        is_pair = isinstance(encoder_hidden_states, tuple)  # with the tokens of pictures, as of an IP-Adapter
        context = encoder_hidden_states[0] if is_pair else encoder_hidden_states
        options = {
            **_OPTIONS.get(),
            "block": site.block,
            "block_index": site.part,
            "transformer_index": site.transformer,
            "n_heads": module.heads,
            "dim_head": module.inner_dim // module.heads,
            "attn_precision": None,
        }
        keys = values = x if context is None else context
        for function in self.functions.get(f"{kind}_patch", ()):
            x, keys, values = function(x, keys, values, options)
        given = (keys, *encoder_hidden_states[1:]) if is_pair else keys
        replaced = self._replacement(kind, site)
        with _set(_VALUES, None if values is keys else values), _replacing(replaced, options):
            output: Tensor = compute(x, given, **kwargs)
        for function in self.functions.get(f"{kind}_output_patch", ()):
            output = function(output, options)
        return output

    def _replacement(self, kind: str, site: Site) -> Function | None:
        by_key = self.replacements.get(kind, {})
        return by_key.get((*site.block, site.part), by_key.get(site.block))

    # blocks

    def _around_inputs(self, unet: Any) -> Iterator[tuple[str, Around]]:
        blocks = input_blocks(unet)
        for number, block in enumerate(blocks):
            following = blocks[number + 1].first if number + 1 < len(blocks) else MIDDLE
            yield block.last, partial(self._behind, "input_block_patch", ("input", number))
            yield block.last, partial(_noting_size, number)
            yield following, partial(self._before, "input_block_patch_after_skip", ("input", number))
        for number, joining in zip(reversed(range(len(blocks))), output_blocks(unet), strict=True):
            if joining.is_upsampled:
                yield joining.before, partial(_to_size_of_skip, number)

    def _behind(self, place: str, block: Block, forward: Forward, compute: Function, *args: Any, **kwargs: Any) -> Any:
        output = compute(*args, **kwargs)
        if isinstance(output, tuple):  # attention modules give theirs in one
            return (self._changed(place, block, output[0])[0], *output[1:])
        return self._changed(place, block, output)[0]

    def _before(
        self, place: str, block: Block, forward: Forward, compute: Function, x: Tensor, *args: Any, **kwargs: Any
    ) -> Any:
        return compute(self._changed(place, block, x)[0], *args, **kwargs)

    def _changed(self, place: str, block: Block, *features: Tensor) -> Sequence[Tensor]:
        for function in self.functions.get(place, ()):
            made = function(*features, {**_OPTIONS.get(), "block": block})
            features = made if isinstance(made, tuple) else (made,)
        return features

    def _around_outputs(self, unet: Any) -> Iterator[tuple[str, Around]]:
        """Both are changed before they are joined, since functions may change their size.

        The first block of a level is changed where the level begins, the others behind what comes before them.
        """
        for number, block in enumerate(output_blocks(unet)):
            level, _, index = block.resnet.rpartition(".resnets.")
            if index == "0":
                yield level, partial(self._level, ("output", number))
            else:
                yield block.before, partial(self._join, ("output", number), int(index))
                yield block.resnet, partial(_with_skip, block.channels, int(index))

    def _level(
        self, block: Block, forward: Forward, compute: Function, *, hidden_states: Tensor,
        res_hidden_states_tuple: tuple[Tensor, ...], **kwargs: Any,
    ) -> Any:  # fmt: skip
        *others, skip = res_hidden_states_tuple
        hidden_states, skip = self._changed("output_block_patch", block, hidden_states, skip)
        with _set(_SKIPS, [*reversed(others)]):
            return compute(hidden_states=hidden_states, res_hidden_states_tuple=(*others, skip), **kwargs)

    def _join(self, block: Block, index: int, forward: Forward, compute: Function, *args: Any, **kwargs: Any) -> Any:
        output, skips = compute(*args, **kwargs), _SKIPS.get()
        is_tuple = isinstance(output, tuple)
        features = output[0] if is_tuple else output
        features, skips[index - 1] = self._changed("output_block_patch", block, features, skips[index - 1])
        return (features, *output[1:]) if is_tuple else features


_OPTIONS: ContextVar[Mapping[str, Any]] = ContextVar("transformer_options")
_VALUES: ContextVar[Tensor | None] = ContextVar("values", default=None)
"""What the values of an attention are made of, where that is not what its keys are made of."""
_SIZES: ContextVar[dict[int, Sequence[int]]] = ContextVar("sizes")
"""The size of what each input block gives, (h, w), since functions may change it."""
_SKIPS: ContextVar[list[Tensor]] = ContextVar("skips")
"""The skip connections of a level on the way up, but for its first block's, in the order of its blocks."""


@contextmanager
def _set(variable: ContextVar[Any], value: Any) -> Iterator[None]:
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


def _of_other_values(forward: Forward, compute: Function, x: Tensor, *args: Any, **kwargs: Any) -> Any:
    values = _VALUES.get()
    return compute(x if values is None else values, *args, **kwargs)


def _with_shape(forward: Forward, compute: Function, x: Tensor, *args: Any, **kwargs: Any) -> Any:
    with _set(_OPTIONS, {**_OPTIONS.get(), "activations_shape": [*x.shape]}):
        return compute(x, *args, **kwargs)


def _noting_size(number: int, forward: Forward, compute: Function, *args: Any, **kwargs: Any) -> Any:
    output = compute(*args, **kwargs)
    _SIZES.get()[number] = (output[0] if isinstance(output, tuple) else output).shape[-2:]
    return output


def _to_size_of_skip(
    number: int, forward: Forward, compute: Function, x: Tensor, output_size: Any = None, *args: Any, **kwargs: Any
) -> Any:
    """What is upsampled gets the size of the skip connection that it is joined with next."""
    size = _SIZES.get()[number]
    is_double = [*size] == [2 * side for side in x.shape[-2:]]
    return compute(x, output_size if is_double else [*size], *args, **kwargs)


def _with_skip(
    channels: int, index: int, forward: Forward, compute: Function, x: Tensor, *args: Any, **kwargs: Any
) -> Any:
    import torch

    return compute(torch.cat([x[:, :channels], _SKIPS.get()[index - 1]], dim=1), *args, **kwargs)


def _replacing(function: Function | None, options: Mapping[str, Any]) -> AbstractContextManager[Any]:
    if function is None:
        return nullcontext()
    from .replaced_attention import ReplacedAttention

    return ReplacedAttention(function, options)


def _put(found: dict[str, Around], more: Iterator[tuple[str, Around]]) -> None:
    """Further ones, around those that are there."""
    for name, around in more:
        inner = found.get(name)
        found[name] = around if inner is None else partial(_both, around, inner)


def _both(outer: Around, inner: Around, forward: Forward, compute: Function, *args: Any, **kwargs: Any) -> Any:
    return outer(forward, partial(inner, forward, compute), *args, **kwargs)


def attention_sites(unet: Any) -> Mapping[str, Site]:
    """The attention modules in a U-Net's transformers, by name."""
    blocks = {block.last: ("input", number) for number, block in enumerate(input_blocks(unet))}
    blocks[f"{MIDDLE}.attentions.0"] = ("middle", 0)
    for number, each in enumerate(output_blocks(unet)):
        blocks[each.resnet.replace(".resnets.", ".attentions.")] = ("output", number)
    found = [
        (match, match[1])
        for name, _ in unet.named_modules()
        if (match := re.fullmatch(r"(.+)\.transformer_blocks\.(\d+)\.attn[12]", name)) and match[1] in blocks
    ]
    present = {transformer for _, transformer in found}
    numbers = {name: number for number, name in enumerate(name for name in blocks if name in present)}
    return {match[0]: Site(blocks[name], int(match[2]), numbers[name]) for match, name in found}
