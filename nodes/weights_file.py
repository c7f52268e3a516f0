"""Weights on disk: what a safetensors file says of itself, and reading it. Nothing else is read: a pickle runs code."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mezzotint.engine.errors import ModelFileError

if TYPE_CHECKING:
    from torch import Tensor, dtype

SAFE_SUFFIXES = frozenset({".safetensors", ".sft"})
PICKLE_SUFFIXES = frozenset({".ckpt", ".pt", ".pt2", ".pth", ".bin", ".pkl"})
MAX_HEADER_NBYTES = 100_000_000
DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
"""Floating types by the name that the format has for them, and that torch has."""


@dataclass(frozen=True, slots=True)
class WeightsHeader:
    """What a safetensors file holds, without reading it.

    Attributes:
        elements: how many numbers there are of each type, by the format's names.
        shapes: of the tensors, by name. metadata: texts by name, of a file alone.
    """

    elements: Counter[str]
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def dtype(self) -> str:
        """The floating type of most numbers, by torch's name; float32 where there is none that torch computes in."""
        floats = Counter({name: count for name, count in self.elements.items() if name in DTYPES})
        return DTYPES[floats.most_common(1)[0][0]] if floats else "float32"

    def count(self) -> int:
        """How many numbers there are."""
        return self.elements.total()


def pickle_refused(path: Path) -> ModelFileError:
    """The refusal of a file whose reading could run anything."""
    return ModelFileError(
        f"'{path}' is a pickle ({path.suffix}), which can run any code when it is read, so it is refused; "
        f"use the model's .safetensors file, or convert it to one"
    )


def read_header(path: Path) -> WeightsHeader:
    """The header of a safetensors file, held against the file's length.

    Raises:
        ModelFileError: the file is a pickle, cut short, or no safetensors file; a sentence with the cure.
    """
    if path.suffix.lower() in PICKLE_SUFFIXES:
        raise pickle_refused(path)
    try:
        return _read_header(path)
    except OSError as error:
        raise ModelFileError(f"'{path}' cannot be read ({error.strerror}); check its permissions") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelFileError(f"'{path}' is no safetensors file, or is damaged ({error}); fetch it again") from None


def _read_header(path: Path) -> WeightsHeader:
    nbytes = path.stat().st_size
    with path.open("rb") as file:
        header_nbytes = int.from_bytes(file.read(8), "little")
        if nbytes < 8 or header_nbytes > min(MAX_HEADER_NBYTES, nbytes - 8):
            raise ValueError(f"of {nbytes} bytes, its header should take {header_nbytes}")
        header = json.loads(file.read(header_nbytes))
    metadata = header.pop("__metadata__", {})
    tensors: dict[str, Any] = header
    wanted_nbytes = 8 + header_nbytes + max((entry["data_offsets"][1] for entry in tensors.values()), default=0)
    if nbytes != wanted_nbytes:
        raise ValueError(f"it has {nbytes} bytes, and its header speaks of {wanted_nbytes}")
    shapes = {name: tuple(entry["shape"]) for name, entry in tensors.items()}
    elements: Counter[str] = Counter()
    for name, entry in tensors.items():
        elements[entry["dtype"]] += math.prod(shapes[name])
    return WeightsHeader(elements, shapes, metadata)


def read_headers(paths: Sequence[Path]) -> WeightsHeader:
    """The headers of weights that are split over several files, as one.

    Raises:
        ModelFileError: as for `read_header`.
    """
    headers = [read_header(path) for path in paths]
    shapes = {name: shape for header in headers for name, shape in header.shapes.items()}
    return WeightsHeader(sum((header.elements for header in headers), Counter()), shapes)


def read_weights(paths: Sequence[Path], device: str, dtype: dtype) -> dict[str, Tensor]:
    """The tensors of safetensors files by name, on a device; floating ones as `dtype`.

    Raises:
        ModelFileError: a file is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    weights: dict[str, Any] = {}
    for path in paths:
        try:
            weights |= load_file(path, device=device)
        except (SafetensorError, OSError) as error:
            raise ModelFileError(f"'{path}' is damaged ({error}); fetch it again") from None
    return {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in weights.items()}


def read_some_weights(path: Path, names: Collection[str]) -> dict[str, Tensor]:
    """Some tensors of a safetensors file, on the CPU, as they are.

    Raises:
        ModelFileError: the file is damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError) as error:
        raise ModelFileError(f"'{path}' is damaged ({error}); fetch it again") from None
