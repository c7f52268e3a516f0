from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from mezzotint import Context
from mezzotint.engine.context import Prompt
from mezzotint.engine.errors import FolderError
from mezzotint.engine.folders import Folders
from mezzotint.engine.workflow import Workflow
from mezzotint.engine.workflow_file import load_workflow
from mezzotint.nodes.latents.latent_file import LatentFileError, latent_content, load_latent, save_latent

GRAPH = {"7": {"class_type": "SaveLatent", "inputs": {}}}


@pytest.fixture
def ctx(tmp_path: Path) -> Context:
    folders = Folders(tmp_path)
    folders.input.mkdir()
    return Context("7", folders=folders, prompt=Prompt(Workflow.from_api(GRAPH)))


def saved_path(ctx: Context) -> Path:
    (shown,) = ctx.shown["latents"]
    assert shown["type"] == "output"
    path: Path = ctx.folders.output / shown["subfolder"] / shown["filename"]
    return path


def test_a_latent_comes_back_with_its_mask_and_places(ctx: Context) -> None:
    latent = {
        "samples": torch.randn(2, 4, 3, 5).transpose(2, 3),
        "noise_mask": torch.rand(1, 1, 24, 40),
        "batch_index": [3, 7],
    }
    save_latent(latent, ctx=ctx)
    path = saved_path(ctx)
    assert path.relative_to(ctx.folders.output).as_posix() == "latents/ComfyUI_00001_.latent"
    again = load_latent("latents/ComfyUI_00001_.latent [output]", ctx=ctx)
    assert again.keys() == latent.keys()
    assert torch.equal(again["samples"], latent["samples"])
    assert torch.equal(again["noise_mask"], latent["noise_mask"])
    assert again["batch_index"] == [3, 7]


def test_a_file_has_the_names_that_others_read_and_its_workflow(ctx: Context) -> None:
    save_latent({"samples": torch.ones(1, 4, 2, 2)}, "mine", ctx=ctx)
    with safe_open(saved_path(ctx), "pt") as file:
        assert set(file.keys()) == {"latent_tensor", "latent_format_version_0"}
        assert json.loads(file.metadata()["prompt"]) == GRAPH
    assert load_workflow(saved_path(ctx), {}).to_api() == GRAPH


def test_a_file_without_a_version_is_scaled(ctx: Context) -> None:
    save_file({"latent_tensor": torch.full((1, 4, 2, 2), 0.18215).half()}, ctx.folders.input / "old.latent")
    samples = load_latent("old.latent", ctx=ctx)["samples"]
    torch.testing.assert_close(samples, torch.ones(1, 4, 2, 2), rtol=1e-3, atol=1e-3)


def test_what_holds_no_latent_is_refused_in_a_sentence(ctx: Context) -> None:
    (ctx.folders.input / "broken.latent").write_bytes(b"no such thing")
    save_file({"other": torch.ones(1)}, ctx.folders.input / "other.latent")
    for name in ("broken.latent", "other.latent"):
        with pytest.raises(
            LatentFileError, match=rf"'{name}' holds no latent that can be read .*make it with SaveLatent"
        ):
            load_latent(name, ctx=ctx)
    with pytest.raises(FolderError, match=r"'nosuch\.latent' is not in the input folder"):
        load_latent("nosuch.latent", ctx=ctx)


def test_files_of_the_input_folder_are_listed_and_named_by_content(ctx: Context) -> None:
    save_file({"latent_tensor": torch.ones(1)}, ctx.folders.input / "a.latent")
    (ctx.folders.input / "picture.png").write_bytes(b"")
    from mezzotint.engine.node import nodes_in
    from mezzotint.engine.registry import Registry
    from mezzotint.nodes.latents import latent_file

    registry = Registry()
    for function in nodes_in(latent_file):
        registry.register(function)
    choices = registry["LoadLatent"].inputs["latent"].choices
    assert choices is not None
    assert choices.list(ctx.folders) == ["a.latent"]
    first = latent_content("a.latent", ctx.folders)
    save_file({"latent_tensor": torch.zeros(1)}, ctx.folders.input / "a.latent")
    assert latent_content("a.latent", ctx.folders) != first
