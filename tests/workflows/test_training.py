"""The training workflows: the small ones as they are, the large ones with eight pictures until they are learnt."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from mezzotint import Context
from mezzotint.engine.run_result import RunResult
from mezzotint.nodes.autoencoders.vae_loader import load_vae
from mezzotint.nodes.models.checkpoints import load_checkpoint
from mezzotint.nodes.training.shapes import drawn_shapes
from mezzotint.plugins.host import Host, Settings

WORKFLOWS = Path(__file__).parents[2] / "workflows"
LARGE = ["train_autoencoder", "train_text_to_image", "train_lora"]
needs_peft = pytest.mark.skipif(importlib.util.find_spec("peft") is None, reason="peft, of the extra 'training'")


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    folders = {f"{name}_dir": tmp_path / name for name in ("output", "input", "models")}
    with Host(Settings(**folders)) as host:
        yield host


def run(host: Host, graph: Any) -> RunResult:
    return asyncio.run(host.engine.run(host.load(graph))).raise_for_status()


def graph_of(name: str, **changes: dict[str, Any]) -> dict[str, Any]:
    """A bundled workflow, with inputs of some nodes changed: `n5={"channels": "32"}`."""
    graph: dict[str, Any] = json.loads((WORKFLOWS / f"{name}.json").read_text())
    for node_id, inputs in changes.items():
        graph[node_id.removeprefix("n")]["inputs"] |= inputs
    return graph


@pytest.mark.parametrize("name", LARGE)
def test_the_large_ones_are_sound_but_for_their_data(host: Host, name: str) -> None:
    assert host.engine.validate(host.load(WORKFLOWS / f"{name}.json")).problems == []
    large, small = graph_of(name), graph_of(f"{name}_small")
    assert [node["class_type"] for node in large.values()][1:] == [node["class_type"] for node in small.values()][1:]


def test_the_small_autoencoder_is_trained_saved_and_loaded(host: Host, tmp_path: Path) -> None:
    run(host, WORKFLOWS / "train_autoencoder_small.json")
    assert {"loss.png", "checkpoint_00000020.safetensors", "samples_00000020.png"} <= {
        path.name for path in (tmp_path / "output" / "training" / "autoencoder-small").iterdir()
    }
    context = Context(folders=host.folders)
    vae = load_vae("small/diffusion_pytorch_model.safetensors", ctx=context)
    with context.models.borrow(vae) as autoencoder, torch.inference_mode():
        assert autoencoder.latent_channels == 4
        assert autoencoder.encode(torch.rand(1, 32, 32, 3)).shape == (1, 4, 16, 16)


def test_the_small_text_to_image_model_is_trained_saved_and_draws(host: Host, tmp_path: Path) -> None:
    result = run(host, WORKFLOWS / "train_text_to_image_small.json")
    assert len(result.outputs["13"]["images"]) == 2
    graph = graph_of("text_to_image")
    graph["1"]["inputs"]["ckpt_name"] = "small"
    assert run(host, graph).status == "done"
    mine = Context(folders=host.folders)
    with mine.models.borrow(load_checkpoint("small", ctx=mine).MODEL) as denoiser:
        assert denoiser.sampling.prediction_type == "v_prediction"
        assert 0.01 < denoiser.sampling.scaling_factor < 100


def test_a_model_conditioned_by_class_draws_the_class_it_is_asked_for(host: Host, tmp_path: Path) -> None:
    """Two pictures without captions, in folders named for their classes; the saved model tells them apart."""
    colours = {"blue": (30, 60, 220), "red": (220, 40, 30)}
    for name, colour in colours.items():
        (tmp_path / "input" / "sorted" / name).mkdir(parents=True)
        Image.new("RGB", (64, 64), colour).save(tmp_path / "input" / "sorted" / name / "0.png")
    training = graph_of(
        "train_text_to_image",
        n1={"folder": "sorted", "classes": "folder", "on_error": "stop"},
        n5={"channels": "32", "head_channels": 16, "text_width": 32, "text_layers": 1, "by_class": True},
        n6={"steps": 80, "learning_rate": 3e-3, "warmup_steps": 5, "ema_decay": 0.9},
        n8={"prompts": "", "class_labels": "1", "steps": 5},
        n9={"steps": 80, "batch_size": 8, "checkpoint_every": 0},
        n11={"name": "sorted"},
    )
    run(host, training)
    index = json.loads((tmp_path / "models" / "checkpoints" / "sorted" / "model_index.json").read_text())
    assert index["id2label"] == {"0": "blue", "1": "red"}
    wanted = np.array([*colours.values()]) / 255
    for label in range(2):
        drawing = graph_of("text_to_image", n1={"ckpt_name": "sorted"}, n2={"text": ""}, n5={"positive": ["50", 0]})
        drawing["50"] = {"class_type": "ConditioningSetClass",
                         "inputs": {"conditioning": ["2", 0], "class_label": label}}  # fmt: skip
        drawn = picture(run(host, drawing), tmp_path).mean((0, 1))
        assert np.square(drawn - wanted).sum(1).argmin() == label


def test_a_model_for_inpainting_is_trained_and_paints(host: Host, tmp_path: Path) -> None:
    run(host, graph_of("train_text_to_image_small", n3={"masks": True}))
    drawing = graph_of("text_to_image", n1={"ckpt_name": "small"})
    drawing["5"]["inputs"] |= {"positive": ["52", 0], "negative": ["52", 1], "latent_image": ["52", 2]}
    drawing["51"] = {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 255}}
    drawing["53"] = {"class_type": "SolidMask", "inputs": {"value": 1.0, "width": 64, "height": 64}}
    drawing["52"] = {"class_type": "InpaintModelConditioning",
                     "inputs": {"positive": ["2", 0], "negative": ["3", 0], "vae": ["1", 2], "pixels": ["51", 0],
                                "mask": ["53", 0], "noise_mask": True}}  # fmt: skip
    assert picture(run(host, drawing), tmp_path).shape == (64, 64, 3)


@needs_peft
def test_the_small_lora_is_trained_saved_and_changes_a_picture(host: Host, tmp_path: Path) -> None:
    run(host, WORKFLOWS / "train_lora_small.json")
    weights = load_file(tmp_path / "models" / "loras" / "small.safetensors")
    assert {name.split(".")[0] for name in weights} == {"unet", "text_encoder"}
    plain = picture(run(host, WORKFLOWS / "text_to_image.json"), tmp_path)
    graph = graph_of("text_to_image")
    graph["50"] = {"class_type": "LoraLoader", "inputs": {"model": ["1", 0], "clip": ["1", 1],
                   "lora_name": "small.safetensors", "strength_model": 1.0, "strength_clip": 1.0}}  # fmt: skip
    for node in graph.values():
        for name, value in node["inputs"].items():
            if value in (["1", 0], ["1", 1]) and node is not graph["50"]:
                node["inputs"][name] = ["50", value[1]]
    assert np.abs(picture(run(host, graph), tmp_path) - plain).max() > 0.02


def test_the_loop_of_single_nodes_trains(host: Host) -> None:
    assert len(run(host, WORKFLOWS / "train_loop_small.json").outputs["18"]["images"]) == 1


def picture(result: RunResult, tmp_path: Path) -> np.ndarray[Any, Any]:
    (shown,) = (image for lists in result.outputs.values() for image in lists.get("images", []))
    return pixels(tmp_path / "output" / shown["subfolder"] / shown["filename"])


def pixels(path: Path) -> np.ndarray[Any, Any]:
    with Image.open(path) as opened:
        return np.asarray(opened.convert("RGB")).astype(np.float32) / 255


def put_shapes(folder: Path, count: int) -> tuple[str, ...]:
    """Captioned pictures of shapes in a folder; their captions."""
    folder.mkdir(parents=True)
    drawn, captions = drawn_shapes(count, 64, seed=11)
    for index, (picture, caption) in enumerate(zip(drawn, captions, strict=True)):
        Image.fromarray(picture.numpy()).save(folder / f"{index}.png")
        (folder / f"{index}.txt").write_text(caption)
    return captions


def psnr_of_learnt(host: Host, tmp_path: Path, count: int, steps: int, size: dict[str, Any]) -> list[float]:
    """Train `train_text_to_image.json` on some pictures; how near the prompts' pictures come to the best there can be:
    what the autoencoder makes of the pictures themselves."""
    captions = put_shapes(tmp_path / "input" / "emoji", count)
    assert len({*captions}) == count
    graph = graph_of(
        "train_text_to_image",
        n1={"caption_dropout": 0.0},
        n5=size,
        n6={"steps": steps, "learning_rate": 2e-3, "warmup_steps": 20, "ema_decay": 0.98},
        n8={"prompts": "\n".join(captions), "cfg": 1.0, "steps": 25, "every": 10**6},
        n9={"steps": steps, "batch_size": max(count, 8), "checkpoint_every": 0},
    )
    result = run(host, graph)
    drawn = [pixels(tmp_path / "output" / shown["filename"]) for shown in result.outputs["13"]["images"]]
    context = Context(folders=host.folders)
    with context.models.borrow(load_checkpoint(ctx=context).VAE) as vae, torch.inference_mode():
        real = torch.stack([torch.from_numpy(pixels(tmp_path / "input" / "emoji" / f"{i}.png")) for i in range(count)])
        best = vae.decode(vae.encode(real)).numpy()
    return [psnr(one, other) for one, other in zip(drawn, best, strict=True)]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_eight_pictures_are_learnt_by_heart(host: Host, tmp_path: Path) -> None:
    ratios = psnr_of_learnt(host, tmp_path, 8, 1500, {"channels": "64, 128"})
    assert min(ratios) >= 20


def test_one_picture_is_learnt_by_heart(host: Host, tmp_path: Path) -> None:
    size = {"channels": "32", "head_channels": 16, "text_width": 32, "text_layers": 1}
    assert psnr_of_learnt(host, tmp_path, 1, 250, size)[0] >= 20


@needs_peft
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_new_concept_is_learnt_by_a_lora_of_the_embedded_model(host: Host, tmp_path: Path) -> None:
    """A striped disc, which no picture of the model's own data shows, under a name of its own."""
    folder = tmp_path / "input" / "concept"
    folder.mkdir(parents=True)
    y, x = np.mgrid[:64, :64]
    stripes = np.where((y // 8 % 2)[..., None], 30, (20, 170, 160))
    disc = np.where(((x - 32) ** 2 + (y - 32) ** 2 < 24**2)[..., None], stripes, 255)
    Image.fromarray(disc.astype(np.uint8)).save(folder / "0.png")
    (folder / "0.txt").write_text("a zorb")
    run(host, graph_of("train_lora", n1={"caption_dropout": 0.0}, n6={"steps": 400}, n8={"steps": 400}))
    drawing = graph_of("text_to_image")
    drawing["2"]["inputs"]["text"] = "a zorb"
    plain = picture(run(host, drawing), tmp_path)
    drawing["50"] = {"class_type": "LoraLoader", "inputs": {"model": ["1", 0], "clip": ["1", 1],
                     "lora_name": "concept.safetensors", "strength_model": 1.0, "strength_clip": 1.0}}  # fmt: skip
    for node in drawing.values():
        for name, value in node["inputs"].items():
            if value in (["1", 0], ["1", 1]) and node is not drawing["50"]:
                node["inputs"][name] = ["50", value[1]]
        if node["class_type"] == "KSampler":
            node["inputs"]["cfg"] = 1.0
    learnt = picture(run(host, drawing), tmp_path)
    context = Context(folders=host.folders)
    with context.models.borrow(load_checkpoint(ctx=context).VAE) as vae, torch.inference_mode():
        best = vae.decode(vae.encode(torch.from_numpy(disc / 255.0).float()[None]))[0].numpy()
    assert psnr(learnt, best) >= 20 > psnr(plain, best)


def psnr(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> float:
    """Peak signal-to-noise ratio of pictures in 0..1, in dB."""
    return -10 * math.log10(float(np.square(one - other).mean()))
