"""How much memory is free: on a CUDA device, on the machine, or in the container the process runs in."""

from __future__ import annotations

from pathlib import Path

CGROUP_FOLDER = Path("/sys/fs/cgroup")


def free_nbytes(device: str) -> int:
    """Bytes that can be allocated now on a device; for any device but CUDA, of the machine's main memory.

    Memory that torch keeps for itself on a CUDA device, unused, counts as free.
    """
    if device.startswith("cuda"):
        return _free_cuda_nbytes(device)
    import psutil

    available = int(psutil.virtual_memory().available)
    left = cgroup_free_nbytes(CGROUP_FOLDER)
    return available if left is None else min(available, left)


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
