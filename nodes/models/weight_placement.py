"""Where the weights of networks lie: on their device, in main memory, or in part here and in part there.

Large weights that stay in main memory are fetched by their layer each time that it asks for them, as `weight_casting`
widens them. Views of a network share its weights and the classes of its layers, so layers with adapters fetch them,
too. (The hooks by which diffusers offloads groups are bound to the modules that they were put on: a view's copy of a
block would run the original block, without the adapters of the copy.)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from mezzotint.engine.free_memory import free_nbytes

from .weight_casting import SMALL
from .weight_scales import scale_of, scaled

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from mezzotint.engine.resident import Movable

    from .weights_file import WeightsHeader


class WeightPlacement:
    """The weights of one network, movable as a residency manager wants it.

    Args:
        nbytes: what they take when all are on the device, by its account. dtype: what they are turned into where they
            are used; None where they are stored in what is computed in.
    """

    def __init__(self, network: nn.Module, device: torch.device, nbytes: int, dtype: torch.dtype | None) -> None:
        self.network, self.device, self.nbytes, self.dtype = network, device, nbytes, dtype
        self._fetches = False

    @property
    def least_nbytes(self) -> int:
        """Everything small, and room for the largest weight while it is used."""
        large = self._large()
        return min(self._small_nbytes(large) + self._fetched_nbytes(large), self.nbytes)

    def to_host(self) -> None:
        """Move all to main memory."""
        self._place(set())

    def to_device(self, most_nbytes: int) -> int:
        """Move to the device what fits into so many bytes, those that are used first before the others.

        Returns:
            what they take there, with room for the largest of those that are fetched.
        """
        if most_nbytes >= self.nbytes:
            self._place(None)
            return self.nbytes
        large = self._large()
        if not self._fetches:
            _let_fetch(self.network, self.device, self.dtype)
            self._fetches = True
        taken = self.least_nbytes
        here: set[int] = set()
        for tensor in large:
            if taken + tensor.nbytes <= most_nbytes:
                taken += tensor.nbytes
                here.add(id(tensor))
        self._place(here | {id(tensor) for tensor in self._tensors()} - {id(tensor) for tensor in large})
        return taken

    def _place(self, here: set[int] | None) -> None:
        """Have these tensors on the device, by their ids, and the others in main memory; None for all of them."""
        _move(self._tensors(), self.device, self.nbytes, here)

    def _tensors(self) -> Iterator[Tensor]:
        """Each once."""
        yield from self.network.parameters()
        yield from self.network.buffers()

    def _large(self) -> list[Tensor]:
        return [parameter for parameter in self.network.parameters() if parameter.numel() >= SMALL]

    def _small_nbytes(self, large: Sequence[Tensor]) -> int:
        return sum(tensor.nbytes for tensor in self._tensors()) - sum(tensor.nbytes for tensor in large)

    def _fetched_nbytes(self, large: Sequence[Tensor]) -> int:
        itemsize = self.dtype.itemsize if self.dtype is not None else 0
        return max((tensor.nbytes + tensor.numel() * itemsize for tensor in large), default=0)


class WholePlacement:
    """Tensors that are on the device all together or not at all, such as those of an adapter.

    Args:
        nbytes: what they take there, by the account of a residency manager.
    """

    def __init__(self, tensors: Iterable[Tensor], device: torch.device, nbytes: int) -> None:
        self._tensors, self._device, self.least_nbytes = list(tensors), device, nbytes

    def to_host(self) -> None:
        _move(self._tensors, self._device, self.least_nbytes, set())

    def to_device(self, most_nbytes: int) -> int:
        _move(self._tensors, self._device, self.least_nbytes, None)
        return self.least_nbytes


class JoinedPlacement:
    """The weights of several networks that one object is made of."""

    def __init__(self, parts: Sequence[Movable], nbytes: Sequence[int]) -> None:
        self._parts, self._nbytes = parts, nbytes

    @property
    def least_nbytes(self) -> int:
        return sum(part.least_nbytes for part in self._parts)

    def to_host(self) -> None:
        for part in self._parts:
            part.to_host()

    def to_device(self, most_nbytes: int) -> int:
        """What is left beside the least of all goes to the first, then to the next."""
        spare, taken = most_nbytes - self.least_nbytes, 0
        for part, nbytes in zip(self._parts, self._nbytes, strict=True):
            least = part.least_nbytes
            given = part.to_device(min(least + spare, nbytes))
            spare -= given - least
            taken += given
        return taken


def least_nbytes(header: WeightsHeader, stored_itemsize: int, computed_itemsize: int) -> int:
    """What a network of these weights must take on its device at least, before there is one."""
    counts = sorted(_count(shape) for shape in header.shapes.values())
    small = sum(count for count in counts if count < SMALL)
    largest = counts[-1] if counts and counts[-1] >= SMALL else 0
    fetched = stored_itemsize + (computed_itemsize if computed_itemsize != stored_itemsize else 0)
    return small * computed_itemsize + largest * fetched


def _count(shape: Sequence[int]) -> int:
    count = 1
    for side in shape:
        count *= side
    return count


def _move(tensors: Iterable[Tensor], device: torch.device, nbytes: int, here: set[int] | None) -> None:
    """Have some tensors on the device, by their ids, and the others in main memory; None for all of them.

    Args:
        nbytes: what all take.
    """
    import torch

    is_pinned = device.type == "cuda" and free_nbytes("cpu") > 2 * nbytes
    with torch.inference_mode(False), torch.no_grad():
        for tensor in tensors:
            if here is None or id(tensor) in here:
                tensor.data = _on_device(tensor.data, device)
            else:
                tensor.data = _in_main_memory(tensor.data, is_pinned)


def _on_device(tensor: Tensor, device: torch.device) -> Tensor:
    """On the device. Out of pinned memory, whoever computes with it there comes after the copy, but need not wait here.

    No thread of ours leaves the device's default stream, so copies and computing are in one order; and torch gives
    pinned memory to nobody else before the copies out of it are done.
    """
    return tensor.to(device, non_blocking=True)


def _in_main_memory(tensor: Tensor, is_pinned: bool) -> Tensor:
    """In main memory, when this returns; pinned, it is copied back faster, and that need not be waited for."""
    import torch

    if not is_pinned or (tensor.device.type == "cpu" and tensor.is_pinned()):
        return tensor.to("cpu")
    try:
        return torch.empty_like(tensor, device="cpu", pin_memory=True).copy_(tensor)
    except RuntimeError:  # the system pins no more
        return tensor.to("cpu")


def _let_fetch(network: nn.Module, device: torch.device, dtype: torch.dtype | None) -> None:
    """Let layers fetch their large weights, wherever these lie, and let modules name the device that is computed on."""
    for module in network.modules():
        layer_class: Any = type(module)
        large = tuple(name for name, held in module._parameters.items() if held is not None and held.numel() >= SMALL)
        says_device = isinstance(getattr(layer_class, "device", None), property)
        if large or says_device:
            module.__class__ = _fetching(layer_class, large, device, dtype, says_device)


@cache
def _fetching(
    layer_class: Any, names: tuple[str, ...], device: torch.device, dtype: torch.dtype | None, says_device: bool
) -> type[nn.Module]:
    """The class of layers that give some of their parameters on a device, in a dtype."""
    properties: dict[str, Any] = {name: property(_Fetched(name, device, dtype)) for name in names}
    if says_device:
        properties["device"] = property(lambda _: device)
    return type(layer_class.__name__, (layer_class,), {**properties, "__module__": layer_class.__module__})


class _Fetched:
    """What such a parameter's property gives."""

    def __init__(self, name: str, device: torch.device, dtype: torch.dtype | None) -> None:
        self.name, self.device, self.dtype = name, device, dtype

    def __call__(self, layer: Any) -> Tensor:
        stored: Tensor = layer._parameters[self.name]
        fetched = _on_device(stored, self.device)  # first, since what is narrow is copied faster
        if self.dtype is None or not fetched.is_floating_point():
            return fetched
        return scaled(fetched, scale_of(layer, self.name), self.dtype)
