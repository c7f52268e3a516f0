"""The values that travel between nodes: which can be named, stored and measured.

Plain values, lists, tuples, dicts, numpy arrays and torch tensors are known. A class of your own becomes known by
`@value_type("mypack.Thing")` above a frozen dataclass; other objects stay in memory and in this process.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from .blocked import Blocked

if TYPE_CHECKING:
    from numpy import ndarray

C = TypeVar("C", bound=type)

_classes: dict[str, type] = {}
_names: dict[type, str] = {}


class NotStorableError(TypeError):
    """A value has no name that another process could read: it stays in memory."""


def value_type(name: str) -> Callable[[C], C]:
    """Make a dataclass storable and nameable under `name`, which must never change meaning."""

    def register(cls: C) -> C:
        _classes[name] = cls
        _names[cls] = name
        return cls

    return register


value_type("mezzotint.Blocked")(Blocked)


def is_torch_tensor(value: Any) -> bool:
    """Whether the value is a torch tensor, without importing torch to find out; another thread may be importing it."""
    tensor = getattr(sys.modules.get("torch"), "Tensor", None)
    return tensor is not None and isinstance(value, tensor)


def is_numpy_array(value: Any) -> bool:
    array = getattr(sys.modules.get("numpy"), "ndarray", None)
    return array is not None and isinstance(value, array)


def nbytes(value: Any) -> int:
    """Roughly how much memory a value holds, in bytes. Tensors count their elements, once for each mention."""
    if type(value) in (int, float, bool, str, type(None)):
        return sys.getsizeof(value)
    total = 0
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, list | tuple):
            total += 56 + 8 * len(item)
            pending.extend(item)
        elif isinstance(item, dict):
            total += 64 + 100 * len(item)
            pending.extend(item.values())
        elif hasattr(item, "nbytes"):
            total += int(item.nbytes) + 100
        elif type(item) in _names:
            pending.extend(getattr(item, field.name) for field in dataclasses.fields(item))
        else:
            total += sys.getsizeof(item, 64)
    return total


# packing: value -> JSON plus arrays, and back


@dataclasses.dataclass(slots=True)
class Packed:
    """A value as JSON-able `plain` plus numpy `arrays` by name."""

    plain: Any
    arrays: dict[str, ndarray]


def pack(value: Any) -> Packed:
    """A value as JSON and arrays.

    Raises:
        NotStorableError: it holds an object of an unknown class.
    """
    packed = Packed(None, {})
    packed.plain = _pack(value, packed.arrays)
    return packed


def _pack(value: Any, arrays: dict[str, ndarray]) -> Any:
    kind = type(value)
    if value is None or kind in (bool, int, str) or (kind is float and math.isfinite(value)):
        return value
    if kind is float:
        return ["float", repr(value)]
    if kind in (list, tuple):
        return [kind.__name__, *(_pack(item, arrays) for item in value)]
    if kind is dict:
        return ["dict", *([_pack(key, arrays), _pack(item, arrays)] for key, item in value.items())]
    if is_torch_tensor(value) or is_numpy_array(value):
        name = f"t{len(arrays)}"
        dtype, arrays[name] = as_array(value)
        return ["torch" if is_torch_tensor(value) else "numpy", name, dtype]
    if kind in _names:
        fields = {field.name: _pack(getattr(value, field.name), arrays) for field in dataclasses.fields(value)}
        return ["value", _names[kind], fields]
    raise NotStorableError(f"a value of class {kind.__name__} cannot be stored")


def unpack(packed: Packed) -> Any:
    """The value that `pack` was given.

    Raises:
        NotStorableError: it names a class that is not known here (its plugin is not loaded).
    """
    return _unpack(packed.plain, packed.arrays)


def _unpack(plain: Any, arrays: dict[str, ndarray]) -> Any:
    if not isinstance(plain, list):
        return plain
    kind, *items = plain
    if kind == "float":
        return float(items[0])
    if kind in ("list", "tuple"):
        values = (_unpack(item, arrays) for item in items)
        return list(values) if kind == "list" else tuple(values)
    if kind == "dict":
        return {_unpack(key, arrays): _unpack(item, arrays) for key, item in items}
    if kind == "numpy":
        return arrays[items[0]]
    if kind == "torch":
        return _as_tensor(arrays[items[0]], items[1])
    name, fields = items
    if name not in _classes:
        raise NotStorableError(f"the class '{name}' is not known; is its plugin loaded?")
    return _classes[name](**{field: _unpack(item, arrays) for field, item in fields.items()})


def as_array(value: Any) -> tuple[str, ndarray]:
    """The dtype's name and a contiguous array of a tensor or array; bfloat16 travels as int16 of the same bits.

    Raises:
        NotStorableError: the dtype is not one that files hold.
    """
    if is_numpy_array(value):
        if value.dtype.kind not in "fiub":
            raise NotStorableError(f"an array of type {value.dtype} cannot be stored")
        return value.dtype.name, value if value.flags.c_contiguous else value.copy()
    import torch

    dtype = str(value.dtype).removeprefix("torch.")
    tensor = value.detach().cpu().contiguous()
    if value.dtype == torch.bfloat16:
        return dtype, tensor.view(torch.int16).numpy()
    try:
        return dtype, tensor.numpy()
    except TypeError:
        raise NotStorableError(f"a tensor of type {dtype} cannot be stored") from None


def _as_tensor(array: ndarray, dtype: str) -> Any:
    import torch

    tensor = torch.from_numpy(array if array.flags.writeable else array.copy())
    return tensor.view(torch.bfloat16) if dtype == "bfloat16" else tensor


# naming: value -> bytes that differ whenever the value or its type does


def canonical(value: Any) -> Iterator[bytes]:
    """The value as a run of bytes in which type and length are explicit: `1`, `1.0`, `"1"` and `True` all differ.

    Raises:
        NotStorableError: it holds an object of an unknown class, or a NaN (which equals nothing, itself included).
    """
    kind = type(value)
    if kind is str:
        encoded = value.encode("utf-8", "surrogatepass")
        yield b"s%d:" % len(encoded)
        yield encoded
    elif value is None or kind in (bool, int):
        yield f"{kind.__name__[0]}{value};".encode()
    elif kind is float:
        if math.isnan(value):
            raise NotStorableError("NaN equals nothing")
        yield f"f{value!r};".encode()
    elif isinstance(value, list | tuple):
        yield b"%c%d:" % (b"t" if kind is tuple else b"l", len(value))
        for item in value:
            yield from canonical(item)
    elif isinstance(value, dict):
        yield b"d%d:" % len(value)
        for key, item in sorted(value.items(), key=lambda pair: (type(pair[0]).__name__, pair[0])):
            yield from canonical(key)
            yield from canonical(item)
    else:
        yield from _canonical_object(value)


def _canonical_object(value: Any) -> Iterator[bytes]:
    if is_torch_tensor(value) or is_numpy_array(value):
        dtype, array = as_array(value)
        yield f"a{dtype}{array.shape};".encode()
        yield array.tobytes()
    elif type(value) in _names:
        yield b"v"
        yield from canonical(_names[type(value)])
        for field in dataclasses.fields(value):
            yield from canonical(getattr(value, field.name))
    elif isinstance(value, bytes):
        yield b"b%d:" % len(value)
        yield value
    else:
        raise NotStorableError(f"a value of class {type(value).__name__} has no name")
