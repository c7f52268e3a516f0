"""Conditionings made ready for sampling, once for all of its steps: checked, on the device, joined where possible."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from mezzotint.engine.errors import MezzotintError

if TYPE_CHECKING:
    from torch import Tensor

    from .denoiser import Denoiser
    from .ports import Conditioning
    from .schedules import ModelSigmas

WEIGHING = frozenset({"strength", "start_percent", "end_percent"})
"""Options of a conditioning's item that say how much it counts, and when."""

NOT_READ = frozenset(
    {
        "pooled_output", "guidance", "width", "height", "crop_w", "crop_h", "target_width", "target_height",
        "aesthetic_score",
    }
)  # fmt: skip
"""Options that only networks with an input for them read; those that can be loaded today have none."""


class ConditioningError(MezzotintError):
    """A conditioning asks for something that is not done."""


class Item(NamedTuple):
    """One evaluation of the network.

    Attributes:
        column: which conditioning it belongs to. tokens: [B, T, D], a text for each latent of the batch.
        strength: how much it counts, while sigma is from `low` to `high`.
    """

    column: int
    tokens: Tensor
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
            counts, all of one length: then they can be one forward as they are.
    """

    items: Sequence[Item]
    joined: Tensor | None


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

    def ready(self, count: int, denoiser: Denoiser) -> ReadyPrompts:
        """For a batch of `count` latents.

        Raises:
            ConditioningError: an item has an option that is not known, or is of another text encoder.
        """
        key, ready = self._latest
        if ready is None or key != (count, denoiser.device):
            ready = _ready(self.conditionings, count, denoiser)
            self._latest = (count, denoiser.device), ready
        return ready


def _ready(conditionings: Sequence[Conditioning], count: int, denoiser: Denoiser) -> ReadyPrompts:
    import torch

    levels, device = denoiser.sampling.sigmas, denoiser.device
    for conditioning in conditionings:
        for tokens, _ in conditioning:
            _require_width(tokens, denoiser.conditioning_width)
    items = [
        _item(column, _for_each(tokens.to(device), count), options, levels)
        for column, conditioning in enumerate(conditionings)
        for tokens, options in conditioning
    ]
    is_one_each = [item.column for item in items] == [*range(len(conditionings))]
    is_of_one_length = len({item.tokens.shape for item in items}) == 1
    if is_one_each and is_of_one_length and all(item.is_plain for item in items):
        return ReadyPrompts(items, torch.cat([item.tokens for item in items]))
    return ReadyPrompts(items, None)


def _require_width(tokens: Tensor, width: int | None) -> None:
    if width is not None and tokens.shape[-1] != width:
        raise ConditioningError(
            f"a conditioning has {tokens.shape[-1]} numbers for each token, and the model wants {width}: it comes from "
            f"the text encoder of another model; encode the text with the CLIP of the model's own checkpoint"
        )


def _item(column: int, tokens: Tensor, options: Mapping[str, Any], levels: ModelSigmas) -> Item:
    unknown = options.keys() - WEIGHING - NOT_READ
    if unknown:
        names = ", ".join(f"'{name}'" for name in sorted(unknown))
        raise ConditioningError(
            f"a conditioning carries {names}, which sampling does not know yet; it can do without areas, masks, "
            f"control nets and the like: leave out the node that sets it"
        )
    start, end = options.get("start_percent", 0.0), options.get("end_percent", 1.0)
    return Item(
        column,
        tokens,
        strength=float(options.get("strength", 1.0)),
        low=0.0 if end >= 1 else levels.percent_to_sigma(end),
        high=math.inf if start <= 0 else levels.percent_to_sigma(start),
    )


def _for_each(tokens: Tensor, count: int) -> Tensor:
    """Tokens for each latent of a batch, [count, T, D]; fewer are repeated from the first."""
    given = len(tokens)
    if given == count:
        return tokens
    if given == 1:
        return tokens.expand(count, -1, -1)
    return tokens.repeat(-(-count // given), 1, 1)[:count]
