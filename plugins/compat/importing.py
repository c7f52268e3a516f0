"""Gives packs the modules that they import from their host; says so when a module or a name of it is not offered."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

OFFERED = {
    "folder_paths": "folder_paths",
    "nodes": "node_classes",
    "node_helpers": "conditioning",
    "server": "prompt_server",
    "comfy": "",
    "comfy.utils": "tensors",
    "comfy.model_management": "devices",
    "comfy.samplers": "samplers",
    "comfy.cli_args": "arguments",
    "comfy.comfy_types": "node_typing",
    "comfy.comfy_types.node_typing": "node_typing",
    "comfy_execution": "",
    "comfy_execution.graph": "graph",
    "comfy_execution.graph_utils": "graph",
    "comfy_api": "",
    "comfy_api.latest": "node_api",
}
"""Module as packs name it → file in `shims/` that holds it; "" for a package that holds nothing itself."""
ROOTS = frozenset({name.partition(".")[0] for name in OFFERED} | {"comfy_extras", "latent_preview", "execution"})
PACKS = "custom_nodes"
"""The package that packs lie in."""


class NotOfferedError(ImportError):
    """A pack imports what this host does not have."""


def refusal(name: str) -> str:
    """Why a module or a name of one is not there."""
    is_internal = name.startswith("comfy.") and name.rpartition(".")[0] not in OFFERED.keys() - {"comfy"}
    what = "the model internals of the host" if is_internal else "the host"
    return (
        f"'{name}' belongs to {what} that the pack was written for, and Mezzotint does not offer it; docs/packs.md "
        f"lists what it does"
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
        if fullname in OFFERED:
            return ModuleSpec(fullname, _OfferedLoader(), is_package=not OFFERED[fullname] or _has_parts(fullname))
        if fullname == PACKS:
            found = ModuleSpec(fullname, None, is_package=True)
            found.submodule_search_locations = [str(folder) for folder in self.folders]
            return found
        if fullname.partition(".")[0] in ROOTS:
            raise NotOfferedError(refusal(fullname), name=fullname)
        return None


class _OfferedLoader(Loader):
    """Fills a module from the file that holds it."""

    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__
        module.__dict__["__getattr__"] = lambda attribute: _refuse(name, attribute)
        if OFFERED[name]:
            held = importlib.import_module(f"{__package__}.shims.{OFFERED[name]}")
            module.__dict__.update({key: value for key, value in vars(held).items() if not key.startswith("__")})


def _refuse(module: str, attribute: str) -> Any:
    if attribute.startswith("__"):
        raise AttributeError(attribute)
    raise AttributeError(refusal(f"{module}.{attribute}"))


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
    missing = getattr(error, "name_from", None)
    if isinstance(error, ImportError) and missing and error.name in OFFERED:
        return NotOfferedError(refusal(f"{error.name}.{missing}"), name=error.name)
    return error
