"""Nodes without torch for the crash tests: loaded with `--plugin`."""

import os
import time
from typing import Any

from mezzotint import Context, node


@node("CrashStep")
def crash_step(value: str, salt: str, seconds: float = 0.02, *, log: str = "", ctx: Context) -> str:
    """Takes a while; notes in a file that it ran."""
    if log:
        with open(log, "a", encoding="utf-8") as file:  # noqa: PTH123 - a path from the test
            file.write(f"{salt}\n")
    time.sleep(seconds)
    return f"{value}/{salt}"


@node("CrashSave", sink=True)
def crash_save(text: str, prefix: str, copies: int = 2, *, ctx: Context) -> None:
    """Saves files, slowly."""
    series = ctx.outputs.series(prefix)
    shown: list[Any] = []
    for copy in range(copies):
        shown.append(series.save(f"{text} {copy}".encode(), ".txt"))
        time.sleep(0.01)
    ctx.show(files=shown)


@node("CrashExit")
def crash_exit(value: str) -> str:
    """Ends the process, as a fault in native code does."""
    os._exit(9)
