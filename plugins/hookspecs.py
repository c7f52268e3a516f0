"""All hooks, and nothing else. A plugin implements any of them with `@mezzotint.hookimpl`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .hookimpl import hookspec

if TYPE_CHECKING:
    from mezzotint.engine.lane import Scope
    from mezzotint.engine.node import NodeSpec
    from mezzotint.engine.residency import Residency


@hookspec
def register_nodes(register: Callable[[Callable[..., Any] | NodeSpec], NodeSpec]) -> None:
    """Call `register` with each node: a function marked by `@node`, or a `NodeSpec`. Return nothing."""


@hookspec
def register_models(models: Residency) -> None:
    """Tell how recipes of a kind are materialised: `models.register(kind, loader)`. Return nothing."""


@hookspec(firstresult=True)
def surround_bodies() -> Scope | None:
    """Return a function of a `NodeSpec` that gives the context manager its bodies run in, or None to leave it."""
