"""What was trained, saved and loaded again: by our loaders, by diffusers, by peft's names."""

from __future__ import annotations

import importlib.util
import json
import os
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from mezzotint import Context
from mezzotint.engine.errors import OutputError
from mezzotint.nodes.adapters.lora import load_lora
from mezzotint.nodes.conditioning.conditioning import set_last_layer
from mezzotint.nodes.models.checkpoints import load_checkpoint
from mezzotint.nodes.training.diffusion_loss import diffusion_step
from mezzotint.nodes.training.network_nodes import checkpoint_networks, lora_networks
from mezzotint.nodes.training.save_nodes import save_trained_checkpoint, save_trained_lora, save_trained_vae
from mezzotint.nodes.training.state import TrainingError, TrainingState
from mezzotint.nodes.training.step import encode_captions
from mezzotint.nodes.training.step_settings import DiffusionSettings

from .tiny_training import CAPTIONS, Begin, random_latents, tiny_plan, weights

needs_peft = pytest.mark.skipif(importlib.util.find_spec("peft") is None, reason="peft, of the extra 'training'")


def trained(begin: Begin, plan: Any = None, steps: int = 2, **options: Any) -> TrainingState:
    state = begin(plan, learning_rate=0.02, **options)
    for _ in range(steps):
        diffusion_step(state, random_latents(), DiffusionSettings(batch_size=3))
    return state


def shown_by(network: Any, context: torch.Tensor) -> torch.Tensor:
    x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        output: torch.Tensor = network(x, torch.tensor([10, 700]), context.float(), return_dict=False)[0]
    return output


def test_a_saved_checkpoint_loads_at_once_here_and_in_diffusers(begin: Begin, context: Context) -> None:
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline

    state = trained(begin)
    save_trained_checkpoint(state, "own", "float32", ctx=context)
    for network in state.networks.values():
        network.eval()
    with torch.no_grad():
        encoded = encode_captions(state, CAPTIONS[:2])
    expected = shown_by(state.networks["unet"], encoded)

    recipes = load_checkpoint("own", ctx=context)
    with context.models.borrow(recipes.CLIP) as encoder, torch.no_grad():
        ours = torch.cat([encoder.encode(caption)[0][0] for caption in CAPTIONS[:2]])
    with context.models.borrow(recipes.MODEL) as denoiser:
        assert torch.allclose(shown_by(denoiser.network, ours), expected, atol=1e-6)
        assert denoiser.sampling.prediction_type == "v_prediction"
    with context.models.borrow(recipes.VAE) as vae:
        assert vae.latent_channels == 4

    folder = context.folders.require("checkpoints", "own")
    pipeline = StableDiffusionPipeline.from_pretrained(folder, local_files_only=True)
    with torch.no_grad():
        tokens = pipeline.tokenizer(list(CAPTIONS[:2]), padding="max_length", max_length=8, truncation=True)
        theirs = pipeline.text_encoder(torch.tensor(tokens.input_ids)).last_hidden_state
    assert torch.allclose(theirs, encoded, atol=1e-6)
    assert torch.allclose(shown_by(pipeline.unet, theirs), expected, atol=1e-6)


def test_a_text_encoder_that_stops_early_is_trained_so_and_not_saved_as_diffusers_cannot_say_it(
    begin: Begin, context: Context
) -> None:
    save_trained_checkpoint(trained(begin, steps=0), "base", "float32", ctx=context)
    recipes = load_checkpoint("base", ctx=context)
    clip = set_last_layer(recipes.CLIP, -2)
    state = begin(checkpoint_networks(recipes.MODEL, clip, recipes.VAE))
    with context.models.borrow(clip) as encoder, torch.no_grad():
        assert torch.allclose(encode_captions(state, ["a red circle"]), encoder.encode("a red circle")[0][0], atol=1e-6)
    with pytest.raises(TrainingError, match="reads layer -2 of the text encoder"):
        save_trained_checkpoint(state, "x", ctx=context)


def test_averaged_weights_are_saved_and_the_training_keeps_its_own(begin: Begin, context: Context) -> None:
    state = trained(begin, ema_decay=0.9, steps=4)
    before = weights(state)
    save_trained_checkpoint(state, "mean", "float32", ctx=context)
    save_trained_checkpoint(state, "last", "float32", averaged=False, ctx=context)
    assert torch.equal(weights(state), before)
    name = "conv_in.weight"
    folder = context.folders.require("checkpoints", "mean") / "unet"
    kept = load_file(folder / "diffusion_pytorch_model.safetensors")[name]
    last = load_file(context.folders.require("checkpoints", "last") / "unet" / "diffusion_pytorch_model.safetensors")
    names = [name for name, _ in state.networks["unet"].named_parameters()]
    mean = dict(zip(names, state.average.shadow_params, strict=False))
    assert torch.equal(kept, mean[name])
    assert torch.equal(last[name], state.networks["unet"].get_parameter(name).detach())
    assert not torch.equal(kept, last[name])


