"""LoRAs for models with a transformer: diffusers' names, and those of kohya, which diffusers converts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from mezzotint import Context
from mezzotint.engine.errors import ModelFileError
from mezzotint.engine.folders import Folders
from mezzotint.engine.residency import Residency
from mezzotint.nodes.adapters.lora import load_lora, load_lora_model_only
from mezzotint.nodes.conditioning.conditioning import encode_text
from mezzotint.nodes.models.checkpoints import Checkpoint, load_checkpoint
from mezzotint.nodes.sampling.denoise import Denoise

from .. import tiny_pipelines
from ..lora_files import Factors, Lora, attention_layers, merged, random_lora

BLOCK = "transformer_blocks.0.attn"


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Context:
    root = tmp_path_factory.mktemp("flux")
    (root / "loras").mkdir()
    torch.manual_seed(0)
    pipeline = tiny_pipelines.flux()
    for parameter in pipeline.transformer.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    pipeline.save_pretrained(root / "checkpoints" / "flux")
    folders = Folders(root / "home", models=[root])
    return Context(folders=folders, models=Residency("cpu", folders=folders))


@pytest.fixture(scope="module")
def checkpoint(context: Context) -> Checkpoint:
    return load_checkpoint("flux", ctx=context)


def save(context: Context, name: str, tensors: dict[str, Tensor]) -> str:
    path: Path = context.folders.model_folders("loras")[0] / name
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path)
    return name


def error(actual: Tensor, expected: Tensor) -> float:
    return float((actual - expected).norm() / expected.norm())


def predicted(recipe: Any, checkpoint: Checkpoint, context: Context) -> Tensor:
    x = torch.randn(1, 16, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        prompt = encode_text("a cat", checkpoint.CLIP, ctx=context)
        (answer,) = Denoise.answer([Denoise(recipe, x, 0.7, (prompt,))], context)
        return answer[0]


def predicted_by(network: nn.Module, checkpoint: Checkpoint, context: Context) -> Tensor:
    """What the model would predict with another network in it."""
    with context.models.borrow(checkpoint.MODEL) as denoiser:
        own = denoiser.network
        try:
            denoiser.network = network
            return predicted(checkpoint.MODEL, checkpoint, context)
        finally:
            denoiser.network = own


def dotted(prefix: str, lora: Lora) -> dict[str, Tensor]:
    tensors = {}
    for name, factors in lora.items():
        tensors[f"{prefix}.{name}.lora_A.weight"] = factors.down
        tensors[f"{prefix}.{name}.lora_B.weight"] = factors.up * (factors.alpha / factors.up.shape[1])
    return tensors


def test_names_of_diffusers(checkpoint: Checkpoint, context: Context) -> None:
    with context.models.borrow(checkpoint.MODEL) as denoiser:
        network = denoiser.network
    lora = random_lora(attention_layers(network), size=0.5)
    name = save(context, "diffusers.safetensors", dotted("transformer", lora))
    model = load_lora_model_only(checkpoint.MODEL, name, 0.8, ctx=context)
    actual, expected = (
        predicted(model, checkpoint, context),
        predicted_by(merged(network, (lora, 0.8)), checkpoint, context),
    )
    assert error(actual, expected) < 1e-5
    assert error(predicted(checkpoint.MODEL, checkpoint, context), expected) > 0.01


def test_names_of_kohya_whose_layers_are_several_of_diffusers(checkpoint: Checkpoint, context: Context) -> None:
    generator = torch.Generator().manual_seed(2)
    up, down = torch.randn(96, 4, generator=generator) * 0.5, torch.randn(4, 32, generator=generator) * 0.5
    whole = "lora_unet_double_blocks_0_img_attn_qkv"
    tensors = {f"{whole}.lora_up.weight": up, f"{whole}.lora_down.weight": down, f"{whole}.alpha": torch.tensor(2.0)}
    model = load_lora_model_only(checkpoint.MODEL, save(context, "kohya.safetensors", tensors), 1.0, ctx=context)
    parts = zip(("to_q", "to_k", "to_v"), up.chunk(3), strict=True)
    lora = {f"{BLOCK}.{part}": Factors(rows, down, 2.0) for part, rows in parts}
    with context.models.borrow(checkpoint.MODEL) as denoiser:
        network = denoiser.network
    expected = predicted_by(merged(network, (lora, 1.0)), checkpoint, context)
    assert error(predicted(model, checkpoint, context), expected) < 1e-5
    assert error(predicted(checkpoint.MODEL, checkpoint, context), expected) > 0.001


def test_its_text_encoders(checkpoint: Checkpoint, context: Context) -> None:
    with context.models.borrow(checkpoint.CLIP) as encoder:
        network = encoder.networks["text_encoder"]
        before = encoder.encode("a cat")[0][1]["pooled_output"]
        lora = random_lora(attention_layers(network), size=0.5)
        name = save(context, "text.safetensors", dotted("text_encoder.text_model", _bare(lora)))
        patched = load_lora(checkpoint.MODEL, checkpoint.CLIP, name, ctx=context).CLIP
        wanted = encoder.with_networks({**encoder.networks, "text_encoder": merged(network, (lora, 1.0))})
        with context.models.borrow(patched) as actual:
            pooled = actual.encode("a cat")[0][1]["pooled_output"]
        assert error(pooled, wanted.encode("a cat")[0][1]["pooled_output"]) < 1e-5
        assert error(pooled, before) > 0.01
        assert torch.equal(encoder.encode("a cat")[0][1]["pooled_output"], before)


def _bare(lora: Lora) -> Lora:
    return {name.removeprefix("text_model."): factors for name, factors in lora.items()}


def test_one_for_a_unet_is_refused(checkpoint: Checkpoint, context: Context) -> None:
    layer = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
    tensors = {f"{layer}.lora_up.weight": torch.zeros(320, 4), f"{layer}.lora_down.weight": torch.zeros(4, 768)}
    model = load_lora_model_only(checkpoint.MODEL, save(context, "sd1.safetensors", tensors), ctx=context)
    with pytest.raises(
        ModelFileError, match=r"none of its 1 layers is in there .* it looks like one for Stable Diffusion 1"
    ):
        context.models.borrow(model).__enter__()
