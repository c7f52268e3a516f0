"""Finds plugins, loads them, and lets them register what they bring. One that fails is reported and skipped."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy

from mezzotint.engine.errors import DeclarationError, RegistrationError
from mezzotint.engine.lane import Scope
from mezzotint.engine.node import NodeSpec, nodes_in
from mezzotint.engine.registry import Registry
from mezzotint.engine.residency import Residency

from . import hookspecs
from .code_version import code_version
from .hookimpl import PROJECT

BUILT_IN = ("mezzotint.nodes",)
ENTRY_POINTS = "mezzotint"


@dataclass(slots=True)
class LoadedPlugin:
    """A plugin that was looked at.

    Attributes:
        name: what messages call it. origin: where it comes from: a module, a distribution, a file.
        nodes: names of the nodes it registered. problem: why it, or a part of it, is not there.
    """

    name: str
    origin: str
    module: ModuleType | None = None
    version: str = ""
    nodes: list[str] = field(default_factory=list)
    problem: str | None = None


class Plugins:
    """The plugins of one host: the built-in ones, installed distributions, and files that were named."""

    def __init__(self) -> None:
        self.loaded: list[LoadedPlugin] = []
        self._manager = pluggy.PluginManager(PROJECT)
        self._manager.add_hookspecs(hookspecs)

    def load_built_in(self) -> None:
        """Load what comes with Mezzotint, by dotted name, through the same door as anybody's plugins."""
        for name in BUILT_IN:
            self._add(LoadedPlugin(name, "built in"), partial(importlib.import_module, name), PROJECT)

    def load_installed(self) -> None:
        """Load the distributions that name an entry point of the group `mezzotint`."""
        for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.name):
            origin = f"distribution {point.dist.name} {point.dist.version}" if point.dist else "an entry point"
            self._add(LoadedPlugin(point.name, origin), point.load, _distribution_name(point))

    def load_file(self, path: Path) -> None:
        """Load a single Python file; every function in it that `@node` marks is a node."""
        self._add(LoadedPlugin(path.stem, str(path)), partial(_import_file, path), None)

    def register_nodes(self, registry: Registry) -> None:
        """Let every plugin register its nodes."""
        for plugin in self.loaded:
            if plugin.module is None:
                continue
            register = partial(self._register, registry, plugin)
            others = [other.module for other in self.loaded if other.module not in (plugin.module, None)]
            if hasattr(plugin.module, "register_nodes"):
                self._manager.subset_hook_caller("register_nodes", others)(register=register)
            else:
                for function in nodes_in(plugin.module):
                    register(function)

    def register_models(self, models: Residency) -> None:
        """Let every plugin say how it materialises recipes."""
        self._manager.hook.register_models(models=models)

    def scope(self) -> Scope | None:
        """What surrounds node bodies."""
        scope: Scope | None = self._manager.hook.surround_bodies()
        return scope

    def problems(self) -> list[str]:
        """A sentence for each plugin, or part of one, that is not there."""
        return [plugin.problem for plugin in self.loaded if plugin.problem is not None]

    def _add(self, plugin: LoadedPlugin, load: Callable[[], Any], distribution_name: str | None) -> None:
        self.loaded.append(plugin)
        try:
            module = load()
            self._manager.register(module, plugin.name)
            self._manager.check_pending()
        except Exception as error:
            if self._manager.has_plugin(plugin.name):
                self._manager.unregister(name=plugin.name)
            plugin.problem = f"plugin '{plugin.name}' ({plugin.origin}) was skipped: {type(error).__name__}: {error}"
            return
        plugin.module, plugin.version = module, code_version(module, distribution_name)

    def _register(self, registry: Registry, plugin: LoadedPlugin, given: Callable[..., Any] | NodeSpec) -> NodeSpec:
        try:
            spec = registry.register(given, plugin.name, plugin.version)
        except (DeclarationError, RegistrationError) as error:
            if plugin.origin == "built in":
                raise
            plugin.problem = f"plugin '{plugin.name}' ({plugin.origin}): a node was skipped: {error}"
            return given if isinstance(given, NodeSpec) else _NOTHING
        plugin.nodes.append(spec.name)
        return spec


_NOTHING = NodeSpec("", lambda: None, {}, ())


def _distribution_name(point: EntryPoint) -> str | None:
    return point.dist.name if point.dist is not None else None


def _import_file(path: Path) -> ModuleType:
    name = f"mezzotint_plugin_{path.stem}"
    found = importlib.util.spec_from_file_location(name, path)
    if found is None or found.loader is None or not path.is_file():
        raise FileNotFoundError(f"there is no Python file '{path}'")
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module
    try:
        found.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
