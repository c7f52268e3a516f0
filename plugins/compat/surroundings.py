"""What the code of packs stands in: the host they were loaded into, and the call that is running now.

Packs reach their host through modules and not through arguments, so both are found from anywhere.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from mezzotint.engine.context import Context
from mezzotint.engine.folders import Folders
from mezzotint.engine.invocation import Calls
from mezzotint.engine.registry import Registry
from mezzotint.engine.residency import Residency


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The parts of a host that packs use."""

    registry: Registry
    folders: Folders
    models: Residency


@dataclass(frozen=True, slots=True, eq=False)
class RunningCall:
    """A call of a pack's node. `node_type` is its class_type."""

    node_type: str
    context: Context
    run: Calls


_running: ContextVar[RunningCall | None] = ContextVar("running_call", default=None)
_host: list[Surroundings] = []
_calls: set[RunningCall] = set()
_lock = threading.Lock()


def enter(host: Surroundings) -> None:
    """From now on packs that ask outside a call find this host."""
    _host[:] = [host]


def host() -> Surroundings:
    """The host that packs were loaded into last.

    Raises:
        RuntimeError: there is none yet.
    """
    if not _host:
        raise RuntimeError("no host has loaded packs of custom nodes; open one with custom_nodes=[...]")
    return _host[0]


def running() -> RunningCall | None:
    """The call that this code is part of, if any."""
    return _running.get()


def context() -> Context | None:
    """What the running call may touch, if there is one."""
    call = _running.get()
    return call.context if call is not None else None


def context_outside_a_call() -> Context:
    """What code may touch that no node is running, such as a route's."""
    return Context(folders=host().folders, models=host().models)


def folders() -> Folders:
    """The folders of the running call, else those of the host."""
    here = context()
    return here.folders if here is not None else host().folders


def models() -> Residency:
    """The residency manager of the running call, else that of the host."""
    here = context()
    return here.models if here is not None else host().models


@contextmanager
def running_as(call: RunningCall) -> Iterator[None]:
    """What runs inside is part of this call; so are coroutines and threads that take its context along."""
    token = _running.set(call)
    with _lock:
        _calls.add(call)
    try:
        yield
    finally:
        with _lock:
            _calls.discard(call)
        _running.reset(token)


def interrupt() -> None:
    """Stop the run of this call; outside a call, all runs that are calling packs' nodes now."""
    call = _running.get()
    with _lock:
        calls = [call] if call is not None else list(_calls)
    for each in calls:
        each.run.interrupt()


def secret(name: str) -> Any:
    """A token that was submitted with the running job, or None."""
    here = context()
    return here.extra.get(name) if here is not None else None
