"""The objects of packs' node classes, which live on from run to run."""

from __future__ import annotations

import threading
from typing import Any

from mezzotint.engine.context import Context


class Instances:
    """One object for each node of the graph and its class, kept while consecutive graphs have that node."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, type], Any] = {}
        self._graph: Any = None
        self._lock = threading.Lock()

    def of(self, cls: type, context: Context) -> Any:
        """The object of a node; made without arguments when there is none."""
        with self._lock:
            self._turn_to(context.original_prompt)
            key = (context.node_id, cls)
            if key not in self._kept:
                self._kept[key] = cls()
            return self._kept[key]

    def _turn_to(self, graph: Any) -> None:
        """Drop the objects of nodes that a new graph does not have. A node of an expansion counts as its ancestor."""
        if graph is self._graph:
            return
        self._graph = graph
        self._kept = {key: kept for key, kept in self._kept.items() if _root(key[0], graph) in graph}


def _root(node_id: str, graph: Any) -> str:
    return node_id if node_id in graph else node_id.partition(".")[0]
