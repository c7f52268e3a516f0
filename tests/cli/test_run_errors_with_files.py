"""Model files that are damaged, of another family, or too large: what was found, and what to do, in a sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ..nodes import single_files

if TYPE_CHECKING:
    from .conftest import Command, Outcome, Save

Graph = dict[str, Any]
Drawn = Callable[..., Graph]


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with small checkpoints, whole and not."""
    import torch
    from safetensors.torch import load_file, save_file

    folder = tmp_path_factory.mktemp("shelf")
    for name in ("sd1", "sdxl"):
        torch.manual_seed(0)
        single_files.FAMILIES[name]().write(folder / "checkpoints" / f"{name}.safetensors")
    whole = (folder / "checkpoints" / "sd1.safetensors").read_bytes()
    (folder / "checkpoints" / "cut.safetensors").write_bytes(whole[:-1000])
    (folder / "checkpoints" / "page.safetensors").write_bytes(b"<!DOCTYPE html><html><body>404</body></html>")
    (folder / "checkpoints" / "pointer.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid 1\n")
    (folder / "checkpoints" / "renamed.safetensors").write_bytes(b"GGUF\x03\0\0\0" + bytes(40))
    (folder / "checkpoints" / "small.gguf").write_bytes(b"GGUF\x03\0\0\0" + bytes(40))
    (folder / "checkpoints" / "unpacked").mkdir()
    tensors = load_file(folder / "checkpoints" / "sd1.safetensors")
    no_vae = {name: tensor for name, tensor in tensors.items() if not name.startswith("first_stage_model.")}
    save_file(no_vae, folder / "checkpoints" / "no-vae.safetensors")
    bent = {**tensors, "model.diffusion_model.input_blocks.1.0.out_layers.3.weight": torch.zeros(3, 3, 3, 3)}
    save_file(bent, folder / "checkpoints" / "bent.safetensors")
    bare = {name: tensor for name, tensor in tensors.items() if not name.startswith("cond_stage_model.")}
    save_file(bare, folder / "checkpoints" / "bare.safetensors")
    save_file({**tensors, "edm_mean": torch.ones(4)}, folder / "checkpoints" / "other.safetensors")
    for kind in ("loras", "embeddings", "controlnet"):
        (folder / kind).mkdir()
    factors = {"lora_up.weight": torch.randn(320, 4), "lora_down.weight": torch.randn(4, 2048)}
    layer = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"
    save_file({f"{layer}.{name}": tensor for name, tensor in factors.items()}, folder / "loras" / "wide.safetensors")
    (folder / "loras" / "whole.safetensors").write_bytes(whole)
    (folder / "checkpoints" / "lora.safetensors").write_bytes((folder / "loras" / "wide.safetensors").read_bytes())
    save_file({"emb_params": torch.randn(2, 1024)}, folder / "embeddings" / "wide.safetensors")
    save_file({"control_all_x_embedder.2-1.weight": torch.ones(2)}, folder / "controlnet" / "z-image.safetensors")
    return folder


@pytest.fixture
def run(plain_mezzotint: Command, save: Save, shelf: Path) -> Callable[[Graph], Outcome]:
    """Run a graph with the models folder."""
    return lambda graph: plain_mezzotint("run", save(graph), "--models-dir", shelf)


def drawn(name: str, model: Any = ("1", 0), text: str = "a cat", **further: Any) -> Graph:
    """A graph that draws with a checkpoint."""
    encoded = {"class_type": "CLIPTextEncode", "inputs": {"text": text, "clip": ["1", 1]}}
    sampled = {
        "model": [*model], "seed": 1, "steps": 1, "cfg": 2.0, "sampler_name": "euler", "scheduler": "simple",
        "positive": ["2", 0], "negative": ["2", 0], "latent_image": ["3", 0], "denoise": 1.0,
    }  # fmt: skip
    return {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": f"{name}.safetensors"}},
        "2": encoded,
        "3": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
        "4": {"class_type": "KSampler", "inputs": sampled},
        "5": {"class_type": "VAEDecode", "inputs": {"samples": ["4", 0], "vae": ["1", 2]}},
        "6": {"class_type": "SaveImage", "inputs": {"images": ["5", 0], "filename_prefix": "x"}},
        **further,
    }


def refuse(done: Outcome, *parts: str) -> None:
    assert done.code == 1, done.err
    assert "Traceback" not in done.err
    assert done.out == ""
    said = " ".join(done.err.split())
    for part in ("Error: ", *parts):
        assert part in said, said


