"""`comfy_execution.graph` and `comfy_execution.graph_utils`."""

from __future__ import annotations

from typing import Any

from mezzotint.engine.blocked import Blocked as ExecutionBlocker
from mezzotint.engine.expansion import BuiltNode as Node
from mezzotint.engine.expansion import GraphBuilder as _GraphBuilder
from mezzotint.engine.workflow import as_link
from mezzotint.plugins.compat import surroundings


class GraphBuilder(_GraphBuilder):
    """Builds a sub-graph. Without a prefix its ids are those of the running call, and the same on every run."""

    def __init__(self, prefix: str | None = None) -> None:
        call = surroundings.running()
        if prefix is None:
            prefix = call.context.graph().prefix if call is not None else ""
        super().__init__(prefix)


def is_link(value: Any) -> bool:
    """Whether an input is a link, `["id", slot]`."""
    return isinstance(value, list) and as_link(value) is not None


__all__ = ["ExecutionBlocker", "GraphBuilder", "Node", "is_link"]
