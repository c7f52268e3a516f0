"""What a real workflow has fetched ahead, and that its picture is the same."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import pytest

from mezzotint import Context
from mezzotint.engine import residency
from mezzotint.engine.folders import Folders
from mezzotint.engine.residency import Residency
from mezzotint.nodes.adapters.lora_patch import LoraPatch
from mezzotint.nodes.models.checkpoints import Checkpoint
from mezzotint.nodes.models.recipe import Source
from mezzotint.plugins.host import Host, Settings

GRAPH = json.loads((Path(__file__).parents[3] / "workflows" / "text_to_image.json").read_text())
SECONDS = 30


def picture(home: Path) -> bytes:
    graph = {node_id: {**node, "inputs": dict(node["inputs"])} for node_id, node in GRAPH.items()}
    (sampler,) = (node for node in graph.values() if node["class_type"] == "KSampler")
    sampler["inputs"]["steps"] = 1
    with Host(Settings(home=home, device="cpu", save_metadata=False)) as host:
        asyncio.run(host.engine.run(host.load(graph))).raise_for_status()
    (path,) = (home / "output").glob("*.png")
    return path.read_bytes()


def test_the_files_of_what_comes_next_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    monkeypatch.setattr(residency, "read_ahead", lambda path, is_wanted: read.append(path.parent.name))
    monkeypatch.setattr(Residency, "_materialise", after_reading(read, Residency._materialise))
    picture(tmp_path)
    assert "unet" in read


def after_reading(read: list[str], materialise: Any) -> Any:
    """The U-Net is made by the step that borrows it when its file was read ahead, which is waited for."""

    def waiting(models: Residency, weights: Any, entry: Any) -> None:
        deadline = threading.Event()
        for _ in range(SECONDS * 100):
            if weights.kind != "model" or "unet" in read or deadline.wait(0.01):
                break
        materialise(models, weights, entry)

    return waiting


def test_a_picture_is_the_same_whatever_is_loaded_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = picture(tmp_path / "plain")
    monkeypatch.setattr(Residency, "host_nbytes", 1 << 30)  # as of a device with memory of its own
    assert picture(tmp_path / "ahead") == expected


def test_the_files_of_a_recipe(embedded: Checkpoint, model_context: Context, tmp_path: Path) -> None:
    paths = embedded.MODEL.files(model_context.folders)
    assert {path.parent.name for path in paths} >= {"unet", "vae", "text_encoder"}
    assert all(path.suffix == ".safetensors" and path.is_file() for path in paths)
    folders = Folders(tmp_path / "home", models=[tmp_path])
    (tmp_path / "loras").mkdir()
    (tmp_path / "loras" / "a.safetensors").touch()
    _, lora = embedded.MODEL.with_patch(LoraPatch(Source("loras", "a.safetensors", "0"), 1.0)).weights.parts
    assert lora.files(folders) == [tmp_path / "loras" / "a.safetensors"]
