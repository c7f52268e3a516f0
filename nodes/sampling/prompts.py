"""Conditionings made ready for sampling, once for all of its steps: checked, on the device, joined where possible."""

from __future__ import annotations

import math
import operator
from collections import deque
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import ref

from mezzotint.engine.errors import OutOfMemoryError

from ..latents.box import Box
from .network_call import (
    BOXES,
    CONCAT,
    GLIGEN,
    NOISE_SEED,
    PICTURES,
    UNCLIP,
    ConditioningError,
    NamedTensors,
    Target,
    for_each,
)
from .region import box_of, weight_map

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from mezzotint.engine.residency import Residency

    from ..ports import Conditioning
    from ..samplers.schedules import ModelSigmas
    from .control import Control
    from .denoiser import Denoiser

NEGLIGIBLE_NBYTES = 1 << 25
"""A forward that takes less memory is not asked for: looking how much is free takes longer than a small step may."""

WEIGHING = frozenset(
    {
        "strength", "start_percent", "end_percent", "area", "mask", "mask_strength", "set_area_to_bounds",
        "control", "control_apply_to_uncond",
    }
)  # fmt: skip
"""Options of a conditioning's item that say how much it counts, when and where, and what steers it."""

FOR_NETWORKS = frozenset(
    {
        "pooled_output", "guidance", "width", "height", "crop_w", "crop_h", "target_width", "target_height",
        "aesthetic_score", "class_label", "concat_latent_image", "concat_mask", "prompt_inputs",
        "reference_latents", UNCLIP, GLIGEN, NOISE_SEED,
    }
)  # fmt: skip
"""Options that networks read which have an input for them (`network_call`), and others leave alone."""


class Item(NamedTuple):
    """One evaluation of the network.

    Attributes:
        column: which conditioning it belongs to. tokens: [B, T, D], a text for each latent of the batch.
        inputs: what the network takes beside, [B, ...] each.
        box: the part of the latent that is evaluated; None for all of it.
        strength: how much it counts, while sigma is from `low` to `high`. weight: strength for each cell of the box,
            [1 or B, 1, h, w], where that differs. control: what steers it, or None.
        shapes: what it must agree in with others to be one forward with them.
    """

    column: int
    tokens: Tensor
    inputs: NamedTensors
    box: Box | None
    strength: float
    weight: Tensor | None
    low: float
    high: float
    control: Control | None
    shapes: Hashable

    @property
    def is_plain(self) -> bool:
        """Whether it counts alike at every noise level and place, and nothing steers it."""
        counts_always = self.strength != 0 and self.low <= 0 and self.high == math.inf
        return counts_always and self.box is None and self.weight is None and self.control is None


class ReadyPrompts(NamedTuple):
    """What `Prompts` come to for a batch of latents.

    Attributes:
        items: all evaluations. joined: their tokens [items * B, T, D] where each conditioning is one item that always
            counts everywhere, all of one shape: then they can be one forward as they are.
        inputs: theirs, joined likewise. is_apart: whether each is a forward of its own.
    """

    items: Sequence[Item]
    joined: Tensor | None
    inputs: NamedTensors
    is_apart: bool = False


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
        """How many evaluations of the network one prediction takes, at most, apart from those of small areas."""
        return sum(len(conditioning) for conditioning in self.conditionings)

    def ready(self, shape: Sequence[int], denoiser: Denoiser, models: Residency) -> ReadyPrompts:
        """For latents of the shape [B, C, h, w]; to be evaluated one by one where memory is too short for all at once.

        Raises:
            ConditioningError: an item has an option that is not known, is of another text encoder, or has an area
                outside the latent.
        """
        key, ready = self._latest
        if ready is None or key != (shape, denoiser.device):
            ready = _ready_or_latest(self.conditionings, shape, denoiser)
            if len(ready.items) > 1 and not _fits(len(ready.items), shape, denoiser, models):
                ready = _apart(ready)
            self._latest = (shape, denoiser.device), ready
        return ready

    def take_apart(self) -> bool:
        """From now on, evaluate one by one what was made ready last. Whether that makes a difference."""
        key, ready = self._latest
        if ready is None or len(ready.items) < 2 or ready.is_apart:
            return False
        self._latest = key, _apart(ready)
        return True


