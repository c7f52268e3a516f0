"""A workflow that lacks nodes says which plugin has them, and a file beside a workflow is run once it is allowed."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from mezzotint.plugins.consent import Consents

from .conftest import OpenHost, Write

SOURCE = """
from mezzotint import node

@node("Beside")
def beside(a: int) -> int:
    return a + 1
"""
GRAPH = {"1": {"class_type": "Beside", "inputs": {"a": 1}}}


def missing(host: Any, graph: dict[str, Any] = GRAPH) -> str:
    problems = host.engine.validate(host.load(graph), ["1"]).problems
    return next(problem.reason for problem in problems if problem.code == "missing_node_type")


def test_a_plugin_that_is_not_allowed_is_named_with_what_to_do(open_host: OpenHost, write: Write) -> None:
    path = write("home/plugins/providing.py", SOURCE)
    assert missing(open_host()) == (
        f"there is no node type 'Beside'; plugin 'providing' ({path}) declares it, and is not allowed: "
        f"'mezzotint plugins allow {path}' allows it"
    )


def test_a_plugin_is_named_for_the_old_names_of_its_nodes_too(open_host: OpenHost, write: Write) -> None:
    write("home/plugins/providing.py", SOURCE.replace('"Beside"', '"Beside", was=("Near",)'))
    graph = {"1": {"class_type": "Near", "inputs": {}}}
    assert "plugin 'providing'" in missing(open_host(), graph)


def test_a_plugin_that_is_blocked_or_broken_is_named(open_host: OpenHost, write: Write) -> None:
    path = write("providing.py", SOURCE + "\n1 / 0\n")
    assert missing(open_host(path)).endswith("declares it, and could not be loaded")
    assert missing(open_host(path, blocked_plugins=("providing",))).endswith("declares it, and is blocked")


def test_what_the_workflow_notes_of_the_provider_is_told(open_host: OpenHost) -> None:
    for meta in ({"plugin": "fine-pack"}, {"cnr_id": "fine-pack"}, {"aux_id": "fine-pack"}):
        graph = {"1": {**GRAPH["1"], "_meta": meta}}
        assert missing(open_host(), graph).endswith("the workflow says that 'fine-pack' provides it: install that")


def test_a_workflow_notes_which_plugin_provides_its_nodes(open_host: OpenHost, write: Write) -> None:
    host = open_host(write("providing.py", SOURCE))
    assert host.load(GRAPH).to_api()["1"]["_meta"] == {"plugin": "providing"}


def test_a_file_beside_a_workflow_is_run_once_it_is_allowed(open_host: OpenHost, write: Write, tmp_path: Path) -> None:
    saved, beside = write("saved.json", json.dumps(GRAPH)), write("saved.nodes.py", SOURCE)
    host = open_host()
    (warning,) = host.load(saved).warnings
    assert (
        warning == f"'{beside}' was not run, since nobody allowed it; read it, then: mezzotint plugins allow {beside}"
    )
    Consents(tmp_path / "home").allow(beside)
    workflow = host.load(saved)
    assert workflow.warnings == []
    assert asyncio.run(host.engine.run(workflow, targets=["1"])).value("1") == 2
    assert host.load(str(saved)).nodes == workflow.nodes
    assert [plugin.source for plugin in host.plugins.loaded] == ["inline"]
