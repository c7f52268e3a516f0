"""The disk tier: step values that survive a restart, one safetensors file for each key.

The file's `__metadata__` holds the value as JSON and a checksum; the tensors lie beside it. A file is written under
another name and then renamed, so two processes may share a folder, and a torn or foreign file is a miss.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from blake3 import blake3

from .atomic_file import write_atomically
from .errors import OutputError
from .memory_cache import StepValue
from .value_type import NotStorableError, Packed, pack, unpack

if TYPE_CHECKING:
    from numpy import ndarray

FORMAT = "mezzotint-value-1"
PRUNE_TO = 0.9
"""How full the folder is left after pruning, as a share of its budget."""


class DiskCache:
    """Values under a folder, bounded in bytes; the least recently used files go first.

    Args:
        folder: made when missing. budget_nbytes: None for no bound.

    Raises:
        OutputError: the folder cannot be made or written.
    """

    def __init__(self, folder: Path, budget_nbytes: int | None = None) -> None:
        self.folder = folder
        self.budget_nbytes = budget_nbytes
        self._lock = threading.Lock()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"the cache folder '{folder}' cannot be made ({error.strerror}); name another") from None
        self._total_nbytes = self._measure() if budget_nbytes is not None else 0

    def path(self, key: str) -> Path:
        """Where the value of a key lies, whether or not it is there."""
        return self.folder / key[:2] / f"{key}.safetensors"

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and os.path.exists(self.path(key))

    def get(self, key: str) -> StepValue | None:
        """The value, or None when it is missing, torn, or of a class that is not known here."""
        path = self.path(key)
        try:
            data = path.read_bytes()
            value = _decode(data)
        except (FileNotFoundError, NotStorableError):
            return None
        except (OSError, ValueError, KeyError, TypeError):
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return value

    def put(self, key: str, value: StepValue) -> bool:
        """Keep a value; False when it cannot be stored (an object of an unknown class).

        Raises:
            OutputError: the disk is full or the folder cannot be written.
        """
        try:
            data = _encode(value)
        except NotStorableError:
            return False
        path = self.path(key)
        try:
            path.parent.mkdir(exist_ok=True)
            write_atomically(path, data)
        except OSError as error:
            raise OutputError(f"the value cannot be kept in the cache folder '{self.folder}': {error}") from error
        self._account(len(data))
        return True

    def _account(self, added_nbytes: int) -> None:
        if self.budget_nbytes is None:
            return
        with self._lock:
            self._total_nbytes += added_nbytes
            if self._total_nbytes > self.budget_nbytes:
                self._prune(int(self.budget_nbytes * PRUNE_TO))

    def _files(self) -> list[tuple[float, int, Path]]:
        found = []
        for path in self.folder.glob("??/*.safetensors"):
            with contextlib.suppress(OSError):
                status = path.stat()
                found.append((status.st_mtime, status.st_size, path))
        return found

    def _measure(self) -> int:
        return sum(size for _, size, _ in self._files())

    def _prune(self, target_nbytes: int) -> None:
        files = sorted(self._files())
        total = sum(size for _, size, _ in files)
        for _, size, path in files:
            if total <= target_nbytes:
                break
            with contextlib.suppress(OSError):
                path.unlink()
                total -= size
        self._total_nbytes = total


def _encode(value: StepValue) -> bytes:
    from safetensors.numpy import save

    packed = pack([list(value.outputs), value.shown])
    text = json.dumps(packed.plain)
    return save(packed.arrays, {"format": FORMAT, "value": text, "digest": _digest(text, packed.arrays)})


def _decode(data: bytes) -> StepValue:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    metadata = header["__metadata__"]
    try:
        arrays = load(data)
    except SafetensorError as error:
        raise ValueError(str(error)) from None
    if metadata["format"] != FORMAT or metadata["digest"] != _digest(metadata["value"], arrays):
        raise ValueError("the checksum does not fit")
    outputs, shown = unpack(Packed(json.loads(metadata["value"]), arrays))
    return StepValue(tuple(outputs), shown)


def _digest(text: str, arrays: dict[str, ndarray]) -> str:
    digest = blake3(text.encode())
    for name in sorted(arrays):
        digest.update(arrays[name].tobytes())
    return digest.hexdigest()
