"""`mezzotint convert`: any form of a workflow as API JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .conftest import Command, Save

Graph = dict[str, Any]

OUT = {"name": "STRING", "type": "STRING", "links": [1]}
DOCUMENT = {
    "version": 0.4,
    "nodes": [
        {"id": 1, "type": "Line", "mode": 0, "inputs": [], "outputs": [OUT], "widgets_values": ["häuser"]},
        {"id": 2, "type": "Tell", "mode": 0, "inputs": [{"name": "value", "type": "*", "link": 1}], "outputs": []},
    ],
    "links": [[1, 1, 0, 2, 0, "STRING"]],
}


def test_an_editors_document_becomes_a_graph(mezzotint: Command, save: Save) -> None:
    done = mezzotint("convert", save(DOCUMENT))
    made = json.loads(done.out)
    assert made["1"]["inputs"] == {"value": "häuser"}
    assert made["2"]["inputs"] == {"value": ["1", 0]}
    assert done.code == 0


def test_the_graph_can_go_into_a_file_and_runs_from_there(mezzotint: Command, save: Save, tmp_path: Path) -> None:
    done = mezzotint("convert", save(DOCUMENT), "-o", "api.json")
    assert (done.code, done.out) == (0, "")
    assert f"Wrote {tmp_path / 'api.json'}" in done.err
    assert "Tell: häuser" in mezzotint("run", "api.json").err


def test_a_graph_stays_as_it_is_and_notes_who_provides_its_nodes(
    mezzotint: Command, save: Save, sampling: Graph
) -> None:
    noted = {key: {**node, "_meta": {**node.get("_meta", {}), "plugin": "toy_nodes"}} for key, node in sampling.items()}
    assert json.loads(mezzotint("convert", save(sampling)).out) == noted


def test_a_document_with_unknown_nodes_is_refused_whole(mezzotint: Command, save: Save, tmp_path: Path) -> None:
    broken = json.loads(json.dumps(DOCUMENT).replace('"Line"', '"Lime"'))
    done = mezzotint("convert", save(broken), "-o", "api.json")
    assert done.code == 2
    assert "there is no node type 'Lime'" in done.err
    assert not (tmp_path / "api.json").exists()


def test_a_target_that_cannot_be_written_is_a_sentence(mezzotint: Command, save: Save) -> None:
    done = mezzotint("convert", save(DOCUMENT), "-o", "nowhere/api.json")
    assert done.code == 2
    assert "cannot be written" in done.err
