"""The model files that a document says it needs."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from mezzotint.engine.ui_format import convert_ui
from mezzotint.engine.ui_models import ModelSource, model_sources
from mezzotint.engine.workflow import Workflow

FILE = {"name": "a.safetensors", "directory": "checkpoints", "url": "https://example.org/a"}


def test_each_file_is_listed_once_with_its_address(ui: ModuleType, definitions: dict[str, dict[str, Any]]) -> None:
    canvas = ui.text_to_image()
    canvas.nodes[1]["properties"]["models"] = [FILE]
    canvas.nodes[2]["properties"]["models"] = [FILE, {"url": "nameless"}, None]
    inner = canvas.subgraph("sub", [], [])
    inner.add("CheckpointLoaderSimple", properties={"models": [{"name": "b", "hash": "00", "hash_type": "SHA256"}]})
    canvas.raw["models"] = [{"name": "c"}]
    assert model_sources(convert_ui(canvas.raw, definitions)) == [
        ModelSource("c"),
        ModelSource("a.safetensors", "checkpoints", "https://example.org/a"),
        ModelSource("b", hash="00", hash_type="SHA256"),
    ]


def test_a_graph_without_a_document_lists_none() -> None:
    assert model_sources(Workflow()) == []
