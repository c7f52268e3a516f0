"""How durations are written."""

from __future__ import annotations


def clock(seconds: float) -> str:
    """A duration: `8.2 s`, `1:05`, `2:00:09`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
