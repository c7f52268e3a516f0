"""Reading files before they are needed, into the memory that the system keeps of files, while others compute."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from .free_memory import free_nbytes

PART_NBYTES = 16 << 20
"""What is asked for at once, so that it can be left off soon."""


def read_ahead(path: Path, is_wanted: Callable[[], bool]) -> None:
    """Have the system read a file, if main memory has room for it and it is not read already.

    The system reads while it is told, so this takes next to no time of a processor: what `mmap` finds there later, it
    need not wait for. Systems that cannot be told so (Windows, macOS) read nothing ahead. A file that cannot be read is
    left alone: whoever needs it will say so.

    Args:
        is_wanted: asked before each part; False ends it.
    """
    if not hasattr(os, "posix_fadvise"):
        return
    with suppress(OSError), path.open("rb") as file:
        nbytes = os.fstat(file.fileno()).st_size
        if nbytes > free_nbytes("cpu"):
            return
        for start in range(0, nbytes, PART_NBYTES):
            if not is_wanted():
                return
            os.posix_fadvise(file.fileno(), start, PART_NBYTES, os.POSIX_FADV_WILLNEED)
