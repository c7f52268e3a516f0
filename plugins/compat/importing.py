"""Gives packs the modules that they import from their host; says so when a module or a name of it is not offered."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from .refusal import refusal
from .surroundings import host

OFFERED = {
    "folder_paths": "folder_paths",
    "nodes": "node_classes",
    "node_helpers": "conditioning",
    "server": "prompt_server",
    "comfy": "",
    "comfy.utils": "tensors",
    "comfy.model_management": "devices",
    "comfy.samplers": "samplers",
    "comfy.sample": "sampling",
    "comfy.k_diffusion": "",
    "comfy.k_diffusion.sampling": "sampling_functions",
    "comfy.sd": "model_files",
    "comfy.controlnet": "model_files",
    "comfy.cli_args": "arguments",
    "comfy.comfy_types": "node_typing",
    "comfy.comfy_types.node_typing": "node_typing",
    "comfy_extras": "",
    "comfy_execution": "",
    "comfy_execution.graph": "graph",
    "comfy_execution.graph_utils": "graph",
    "comfy_api": "",
    "comfy_api.latest": "node_api",
    "comfy_api.v0_0_1": "node_api",
    "comfy_api.v0_0_2": "node_api",
    "latent_preview": "previews",
}
"""Module as packs name it → file in `shims/` that holds it; "" for a package that holds nothing itself. All modules of
`comfy_extras` hold the built-in nodes by name."""
ROOTS = frozenset({name.partition(".")[0] for name in OFFERED} | {"execution"})
PACKS = "custom_nodes"
"""The package that packs lie in."""


class NotOfferedError(ImportError):
    """A pack imports what this host does not have."""


def missing(name: str) -> str:
    """Why a module or a name of one is not there."""
    return refusal(
        name, is_internal=name.startswith("comfy.") and name.rpartition(".")[0] not in OFFERED.keys() - {"comfy"}
    )


class _Finder(MetaPathFinder):
    """Finds the offered modules, and refuses what else lies below their names.

    Attributes:
        folders: hold packs, which may import one another as `custom_nodes.NAME`.
    """

    folders: Sequence[Path] = ()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        file = _file_of(fullname)
        if file is not None:
            return ModuleSpec(fullname, _OfferedLoader(), is_package=not file or _has_parts(fullname))
        if fullname == PACKS:
            found = ModuleSpec(fullname, None, is_package=True)
            found.submodule_search_locations = [str(folder) for folder in self.folders]
            return found
        if fullname.partition(".")[0] in ROOTS:
            raise NotOfferedError(missing(fullname), name=fullname)
        return None


class _OfferedLoader(Loader):
    """Fills a module from the file that holds it."""

    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__
        find: Callable[[str], Any] = _find_nothing
        if file := _file_of(name):
            held = importlib.import_module(f"{__package__}.shims.{file}")
            module.__dict__.update({key: value for key, value in vars(held).items() if not key.startswith("__")})
            find = getattr(held, "find", _find_nothing)
        module.__dict__["__getattr__"] = partial(_found_or_refused, name, find)
        # Packs look for their host's folder beside its modules: for that they lie in the home.
        module.__file__ = str(host().folders.home.joinpath(*name.split(".")).with_suffix(".py"))


def _found_or_refused(module: str, find: Callable[[str], Any], attribute: str) -> Any:
    """An attribute that a module does not hold: a part of it, what its function `find` gives, or a refusal."""
    if attribute.startswith("__"):
        raise AttributeError(attribute)
    if f"{module}.{attribute}" in OFFERED:
        return importlib.import_module(f"{module}.{attribute}")
    found = find(attribute)
    if found is None:
        raise AttributeError(missing(f"{module}.{attribute}"))
    return found


def _find_nothing(attribute: str) -> None:
    return None


def _file_of(name: str) -> str | None:
    """The file that holds a module, "" for none; None for a module that is not offered."""
    return "node_classes" if name.startswith("comfy_extras.") else OFFERED.get(name)


def _has_parts(name: str) -> bool:
    return any(other.startswith(f"{name}.") for other in OFFERED)


_FINDER = _Finder()


def offer(folders: Sequence[Path] = ()) -> None:
    """From now on these modules can be imported in this process, and the packs in these folders by each other."""
    if [*_FINDER.folders] != [*folders]:
        sys.modules.pop(PACKS, None)
    _FINDER.folders = folders
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)


def told(error: BaseException) -> BaseException:
    """The error of a pack's import; what is not offered said as such."""
    lacking = re.match(r"cannot import name '(\w+)'", str(error)) if isinstance(error, ImportError) else None
    if isinstance(error, ImportError) and lacking and _file_of(error.name or "") is not None:
        return NotOfferedError(missing(f"{error.name}.{lacking[1]}"), name=error.name)
    return error
