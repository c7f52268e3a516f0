"""Weights on disk: what a safetensors file says of itself, and reading it; pickles only where they are allowed."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mezzotint.engine.errors import ModelFileError
from mezzotint.engine.file_digest import FileIdentity, file_identity

from .pickle_file import read_pickle

if TYPE_CHECKING:
    from torch import Tensor

SAFE_SUFFIXES = frozenset({".safetensors", ".sft"})
PICKLE_SUFFIXES = frozenset({".ckpt", ".pt", ".pt2", ".pth", ".bin", ".pkl"})
MAX_HEADER_NBYTES = 100_000_000
DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
}  # fmt: skip
"""Floating types by the name that the format has for them, and that torch has."""


FOREIGN = {
    b"GGUF": "it is GGUF, whose weights are quantised in a form that is not read here; get the model as .safetensors",
    b"version https://git-lfs": "it is what stands for the file in Git LFS; fetch the file itself, by git lfs pull",
    b"<": "it is a web page, maybe of a sign-in, that was fetched in place of the model; fetch the model itself",
    b"PK": "it is a pickle under another name; give it the name that it had, .ckpt or .pt, or get the .safetensors",
    b"\x80": "it is a pickle under another name; give it the name that it had, .ckpt or .pt, or get the .safetensors",
}
"""How files begin that are often met under the name of a safetensors file → what they are, and what to do."""


class TensorInfo(NamedTuple):
    """A tensor in a file. dtype: by the format's name. start, stop: where its bytes lie, from the file's start."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True, eq=False)
class WeightsHeader:
    """What safetensors files hold, without reading it. Equal to itself alone, so that it can be a key.

    Attributes:
        tensors: by name. metadata: what the file says beside.
    """

    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def elements(self) -> Counter[str]:
        """How many numbers there are of each type, by the format's names."""
        elements: Counter[str] = Counter()
        for tensor in self.tensors.values():
            elements[tensor.dtype] += math.prod(tensor.shape)
        return elements

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of the tensors, by name."""
        return {name: tensor.shape for name, tensor in self.tensors.items()}

    @property
    def dtype(self) -> str:
        """The floating type of most numbers, by torch's name; float32 where there is none that torch knows."""
        floats = Counter({name: count for name, count in self.elements.items() if name in DTYPES})
        return DTYPES[floats.most_common(1)[0][0]] if floats else "float32"

    def count(self) -> int:
        """How many numbers there are."""
        return self.elements.total()

    def below(self, prefix: str) -> WeightsHeader:
        """The tensors whose names begin with `prefix`."""
        return WeightsHeader({name: tensor for name, tensor in self.tensors.items() if name.startswith(prefix)})


def read_header(path: Path) -> WeightsHeader:
    """The header of a safetensors file, held against the file's length; the same object until the file changes.

    Raises:
        ModelFileError: the file is a pickle and these are refused, cut short, or no safetensors file; a sentence with
            the cure.
    """
    if path.suffix.lower() in PICKLE_SUFFIXES:
        return _header_of(read_pickle(path))
    try:
        return _read_header(path, file_identity(path))
    except OSError as error:
        raise ModelFileError(f"'{path}' cannot be read ({error.strerror}); check its permissions") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if foreign := _foreign(path):
            raise ModelFileError(f"'{path}' is no safetensors file: {foreign}") from None
        raise ModelFileError(f"'{path}' is no safetensors file, or is damaged ({error}); fetch it again") from None


@lru_cache(maxsize=64)
def _read_header(path: Path, identity: FileIdentity) -> WeightsHeader:
    """One of hundreds of kilobytes takes milliseconds, and is asked for by each who uses the model."""
    nbytes = identity.size
    with path.open("rb") as file:
        header_nbytes = int.from_bytes(file.read(8), "little")
        if nbytes < 8 or header_nbytes > min(MAX_HEADER_NBYTES, nbytes - 8):
            raise ValueError(f"of {nbytes} bytes, its header should take {header_nbytes}")
        header = json.loads(file.read(header_nbytes))
    metadata = header.pop("__metadata__", {})
    begin = 8 + header_nbytes
    tensors = {
        name: TensorInfo(entry["dtype"], tuple(entry["shape"]), *(begin + offset for offset in entry["data_offsets"]))
        for name, entry in header.items()
    }
    wanted_nbytes = max((tensor.stop for tensor in tensors.values()), default=begin)
    if nbytes != wanted_nbytes:
        raise ValueError(f"it has {nbytes} bytes, and its header speaks of {wanted_nbytes}")
    return WeightsHeader(tensors, metadata if isinstance(metadata, dict) else {})


def _foreign(path: Path) -> str | None:
    """What a file is, if it is one of `FOREIGN`."""
    with path.open("rb") as file:
        beginning = file.read(64).lstrip()
    return next((what for mark, what in FOREIGN.items() if beginning.startswith(mark)), None)


def _header_of(tensors: Mapping[str, Tensor]) -> WeightsHeader:
    """What the header of a safetensors file of these tensors would say, but for where they lie."""
    names = {torch_name: name for name, torch_name in DTYPES.items()}
    return WeightsHeader(
        {
            name: TensorInfo(names.get(str(tensor.dtype).removeprefix("torch."), "I64"), tuple(tensor.shape), 0, 0)
            for name, tensor in tensors.items()
        }
    )


def read_headers(paths: Sequence[Path]) -> WeightsHeader:
    """The headers of weights that are split over several files, as one.

    Raises:
        ModelFileError: as for `read_header`.
    """
    return WeightsHeader({name: tensor for path in paths for name, tensor in read_header(path).tensors.items()})


def read_tensors(path: Path, device: str, names: Iterable[str] | None = None) -> dict[str, Tensor]:
    """Tensors of a safetensors file by name, on a device, as they are stored; all of them when no names are given.

    On the CPU nothing is copied: they lie in the file, which is mapped into memory and read where they are used.

    Raises:
        ModelFileError: the file is damaged.
    """
    if path.suffix.lower() in PICKLE_SUFFIXES:
        pickled = read_pickle(path)
        return {name: pickled[name].to(device) for name in (pickled if names is None else names)}
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt", device=device) as file:
            return {name: file.get_tensor(name) for name in (file.keys() if names is None else names)}
    except (SafetensorError, OSError) as error:
        raise ModelFileError(f"'{path}' is damaged ({error}); fetch it again") from None
