"""Finds plugins, loads them, and lets them register what they bring. One that fails is reported and skipped."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import pluggy

from mezzotint.engine.lane import Scope
from mezzotint.engine.node import NodeSpec
from mezzotint.engine.surroundings import Hooked, Surroundings

from .code_version import code_version
from .consent import Consents
from .declared_nodes import declares, source_of
from .hook_check import HookError, check_hooks, implementations, new_manager
from .hookimpl import PROJECT
from .plugin import Plugin, State
from .plugin_import import PluginImportError, import_in_time, import_path
from .registration import Registration, Tables, call_hook, hook_implementations

BUILT_IN = ("mezzotint.nodes",)
ENTRY_POINTS = "mezzotint"

log = logging.getLogger("mezzotint.plugins")


class Plugins:
    """The plugins of one host, in the order of loading.

    Args:
        blocked: names of plugins and distributions that are not to be loaded. consents: which files may be run.

    Attributes:
        found: all that were looked at, also those that are not there.
    """

    def __init__(self, tables: Tables, consents: Consents, blocked: Collection[str] = ()) -> None:
        self.found: list[Plugin] = []
        self.tables, self.consents = tables, consents
        self._blocked = frozenset(blocked)
        self._manager = new_manager()
        self._registration = Registration(self._manager, tables)
        tables.registry.find_provider = self.provider_of

    @property
    def loaded(self) -> list[Plugin]:
        """Those that are there."""
        return [plugin for plugin in self.found if plugin.is_loaded]

    # the ways in

    def load_built_in(self) -> None:
        """Load what comes with Mezzotint, by dotted name, through the same door as anybody's plugins."""
        for name in BUILT_IN:
            plugin = Plugin(name, "built in", "built in", distribution=PROJECT)
            self._load(plugin, partial(importlib.import_module, name))

    def load_installed(self) -> None:
        """Load the distributions that name an entry point of the group `mezzotint`."""
        for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.name):
            self._load(_of_distribution(point), point.load)

    def load_folder(self, folder: Path, *, is_trusted: bool = False) -> None:
        """Load the files and folders of the plugins folder that are allowed; the others are found and not run."""
        for path in plugin_paths(folder):
            self._load_if_allowed(Plugin(path.stem, "folder", str(path), path), is_trusted)

    def load_file(self, path: Path) -> None:
        """Load a single Python file or a folder that somebody named, which is consent."""
        if any(plugin.path == path and plugin.is_loaded for plugin in self.found):
            return
        self.found = [plugin for plugin in self.found if plugin.path != path]
        self._load(Plugin(path.stem, "named", str(path), path), partial(import_path, path))

    def load_inline(self, path: Path, *, is_trusted: bool = False) -> Plugin:
        """Load the file that lies beside a workflow, once, if it is allowed."""
        known = next((plugin for plugin in self.found if plugin.path == path and plugin.state == "loaded"), None)
        if known is not None:
            return known
        self.found = [plugin for plugin in self.found if plugin.path != path]
        return self._load_if_allowed(Plugin(path.name.removesuffix(".py"), "inline", str(path), path), is_trusted)

    def load_pack(self, path: Path, load: Callable[[], Any]) -> None:
        """Load a pack of custom nodes, which lies in a folder that somebody named."""
        self._load(Plugin(path.stem, "named", str(path), sources=path), load)

    def load_object(self, implementation: Any) -> None:
        """Load a module or an object of the program itself."""
        name = getattr(implementation, "__name__", type(implementation).__name__)
        self._load(Plugin(name, "object", f"object {name}"), lambda: implementation)

    def _load_if_allowed(self, plugin: Plugin, is_trusted: bool) -> Plugin:
        assert plugin.path is not None
        verdict = "allowed" if is_trusted else self.consents.verdict(plugin.path)
        if verdict == "allowed":
            self._load(plugin, partial(import_path, plugin.path))
        else:
            self._put_aside(plugin, verdict)
        return plugin

    def _put_aside(self, plugin: Plugin, state: State) -> None:
        plugin.state = state
        self.found.append(plugin)

    def _load(self, plugin: Plugin, load: Callable[[], Any]) -> None:
        if not plugin.is_ours and self._blocked & {plugin.name, plugin.distribution}:
            self._put_aside(plugin, "blocked")
            return
        self.found.append(plugin)
        if self._take_up(plugin, load):
            self._registration.register(plugin)
        if not plugin.is_loaded:
            self._forget(plugin)

    def _take_up(self, plugin: Plugin, load: Callable[[], Any]) -> bool:
        """Import a plugin and check its hooks; whether that went well."""
        if plugin.is_ours:
            plugin.implementation = load()
        else:
            try:
                implementation, plugin.seconds = import_in_time(load)
                check_hooks(implementation)
            except (PluginImportError, HookError) as error:
                plugin.skip(str(error))
                return False
            if self._manager.has_plugin(plugin.name):
                plugin.skip("another plugin has this name; rename its file or its entry point")
                return False
            plugin.implementation = implementation
        self._manager.register(plugin.implementation, plugin.name)
        plugin.hooks = sorted({found.hook for found in implementations(plugin.implementation)})
        plugin.version = code_version(_module_of(plugin.implementation), plugin.distribution)
        if not plugin.is_ours:
            self.tables.registry.providers[plugin.name] = plugin.distribution or plugin.name
        return True

    def _forget(self, plugin: Plugin) -> None:
        if plugin.implementation is not None and self._manager.get_plugin(plugin.name) is plugin.implementation:
            self._manager.unregister(name=plugin.name)
        plugin.undo.close()

    # loading again

    def reload(self, plugin: Plugin) -> bool:
        """Load a plugin's changed file or folder again in its place; whether it was.

        What is broken is reported in the log, and the version before stays. Runs under way keep what they began with.
        """
        assert plugin.path is not None
        fresh = Plugin(plugin.name, plugin.source, plugin.origin, plugin.path)
        with self.tables.registry.held():
            self._forget(plugin)
            try:
                is_better = self._take_up(fresh, partial(import_path, plugin.path))
                if is_better:
                    self._registration.register(fresh)
            finally:
                if fresh.problems:
                    self._forget(fresh)
                    self._put_back(plugin)
        if fresh.problems:
            log.error("the version before stays: %s", fresh.problem)
            return False
        self.found[self.found.index(plugin)] = fresh
        return True

    def _put_back(self, plugin: Plugin) -> None:
        if plugin.implementation is not None:
            plugin.nodes.clear()
            plugin.brings.clear()
            self._manager.register(plugin.implementation, plugin.name)
            self._registration.register(plugin)

    def call(self, hook: str, plugin: Plugin, **given: Any) -> None:
        """Call one plugin's implementation of a hook, if it has one; if it fails, it is reported and skipped."""
        if not call_hook(self._manager, hook, plugin, **given):
            self._forget(plugin)

    # what they do around runs

    def scope(self) -> Scope | None:
        """What surrounds node bodies: the scopes of all plugins, one in the other."""
        scopes: list[Scope] = [scope for hooked in self._hooked("surround_bodies") if (scope := hooked.function())]
        if len(scopes) < 2:
            return scopes[0] if scopes else None
        return partial(_all_of, scopes)

    def surroundings(self) -> Surroundings:
        """What is called around runs and steps, and with events."""
        return Surroundings(self._hooked("surround_run"), self._hooked("surround_step"), self._hooked("observe_event"))

    def _hooked(self, hook: str) -> tuple[Hooked, ...]:
        found = hook_implementations(self._manager, hook)
        return tuple(Hooked(one.plugin_name, partial(_call, one)) for one in found)

    # reports

    def provider_of(self, node_type: str) -> str | None:
        """Who declares a node that is not there, of the plugins that were found and not loaded, and what to do."""
        for plugin in self.found:
            if plugin.is_loaded or plugin.sources is None or not declares(plugin.sources, node_type):
                continue
            what = f"plugin '{plugin.name}' ({plugin.path or plugin.origin}) declares it"
            if plugin.state in ("not allowed", "changed"):
                return f"{what}, and is {plugin.state}: 'mezzotint plugins allow {plugin.path}' allows it"
            if plugin.state == "blocked":
                return f"{what}, and is blocked: name it neither by --block-plugin nor in MEZZOTINT_BLOCK_PLUGINS"
            return f"{what}, and could not be loaded: 'mezzotint plugins' says why"
        return None

    def problems(self) -> list[str]:
        """A sentence for each plugin, or part of one, that is not there although it should be."""
        return [problem for plugin in self.found for problem in plugin.problems]

    def close(self) -> None:
        """Take back what plugins registered with the process."""
        for plugin in self.found:
            self._forget(plugin)


def plugin_paths(folder: Path) -> list[Path]:
    """The plugins that lie in a folder: Python files, and folders with an `__init__.py`."""
    if not folder.is_dir():
        return []
    files = [path for path in folder.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()]
    return sorted(path for path in files if not path.name.startswith((".", "_")))


def _of_distribution(point: EntryPoint) -> Plugin:
    if point.dist is None:
        return Plugin(point.name, "distribution", "an entry point")
    origin = f"distribution {point.dist.name} {point.dist.version}"
    return Plugin(point.name, "distribution", origin, sources=source_of(point.module), distribution=point.dist.name)


def _module_of(implementation: Any) -> Any:
    if hasattr(implementation, "__file__"):
        return implementation
    kind = implementation if isinstance(implementation, type) else type(implementation)
    return sys.modules[kind.__module__]


def _call(implementation: pluggy.HookImpl, **given: Any) -> Any:
    """Call an implementation with those arguments that it takes."""
    return implementation.function(*(given[name] for name in implementation.argnames))


@contextmanager
def _all_of(scopes: list[Scope], spec: NodeSpec) -> Iterator[None]:
    with ExitStack() as stack:
        for scope in scopes:
            stack.enter_context(scope(spec))
        yield
