"""Calls of a network that were watched once, and are repeated by the few operations that depend on what differs.

Code around a network (checks, places of tokens, masks, sizes) makes mostly the same tensors at each step of a sampling,
and takes longer than the steps of a small network do. A trace keeps these tensors as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from types import CodeType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

CallTrace = Callable[..., Tensor]
"""`trace(network, *tensors)` does again what a function did around one call of a network.

The result is the function's to the last bit for tensors of the same shapes, strides, dtypes and devices, as long as all
else that the function looks at is as it was. A trace holds the tensors that do not depend on what it is called with.
"""

METADATA = frozenset(
    {
        "__get__", "__len__", "dim", "element_size", "get_device", "is_complex", "is_contiguous", "is_floating_point",
        "ndimension", "nelement", "numel", "size", "stride",
    }
)  # fmt: skip
"""What may be asked of a tensor: the answer is the same for all tensors of one shape, dtype and device."""
PLAIN = (str, int, float, complex, type(None), type(...), slice, torch.Size, torch.dtype, torch.device)
"""What a network may be given beside tensors and what holds them: no tensor hides in these."""


def record(
    function: Callable[..., Tensor], network: Callable[..., Any], *tensors: Tensor
) -> tuple[Tensor, CallTrace | None]:
    """What a function gives, and its trace.

    There is none (None) when the function reads values of tensors that depend on what it is given, changes such ones in
    place, calls the network not once, or gives it objects in which tensors may hide.

    Args:
        function: called with a stand-in for the network, which is called like it and has its attributes, and with the
            tensors.
    """
    recorder = _Recorder(tensors)
    with recorder:
        result = function(_StandIn(network, recorder), *tensors)
    return result, recorder.trace(result)


class _Slot(NamedTuple):
    """Stands for a tensor that depends on what a trace is called with."""

    number: int


class _Operation(NamedTuple):
    """call: a function of torch; None for the network. results: slots of the tensors that it gives."""

    call: Callable[..., Any] | None
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    results: tuple[int, ...]
    is_tensor: bool


class _StandIn:
    def __init__(self, network: Callable[..., Any], recorder: _Recorder) -> None:
        self._network, self._recorder = network, recorder

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self._recorder.__exit__(None, None, None)  # type: ignore[no-untyped-call]  # nobody watches inside
        try:
            made = self._network(*args, **kwargs)
        finally:
            self._recorder.__enter__()  # type: ignore[no-untyped-call]
        self._recorder.add(None, args, kwargs, made)
        return made

    def __getattr__(self, name: str) -> Any:
        return getattr(self._network, name)


class _Recorder(TorchFunctionMode):
    """Notes what torch is asked to do with tensors that depend on the first ones."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        super().__init__()
        self._is_refused = False
        self._operations: list[_Operation] = []
        self._numbers: dict[int, int] = {}
        self._alive: list[Tensor] = []  # so that ids stay theirs
        self._kept: set[int] = set()
        self._given = self._slots_for(tensors)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        made = func(*args, **kwargs)
        given = [*_tensors((args, kwargs))]
        depends = any(id(tensor) in self._numbers for tensor in given)
        name = getattr(func, "__name__", "")
        if _changes_in_place(name, kwargs):
            self._is_refused |= depends or any(_storage(tensor) in self._kept for tensor in given)
        elif depends and id(made) not in self._numbers:  # else there was nothing to do
            if [*_tensors(made)]:
                self.add(func, args, kwargs, made)
            elif name not in METADATA:
                self._is_refused = True
        return made

    def add(self, call: Callable[..., Any] | None, args: Any, kwargs: Any, made: Any) -> None:
        """An operation, or the network's call, gave something that depends on the first tensors."""
        if call is None and not (_is_plain(args) and _is_plain(kwargs)):
            self._is_refused = True
        results = self._slots_for([*_tensors(made)])
        self._operations.append(
            _Operation(call, self._emptied(args), self._emptied(kwargs), results, isinstance(made, Tensor))
        )

    def trace(self, result: Tensor) -> CallTrace | None:
        """What was noted, as far as the result depends on it."""
        networks = sum(operation.call is None for operation in self._operations)
        if self._is_refused or networks != 1 or id(result) not in self._numbers:
            return None
        number = self._numbers[id(result)]
        needed, operations = {number}, []
        for operation in reversed(self._operations):
            if operation.call is None or not needed.isdisjoint(operation.results):
                operations.append(operation)
                needed.update(_slots((operation.args, operation.kwargs)))
        return _written(self._given, operations[::-1], number)

    def _slots_for(self, tensors: Sequence[Tensor]) -> tuple[int, ...]:
        first = len(self._alive)
        self._alive.extend(tensors)
        numbers = range(first, len(self._alive))
        self._numbers.update(zip(map(id, tensors), numbers, strict=True))
        return tuple(numbers)

    def _emptied(self, value: Any) -> Any:
        """With slots for tensors that depend on the first ones."""
        if isinstance(value, Tensor):
            if id(value) in self._numbers:
                return _Slot(self._numbers[id(value)])
            self._kept.add(_storage(value))
        if type(value) in (tuple, list):
            return type(value)(map(self._emptied, value))
        if type(value) is dict:
            return {name: self._emptied(each) for name, each in value.items()}
        return value


