"""Conditionings made ready for sampling, once for all of its steps: checked, on the device, joined where possible."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from .network_call import ConditioningError, NamedTensors, Target, for_each

if TYPE_CHECKING:
    from torch import Tensor

    from .denoiser import Denoiser
    from .ports import Conditioning

WEIGHING = frozenset({"strength", "start_percent", "end_percent"})
"""Options of a conditioning's item that say how much it counts, and when."""

FOR_NETWORKS = frozenset(
    {
        "pooled_output", "guidance", "width", "height", "crop_w", "crop_h", "target_width", "target_height",
        "aesthetic_score", "concat_latent_image", "concat_mask",
    }
)  # fmt: skip
"""Options that networks read which have an input for them (`network_call`), and others leave alone."""


class Item(NamedTuple):
    """One evaluation of the network.

    Attributes:
        column: which conditioning it belongs to. tokens: [B, T, D], a text for each latent of the batch.
        inputs: what the network takes beside, [B, ...] each.
        strength: how much it counts, while sigma is from `low` to `high`.
    """

    column: int
    tokens: Tensor
    inputs: NamedTensors
    strength: float
    low: float
    high: float

    @property
    def is_plain(self) -> bool:
        """Whether it counts at every noise level."""
        return self.strength != 0 and self.low <= 0 and self.high == math.inf


class ReadyPrompts(NamedTuple):
    """What `Prompts` come to for a batch of latents.

    Attributes:
        items: all evaluations. joined: their tokens [items * B, T, D] where each conditioning is one item that always
            counts, all of one length: then they can be one forward as they are. inputs: theirs, joined likewise.
    """

    items: Sequence[Item]
    joined: Tensor | None
    inputs: NamedTensors


class Prompts:
    """Some conditionings that are predicted for together, such as a positive and a negative one.

    Remembers what was made ready last, so it is to be used for one model.
    """

    __slots__ = ("_latest", "conditionings")

    def __init__(self, conditionings: Sequence[Conditioning]) -> None:
        self.conditionings = conditionings
        self._latest: tuple[Any, ReadyPrompts | None] = None, None  # one tuple, since several threads may be here

    @property
    def evaluations(self) -> int:
        """How many evaluations of the network one prediction takes, at most."""
        return sum(len(conditioning) for conditioning in self.conditionings)

    def ready(self, shape: Sequence[int], denoiser: Denoiser) -> ReadyPrompts:
        """For latents of a shape, [B, C, h, w].

        Raises:
            ConditioningError: an item has an option that is not known, or is of another text encoder.
        """
        key, ready = self._latest
        if ready is None or key != (shape, denoiser.device):
            ready = _ready(self.conditionings, tuple(shape), denoiser)
            self._latest = (shape, denoiser.device), ready
        return ready


def _ready(conditionings: Sequence[Conditioning], shape: tuple[int, ...], denoiser: Denoiser) -> ReadyPrompts:
    for conditioning in conditionings:
        for tokens, _ in conditioning:
            _require_width(tokens, denoiser.conditioning_width)
    items = [
        _item(tokens, options, Target(shape, column, denoiser.sampling, denoiser.device), denoiser)
        for column, conditioning in enumerate(conditionings)
        for tokens, options in conditioning
    ]
    is_one_each = [item.column for item in items] == [*range(len(conditionings))]
    if is_one_each and len({shape_of(item) for item in items}) == 1 and all(item.is_plain for item in items):
        return ReadyPrompts(items, *joined(items))
    return ReadyPrompts(items, None, {})


def shape_of(item: Item) -> Hashable:
    """What must be equal in items that are one forward."""
    return item.tokens.shape[1:], *((name, tensor.shape[1:]) for name, tensor in item.inputs.items())


def joined(items: Sequence[Item]) -> tuple[Tensor, NamedTensors]:
    """The tokens and inputs of items of one shape, along the batch."""
    import torch

    if len(items) == 1:
        return items[0].tokens, items[0].inputs
    inputs = {name: torch.cat([item.inputs[name] for item in items]) for name in items[0].inputs}
    return torch.cat([item.tokens for item in items]), inputs


def _require_width(tokens: Tensor, width: int | None) -> None:
    if width is not None and tokens.shape[-1] != width:
        raise ConditioningError(
            f"a conditioning has {tokens.shape[-1]} numbers for each token, and the model wants {width}: it comes from "
            f"the text encoder of another model; encode the text with the CLIP of the model's own checkpoint"
        )


def _item(tokens: Tensor, options: Mapping[str, Any], target: Target, denoiser: Denoiser) -> Item:
    unknown = options.keys() - WEIGHING - FOR_NETWORKS
    if unknown:
        names = ", ".join(f"'{name}'" for name in sorted(unknown))
        raise ConditioningError(
            f"a conditioning carries {names}, which sampling does not know yet; it can do without areas, masks, "
            f"control nets and the like: leave out the node that sets it"
        )
    start, end = options.get("start_percent", 0.0), options.get("end_percent", 1.0)
    levels = target.sampling.sigmas
    return Item(
        target.column,
        for_each(tokens.to(target.device), target.shape[0]),
        denoiser.inputs(options, target),
        strength=float(options.get("strength", 1.0)),
        low=0.0 if end >= 1 else levels.percent_to_sigma(end),
        high=math.inf if start <= 0 else levels.percent_to_sigma(start),
    )
