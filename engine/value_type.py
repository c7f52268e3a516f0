"""The values that travel between nodes: which can be named, stored and measured.

Plain values, lists, tuples, dicts, bytes, numpy arrays and numbers, and torch tensors are known. A class of your own
becomes known by `@value_type("mypack.Thing")` above a frozen dataclass, any other class by a `Codec`; other objects,
and subclasses of all these, stay in memory and in this process.
"""

from __future__ import annotations

import dataclasses
import enum
import math
import sys
from collections.abc import Callable, Iterable
from operator import itemgetter
from typing import TYPE_CHECKING, Any, TypeVar

from .blocked import Blocked
from .errors import DeclarationError

if TYPE_CHECKING:
    from numpy import ndarray

C = TypeVar("C", bound=type)

_classes: dict[str, type] = {}
_names: dict[type, str] = {}
_codecs: dict[type, Codec] = {}
_ATOMS = {int, float, bool, str, type(None)}
_DTYPES = {
    "bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float16", "float32", "float64",
}  # fmt: skip
_MAX_JSON_INT = 1 << 1024
"""Larger numbers are written in hexadecimal: Python refuses to write very long ones in decimal."""


class NotStorableError(TypeError):
    """A value has no name that another process could read: it stays in memory."""


def value_type(name: str) -> Callable[[C], C]:
    """Make a dataclass storable and nameable under `name`, which must never change meaning.

    Raises:
        DeclarationError: the class is no dataclass, or another class has the name.
    """

    def register(cls: C) -> C:
        place = f"{cls.__module__}.{cls.__qualname__}"
        if not dataclasses.is_dataclass(cls):
            raise DeclarationError(f"@value_type('{name}') stands above {place}, which is no dataclass yet; "
                                   "put it above @dataclass")  # fmt: skip
        known = _classes.get(name, cls)
        if (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            raise DeclarationError(f"the value type '{name}' of {place} is that of {known.__module__}."
                                   f"{known.__qualname__} already; give it a name of its own")  # fmt: skip
        _classes[name] = cls
        _names[cls] = name
        return cls

    return register


value_type("mezzotint.Blocked")(Blocked)


@dataclasses.dataclass(frozen=True, slots=True)
class Codec:
    """How the values of a class that is no dataclass are named, stored and shown.

    Attributes:
        name: stands for the class in files; must never change meaning. cls: the class itself, not its subclasses.
        pack: a value as others that are known (numbers, texts, lists, dicts, arrays). unpack: the value made again.
        fingerprint: what names a value in cache keys; what `pack` gives when None. show: a value in words, for people.
    """

    name: str
    cls: type
    pack: Callable[[Any], Any]
    unpack: Callable[[Any], Any]
    fingerprint: Callable[[Any], Any] | None = None
    show: Callable[[Any], str] | None = None


def register_codec(codec: Codec) -> None:
    """Make a class storable and nameable. A class may be registered again, when its plugin is loaded again.

    Raises:
        DeclarationError: another class has the name, or the class has another one.
    """
    place = f"{codec.cls.__module__}.{codec.cls.__qualname__}"
    known = _classes.get(codec.name, codec.cls)
    if (known.__module__, known.__qualname__) != (codec.cls.__module__, codec.cls.__qualname__):
        raise DeclarationError(f"the value type '{codec.name}' of {place} is that of {known.__module__}."
                               f"{known.__qualname__} already; give it a name of its own")  # fmt: skip
    present = _names.get(codec.cls) or (_codecs[codec.cls].name if codec.cls in _codecs else codec.name)
    if present != codec.name:
        raise DeclarationError(f"the class {place} is the value type '{present}' already; leave '{codec.name}' out")
    _classes[codec.name] = codec.cls
    _codecs[codec.cls] = codec


def shown_text(value: Any) -> str | None:
    """A value in words, as its codec says; None where none does."""
    codec = _codecs.get(type(value))
    return codec.show(value) if codec is not None and codec.show is not None else None


def is_torch_tensor(value: Any) -> bool:
    """Whether the value is a torch tensor, without importing torch to find out; another thread may be importing it."""
    tensor = getattr(sys.modules.get("torch"), "Tensor", None)
    return tensor is not None and isinstance(value, tensor)


def is_numpy_array(value: Any) -> bool:
    """Whether the value is a numpy array (no subclass, such as a masked one), without importing numpy to find out."""
    array = getattr(sys.modules.get("numpy"), "ndarray", None)
    return array is not None and type(value) is array


def _is_numpy_number(value: Any) -> bool:
    number = getattr(sys.modules.get("numpy"), "generic", None)
    return number is not None and isinstance(value, number)


def nbytes(value: Any) -> int:
    """Roughly how much memory a value holds, in bytes; what is mentioned twice in it counts once."""
    if type(value) is list and _ATOMS.issuperset(map(type, value)):  # as most steps make
        return 56 + 8 * len(value) + sum(map(sys.getsizeof, value))
    total = 0
    seen: set[int] = set()
    pending = [value]
    while pending:
        item = pending.pop()
        parts = None if type(item) in _ATOMS else _parts(item)
        if parts is None:
            total += sys.getsizeof(item, 64)
        elif id(item) not in seen:
            seen.add(id(item))
            total += parts[0]
            pending.extend(parts[1])
    return total


def _parts(item: Any) -> tuple[int, Iterable[Any]] | None:
    """The bytes of a container or array itself, and what is in it; None for anything else."""
    if isinstance(item, list | tuple):
        return 56 + 8 * len(item), item
    if isinstance(item, dict):
        return 64 + 100 * len(item), item.values()
    try:
        own_nbytes = getattr(item, "nbytes", None)
    except Exception:  # a sparse tensor does not say
        return None
    if isinstance(own_nbytes, int):
        return own_nbytes + 100, ()
    if dataclasses.is_dataclass(item) and not isinstance(item, type):
        return 64, [getattr(item, field.name, None) for field in dataclasses.fields(item)]
    return None


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
    try:
        packed.plain = _pack(value, packed.arrays)
    except RecursionError:
        raise NotStorableError("a value that is nested too deeply, or in itself, cannot be stored") from None
    return packed


def _pack(value: Any, arrays: dict[str, ndarray]) -> Any:
    kind = type(value)
    if value is None or kind in (bool, str):
        return value
    if kind is int:
        return value if abs(value) < _MAX_JSON_INT else ["int", hex(value)]
    if kind is float:
        return value if math.isfinite(value) else ["float", repr(value)]
    if kind in (list, tuple):
        return [kind.__name__, *(_pack(item, arrays) for item in value)]
    if kind is dict:
        return ["dict", *([_pack(key, arrays), _pack(item, arrays)] for key, item in value.items())]
    if kind in _names:
        fields = {field.name: _pack(getattr(value, field.name), arrays) for field in _fields(kind)}
        return ["value", _names[kind], fields]
    if kind in _codecs:
        return ["coded", _codecs[kind].name, _pack(_codecs[kind].pack(value), arrays)]
    tag = _array_tag(value)
    if tag is None:
        raise NotStorableError(f"a value of class {kind.__name__} cannot be stored")
    name = f"t{len(arrays)}"
    dtype, arrays[name] = as_array(value)
    return [tag, name, dtype]


def _array_tag(value: Any) -> str | None:
    """How a value that is stored as an array is marked; None for other values."""
    if is_torch_tensor(value):
        return "torch"
    if is_numpy_array(value):
        return "numpy"
    if _is_numpy_number(value):
        return "number"
    return "bytes" if type(value) is bytes else None


def _fields(cls: type) -> list[dataclasses.Field[Any]]:
    """What a value type is made of; fields that follow from the others are not part of it."""
    return [field for field in dataclasses.fields(cls) if field.init]


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
    if kind in ("list", "tuple"):
        values = (_unpack(item, arrays) for item in items)
        return list(values) if kind == "list" else tuple(values)
    if kind == "dict":
        return {_unpack(key, arrays): _unpack(item, arrays) for key, item in items}
    if kind == "value":
        return _rebuilt(items[0], {field: _unpack(item, arrays) for field, item in items[1].items()})
    if kind == "coded":
        return _decoded(items[0], _unpack(items[1], arrays))
    if kind == "float":
        return float(items[0])
    if kind == "int":
        return int(items[0], 16)
    array = arrays[items[0]]
    if kind == "torch":
        return _as_tensor(array, items[1])
    if kind == "bytes":
        return array.tobytes()
    return array[()] if kind == "number" else array


def _rebuilt(name: str, fields: dict[str, Any]) -> Any:
    if name not in _classes:
        raise NotStorableError(f"the class '{name}' is not known; is its plugin loaded?")
    try:
        return _classes[name](**fields)
    except Exception as error:
        raise NotStorableError(f"a stored '{name}' cannot be made again ({error}); did the class change?") from error


def _decoded(name: str, packed: Any) -> Any:
    codec = _codecs.get(_classes[name]) if name in _classes else None
    if codec is None:
        raise NotStorableError(f"the class '{name}' is not known; is its plugin loaded?")
    try:
        return codec.unpack(packed)
    except Exception as error:
        raise NotStorableError(f"a stored '{name}' cannot be made again ({error}); did the class change?") from error


def as_array(value: Any) -> tuple[str, ndarray]:
    """The dtype's name and a contiguous array of a tensor, array, numpy number or bytes; bfloat16 travels as int16.

    Raises:
        NotStorableError: the dtype is not one that files hold.
    """
    import numpy

    if is_torch_tensor(value):
        dtype, array = _tensor_as_array(value)
    else:
        array = numpy.frombuffer(value, numpy.uint8) if isinstance(value, bytes) else numpy.asarray(value)
        dtype = array.dtype.name
    if array.dtype.name not in _DTYPES:
        raise NotStorableError(f"an array of type {dtype} cannot be stored")
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    return dtype, native if native.flags.c_contiguous else native.copy()


def _tensor_as_array(value: Any) -> tuple[str, ndarray]:
    import torch

    dtype = str(value.dtype).removeprefix("torch.")
    try:
        tensor = value.detach().cpu().contiguous()
        return dtype, (tensor.view(torch.int16) if value.dtype == torch.bfloat16 else tensor).numpy()
    except (TypeError, RuntimeError) as error:
        raise NotStorableError(f"a tensor of type {dtype} cannot be stored ({error})") from None


def _as_tensor(array: ndarray, dtype: str) -> Any:
    import torch

    tensor = torch.from_numpy(array if array.flags.writeable else array.copy())
    return tensor.view(torch.bfloat16) if dtype == "bfloat16" else tensor


# naming: value -> bytes that differ whenever the value or its type does


def canonical(value: Any) -> list[bytes]:
    """The value as pieces of bytes in which type and length are explicit: `1`, `1.0`, `"1"` and `True` all differ.

    Raises:
        NotStorableError: it holds an object of an unknown class, a NaN (which equals nothing, itself included), or
            itself.
    """
    pieces: list[bytes] = []
    try:
        add_canonical(value, pieces)
    except RecursionError:
        raise NotStorableError("a value that is nested too deeply, or in itself, has no name") from None
    return pieces


def add_canonical(value: Any, pieces: list[bytes]) -> None:
    """As `canonical`, adding the pieces to others; of a value in itself it raises RecursionError."""
    kind = type(value)
    if kind is str:
        encoded = value.encode("utf-8", "surrogatepass")
        pieces += (b"s%d:" % len(encoded), encoded)
    elif value is None or kind is bool:
        pieces.append(f"{value};".encode())
    elif kind is int:
        pieces.append(b"i%x;" % value)
    elif kind is float:
        if math.isnan(value):
            raise NotStorableError("NaN equals nothing")
        pieces.append(f"f{value!r};".encode())
    elif kind is list or kind is tuple:
        pieces.append(b"%c%d:" % (b"t" if kind is tuple else b"l", len(value)))
        for item in value:
            add_canonical(item, pieces)
    elif kind is dict:
        pieces.append(b"d%d:" % len(value))
        items = ((b"".join(canonical(key)), item) for key, item in value.items())
        for key, item in sorted(items, key=itemgetter(0)):
            pieces.append(key)
            add_canonical(item, pieces)
    else:
        _add_canonical_object(value, pieces)


def _add_canonical_object(value: Any, pieces: list[bytes]) -> None:
    kind, tag = type(value), _array_tag(value)
    if tag is not None:
        dtype, array = as_array(value)
        pieces += (f"{tag} {dtype}{array.shape};".encode(), array.tobytes())
    elif kind in _names:
        fields = _fields(kind)
        pieces.append(b"v%d:" % len(fields))
        add_canonical(_names[kind], pieces)
        for field in fields:
            add_canonical(field.name, pieces)
            add_canonical(getattr(value, field.name), pieces)
    elif kind in _codecs:
        codec = _codecs[kind]
        pieces.append(b"c")
        add_canonical(codec.name, pieces)
        add_canonical((codec.fingerprint or codec.pack)(value), pieces)
    elif isinstance(value, enum.Enum):
        pieces.append(b"e")
        add_canonical((kind.__module__, kind.__qualname__, value.name), pieces)
    else:
        raise NotStorableError(f"a value of class {kind.__name__} has no name")
