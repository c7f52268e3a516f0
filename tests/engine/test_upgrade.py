"""Workflows that older versions of nodes saved are loaded as the nodes are now, and say so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mezzotint import node
from mezzotint.engine.definition import Definitions
from mezzotint.engine.registry import Registry
from mezzotint.engine.run_result import RunResult
from mezzotint.engine.upgrade import upgraded
from mezzotint.engine.workflow import Workflow
from mezzotint.engine.workflow_file import load_workflow


def from_1(inputs: dict[str, Any]) -> dict[str, Any]:
    return {"a": inputs["a"], "share": inputs["percent"] / 100}


def from_2(inputs: dict[str, Any]) -> dict[str, Any]:
    return {"a": inputs["a"], "part": inputs["share"]}


@node("Part", version=3, was=("Percent", "Share"), upgrades={1: from_1, 2: from_2})
def part(a: float, part: float = 0.5) -> float:
    return a * part


REGISTRY = Registry()
REGISTRY.register(part)


def saved(class_type: str = "Part", meta: dict[str, Any] | None = None, **inputs: Any) -> Workflow:
    return Workflow.from_api({"7": {"class_type": class_type, "inputs": inputs, "_meta": meta or {}}})


def test_a_document_that_does_not_say_is_of_version_1_and_goes_all_steps() -> None:
    workflow = upgraded(saved(a=8.0, percent=25), REGISTRY)
    node = workflow.nodes["7"]
    assert (node.class_type, node.inputs, node.meta) == ("Part", {"a": 8.0, "part": 0.25}, {"version": 3})
    assert workflow.upgrades == ["Node 7 (Part) was upgraded from version 1 to 3."]


def test_a_document_that_says_its_version_goes_the_steps_from_there() -> None:
    workflow = upgraded(saved(meta={"version": 2, "title": "x"}, a=["1", 0], share=0.5), REGISTRY)
    assert workflow.nodes["7"].inputs == {"a": ["1", 0], "part": 0.5}
    assert workflow.nodes["7"].meta == {"version": 3, "title": "x"}


def test_what_is_upgraded_stays_as_it_is_the_next_time() -> None:
    once = upgraded(saved(a=8.0, percent=25), REGISTRY)
    again = upgraded(Workflow.from_api(once.to_api()), REGISTRY)
    assert again.nodes == once.nodes
    assert again.upgrades == []


def test_an_old_name_becomes_the_new_one() -> None:
    workflow = upgraded(saved("Percent", a=8.0, percent=50), REGISTRY)
    assert workflow.nodes["7"].class_type == "Part"
    assert workflow.upgrades == ["Node 7 (Percent), which is called Part now, was upgraded from version 1 to 3."]


def test_what_a_client_submits_is_of_the_present_version_unless_its_name_is_old() -> None:
    assert upgraded(saved(a=1.0, part=0.1), REGISTRY, is_document=False).nodes["7"].inputs == {"a": 1.0, "part": 0.1}
    old = upgraded(saved("Share", a=1.0, percent=10), REGISTRY, is_document=False)
    assert old.nodes["7"].inputs == {"a": 1.0, "part": 0.1}


def test_inputs_that_cannot_be_upgraded_are_a_problem_with_the_cure() -> None:
    (problem,) = upgraded(saved(a=1.0, part=0.1), REGISTRY).problems
    assert problem == (
        "Node 7 (Part): its inputs of version 1 cannot become those of version 2 (KeyError: 'percent'); "
        'if it is of version 3, write "_meta": {"version": 3} into it.'
    )


def test_a_later_version_is_told_and_left() -> None:
    workflow = upgraded(saved(meta={"version": 9}, a=1.0, part=0.1), REGISTRY)
    assert "was saved by version 9 of the node, and this is version 3" in workflow.upgrades[0]
    assert workflow.nodes["7"].meta == {"version": 9}


def test_a_graph_with_nothing_to_upgrade_is_the_same_object() -> None:
    workflow = saved("Unknown", a=1)
    assert upgraded(workflow, REGISTRY) is workflow


def test_a_run_tells_of_upgrades_first(
    make_engine: Callable[..., Any], run: Callable[..., RunResult], heard: list[Any]
) -> None:
    import asyncio

    engine = make_engine(part)
    workflow = upgraded(saved(a=8.0, percent=25), engine.registry)
    result = asyncio.run(engine.run(workflow, targets=["7"], on_event=heard.append))
    assert result.value("7") == 2.0
    assert [event.kind for event in heard[:2]] == ["run_started", "workflow_upgraded"]
    assert heard[1].sentences == ("Node 7 (Part) was upgraded from version 1 to 3.",)


def test_an_editor_s_document_with_an_old_name_is_converted() -> None:
    document = {
        "nodes": [{"id": 7, "type": "Percent", "widgets_values": [8.0, 25], "properties": {"version": 3},
                   "outputs": [{"name": "FLOAT", "type": "FLOAT", "links": [1]}], "inputs": []}],
        "links": [],
    }  # fmt: skip
    workflow = upgraded(load_workflow(document, Definitions(REGISTRY)), REGISTRY)
    assert workflow.problems == []
    assert (workflow.nodes["7"].class_type, workflow.nodes["7"].inputs) == ("Part", {"a": 8.0, "part": 25})


def test_what_a_client_submits_gets_its_version_noted_and_nothing_else() -> None:
    registry = Registry()
    registry.register(part, "mine")
    registry.providers["mine"] = "my-pack"
    assert upgraded(saved(a=1.0, part=0.1), registry, is_document=False).nodes["7"].meta == {"version": 3}
    noted = upgraded(saved(a=8.0, percent=25), registry).nodes["7"].meta
    assert noted == {"version": 3, "plugin": "my-pack"}
