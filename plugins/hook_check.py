"""Finds mistakes in a plugin's hooks before any is called: misspelt names, unknown arguments, wrappers."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any, NamedTuple

import pluggy

from mezzotint.engine.registry import closest

from . import hookspecs
from .hookimpl import PROJECT


class HookError(Exception):
    """A plugin's hooks cannot be used; the sentence says where and what helps."""


class Implementation(NamedTuple):
    """A hook of a plugin: its name and the function."""

    hook: str
    function: Any
    is_wrapper: bool


def new_manager() -> pluggy.PluginManager:
    """A manager that knows our hooks and no plugin."""
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    return manager


_manager = new_manager()


def hook_names() -> list[str]:
    """All hooks, in the order of their specifications."""
    return [name for name in vars(hookspecs) if _manager.parse_hookspec_opts(hookspecs, name) is not None]


def implementations(plugin: Any) -> list[Implementation]:
    """What a module or object marks by `hookimpl`, with the name of the hook it means."""
    found = []
    for name in dir(plugin):
        options = _manager.parse_hookimpl_opts(plugin, name)
        if options is not None:
            is_wrapper = bool(options.get("wrapper") or options.get("hookwrapper"))
            found.append(Implementation(options.get("specname") or name, getattr(plugin, name), is_wrapper))
    return found


def check_hooks(plugin: Any) -> None:
    """See that all hooks of a plugin are hooks, take arguments that there are, and are no wrappers.

    Raises:
        HookError: one is not.
    """
    wanted = getattr(plugin, "hook_version", hookspecs.HOOK_VERSION)
    if not isinstance(wanted, int) or wanted > hookspecs.HOOK_VERSION:
        raise HookError(
            f"it needs version {wanted} of the hooks, and this Mezzotint has version {hookspecs.HOOK_VERSION}; "
            f"install a later Mezzotint, or an earlier version of the plugin"
        )
    for found in implementations(plugin):
        _check(found)
    for name in _unmarked(plugin):
        raise HookError(f"{_place(getattr(plugin, name))}: '{name}' has the name of a hook; put @hookimpl above it")


def _check(found: Implementation) -> None:
    place, known = _place(found.function), hook_names()
    if found.hook not in known:
        near = closest(found.hook, known)
        hint = f"did you mean '{near}'?" if near else f"hooks are {', '.join(known)}"
        raise HookError(f"{place}: there is no hook '{found.hook}'; {hint}")
    if found.is_wrapper:
        raise HookError(f"{place}: '{found.hook}' is a wrapper of other plugins' hooks, which are not called; "
                        f"use surround_run or surround_step")  # fmt: skip
    allowed = [*inspect.signature(getattr(hookspecs, found.hook)).parameters]
    for name in _required(found.function):
        if name not in allowed:
            has = f"it has {', '.join(allowed)}" if allowed else "it has none"
            raise HookError(f"{place}: the hook '{found.hook}' has no argument '{name}'; {has}")


def _required(function: Any) -> Iterator[str]:
    for parameter in inspect.signature(function).parameters.values():
        if parameter.default is parameter.empty and parameter.kind not in (
            parameter.VAR_KEYWORD,
            parameter.VAR_POSITIONAL,
        ):
            yield parameter.name


def _unmarked(plugin: Any) -> Iterator[str]:
    """Functions of a module that have the name of a hook and no mark."""
    for name in hook_names() if inspect.ismodule(plugin) else ():
        function = vars(plugin).get(name)
        is_own = inspect.isfunction(function) and function.__module__ == plugin.__name__
        if is_own and _manager.parse_hookimpl_opts(plugin, name) is None:
            yield name


def _place(function: Any) -> str:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code is not None else repr(function)
