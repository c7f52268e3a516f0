"""A workflow that lacks nodes says which plugin has them, and a file beside a workflow is run once it is allowed."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

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
    assert missing(open_host(path)).endswith("declares it, and could not be loaded: 'mezzotint plugins' says why")
    blocked = missing(open_host(path, blocked_plugins=("providing",)))
    assert blocked.endswith(
        "declares it, and is blocked: name it neither by --block-plugin nor in MEZZOTINT_BLOCK_PLUGINS"
    )


@pytest.mark.parametrize("is_package", [False, True], ids=["module", "package"])
def test_an_installed_distribution_that_is_blocked_or_broken_is_named(
    is_package: bool, open_host: OpenHost, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = "site/providing_dist/parts.py" if is_package else "site/providing_dist.py"
    write(module, SOURCE + "\n1 / 0\n")
    if is_package:
        write("site/providing_dist/__init__.py", "from . import parts\n")
    write("site/fine_pack-2.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: fine-pack\nVersion: 2.0\n")
    write("site/fine_pack-2.0.dist-info/entry_points.txt", "[mezzotint]\nproviding = providing_dist\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    what = "plugin 'providing' (distribution fine-pack 2.0) declares it, and "
    assert f"{what}could not be loaded" in missing(open_host())
    assert f"{what}is blocked" in missing(open_host(blocked_plugins=("fine-pack",)))
    assert "providing_dist" not in sys.modules  # looked for without importing it


def test_a_pack_that_could_not_be_loaded_is_named(open_host: OpenHost, write: Write, tmp_path: Path) -> None:
    write("packs/broken.py", "NODE_CLASS_MAPPINGS = {'Beside': None}\n1 / 0\n")
    host = open_host(custom_nodes=(tmp_path / "packs",))
    assert "plugin 'broken'" in missing(host)
    assert "could not be loaded" in missing(host)


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


DOCUMENT = {
    "version": 0.4,
    "nodes": [
        {"id": 1, "type": "Beside", "outputs": [{"name": "INT", "type": "INT", "links": [1]}], "widgets_values": [4]},
        {"id": 2, "type": "PreviewAny", "inputs": [{"name": "source", "type": "*", "link": 1}]},
    ],
    "links": [[1, 1, 0, 2, 0, "INT"]],
    "extra": {"mezzotint": {"plugins": ["parts/adding.py"]}},
}


def test_a_file_that_an_editor_s_document_names_is_run_once_it_is_allowed(
    open_host: OpenHost, write: Write, tmp_path: Path
) -> None:
    saved, named = write("saved.json", json.dumps(DOCUMENT)), write("parts/adding.py", SOURCE)
    host = open_host(built_in=True)
    unknown = host.load(saved)
    assert f"'{named}' was not run, since nobody allowed it; read it" in unknown.warnings[-1]
    assert "there is no node type 'Beside'" in unknown.problems[0]
    (problem,) = host.engine.validate(unknown).problems  # one sentence for each node, the one that knows most
    assert f"plugin 'adding' ({named}) declares it, and is not allowed" in str(problem)
    Consents(tmp_path / "home").allow(named)
    workflow = host.load(saved)
    assert (workflow.warnings, workflow.problems) == ([], [])
    assert asyncio.run(host.engine.run(workflow, targets=["1"])).value("1") == 5


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("gone.py", "names the plugin 'gone.py', which is not there"), ("../a.py", "leaves its folder")],
)
def test_a_file_that_a_document_names_in_vain_is_told(
    name: str, sentence: str, open_host: OpenHost, write: Write
) -> None:
    document = {**DOCUMENT, "extra": {"mezzotint": {"plugins": [name, 7]}}}
    saved = write("work/saved.json", json.dumps(document))
    write("a.py", SOURCE)
    assert sentence in " ".join(open_host().load(saved).warnings)
