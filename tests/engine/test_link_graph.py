"""The graph of links: order, circles, and which outputs need a node; against networkx's own answers."""

from __future__ import annotations

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mezzotint.engine.link_graph import LinkGraph

NODES = [str(index) for index in range(9)]
EDGES = st.lists(st.tuples(st.sampled_from(NODES), st.sampled_from(NODES)), max_size=20)
WANTED = st.lists(st.sampled_from(NODES), unique=True, max_size=4)


def built(edges: list[tuple[str, str]]) -> nx.DiGraph[str]:
    graph: nx.DiGraph[str] = nx.DiGraph(edges)
    graph.add_nodes_from(NODES)
    return graph


@settings(max_examples=50)
@given(EDGES, WANTED)
def test_a_nodes_dependents_are_the_wanted_ones_behind_it(edges: list[tuple[str, str]], wanted: list[str]) -> None:
    graph = built(edges)
    behind = {node_id: nx.descendants(graph, node_id) | {node_id} for node_id in NODES}
    assert LinkGraph(NODES, edges).dependents(wanted) == {
        node_id: tuple(output for output in wanted if output in behind[node_id]) for node_id in NODES
    }


@settings(max_examples=50)
@given(EDGES)
def test_every_knot_has_one_circle_and_only_knots_have(edges: list[tuple[str, str]]) -> None:
    graph = built(edges)
    circles = list(LinkGraph(NODES, edges).circles())
    knots = [
        knot
        for knot in nx.strongly_connected_components(graph)
        if len(knot) > 1 or any(graph.has_edge(node_id, node_id) for node_id in knot)
    ]
    assert len(circles) == len(knots)
    for circle in circles:
        assert len({*circle}) == len(circle)
        assert all(graph.has_edge(a, b) for a, b in zip(circle, [*circle[1:], circle[0]], strict=True))


@settings(max_examples=50)
@given(EDGES, WANTED)
def test_what_is_needed_comes_before_what_needs_it(edges: list[tuple[str, str]], wanted: list[str]) -> None:
    edges = [(a, b) for a, b in edges if a < b]
    graph = built(edges)
    needed = LinkGraph(NODES, edges).needed_by(wanted)
    assert {*needed} == {*wanted}.union(*(nx.ancestors(graph, node_id) for node_id in wanted))
    place = {node_id: index for index, node_id in enumerate(needed)}
    assert all(place[a] < place[b] for a, b in edges if b in place)


def test_a_circle_has_no_order() -> None:
    with pytest.raises(nx.NetworkXUnfeasible):
        LinkGraph([], [("a", "b"), ("b", "a")]).parents_first()
    assert LinkGraph(["c"], [("a", "b"), ("b", "a")]).needed_by(["c"]) == ["c"]


@settings(max_examples=50)
@given(EDGES)
def test_the_order_is_that_of_networkx(edges: list[tuple[str, str]]) -> None:
    edges = [(a, b) for a, b in edges if a < b]
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(NODES)
    graph.add_edges_from(edges)
    assert LinkGraph(NODES, edges).parents_first() == [*nx.topological_sort(graph)]
