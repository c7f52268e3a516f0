"""`mezzotint doctor`: whether everything that Mezzotint needs is there and works."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from rich.table import Table
from rich.text import Text

from mezzotint.engine.errors import MezzotintError
from mezzotint.engine.folders import HOME_VARIABLE, MODELS_VARIABLE, Folders
from mezzotint.plugins.host import Host

from .exit_code import DONE, FAILED
from .host import open_host
from .models import find_models
from .terminal import Terminal

State = Literal["ok", "note", "broken"]
_STYLES: dict[State, str] = {"ok": "green", "note": "yellow", "broken": "bold red"}
PACKAGES = ("torch", "diffusers", "transformers", "safetensors", "numpy", "pillow")
LOW_DISK_NBYTES = 1_000_000_000
GB = 1e9


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `broken`: something will not work; `note`: it may be meant so."""

    state: State
    subject: str
    text: str


def doctor(host: dict[str, Any]) -> int:
    """Look at everything, say what is found, and return the exit code: 1 if something is broken."""
    terminal = Terminal()
    findings = [*_versions(), *_guarded("torch", _torch), *_guarded("memory", _memory)]
    try:
        with open_host(Terminal(is_quiet=True), **host) as opened:
            findings.extend(_host(opened))
    except MezzotintError as error:
        findings.append(Finding("broken", "set-up", str(error)))
    except Exception as error:
        findings.append(Finding("broken", "set-up", f"{type(error).__name__}: {error}"))
    _show(terminal, findings)
    broken = sum(finding.state == "broken" for finding in findings)
    terminal.say(f"{broken} broken." if broken else "Everything works.", style="bold")
    return FAILED if broken else DONE


def _show(terminal: Terminal, findings: list[Finding]) -> None:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        table.add_row(Text(finding.state, style=_STYLES[finding.state]), finding.subject, Text(finding.text))
    terminal.show(table)


def _guarded(subject: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    try:
        yield from look()
    except Exception as error:
        yield Finding("broken", subject, f"{type(error).__name__}: {error}")


def _versions() -> Iterator[Finding]:
    yield Finding("ok", "mezzotint", f"{version('mezzotint')}, in {Path(__file__).parents[1]}")
    yield Finding("ok", "python", f"{platform.python_version()} on {platform.platform()}, {sys.executable}")
    for name in PACKAGES:
        try:
            yield Finding("ok", name, version(name))
        except PackageNotFoundError:
            yield Finding("broken", name, "is not installed; install Mezzotint again")


def _torch() -> Iterator[Finding]:
    import torch

    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(index)
            name = torch.cuda.get_device_name(index)
            yield Finding("ok", f"cuda:{index}", f"{name}, {free / GB:.1f} of {total / GB:.1f} GB free")
    else:
        threads = torch.get_num_threads()
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
        yield Finding(
            "ok", "device", f"cpu, {threads} thread{'s' if threads > 1 else ''}; no CUDA device (torch is {built})"
        )


def _memory() -> Iterator[Finding]:
    import psutil

    from mezzotint.engine.free_memory import free_nbytes

    total = psutil.virtual_memory().total
    yield Finding("ok", "memory", f"{free_nbytes('cpu') / GB:.1f} of {total / GB:.1f} GB free")


def _host(host: Host) -> Iterator[Finding]:
    yield from _folders(host.folders)
    models = find_models(host.folders)
    counts = ", ".join(f"{len(names)} {kind}" for kind, names in models.items())
    yield Finding("ok" if models.get("checkpoints") else "broken", "models", counts or "there are none")
    for plugin in host.plugins.found:
        state: State = "broken" if plugin.problem else "ok" if plugin.is_loaded else "note"
        what = f"{len(plugin.nodes)} nodes" if plugin.is_loaded else plugin.state
        yield Finding(state, "plugin", plugin.problem or f"{plugin.name}: {what} ({plugin.origin})")


def _folders(folders: Folders) -> Iterator[Finding]:
    source = f" (from {HOME_VARIABLE})" if os.environ.get(HOME_VARIABLE) else ""
    yield _writable("home", folders.home, source)
    yield _writable("output", folders.output)
    yield _writable("temp", folders.temp)
    missing = "" if folders.input.is_dir() else "; not there yet, make it to give pictures to workflows"
    yield Finding("ok", "input", f"{folders.input.absolute()}{missing}")
    for folder in folders.models:
        named = str(folder) in os.environ.get(MODELS_VARIABLE, "").split(os.pathsep)
        is_lost = named and not folder.is_dir()
        missing = "" if folder.is_dir() else "; not there"
        yield Finding("note" if is_lost else "ok", "models in", f"{folder.absolute()}{missing}")


def _writable(subject: str, folder: Path, source: str = "") -> Finding:
    """Whether files can be made in a folder, or in the nearest one above that is there."""
    present = next((path for path in (folder, *folder.absolute().parents) if path.exists()), folder)
    text = f"{folder.absolute()}{source}"
    if not present.is_dir():
        return Finding("broken", subject, f"{text}: {present} is no folder")
    if not os.access(present, os.W_OK | os.X_OK):
        return Finding("broken", subject, f"{text}: {present} cannot be written to")
    free = shutil.disk_usage(present).free
    state: State = "note" if free < LOW_DISK_NBYTES else "ok"
    made = "" if folder.exists() else "not there yet, "
    return Finding(state, subject, f"{text} ({made}{free / GB:.1f} GB free on disk)")
