"""What a workflow's document says of the models it uses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mezzotint.cli.missing_models import ModelAddress, describe, missing_models, model_addresses
from mezzotint.engine.folders import Folders
from mezzotint.engine.problem import Problem

URL = "https://example.org/a.safetensors"


def entry(name: str, kind: str = "checkpoints", url: str = URL) -> dict[str, Any]:
    return {"name": name, "directory": kind, "url": url}


def document(*entries: Any) -> dict[str, Any]:
    return {"nodes": [{"id": 1, "properties": {"models": list(entries)}}]}


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(tmp_path, models=[tmp_path / "models"])


def test_models_are_found_in_nodes_subgraphs_and_beside_them() -> None:
    found = model_addresses(
        {
            **document(entry("a")),
            "models": [entry("b")],
            "definitions": {"subgraphs": [document(entry("c"), entry("a"))]},
        }
    )
    assert [address.name for address in found] == ["b", "a", "c"]


@pytest.mark.parametrize(
    "broken",
    [
        None, {}, {"nodes": None}, {"nodes": [None, 3]}, {"nodes": [{"properties": []}]}, {"definitions": []},
        {"definitions": {"subgraphs": [None]}}, {"models": "x"}, document(None, 3, {}, {"name": 5}),
    ],
)  # fmt: skip
def test_anything_else_in_their_place_is_passed_over(broken: Any) -> None:
    assert model_addresses(broken) == []


def test_only_addresses_of_the_web_are_told() -> None:
    (address,) = model_addresses(document(entry("a", url="file:///etc/passwd")))
    assert address.url == ""


def test_models_that_are_there_are_not_missing(folders: Folders, tmp_path: Path) -> None:
    (tmp_path / "models" / "checkpoints" / "deep").mkdir(parents=True)
    (tmp_path / "models" / "checkpoints" / "deep" / "a.safetensors").touch()
    listed = document(entry("a.safetensors"), entry("b.safetensors"), entry("c", kind="unheard_of"))
    assert [model.name for model in missing_models([], listed, folders)] == ["b.safetensors", "c"]


def test_a_model_that_an_input_names_is_matched_by_its_file_name(folders: Folders) -> None:
    problem = Problem("value_not_in_list", "", given="deep/a.safetensors", models="checkpoints")
    assert missing_models([problem], document(entry("a.safetensors")), folders) == [
        ModelAddress("a.safetensors", "checkpoints", URL)
    ]
    assert missing_models([problem], None, folders) == [ModelAddress("deep/a.safetensors", "checkpoints")]


def test_a_description_says_where_from_and_where_to(folders: Folders, tmp_path: Path) -> None:
    assert describe(ModelAddress("a", "vae", URL), folders).splitlines() == [
        "a (vae)",
        f"  get it from {URL}",
        f"  put it into {tmp_path / 'models' / 'vae'}",
    ]
    assert describe(ModelAddress("a", "unheard_of"), folders).splitlines() == [
        "a (unheard_of)",
        "  the workflow does not say where to get it",
    ]
