"""One pack of custom nodes: importing it, and what it brings."""

from __future__ import annotations

import importlib.util
import logging
import runpy
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from mezzotint.engine.node import NodeSpec
from mezzotint.plugins.code_version import code_version
from mezzotint.plugins.hookimpl import hookimpl

from .added_names import AddedNames, show_names, take_added
from .coroutine import finished
from .importing import PACKS, offer, told
from .instances import Instances
from .node_class import NodeClass
from .surroundings import Surroundings, enter

if TYPE_CHECKING:
    from aiohttp import web

    from mezzotint.engine.catalogue import Register

log = logging.getLogger("mezzotint.plugins")
_INSTANCES = Instances()


Found = tuple[str, type, str | None]
"""Class_type, class and title of a node."""


class PackError(Exception):
    """A pack brings no nodes."""


class Pack:
    """A pack that was imported; a plugin like any other.

    Attributes:
        classes: its node classes, by class_type.

    Args:
        found: class_type, class and title of its nodes. web: folders of files for editors that it named itself, by the
            name in their address. added: its samplers and schedules.
    """

    def __init__(
        self,
        path: Path,
        module: ModuleType,
        host: Surroundings,
        found: Iterable[Found],
        web: Mapping[str, str],
        added: AddedNames,
    ) -> None:
        self.__name__ = path.stem
        self.__file__ = module.__file__
        if path.is_dir():
            self.__path__ = [str(path)]
        self._path, self._module, self._host, self._web, self._added = path, module, host, web, added
        version = code_version(self)  # type: ignore[arg-type]
        self.classes = [NodeClass(name, cls, title, self.__name__, version, _INSTANCES) for name, cls, title in found]
        for node in self.classes:
            node.cls.RELATIVE_PYTHON_MODULE = f"custom_nodes.{self.__name__}"  # type: ignore[attr-defined]

    @hookimpl
    def register_samplers(self, register: Register) -> None:
        """Register the samplers that the pack added, and show their names to packs, too."""
        for name, sampler in self._added.samplers.items():
            register(name, sampler)
        show_names()

    @hookimpl
    def register_schedules(self, register: Register) -> None:
        """Register the schedules that the pack added."""
        for name, schedule in self._added.schedules.items():
            register(name, schedule)
        show_names()

    @hookimpl
    def register_nodes(self, register: Callable[[NodeSpec], NodeSpec]) -> None:
        """Register the classes. A name that an earlier pack has is taken over; a built-in one is refused."""
        for node in self.classes:
            known = self._host.registry.get(node.node_type)
            if known is not None and known.invocation is not None:
                log.warning("the node %s of pack '%s' is replaced by that of '%s'", node.node_type, known.plugin,
                            self.__name__)  # fmt: skip
                self._host.registry.unregister(known)
            try:
                spec = node.spec()
            except Exception as error:
                log.warning("pack '%s': the inputs of %s cannot be told yet: %s", self.__name__, node.node_type, error)
                spec = node.spec_without_inputs()
            register(spec)

    @hookimpl
    def register_web_directory(self, register: Callable[..., None]) -> None:
        """Register the scripts for editors: of WEB_DIRECTORY, else of pyproject.toml, and of EXTENSION_WEB_DIRS."""
        named = getattr(self._module, "WEB_DIRECTORY", None) or _web_of_project(self._path)
        if named and self._path.is_dir():
            register((self._path / named).resolve())
        for name, folder in self._web.items():
            register(Path(folder), name)

    @hookimpl
    def register_routes(self, register: Callable[[web.RouteDef], None]) -> None:
        """Register the routes that the pack added to `PromptServer.instance.routes` since the last pack did."""
        from .shims.prompt_server import PromptServer

        for route in PromptServer.instance.take_routes(self.__name__):
            register(route)


def pack_paths(folders: tuple[Path, ...]) -> Iterator[Path]:
    """The packs that lie in the folders: folders with an `__init__.py` and Python files, but for disabled ones."""
    for folder in folders:
        for path in sorted(folder.iterdir()):
            if path.name == "__pycache__" or path.name.startswith(".") or path.name.endswith(".disabled"):
                continue
            if path.suffix == ".py" or (path / "__init__.py").is_file():
                yield path


def prepare(folders: tuple[Path, ...], host: Surroundings) -> list[Path]:
    """Let packs find their host, and run the scripts that are to run before any of them is imported; the packs."""
    enter(host)
    offer(folders)
    host.folders.add(PACKS, *folders, first=True)
    paths = [*pack_paths(folders)]
    for path in paths:
        script = path / "prestartup_script.py"
        if script.is_file():
            try:
                runpy.run_path(str(script))
            except Exception:
                log.exception("pack '%s': its prestartup_script.py failed", path.name)
    return paths


def import_pack(path: Path, host: Surroundings) -> Pack:
    """Import a pack and read its classes.

    Raises:
        PackError: it brings no nodes. Whatever its code raises.
    """
    from .shims.node_classes import EXTENSION_WEB_DIRS, NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS
    from .shims.prompt_server import PromptServer

    name, before = str(path).replace(".", "_x_"), {*EXTENSION_WEB_DIRS}
    file = path / "__init__.py" if path.is_dir() else path
    places = [str(path)] if path.is_dir() else None
    spec = importlib.util.spec_from_file_location(name, file, submodule_search_locations=places)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    show_names(without=path.stem)
    try:
        with PromptServer.instance.routes_of(path.stem):
            spec.loader.exec_module(module)
            web = {name: folder for name, folder in EXTENSION_WEB_DIRS.items() if name not in before}
            titles, added = NODE_DISPLAY_NAME_MAPPINGS, NODE_CLASS_MAPPINGS.take_added()
            found = {name: (name, cls, titles.get(name)) for name, cls in added.items()}
            names = take_added(path.stem)
            found |= {one[0]: one for one in _found(module, is_needed=not (found or names))}
            return Pack(path, module, host, found.values(), web, names)
    except BaseException as error:
        show_names()
        NODE_CLASS_MAPPINGS.take_added()
        sys.modules.pop(name, None)
        raise told(error) from error


def _found(module: ModuleType, *, is_needed: bool) -> list[Found]:
    """The nodes that a pack names. Raises PackError when there must be some and it names none."""
    mappings = getattr(module, "NODE_CLASS_MAPPINGS", None)
    if mappings is not None:
        titles = getattr(module, "NODE_DISPLAY_NAME_MAPPINGS", None) or {}
        return [(str(name), cls, titles.get(name)) for name, cls in mappings.items()]
    entrypoint = getattr(module, "comfy_entrypoint", None)
    if entrypoint is None and not is_needed:
        return []
    if entrypoint is None:
        raise PackError("it has neither NODE_CLASS_MAPPINGS nor comfy_entrypoint, so it brings no nodes")
    extension = finished(entrypoint())
    finished(extension.on_load())
    schemas: list[Any] = [(cls, cls.GET_SCHEMA()) for cls in finished(extension.get_node_list())]
    return [(schema.node_id, cls, schema.display_name) for cls, schema in schemas]


def _web_of_project(path: Path) -> str | None:
    try:
        project = tomllib.loads((path / "pyproject.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    web = project.get("tool", {}).get("comfy", {}).get("web")
    return web if isinstance(web, str) else None
