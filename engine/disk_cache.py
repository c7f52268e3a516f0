"""The disk tier: step values that survive a restart, one safetensors file for each key.

The file's `__metadata__` holds the value as JSON and a checksum; the tensors lie beside it. A file is written under
another name and then renamed, so two processes may share a folder, and a torn or foreign file is a miss. Each process
counts the bytes that it wrote itself, so that several may exceed the bound between them until one prunes.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from blake3 import blake3

from .atomic_file import TEMPORARY_PREFIX, TEMPORARY_SUFFIX, write_atomically
from .errors import OutputError
from .memory_cache import StepValue
from .value_type import NotStorableError, Packed, pack, unpack

if TYPE_CHECKING:
    from numpy import ndarray

FORMAT = "mezzotint-value-1"
PRUNE_TO = 0.9
"""How full the folder is left after pruning, as a share of its budget."""
MAX_TEXT = 30_000_000
"""Characters of JSON in one file; safetensors reads headers of up to 100 MB, in which quotes are escaped."""
ABANDONED_SECONDS = 3600.0
"""How old an unfinished file is when nobody can be writing it any more."""


class DiskCache:
    """Values under a folder, bounded in bytes; the least recently used files go first.

    Args:
        folder: made when missing. budget_nbytes: None for no bound.

    Raises:
        OutputError: the folder cannot be made.
    """

    def __init__(self, folder: Path, budget_nbytes: int | None = None) -> None:
        self.folder = folder
        self.budget_nbytes = budget_nbytes
        self._lock = threading.Lock()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"the cache folder '{folder}' cannot be made ({error.strerror}); name another") from None
        self._total_nbytes: int | None = None  # measured at the first write: a large folder takes a while

    def path(self, key: str) -> Path:
        """Where the value of a key lies, whether or not it is there."""
        return Path(self._name(key))

    def _name(self, key: str) -> str:
        return f"{self.folder}{os.sep}{key[:2]}{os.sep}{key}.safetensors"

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and os.path.isfile(self._name(key))  # noqa: PTH113 - a Path takes 5 times as long

    def get(self, key: str) -> StepValue | None:
        """The value, or None when it is missing, torn, or of a class that is not known here."""
        path = self.path(key)
        try:
            value = _decode(key, path.read_bytes())
        except (OSError, NotStorableError):  # not there, or of use to a process that knows the class
            return None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return value

    def put(self, key: str, value: StepValue) -> bool:
        """Keep a value; False when it cannot be stored: an object of an unknown class, or larger than the budget.

        Raises:
            OutputError: the disk is full or the folder cannot be written.
        """
        try:
            data = _encode(key, value)
        except NotStorableError:
            return False
        if self.budget_nbytes is not None and len(data) > self.budget_nbytes:
            return False
        path = self.path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, data)
        except OSError as error:
            reason = error.strerror or error
            raise OutputError(f"a value cannot be kept in the cache folder '{self.folder}' ({reason}); "
                              "free some space or name another folder") from error  # fmt: skip
        self._account(len(data))
        return True

    def clear(self) -> None:
        """Remove all values."""
        with self._lock:
            self._prune(0)

    def _account(self, added_nbytes: int) -> None:
        if self.budget_nbytes is None:
            return
        with self._lock:
            self._total_nbytes = self._measure() if self._total_nbytes is None else self._total_nbytes + added_nbytes
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
        self._sweep()
        files = sorted(self._files())
        total = sum(size for _, size, _ in files)
        for _, size, path in files:
            if total <= target_nbytes:
                break
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
                total -= size
        self._total_nbytes = total

    def _sweep(self) -> None:
        """Remove what processes that were killed while writing left behind."""
        for path in self.folder.glob(f"??/{TEMPORARY_PREFIX}*{TEMPORARY_SUFFIX}"):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > ABANDONED_SECONDS:
                    path.unlink()


def _encode(key: str, value: StepValue) -> bytes:
    from safetensors.numpy import save

    packed = pack([list(value.outputs), value.shown])
    text = json.dumps(packed.plain)
    if len(text) > MAX_TEXT:
        raise NotStorableError("it holds more plain values than a file's header takes")
    return save(packed.arrays, {"format": FORMAT, "value": text, "digest": _digest(key, text, packed.arrays)})


def _decode(key: str, data: bytes) -> StepValue:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    metadata = header["__metadata__"]
    try:
        arrays = load(data)
    except SafetensorError as error:
        raise ValueError(str(error)) from None
    if metadata["format"] != FORMAT or metadata["digest"] != _digest(key, metadata["value"], arrays):
        raise ValueError("the checksum does not fit")
    outputs, shown = unpack(Packed(json.loads(metadata["value"]), arrays))
    return StepValue(tuple(outputs), shown)


def _digest(key: str, text: str, arrays: dict[str, ndarray]) -> str:
    """Stands for all that the file says, under which key included; a copy under another name is a foreign file."""
    digest = blake3(f"{key} {len(text)} {text}".encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype.name} {array.shape};".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
