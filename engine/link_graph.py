"""The links between nodes as a graph: what needs what, in which order, and where it goes in circles.

Every answer takes time linear in the size of the graph.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import chain
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import networkx as nx


class LinkGraph:
    """Nodes by id; an edge leads from a parent to the child that needs it.

    The order, which every run needs, is found here; what only some need is left to networkx.

    Args:
        edges: (parent, child). nodes: ids of those that may have no edge.
    """

    def __init__(self, nodes: Iterable[str], edges: Iterable[tuple[str, str]]) -> None:
        children: dict[str, list[str]] = {node_id: [] for node_id in nodes}
        for parent, child in dict.fromkeys(edges):
            if parent not in children:
                children[parent] = []
            if child not in children:
                children[child] = []
            children[parent].append(child)
        self._children = children

    def parents_first(self) -> list[str]:
        """All nodes, parents before children.

        Raises:
            networkx.NetworkXUnfeasible: the links form a circle.
        """
        return self._order if self._is_acyclic else list(self._nx.topological_sort(self._graph))

    def generations(self) -> list[list[str]]:
        """All nodes, each in the first of the lists that comes after those of all its parents.

        Raises:
            networkx.NetworkXUnfeasible: the links form a circle.
        """
        return [list(generation) for generation in self._nx.topological_generations(self._graph)]

    def circles(self) -> Iterator[list[str]]:
        """For each knot of nodes that need each other one circle: each feeds the next, and the last one the first."""
        if self._is_acyclic:
            return
        for knot in self._nx.strongly_connected_components(self._graph):
            node_id = min(knot)
            if len(knot) > 1 or self._graph.has_edge(node_id, node_id):
                yield self._circle(node_id, knot)

    def needed_by(self, wanted: Iterable[str]) -> list[str]:
        """These nodes and all that they need, parents before children.

        Raises:
            networkx.NetworkXUnfeasible: they need a circle.
        """
        needed = set(wanted)
        pending = list(needed)
        while pending:
            parents = [node_id for node_id in self._graph.predecessors(pending.pop()) if node_id not in needed]
            needed.update(parents)
            pending.extend(parents)
        return list(self._nx.topological_sort(self._graph.subgraph(needed)))

    def dependents(self, wanted: list[str]) -> dict[str, tuple[str, ...]]:
        """For each node those of the wanted ones that need it, itself included. (Kept as bits while counting.)"""
        bits = dict.fromkeys(self._graph, 0) | {node_id: 1 << index for index, node_id in enumerate(wanted)}
        knots = self._nx.condensation(self._graph)
        for knot in reversed(list(self._nx.topological_sort(knots))):
            members = knots.nodes[knot]["members"]
            behind = 0
            for node_id in members:
                behind |= bits[node_id]
                for child in self._graph.successors(node_id):
                    behind |= bits[child]
            bits.update(dict.fromkeys(members, behind))
        sets = {value: tuple(o for index, o in enumerate(wanted) if value >> index & 1) for value in {*bits.values()}}
        return {node_id: sets[value] for node_id, value in bits.items()}

    @cached_property
    def _order(self) -> list[str]:
        """The nodes that need no circle, parents before children (Kahn, 1962)."""
        missing = Counter(chain.from_iterable(self._children.values()))
        order = [node_id for node_id in self._children if node_id not in missing]
        for node_id in order:  # grows meanwhile
            for child in self._children[node_id]:
                missing[child] -= 1
                if missing[child] == 0:
                    order.append(child)
        return order

    @property
    def _is_acyclic(self) -> bool:
        return len(self._order) == len(self._children)

    @cached_property
    def _nx(self) -> ModuleType:
        import networkx  # at first need: a fifth of the time that the server takes to start

        return networkx

    @cached_property
    def _graph(self) -> nx.DiGraph[str]:
        graph: nx.DiGraph[str] = self._nx.DiGraph()
        graph.add_nodes_from(self._children)
        graph.add_edges_from((parent, child) for parent, children in self._children.items() for child in children)
        return graph

    def _circle(self, start: str, knot: set[str]) -> list[str]:
        path: dict[str, None] = {}
        node_id = start
        while node_id not in path:
            path[node_id] = None
            node_id = next(child for child in self._graph.successors(node_id) if child in knot)
        walked = list(path)
        return walked[walked.index(node_id) :]
