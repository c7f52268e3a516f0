"""Which dtype a network computes in: by what its file holds, the device, and what the user says. Pure, but for the end.

What is narrower than that may still lie in memory as it is in the file, and be widened layer by layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import torch

AUTO = "auto"


class DevicePowers(NamedTuple):
    """What decides of a device. kind: torch's name, `"cpu"`, `"cuda"`, `"mps"`. has_bfloat16: whether its units do."""

    kind: str
    has_bfloat16: bool


COMPUTED_IN: Mapping[str, tuple[str, str, str]] = {
    "float64": ("float32", "float32", "float32"),
    "float32": ("float32", "float32", "float32"),
    "float16": ("float32", "float16", "float16"),
    "bfloat16": ("float32", "bfloat16", "float32"),
    "float8_e4m3fn": ("float32", "bfloat16", "float16"),
    "float8_e5m2": ("float32", "bfloat16", "float16"),
}
"""In the file → on a CPU, on another device with bfloat16, on one without it.

CPUs are no faster in half precision. What was trained in bfloat16 may overflow in float16, so it is computed in float32
where there is no bfloat16. Nothing is computed in 8 bits.
"""


def computation_dtype(found: str, powers: DevicePowers, wanted: str = AUTO, *, avoids_half: bool = False) -> str:
    """What a network computes in, by torch's name.

    Args:
        found: the floating type of most numbers in its file, one of `COMPUTED_IN`.
        wanted: what the user or a workflow says; `AUTO` leaves it to the table.
        avoids_half: whether it overflows in float16, as most VAEs do; float32 then, if nobody wants otherwise.
    """
    if wanted != AUTO:
        return wanted
    on_cpu, with_bfloat16, without = COMPUTED_IN[found]
    dtype = on_cpu if powers.kind == "cpu" else with_bfloat16 if powers.has_bfloat16 else without
    return "float32" if avoids_half and dtype == "float16" else dtype


def powers_of(device: torch.device) -> DevicePowers:
    """What a device can do, as torch says."""
    return DevicePowers(device.type, _has_bfloat16(device))


def _has_bfloat16(device: torch.device) -> bool:
    import torch

    if device.type == "cuda":
        with torch.cuda.device(device):
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "mps":
        return bool(torch.backends.mps.is_macos_or_newer(14, 0))
    return True