def test_a_whole_one_draws(run: Callable[[Graph], Outcome]) -> None:
    done = run(drawn("sd1"))
    assert done.code == 0, done.err


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("cut", ("cut.safetensors", "is damaged", "its header speaks of", "fetch it again")),
        ("page", ("page.safetensors", "is no safetensors file: it is a web page", "fetch the model itself")),
        ("pointer", ("pointer.safetensors", "stands for the file in Git LFS", "git lfs pull")),
        ("renamed", ("renamed.safetensors", "it is GGUF", "get the model as .safetensors")),
        ("lora", ("'lora.safetensors'", "it is a LoRA; put it into the models folder 'loras'", "LoraLoader")),
        ("bent", ("unet of the checkpoint 'bent.safetensors'", "down_blocks.0.resnets.0.conv2", "fetch it again")),
        ("no-vae", ("Node 5 (VAEDecode)", "'no-vae.safetensors' holds no VAE", "VAELoader")),
        ("other", ("'other.safetensors' is a model of Playground 2.5", "known are Stable Diffusion 1, 2 and XL")),
        ("bare", ("Node 2 (CLIPTextEncode)", "'bare.safetensors' holds no text encoder", "CLIPLoader")),
    ],
)
def test_a_file_that_cannot_be_used(name: str, parts: tuple[str, ...], run: Callable[[Graph], Outcome]) -> None:
    refuse(run(drawn(name)), *parts)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        (
            "small.gguf",
            ("lies in '", "(.gguf) hold weights quantised", "get the model as .safetensors, in 16 bits or in"),
        ),
        ("unpacked", ("is a folder in '", "has no model_index.json")),
    ],
)
def test_what_lies_there_and_is_no_model(name: str, parts: tuple[str, ...], run: Callable[[Graph], Outcome]) -> None:
    graph = drawn("sd1")
    graph["1"]["inputs"]["ckpt_name"] = name
    done = run(graph)
    assert done.code == 2, done.err
    assert "Missing models" not in done.err
    for part in (f"'{name}' ", *parts):
        assert part in done.err


def test_a_checkpoint_in_the_place_of_a_lora(run: Callable[[Graph], Outcome]) -> None:
    inputs = {"model": ["1", 0], "lora_name": "whole.safetensors", "strength_model": 1.0}
    lora = {"class_type": "LoraLoaderModelOnly", "inputs": inputs}
    refuse(run(drawn("sd1", ("7", 0), **{"7": lora})), "'whole.safetensors' is no LoRA", "a whole model belongs into")


def test_a_lora_for_another_family(run: Callable[[Graph], Outcome]) -> None:
    inputs = {"model": ["1", 0], "lora_name": "wide.safetensors", "strength_model": 1.0}
    lora = {"class_type": "LoraLoaderModelOnly", "inputs": inputs}
    refuse(run(drawn("sd1", ("7", 0), **{"7": lora})), "'wide.safetensors'", "LoRA", "made for")


def test_a_text_of_another_family(run: Callable[[Graph], Outcome]) -> None:
    graph = drawn("sd1")
    graph["7"] = {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sdxl.safetensors"}}
    graph["2"]["inputs"]["clip"] = ["7", 1]
    refuse(run(graph), "Node 4 (KSampler)", "192 numbers for each token, and the model wants 24", "own checkpoint")


def test_an_embedding_of_another_family(run: Callable[[Graph], Outcome]) -> None:
    refuse(run(drawn("sd1", text="embedding:wide")), "Node 2 (CLIPTextEncode)", "'wide'", "1024")


def test_a_control_net_of_another_family(run: Callable[[Graph], Outcome]) -> None:
    inputs = {"control_net_name": "z-image.safetensors"}
    image = {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 0}}
    applied = {"conditioning": ["2", 0], "control_net": ["7", 0], "image": ["8", 0], "strength": 1.0}
    graph = drawn("sd1")
    graph["7"] = {"class_type": "ControlNetLoader", "inputs": inputs}
    graph["8"], graph["9"] = image, {"class_type": "ControlNetApply", "inputs": applied}
    graph["4"]["inputs"]["positive"] = ["9", 0]
    refuse(
        run(graph),
        "Node 7 (ControlNetLoader)",
        "the ControlNet 'z-image.safetensors' is of no known layout",
        "known are",
    )


def test_a_checkpoint_that_is_larger_than_memory(
    run: Callable[[Graph], Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mezzotint.engine.memory_account.free_nbytes", lambda device: 1_000_000)
    refuse(run(drawn("sd1")), "loading the text_encoder of the checkpoint 'sd1.safetensors' needs about", "memory")