def _ready_or_latest(conditionings: Sequence[Conditioning], shape: Sequence[int], denoiser: Denoiser) -> ReadyPrompts:
    """What they come to: as it was made lately, when the same are sampled again, with another seed, say."""
    for latest in tuple(_LATEST):
        if latest.fits(conditionings, shape, denoiser):
            return latest.ready
    ready = _ready(conditionings, shape, denoiser)
    _LATEST.append(_Latest(tuple(conditionings), shape, ref(denoiser), denoiser.device, ready))
    return ready


class _Latest(NamedTuple):
    """What was made ready lately, and what of."""

    conditionings: Sequence[Conditioning]
    shape: Sequence[int]
    denoiser: ref[Denoiser]
    device: torch.device
    ready: ReadyPrompts

    def fits(self, conditionings: Sequence[Conditioning], shape: Sequence[int], denoiser: Denoiser) -> bool:
        """Whether these conditionings come to the same."""
        if self.denoiser() is not denoiser or (shape, denoiser.device) != (self.shape, self.device):
            return False
        return len(conditionings) == len(self.conditionings) and all(
            map(operator.is_, conditionings, self.conditionings)
        )


_LATEST: deque[_Latest] = deque(maxlen=2)  # a base model's and its refiner's


def _ready(conditionings: Sequence[Conditioning], shape: Sequence[int], denoiser: Denoiser) -> ReadyPrompts:
    drafts = [
        _draft(column, tokens, options, shape, denoiser)
        for column, conditioning in enumerate(conditionings)
        for tokens, options in conditioning
    ]
    items = [_item(draft, shape, denoiser) for draft in _steered(_paired(drafts, len(conditionings)))]
    is_one_each = [item.column for item in items] == [*range(len(conditionings))]
    if is_one_each and len({item.shapes for item in items}) == 1 and all(item.is_plain for item in items):
        return ReadyPrompts(items, *joined(items))
    return ReadyPrompts(items, None, {})


def _fits(evaluations: int, shape: Sequence[int], denoiser: Denoiser, models: Residency) -> bool:
    """Whether there is memory for one forward of so many evaluations; what nobody borrows makes room for it."""
    nbytes = denoiser.estimate_nbytes((evaluations * shape[0], *shape[1:]))
    if nbytes <= NEGLIGIBLE_NBYTES:
        return True
    try:
        models.reserve(nbytes, "sampling")
    except OutOfMemoryError:
        return False
    return True


def _apart(ready: ReadyPrompts) -> ReadyPrompts:
    return ReadyPrompts([item._replace(shapes=object()) for item in ready.items], None, {}, is_apart=True)


def joined(items: Sequence[Item]) -> tuple[Tensor, NamedTensors]:
    """The tokens and inputs of items of equal shapes, along the batch."""
    import torch

    if len(items) == 1:
        return items[0].tokens, items[0].inputs
    inputs = {name: torch.cat([item.inputs[name] for item in items]) for name in items[0].inputs}
    return torch.cat([item.tokens for item in items]), inputs


class _Draft(NamedTuple):
    """An item on its way. options: where and how much it counts; text: what its text says to the network beside."""

    column: int
    tokens: Tensor
    options: Mapping[str, Any]
    text: Mapping[str, Any]
    box: Box | None


def _draft(column: int, tokens: Tensor, options: Mapping[str, Any], shape: Sequence[int], denoiser: Denoiser) -> _Draft:
    _require_width(tokens, denoiser.conditioning_width)
    if unknown := options.keys() - WEIGHING - FOR_NETWORKS:
        names = ", ".join(f"'{name}'" for name in sorted(unknown))
        raise ConditioningError(
            f"a conditioning carries {names}, which sampling does not know; leave out the node that sets it"
        )
    return _Draft(column, tokens, options, options, box_of(options, shape))


def _require_width(tokens: Tensor, width: int | None) -> None:
    if width is not None and tokens.shape[-1] != width:
        raise ConditioningError(
            f"a conditioning has {tokens.shape[-1]} numbers for each token, and the model wants {width}: it comes from "
            f"the text encoder of another model; encode the text with the CLIP of the model's own checkpoint"
        )


