"""Opens the host that a command works with."""

from __future__ import annotations

import gc
import os
import re
from pathlib import Path
from typing import Any

from mezzotint.engine.folders import Folders
from mezzotint.plugins.host import Host, Settings

from .size import read_size
from .terminal import Terminal
from .usage import UsageError

VRAM_VARIABLE = "MEZZOTINT_VRAM_BUDGET"
_PATHS = ("input_dir", "output_dir", "models_dir", "extra_model_paths", "cache_dir", "plugins_dir")
_ELSEWHERE = {
    "plugins": "--plugin",
    "models_dir": "--models-dir",
    "extra_model_paths": "--extra-model-paths",
    "cache_dir": "--cache-dir",
    "device": "--device",
    "dtype": "--dtype",
    "vae_dtype": "--vae-dtype",
    "text_encoder_dtype": "--text-encoder-dtype",
    "vram_budget": "--vram-budget",
    "save_metadata": "--no-metadata",
    "allow_pickles": "--allow-pickles",
    "plugins_dir": "--plugins-dir",
    "blocked_plugins": "--block-plugin",
    "reload": "--reload",
    "output_store": "--output-store",
}
_DEVICE = re.compile(r"cpu|mps|(cuda|xpu)(:\d+)?")


def open_host(
    terminal: Terminal, plugins: list[Path] | None = None, *, needs_plugins: bool = True, **options: Any
) -> Host:
    """A host with the settings of the command line. Close it.

    Args:
        needs_plugins: whether a plugin named there must load.

    Raises:
        UsageError: a plugin named there cannot be used, the device is none, or the budget no size.
        FolderError: see `Folders`.
    """
    check_device(options.get("device"))
    if "vram_budget" in options:
        options["vram_budget_nbytes"] = _vram_budget(options.pop("vram_budget"))
    named = tuple(path.absolute() for path in plugins or ())
    for name in _PATHS:
        if options.get(name) is not None:
            options[name] = options[name].expanduser().absolute()
    folders = tuple(path.expanduser().absolute() for path in options.pop("custom_nodes", None) or ())
    host = Host(Settings(plugins=named, custom_nodes=folders, **options))
    gc.enable()  # see `_prepare_process`
    for plugin in host.plugins.found:
        if needs_plugins and plugin.problem and plugin.path in named:
            host.close()
            raise UsageError(f"--plugin: {plugin.problem}")
    for problem in host.plugins.problems():
        terminal.warn(problem)
    return host


def _vram_budget(given: str | None) -> int | None:
    """In bytes, of the option or else of the variable; None when neither says anything."""
    for text, source in ((given, "--vram-budget"), (os.environ.get(VRAM_VARIABLE), VRAM_VARIABLE)):
        if text:
            return read_size(text, source, at_least="16M")
    return None


def local_folders(options: dict[str, Any]) -> Folders:
    """The folders of this machine, for a command whose work is done on a server.

    Raises:
        UsageError: an option is given that only means something where the work is done.
    """
    for name, option in _ELSEWHERE.items():
        if options.get(name) not in (None, [], getattr(Settings(), name, None)):
            raise UsageError(
                f"{option}: a server has settings of its own; start it with that option, or run here without --server "
                "(and MEZZOTINT_SERVER)"
            )
    given = {name: options.get(name) for name in ("input_dir", "output_dir")}
    return Folders.default(**{name: path and path.expanduser().absolute() for name, path in given.items()})


def check_device(device: str | None) -> None:
    """See that a device is one, and that torch has it if it is a GPU.

    Raises:
        UsageError: it is not, or torch has it not.
    """
    if device is None or device == "cpu":
        return
    if not _DEVICE.fullmatch(device):
        raise UsageError(f"--device: there is no device '{device}'; allowed are cpu, cuda, cuda:1, mps")
    import torch

    kind, _, index = device.partition(":")
    backend = torch.backends.mps if kind == "mps" else getattr(torch, kind, None)
    if backend is None or not backend.is_available():
        raise UsageError(f"--device {device}: torch {torch.__version__} finds no such device here; use --device cpu")
    count = 1 if kind == "mps" else backend.device_count()
    if index and int(index) >= count:
        raise UsageError(f"--device {device}: there are only {count} such devices, counted from 0")
