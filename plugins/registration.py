"""Lets one plugin register what it brings, with what takes it back; names what it does wrong."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

from mezzotint.engine.catalogue import Entry, catalogue
from mezzotint.engine.errors import DeclarationError, MezzotintError, RegistrationError
from mezzotint.engine.node import NodeSpec, nodes_in
from mezzotint.engine.value_type import Codec, register_codec

from .plugin import Plugin

if TYPE_CHECKING:
    from mezzotint.engine.folders import Folders
    from mezzotint.engine.output_store import Outputs, OutputStore
    from mezzotint.engine.registry import Registry
    from mezzotint.engine.residency import Residency

CATALOGUES = {
    "register_samplers": "sampler",
    "register_schedules": "schedule",
    "register_guiders": "guider",
    "register_model_families": "model family",
}
"""The hooks that fill a catalogue, and what its things are called."""


@dataclass(slots=True)
class Tables:
    """Where the plugins of a host register.

    Attributes:
        web_directories: name, mostly a plugin's → folder of static files, served at `/extensions/<name>/`.
    """

    registry: Registry
    models: Residency
    outputs: Outputs
    web_directories: dict[str, Path] = field(default_factory=dict)


class Registration:
    """Registers plugins into the tables of one host."""

    def __init__(self, manager: pluggy.PluginManager, tables: Tables) -> None:
        self._manager, self._tables = manager, tables

    def register(self, plugin: Plugin) -> None:
        """Call all hooks of a plugin by which it brings something. One that fails has the whole plugin skipped.

        Raises:
            Exception: a built-in plugin failed.
        """
        calls: list[tuple[str, dict[str, Any]]] = [
            ("register_value_types", {"register": partial(self._value_type, plugin)}),
            *((hook, {"register": partial(self._entry, plugin, kind)}) for hook, kind in CATALOGUES.items()),
            ("register_output_stores", {"register": partial(self._store, plugin)}),
            ("register_models", {"models": self._tables.models}),
            ("register_web_directory", {"register": partial(self._web_directory, plugin)}),
            ("register_nodes", {"register": partial(self._node, plugin)}),
        ]
        for hook, given in calls:
            if not call_hook(self._manager, hook, plugin, **given):
                return
        if not hasattr(plugin.implementation, "__file__"):
            return
        if "register_nodes" not in plugin.hooks:
            for function in nodes_in(plugin.implementation):
                self._node(plugin, function)
        if not plugin.hooks and not plugin.nodes and not plugin.problems:
            plugin.problems.append(
                f"plugin '{plugin.name}' ({plugin.origin}) brings nothing: its module has no hook and no function that "
                f"@node marks; write one, or import the nodes of its other modules in __init__.py"
            )

    # what plugins call

    def _node(self, plugin: Plugin, given: Callable[..., Any] | NodeSpec) -> NodeSpec:
        registry = self._tables.registry
        try:
            spec = registry.register(given, plugin.name, plugin.version)
        except (DeclarationError, RegistrationError) as error:
            self._refuse(plugin, "a node", error)
            return given if isinstance(given, NodeSpec) else _NOTHING
        plugin.nodes.append(spec.name)
        plugin.undo.callback(registry.unregister, spec)
        return spec

    def _entry(
        self, plugin: Plugin, kind: str, name: str, made: Any, /, *, traits: Collection[str] = (), **options: Any
    ) -> None:
        version = "" if plugin.is_ours else plugin.version
        entry = Entry(name, made, plugin.name, version, frozenset(traits), options)
        try:
            plugin.undo.callback(catalogue(kind).add(entry))
        except RegistrationError as error:
            self._refuse(plugin, f"a {kind}", error)
            return
        plugin.brings.append(f"{kind} {name}")

    def _value_type(self, plugin: Plugin, codec: Codec) -> None:
        try:
            register_codec(codec)
        except DeclarationError as error:
            self._refuse(plugin, "a value type", error)
            return
        plugin.brings.append(f"value type {codec.name}")

    def _store(self, plugin: Plugin, name: str, make_store: Callable[[Folders], OutputStore]) -> None:
        makers = self._tables.outputs.makers
        if name in makers:
            taken = RegistrationError(f"there is an output store '{name}' already; give it another name")
            self._refuse(plugin, "an output store", taken)
            return
        makers[name] = make_store
        plugin.undo.callback(makers.pop, name, None)
        plugin.brings.append(f"output store {name}")

    def _web_directory(self, plugin: Plugin, folder: Path, name: str | None = None) -> None:
        if not Path(folder).is_dir():
            missing = RegistrationError(f"there is no folder '{folder}'; give the path of one, below Path(__file__)")
            self._refuse(plugin, "a folder of web files", missing)
            return
        folders, name = self._tables.web_directories, name or plugin.name
        if name in folders:
            second = RegistrationError(f"'{folders[name]}' is registered already; put all files below one folder")
            self._refuse(plugin, "a folder of web files", second)
            return
        folders[name] = Path(folder)
        plugin.undo.callback(folders.pop, name, None)
        plugin.brings.append(f"web files {folder}")

    def _refuse(self, plugin: Plugin, what: str, error: MezzotintError) -> None:
        if plugin.is_ours:
            raise error
        plugin.problems.append(f"plugin '{plugin.name}' ({plugin.origin}): {what} was skipped: {error}")


def call_hook(manager: pluggy.PluginManager, hook: str, plugin: Plugin, **given: Any) -> bool:
    """Call a plugin's implementation of a hook, if it has one; False when it failed and the plugin was skipped.

    Raises:
        Exception: it failed, and the plugin is built in.
    """
    for implementation in hook_implementations(manager, hook):
        if implementation.plugin is not plugin.implementation:
            continue
        try:
            implementation.function(*(given[name] for name in implementation.argnames))
        except Exception as error:
            if plugin.is_ours:
                raise
            place = traceback.extract_tb(error.__traceback__)[-1]
            plugin.skip(
                f"its hook '{hook}' failed: {type(error).__name__}: {error} (at {place.filename}:{place.lineno}); "
                f"mend or block it"
            )
            return False
    return True


def hook_implementations(manager: pluggy.PluginManager, hook: str) -> Iterable[pluggy.HookImpl]:
    """The implementations of a hook, that of the plugin loaded first in front; `tryfirst` and `trylast` move them."""
    caller: pluggy.HookCaller = getattr(manager.hook, hook)
    return sorted(caller.get_hookimpls(), key=lambda found: (found.trylast, not found.tryfirst))


_NOTHING = NodeSpec("", lambda: None, {}, ())