def _paired(drafts: Sequence[_Draft], columns: int) -> list[_Draft]:
    """With a counterpart in every conditioning for each area: what lies smallest around it there says the text.

    So an area of the positive prompt is guided away from what the negative prompt predicts for that very area.
    """
    paired = list(drafts)
    for draft in drafts:
        for column in range(columns):
            if draft.box is None or column == draft.column:
                continue
            around = [other for other in paired if other.column == column and _encloses(other.box, draft.box)]
            if not around:
                continue
            smallest = min(around, key=lambda other: _cells(other.box))
            if smallest.box != draft.box:
                paired.append(draft._replace(column=column, tokens=smallest.tokens, text=smallest.text))
    return sorted(paired, key=lambda draft: draft.column)


def _encloses(box: Box | None, other: Box) -> bool:
    return box is None or box.encloses(other)


def _cells(box: Box | None) -> float:
    return math.inf if box is None else box.height * box.width


def _steered(drafts: Sequence[_Draft]) -> list[_Draft]:
    """What steers the first conditioning steers the others, where it says so and they have nothing of their own."""
    first = (draft.options for draft in drafts if draft.column == 0)
    control = next((options.get("control") for options in first if options.get("control_apply_to_uncond")), None)
    return [
        draft
        if control is None or draft.column == 0 or draft.options.get("control")
        else draft._replace(options={**draft.options, "control": control})
        for draft in drafts
    ]


def _item(draft: _Draft, shape: Sequence[int], denoiser: Denoiser) -> Item:
    options, box, sampling = draft.options, draft.box, denoiser.sampling
    target = Target(tuple(shape), draft.column, sampling, denoiser.device)
    dtype = getattr(denoiser, "dtype", draft.tokens.dtype)  # a plugin's may leave it out
    tokens = for_each(draft.tokens.to(target.device, dtype), shape[0])
    inputs = dict(denoiser.inputs(draft.text, target))
    _require_read(draft.text, inputs)
    if box is not None and CONCAT in inputs:
        inputs[CONCAT] = box.of(inputs[CONCAT])
    if box is not None and BOXES in inputs:
        inputs[BOXES] = _within(box, inputs[BOXES], shape)
    strength = float(options.get("strength", 1.0))
    weight = weight_map(options, box, shape)
    low, high = _range(options, sampling.sigmas)
    return Item(
        draft.column,
        tokens,
        inputs,
        box,
        strength,
        None if weight is None else weight.to(target.device) * strength,
        low,
        high,
        options.get("control"),
        (tokens.shape[1:], box and box[2:], *((name, tensor.shape[1:]) for name, tensor in inputs.items())),
    )


def _require_read(options: Mapping[str, Any], inputs: NamedTensors) -> None:
    """Raises ConditioningError: an item shows something that the model does not look at."""
    if UNCLIP in options and PICTURES not in inputs:
        raise ConditioningError(
            "unCLIPConditioning shows the model a picture, and the model takes none; load an unCLIP model with "
            "unCLIPCheckpointLoader, or leave that node out"
        )
    if GLIGEN in options and BOXES not in inputs:
        raise ConditioningError(
            "a conditioning has boxes of GLIGENTextBoxApply, and what samples it does not know them; use a KSampler, "
            "or leave that node out"
        )


def _within(box: Box, places: Tensor, shape: Sequence[int]) -> Tensor:
    """Places [..., 4] in shares of a latent, in shares of a part of it."""
    height, width = shape[-2:]
    begin = places.new_tensor([box.left / width, box.top / height] * 2)
    size = places.new_tensor([box.width / width, box.height / height] * 2)
    return ((places - begin) / size).clamp(0, 1)


def _range(options: Mapping[str, Any], levels: ModelSigmas) -> tuple[float, float]:
    """The noise levels between which an item counts."""
    start, end = options.get("start_percent", 0.0), options.get("end_percent", 1.0)
    low = 0.0 if end >= 1 else levels.percent_to_sigma(end)
    return low, math.inf if start <= 0 else levels.percent_to_sigma(start)
