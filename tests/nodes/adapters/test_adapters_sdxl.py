"""LoRAs and embeddings for SDXL: its U-Net by the names of the original code, and its two text encoders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from mezzotint import Context
from mezzotint.engine.folders import Folders
from mezzotint.engine.residency import Residency
from mezzotint.nodes.adapters.lora import load_lora
from mezzotint.nodes.adapters.lora_layers import find_layers
from mezzotint.nodes.conditioning.sdxl_prompts import encode_sdxl
from mezzotint.nodes.models.checkpoints import Checkpoint, load_checkpoint

from .. import ldm_layout, single_files
from ..lora_files import Lora, attention_layers, merged, random_lora


@pytest.fixture(scope="module")
def family() -> single_files.Family:
    torch.manual_seed(0)
    return single_files.sdxl()


@pytest.fixture(scope="module")
def context(family: single_files.Family, tmp_path_factory: pytest.TempPathFactory) -> Context:
    root = tmp_path_factory.mktemp("sdxl")
    for name in ("checkpoints", "loras", "embeddings"):
        (root / name).mkdir()
    family.write(root / "checkpoints" / "sdxl.safetensors")
    folders = Folders(root / "home", models=[root])
    return Context(folders=folders, models=Residency("cpu", folders=folders))


@pytest.fixture(scope="module")
def checkpoint(context: Context) -> Checkpoint:
    return load_checkpoint("sdxl.safetensors", ctx=context)


def original_names(unet: Any) -> dict[str, str]:
    """Names of diffusers' layers → those of the original code, by the weights that both have."""
    ours = {layer.weight.data_ptr(): name for name, layer in unet.named_modules() if hasattr(layer, "weight")}
    tensors = ldm_layout.unet_tensors(unet)
    named = {ours.get(tensor.data_ptr()): name.removesuffix(".weight") for name, tensor in tensors.items()}
    return {name: original for name, original in named.items() if name}


def test_every_layer_is_found_by_its_original_name(family: single_files.Family) -> None:
    names = original_names(family.unet)
    layers = {name for name, layer in family.unet.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)}
    flat = {names[layer].replace(".", "_"): layer for layer in layers}
    assert len(flat) > 100
    assert find_layers(flat, family.unet) == flat


def kohya(prefix: str, names: dict[str, str], lora: Lora) -> dict[str, Tensor]:
    tensors = {}
    for name, factors in lora.items():
        flat = prefix + names.get(name, f"text_model.{name}").replace(".", "_")
        tensors[f"{flat}.lora_up.weight"], tensors[f"{flat}.lora_down.weight"] = factors.up, factors.down
        tensors[f"{flat}.alpha"] = torch.tensor(factors.alpha)
    return tensors


def error(actual: Tensor, expected: Tensor) -> float:
    return float((actual - expected).norm() / expected.norm())


def test_a_lora_of_kohya_for_all_three_networks(
    family: single_files.Family, checkpoint: Checkpoint, context: Context
) -> None:
    names = original_names(family.unet)
    with context.models.borrow(checkpoint.MODEL) as denoiser, context.models.borrow(checkpoint.CLIP) as encoder:
        first, second = encoder.first.network, encoder.second.network
        loras = [random_lora(attention_layers(net), seed=k) for k, net in enumerate((denoiser.network, first, second))]
        second_names = {name: name for name in loras[2] if name.startswith("text_model.")}
        tensors = kohya("lora_unet_", names, loras[0]) | kohya("lora_te1_", {}, loras[1])
        tensors |= kohya("lora_te2_", second_names, loras[2])
        save_file(tensors, context.folders.model_folders("loras")[0] / "all.safetensors")
        patched = load_lora(checkpoint.MODEL, checkpoint.CLIP, "all.safetensors", 0.8, 0.5, ctx=context)

        wanted = denoiser.with_networks({"denoiser": merged(denoiser.network, (loras[0], 0.8))})
        x, tokens = torch.randn(1, 4, 8, 8), torch.randn(1, 77, 192)
        inputs = {"text_embeds": torch.randn(1, 96), "time_ids": torch.full((1, 6), 64.0)}
        with context.models.borrow(patched.MODEL) as actual, torch.no_grad():
            assert error(actual.predict(x, 3.0, tokens, inputs), wanted.predict(x, 3.0, tokens, inputs)) < 1e-5

        networks = {"text_encoder": (first, loras[1]), "text_encoder_2": (second, loras[2])}
        both = encoder.with_networks({name: merged(net, (lora, 0.5)) for name, (net, lora) in networks.items()})
        with context.models.borrow(patched.CLIP) as actual, torch.no_grad():
            ((tokens, options),) = actual.encode("a cat")
            ((expected, pooled),) = both.encode("a cat")
        assert error(tokens, expected) < 1e-5
        assert error(options["pooled_output"], pooled["pooled_output"]) < 1e-5
        assert error(tokens, encoder.encode("a cat")[0][0]) > 0.01


def test_an_embedding_has_vectors_for_each_text_encoder(checkpoint: Checkpoint, context: Context) -> None:
    path: Path = context.folders.model_folders("embeddings")[0] / "cat.safetensors"
    save_file({"clip_l": torch.randn(2, 64), "clip_g": torch.randn(2, 128)}, path)
    with torch.no_grad():
        ((with_both, _),) = encode_sdxl(checkpoint.CLIP, text_g="embedding:cat", text_l="embedding:cat", ctx=context)
        ((with_one, _),) = encode_sdxl(checkpoint.CLIP, text_g="", text_l="embedding:cat", ctx=context)
        ((with_none, _),) = encode_sdxl(checkpoint.CLIP, text_g="", text_l="", ctx=context)
    assert torch.equal(with_both[..., :64], with_one[..., :64])
    assert torch.equal(with_one[..., 64:], with_none[..., 64:])
    assert (with_one[..., :64] - with_none[..., :64]).abs().max() > 0.1
    assert (with_both[..., 64:] - with_none[..., 64:]).abs().max() > 0.1
