"""How much memory is free: on a CUDA device, if there is one, on the machine, or in the container of the process."""

from __future__ import annotations

from pathlib import Path

CGROUP_FOLDER = Path("/sys/fs/cgroup")


class ProcessMemory:
    """What this process holds of the main memory, and may hold.

    Attributes:
        limit_nbytes: memory counts as free only up to here; None for no limit.
    """

    def __init__(self) -> None:
        self.limit_nbytes: int | None = None

    @property
    def resident_nbytes(self) -> int:
        """How much it holds now, as the system counts it: values, models, and the code itself."""
        import psutil

        return int(psutil.Process().memory_info().rss)

    @property
    def free_nbytes(self) -> int | None:
        """What is left of the limit; None where there is none."""
        return None if self.limit_nbytes is None else max(self.limit_nbytes - self.resident_nbytes, 0)


PROCESS = ProcessMemory()


def free_nbytes(device: str) -> int:
    """Bytes that can be allocated now on a device; for any device but CUDA, of the machine's main memory.

    Main memory is free up to the limit of `PROCESS`. Memory that torch keeps for itself on a CUDA device, unused, is
    free.
    """
    if device.startswith("cuda"):
        return _free_cuda_nbytes(device)
    import psutil

    available = int(psutil.virtual_memory().available)
    left = (available, cgroup_free_nbytes(CGROUP_FOLDER), PROCESS.free_nbytes)
    return min(nbytes for nbytes in left if nbytes is not None)


def _free_cuda_nbytes(device: str) -> int:
    import torch

    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(torch.device(device))[0]) + unused


def cgroup_free_nbytes(folder: Path) -> int | None:
    """What is left of a container's limit (Linux control groups, version 2); None where there is no limit.

    Pages of files that were read count as used there, but are given up when memory is short.
    """
    try:
        limit = int((folder / "memory.max").read_text())
        used = int((folder / "memory.current").read_text())
        statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return max(limit - used + int(statistics["inactive_file"]), 0)
    except (OSError, ValueError, KeyError):
        return None


def has_cuda() -> bool:
    """Whether torch is there and finds a CUDA device."""
    try:
        import torch
    except ImportError:
        return False
    return torch.cuda.is_available()
