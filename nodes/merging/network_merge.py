"""Makes the networks of a merge: new tensors for what is mixed, and the originals' own for what is one of theirs."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mezzotint.engine.residency import Loaded

from ..adapters.patched_layer import own_parameters
from ..families.published_names import published_names
from ..models.network_overlay import with_parameters
from ..models.weight_placement import WholePlacement
from ..models.weight_scales import scale_of
from .merge import KEPT, TAKEN, Factors, MergeError

if TYPE_CHECKING:
    from mezzotint.engine.residency import Residency

FIRST_LAYER = "conv_in.weight"
"""Takes more channels in models for inpainting, which are made of others by adding a difference: it stays theirs."""
NETWORK_NBYTES = 8_000_000
"""What a merge takes beside its own tensors: the modules that hold them."""

log = logging.getLogger("mezzotint.nodes")


def merge_loaded(
    first: Any, second: Any, factors: Sequence[Factors], names: tuple[str, str], residency: Residency
) -> Loaded:
    """What `first` becomes with merged weights, which are in its dtypes and on its device.

    Args:
        names: what the user calls the two, for messages.

    Raises:
        MergeError: they are of different families or sizes. OutOfMemoryError: it does not fit.
    """
    pairs = _pairs(first, second, names)
    mixed = sum(_nbytes(network) for network, _ in pairs.values()) if {f.pair for f in factors} - {KEPT, TAKEN} else 0
    residency.reserve(mixed, f"merging '{names[0]}' with '{names[1]}'")
    with torch.inference_mode(False), torch.no_grad():  # ordinary tensors: training may borrow them
        mergers = {name: _Merger(*pair, factors) for name, pair in pairs.items()}
        networks = {name: merger.merged() for name, merger in mergers.items()}
        made = first.with_networks({**first.networks, **networks})
    nbytes = NETWORK_NBYTES + sum(merger.nbytes for merger in mergers.values())
    tensors = [tensor for merger in mergers.values() for tensor in merger.made]
    return Loaded(made, nbytes, WholePlacement(tensors, torch.device(residency.device), nbytes))


def _pairs(first: Any, second: Any, names: tuple[str, str]) -> dict[str, tuple[nn.Module, nn.Module]]:
    """The networks of both by their names. Raises MergeError: they do not fit one another."""
    both: list[Any] = [getattr(loaded, "networks", None) for loaded in (first, second)]
    for networks, name in zip(both, names, strict=True):
        if networks is None:
            raise MergeError(f"'{name}' is of a family whose plugin lets nothing be merged; merge others")
    ours, theirs = both
    if ours.keys() != theirs.keys():
        counts = f"{len(ours)} and {len(theirs)} networks"
        raise _misfit(names, f"they are of different families, with {counts} ({_classes(ours)}; {_classes(theirs)})")
    pairs = {name: (ours[name], theirs[name]) for name in ours}
    for name, pair in pairs.items():
        _require_alike(*pair, names, name)
    return pairs


def _classes(networks: Mapping[str, nn.Module]) -> str:
    return ", ".join(type(network).__name__ for network in networks.values())


def _require_alike(first: nn.Module, second: nn.Module, names: tuple[str, str], what: str) -> None:
    ours, theirs = ({name: tuple(each.shape) for name, each in n.named_parameters()} for n in (first, second))
    unlike = [name for name in ours.keys() & theirs.keys() if ours[name] != theirs[name]]
    if type(first).__name__ != type(second).__name__:
        raise _misfit(names, f"they are of different families ({type(first).__name__} and {type(second).__name__})")
    if alone := ours.keys() ^ theirs.keys():
        has, lacks = names if min(alone) in ours else names[::-1]
        raise _misfit(
            names, f"of the tensors of their {what}, {len(alone)} are in one of them only, such as '{min(alone)}', "
            f"which '{has}' has and '{lacks}' has not"
        )  # fmt: skip
    if unlike == [FIRST_LAYER]:
        log.warning(
            "merging '%s' with '%s': the first layer takes %d channels in the one and %d in the other, so that of '%s' "
            "is kept", *names, ours[FIRST_LAYER][1], theirs[FIRST_LAYER][1], names[0],
        )  # fmt: skip
    elif unlike:
        name = min(unlike)
        raise _misfit(
            names, f"{len(unlike)} tensors of their {what} differ in shape, such as '{name}', of "
            f"{list(ours[name])} and {list(theirs[name])}"
        )  # fmt: skip


def _misfit(names: tuple[str, str], why: str) -> MergeError:
    return MergeError(f"'{names[0]}' and '{names[1]}' cannot be merged: {why}; merge models of one family and size")


def _nbytes(network: nn.Module) -> int:
    return sum(tensor.nbytes for tensor in network.parameters())


class _Merger:
    """Two networks on their way to one.

    Attributes:
        made: the new tensors so far. nbytes: what they take.
    """

    def __init__(self, first: nn.Module, second: nn.Module, factors: Sequence[Factors]) -> None:
        self.first, self.second = first, second
        self.factors = sorted(factors, key=lambda each: -len(each.prefix))
        self.published = published_names(first)
        self.made: list[nn.Parameter] = []
        self.nbytes = 0
        self._made: dict[tuple[Any, ...], nn.Parameter] = {}  # some networks have one tensor in two places

    def merged(self) -> nn.Module:
        others = dict(self.second.named_modules(remove_duplicate=False))
        made = {
            name: self._layer(layer, others[name], pair)
            for name, layer in self.first.named_modules(remove_duplicate=False)
            if layer._parameters and (pair := self._pair(name)) != KEPT
        }
        return with_parameters(self.first, made)

    def _pair(self, name: str) -> tuple[float, float]:
        published = self.published(name)
        return next(each.pair for each in self.factors if published.startswith(each.prefix))

    def _layer(self, layer: nn.Module, other: nn.Module, pair: tuple[float, float]) -> dict[str, nn.Parameter]:
        """The parameters that a layer is to have."""
        own, theirs = own_parameters(layer), own_parameters(other)
        return {
            key: self._parameter_once(own.get(key), theirs.get(key), pair, _kept_as(layer, key))
            for key in own.keys() | theirs.keys()
        }

    def _parameter_once(
        self, own: Tensor | None, theirs: Tensor | None, pair: tuple[float, float], stored: Tensor | None
    ) -> nn.Parameter:
        """As `_parameter`, the same for a tensor that is in several places."""
        if not isinstance(own, nn.Parameter) or not isinstance(theirs, nn.Parameter):
            return self._parameter(own, theirs, pair, stored)  # made for this layer, so its id means nothing later
        known = (id(own), id(theirs), pair)
        if known not in self._made:
            self._made[known] = self._parameter(own, theirs, pair, stored)
        return self._made[known]

    def _parameter(
        self, own: Tensor | None, theirs: Tensor | None, pair: tuple[float, float], stored: Tensor | None
    ) -> nn.Parameter:
        """One parameter; a bias that one of the two lacks counts as zeros. stored: what says the dtype."""
        some = next(each for each in (stored, own, theirs) if each is not None)
        if own is not None and theirs is not None and own.shape != theirs.shape:  # of `FIRST_LAYER`
            pair = KEPT
        for part, alone in ((own, KEPT), (theirs, TAKEN)):
            if pair == alone and isinstance(part, nn.Parameter) and (part.dtype, part.device) == _kind(some):
                return part
        wide = torch.promote_types(some.dtype, torch.float32)
        total = torch.zeros(some.shape, dtype=wide, device=some.device)
        for part, factor in zip((own, theirs), pair, strict=True):
            if part is not None and factor:
                total.add_(part.to(some.device, wide), alpha=factor)
        made = nn.Parameter(total.to(some.dtype), requires_grad=False)
        self.nbytes += made.nbytes
        self.made.append(made)
        return made


def _kept_as(layer: nn.Module, key: str) -> Tensor | None:
    """What says the dtype of a layer's new parameter: the old one, unless that needs a scale beside it."""
    return layer._parameters.get(key) if scale_of(layer, key) is None else None


def _kind(tensor: Tensor) -> tuple[torch.dtype, torch.device]:
    return tensor.dtype, tensor.device
