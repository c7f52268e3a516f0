"""`mezzotint validate`: the verdict, with every problem, for people and as JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .conftest import Command, Save

Graph = dict[str, Any]


def test_a_valid_workflow_is_told_with_its_outputs(mezzotint: Command, save: Save, sampling: Graph) -> None:
    done = mezzotint("validate", save(sampling))
    assert (done.code, done.out) == (0, "valid: 4 nodes; outputs 4 (Write)\n")


def test_nodes_that_no_output_needs_are_counted(mezzotint: Command, save: Save, sampling: Graph) -> None:
    sampling["9"] = {"class_type": "Line", "inputs": {"value": "unused"}}
    assert "5 nodes, 1 of them not needed" in mezzotint("validate", save(sampling)).out


def test_every_problem_is_a_line(mezzotint: Command, save: Save, sampling: Graph) -> None:
    sampling["3"]["inputs"].update(steps=0, cfg="hot")
    done = mezzotint("validate", save(sampling))
    assert done.code == 2
    first, second, verdict = done.out.splitlines()
    assert first.startswith("Node 3 (Sample), input 'steps'")
    assert second.startswith("Node 3 (Sample), input 'cfg'")
    assert verdict == "invalid: 2 problems"


def test_json_says_the_same(mezzotint: Command, save: Save, sampling: Graph) -> None:
    assert json.loads(mezzotint("validate", save(sampling), "--json").out) == {
        "valid": True,
        "nodes": 4,
        "outputs": ["4"],
        "problems": [],
        "warnings": [],
        "upgrades": [],
    }
    sampling["3"]["inputs"]["steps"] = 0
    done = mezzotint("validate", save(sampling), "--json")
    found = json.loads(done.out)
    assert (done.code, found["valid"]) == (2, False)
    (problem,) = found["problems"]
    assert (problem["node_id"], problem["input_name"], problem["given"]) == ("3", "steps", 0)
    assert problem["code"] == "value_smaller_than_min"
    assert problem["dependent_outputs"] == ["4"]


def test_what_is_no_workflow_has_the_same_code(mezzotint: Command, save: Save) -> None:
    done = mezzotint("validate", save("{"))
    assert done.code == 2
    assert "is not valid JSON" in done.err


def test_missing_models_are_listed(mezzotint: Command, save: Save) -> None:
    graph = {
        "1": {"class_type": "Load", "inputs": {"name": "lost.safetensors"}},
        "2": {"class_type": "Tell", "inputs": {"value": ["1", 0]}},
    }
    done = mezzotint("validate", save(graph))
    assert done.code == 2
    assert "Missing models:\n  lost.safetensors (checkpoints)\n" in done.out