def test_a_name_that_is_taken_is_refused_unless_replaced(begin: Begin, context: Context) -> None:
    state = trained(begin, steps=0)
    save_trained_checkpoint(state, "own", ctx=context)
    with pytest.raises(OutputError, match="is there already; choose another name, or turn replace on"):
        save_trained_checkpoint(state, "own", ctx=context)
    save_trained_checkpoint(state, "own", replace=True, ctx=context)
    (folder,) = context.folders.require("checkpoints", "own").parent.iterdir()
    assert folder.name == "own", "nothing half made is left"


def test_what_fails_leaves_nothing(begin: Begin, context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    state = trained(begin, steps=0)

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", fail)
    with pytest.raises(OutputError, match="No space left on device"):
        save_trained_checkpoint(state, "own", ctx=context)
    assert list((context.folders.models[0] / "checkpoints").iterdir()) == []


def test_an_autoencoder_is_saved_as_diffusers_reads_it(begin: Begin, context: Context) -> None:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    state = begin(tiny_plan(("vae",)))
    save_trained_vae(state, "own", "float32", ctx=context)
    loaded = AutoencoderKL.from_pretrained(context.folders.models[0] / "vae" / "own", local_files_only=True)
    saved, ours = loaded.state_dict(), state.networks["vae"].state_dict()
    assert saved.keys() == ours.keys()
    assert all(torch.equal(saved[name], tensor) for name, tensor in ours.items())


@needs_peft
def test_a_lora_changes_little_and_loads_here_and_in_diffusers(begin: Begin, context: Context) -> None:
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline

    save_trained_checkpoint(trained(begin, steps=0), "base", "float32", ctx=context)
    state = trained(begin, lora_networks(tiny_plan(), rank=2, alpha=3.0), steps=5)
    count = sum(parameter.numel() for parameter in state.parameters())
    assert 0 < count < 0.1 * sum(parameter.numel() for parameter in state.networks["unet"].parameters())
    save_trained_lora(state, "concept", "float32", ctx=context)
    for network in state.networks.values():
        network.eval()
    with torch.no_grad():
        encoded = encode_captions(state, CAPTIONS[:2])
    expected = shown_by(state.networks["unet"], encoded)

    recipes = load_checkpoint("base", ctx=context)
    model, clip = load_lora(recipes.MODEL, recipes.CLIP, "concept.safetensors", ctx=context)
    with context.models.borrow(clip) as encoder, torch.no_grad():
        ours = torch.cat([encoder.encode(caption)[0][0] for caption in CAPTIONS[:2]])
    assert torch.allclose(ours, encoded, atol=1e-5)
    with context.models.borrow(model) as denoiser:
        assert torch.allclose(shown_by(denoiser.network, ours), expected, atol=1e-5)
    with context.models.borrow(recipes.MODEL) as plain:
        assert not torch.allclose(shown_by(plain.network, ours), expected, atol=1e-3)

    folder = context.folders.require("checkpoints", "base")
    pipeline = StableDiffusionPipeline.from_pretrained(folder, local_files_only=True)
    pipeline.load_lora_weights(context.folders.models[0] / "loras", weight_name="concept.safetensors")
    assert torch.allclose(shown_by(pipeline.unet, encoded), expected, atol=1e-5)


@needs_peft
def test_a_lora_and_a_checkpoint_are_not_mixed_up(begin: Begin, context: Context) -> None:
    with pytest.raises(TrainingError, match="save a checkpoint, or train LoRA of Networks"):
        save_trained_lora(trained(begin, steps=0), "x", ctx=context)
    with pytest.raises(TrainingError, match="save it by Save Trained LoRA"):
        save_trained_checkpoint(trained(begin, lora_networks(tiny_plan()), steps=0), "x", ctx=context)


@needs_peft
def test_lora_targets_that_fit_nothing_are_told(begin: Begin) -> None:
    with pytest.raises(TrainingError, match="the LoRA fits no layer of the network"):
        begin(lora_networks(tiny_plan(), targets="nothing"))


def test_the_files_are_json_that_anybody_reads(begin: Begin, context: Context) -> None:
    save_trained_checkpoint(trained(begin, steps=0), "own", ctx=context)
    folder = context.folders.require("checkpoints", "own")
    index = json.loads((folder / "model_index.json").read_text())
    assert index["unet"] == ["diffusers", "UNet2DConditionModel"]
    assert json.loads((folder / "vae" / "config.json").read_text())["latent_channels"] == 4
    assert {path.name for path in (folder / "tokenizer").iterdir()} == {
        "tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt"
    }  # fmt: skip


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_whoever_may_read_the_configuration_may_read_the_weights(begin: Begin, context: Context) -> None:
    save_trained_checkpoint(trained(begin, steps=0), "own", ctx=context)
    folder = context.folders.require("checkpoints", "own")
    modes = {path.stat().st_mode for path in folder.rglob("*") if path.is_file()}
    assert len(modes) == 1