def _changes_in_place(name: str, kwargs: Mapping[str, Any]) -> bool:
    is_operator = name.startswith("__i") and name not in ("__index__", "__int__", "__invert__", "__iter__")
    is_method = name.endswith("_") and not name.endswith("__")
    return is_operator or is_method or name == "__setitem__" or kwargs.get("out") is not None


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _is_plain(value: Any) -> bool:
    if type(value) in (tuple, list):
        return all(map(_is_plain, value))
    if type(value) is dict:
        return all(map(_is_plain, value.values()))
    return isinstance(value, (Tensor, *PLAIN))


def _tensors(value: Any) -> Iterator[Tensor]:
    """The tensors in a value, in order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for each in value:
            yield from _tensors(each)
    elif isinstance(value, dict):
        yield from _tensors([*value.values()])


def _slots(value: Any) -> Iterator[int]:
    """The slots in a value."""
    if type(value) is _Slot:
        yield value.number
    elif type(value) in (tuple, list):
        for each in value:
            yield from _slots(each)
    elif type(value) is dict:
        yield from _slots([*value.values()])


# a trace as Python: what runs between two forwards, while the processor's caches are cold, can hardly be too short


def _written(given: Sequence[int], operations: Sequence[_Operation], result: int) -> CallTrace:
    names: dict[str, Any] = {"tensors": _tensors}
    lines = [f"def trace(network, {', '.join(f't{number}' for number in given)}):"]
    for call, args, kwargs, results, is_tensor in operations:
        said = [_expression(value, names) for value in args]
        said += [f"{name}={_expression(value, names)}" for name, value in kwargs.items()]
        made = f"{'network' if call is None else _expression(call, names)}({', '.join(said)})"
        targets = [f"t{number}" for number in results]
        lines.append(f" {targets[0]} = {made}" if is_tensor else f" [{', '.join(targets)}] = tensors({made})")
    lines.append(f" return t{result}")
    exec(_compiled("\n".join(lines)), names)
    trace: CallTrace = names["trace"]
    return trace


@lru_cache(maxsize=256)
def _compiled(source: str) -> CodeType:
    return compile(source, "<trace of a network's call>", "exec")


def _expression(value: Any, names: dict[str, Any]) -> str:
    """A value in Python; what that cannot say gets a name."""
    if type(value) is _Slot:
        return f"t{value.number}"
    if type(value) is tuple:
        return f"({''.join(_expression(each, names) + ', ' for each in value)})"
    if type(value) is list:
        return f"[{', '.join(_expression(each, names) for each in value)}]"
    if type(value) is dict:
        return f"{{{', '.join(f'{key!r}: {_expression(each, names)}' for key, each in value.items())}}}"
    if type(value) in (int, bool, type(None)):
        return repr(value)
    names[name := f"given{len(names)}"] = value
    return name
