"""Models that workflows save, by the command line: a merge is saved, found by its name, and draws what it drew."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from ..nodes import single_files
from .conftest import Command
from .test_run_with_models import pixels


@pytest.fixture
def two_models(tmp_path: Path) -> None:
    """The checkpoints `one.safetensors` and `two.safetensors`."""
    for seed, name in enumerate(("one", "two")):
        torch.manual_seed(seed)
        single_files.sd1().write(tmp_path / "models" / "checkpoints" / f"{name}.safetensors")


def loader(name: str) -> dict[str, Any]:
    return {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": name}}


def graph(*endings: dict[str, Any]) -> dict[str, Any]:
    """A graph whose nodes 1 and 2 load checkpoints and whose node 3 merges them."""
    names = ("one.safetensors", "two.safetensors")
    loaders = {str(n): loader(name) for n, name in enumerate(names, 1)}
    merged = {"class_type": "ModelMergeSimple", "inputs": {"model1": ["1", 0], "model2": ["2", 0], "ratio": 0.4}}
    return {**loaders, "3": merged, **{str(n): ending for n, ending in enumerate(endings, 4)}}


def drawing(model: list[Any], checkpoint: str, first: int) -> list[dict[str, Any]]:
    """Nodes that draw with a model, the text encoder and VAE of node `checkpoint`; the first has the number `first`."""
    text, latent, sampled, picture = (str(first + place) for place in range(4))
    settings = {"seed": 3, "steps": 2, "cfg": 2.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}
    return [
        {"class_type": "CLIPTextEncode", "inputs": {"clip": [checkpoint, 1], "text": "a cat"}},
        {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
        {
            "class_type": "KSampler",
            "inputs": {
                "model": model, "positive": [text, 0], "negative": [text, 0], "latent_image": [latent, 0], **settings,
            },
        },
        {"class_type": "VAEDecode", "inputs": {"samples": [sampled, 0], "vae": [checkpoint, 2]}},
        {"class_type": "SaveImage", "inputs": {"images": [picture, 0]}},
    ]  # fmt: skip


@pytest.mark.usefixtures("two_models")
def test_a_saved_merge_is_loaded_by_its_name_and_draws_the_same(plain_mezzotint: Command, tmp_path: Path) -> None:
    saving = {"class_type": "CheckpointSave", "inputs": {"model": ["3", 0], "clip": ["1", 1], "vae": ["1", 2]}}
    (tmp_path / "merge.json").write_text(json.dumps(graph(*drawing(["3", 0], "1", 4), saving)))
    first = plain_mezzotint("run", "merge.json", "--models-dir", "models", "--output-dir", "made")
    assert first.code == 0, first.err
    assert (tmp_path / "made" / "checkpoints" / "ComfyUI_00001_.safetensors").is_file()
    nodes = [loader("ComfyUI_00001_.safetensors"), *drawing(["1", 0], "1", 2)]
    (tmp_path / "again.json").write_text(json.dumps({str(n): node for n, node in enumerate(nodes, 1)}))
    again = plain_mezzotint("run", "again.json", "--models-dir", "models", "--output-dir", "made")
    assert again.code == 0, again.err
    pictures = [next(file for file in done.files if file.suffix == ".png") for done in (first, again)]
    assert pixels(pictures[0]) == pixels(pictures[1])
