"""Saved models: what was loaded is written again as it was, changes are in the weights, and loaders find the files."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from mezzotint import Context
from mezzotint.engine.context import Prompt
from mezzotint.engine.errors import MezzotintError, OutputError
from mezzotint.engine.folders import Folders
from mezzotint.engine.workflow import Workflow
from mezzotint.nodes.adapters.lora import load_lora
from mezzotint.nodes.autoencoders.vae_loader import load_vae
from mezzotint.nodes.conditioning.conditioning import encode_text
from mezzotint.nodes.families.file_parts import LDM, Part
from mezzotint.nodes.families.published_layout import published_tensors, unlike
from mezzotint.nodes.merging.merge_nodes import merge_clips, merge_models
from mezzotint.nodes.merging.save_nodes import save_checkpoint, save_clip, save_model, save_vae
from mezzotint.nodes.merging.saved_weights import ModelSaveError
from mezzotint.nodes.models.checkpoints import (
    Checkpoint,
    load_checkpoint,
    load_clip,
    load_diffusion_model,
    load_two_clips,
)
from mezzotint.nodes.models.weights_writer import DeferredTensor, write_weights
from mezzotint.nodes.sampling.model_sampling import model_sampling
from mezzotint.nodes.sampling.sampling_change import model_sampling_discrete

from .. import single_files
from ..ldm_layout import write_single_file
from ..lora_files import DENOISER, TEXT, attention_layers, kohya, merged, random_lora
from .model_pairs import Models, assert_close

MARKS = {"v_pred", "ztsnr"}


def saved(models: Models, folder: str = "checkpoints") -> Path:
    """The file that was saved last."""
    return max((models.context.folders.output / folder).iterdir(), key=lambda path: path.stat().st_mtime_ns)


def reload(models: Models, checkpoint: Checkpoint, prefix: str = "checkpoints/ComfyUI") -> Checkpoint:
    """The checkpoint, saved and loaded again."""
    save_checkpoint(*checkpoint, prefix, ctx=models.context)
    return load_checkpoint(saved(models).name, ctx=models.context)


@pytest.mark.parametrize("name", single_files.FAMILIES)
def test_what_nothing_was_done_to_is_written_as_it_was(models: Models, name: str) -> None:
    path = models.folder / "checkpoints" / f"{name}-half.safetensors"
    models.family(name).write(path, torch.float16)
    save_checkpoint(*load_checkpoint(path.name, ctx=models.context), ctx=models.context)
    ours, theirs = load_file(saved(models)), load_file(path)
    assert ours.keys() - MARKS == theirs.keys()
    assert [key for key in theirs if ours[key].dtype != theirs[key].dtype] == []
    assert [key for key in theirs if not torch.equal(ours[key], theirs[key])] == []
    sampled = [
        model_sampling(load_checkpoint(each.name, ctx=models.context).MODEL, models.context)
        for each in (saved(models), path)
    ]
    assert sampled[0].prediction_type == sampled[1].prediction_type
    assert torch.equal(sampled[0].sigmas.table, sampled[1].sigmas.table)  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["sd1", "sd2", "sdxl", "refiner"])
def test_diffusers_folders_become_single_files_that_do_the_same(models: Models, name: str) -> None:
    torch.manual_seed(3)
    pipeline = single_files.FAMILIES[name]().pipeline()
    pipeline.save_pretrained(models.folder / "checkpoints" / f"{name}-folder")
    before = load_checkpoint(f"{name}-folder", ctx=models.context)
    after = reload(models, before)
    assert_same(models, before, after)
    told = [encode_text("a (red:1.2) cat", each.CLIP, ctx=models.context) for each in (before, after)]
    ((tokens, options),), ((tokens_after, options_after),) = told
    assert torch.equal(tokens, tokens_after)
    assert name == "sd2" or torch.equal(options["pooled_output"], options_after["pooled_output"])  # SD2 uses none


def assert_same(models: Models, before: Checkpoint, after: Checkpoint) -> None:
    """The model and the VAE have equal weights, to the bit."""
    for one, other in ((before.MODEL, after.MODEL), (before.VAE, after.VAE)):
        ours, theirs = models.state(one), models.state(other)
        assert ours.keys() == theirs.keys()
        assert [key for key in ours if not torch.equal(ours[key], theirs[key])] == []


def test_a_merge_is_saved_and_predicts_the_same_when_it_is_loaded(models: Models) -> None:
    first, second = models.pair("sd1")
    mixed = Checkpoint(
        merge_models(first.MODEL, second.MODEL, 0.3), merge_clips(first.CLIP, second.CLIP, 0.6), second.VAE
    )
    after = reload(models, mixed)
    assert_same(models, mixed, after)
    x, tokens = torch.randn(1, 4, 16, 16), torch.randn(1, 77, 24)
    with models.context.models.borrow(mixed.MODEL) as one, models.context.models.borrow(after.MODEL) as other:
        assert torch.equal(one.predict(x, 3.0, tokens), other.predict(x, 3.0, tokens))
    told = [encode_text("a cat", each.CLIP, ctx=models.context)[0][0] for each in (mixed, after)]
    assert torch.equal(*told)


def test_loras_are_in_the_weights(models: Models) -> None:
    family, plain = models.family("sd1"), models.load("sd1")
    text_network = next(iter(family.text.values()))
    unet, text = (random_lora(attention_layers(network)) for network in (family.unet, text_network))
    lora = {**kohya(DENOISER, unet), **kohya(TEXT, text)}
    write_single_file(models.folder / "loras" / "baked.safetensors", {"": lora})
    patched = load_lora(plain.MODEL, plain.CLIP, "baked.safetensors", 0.7, 0.7, ctx=models.context)
    after = reload(models, Checkpoint(patched.MODEL, patched.CLIP, plain.VAE))
    assert after.MODEL.patches == ()
    assert_close(models.state(after.MODEL), merged(family.unet, (unet, 0.7)).state_dict(), 1e-5)
    assert_close(models.state(after.CLIP), merged(text_network, (text, 0.7)).state_dict(), 1e-5)


@pytest.mark.parametrize("zero_snr", [False, True])
def test_how_a_model_is_sampled_is_said_in_its_file(models: Models, zero_snr: bool) -> None:
    plain = models.load("sd1")
    told = plain._replace(MODEL=model_sampling_discrete(plain.MODEL, "v_prediction", zero_snr))
    before, after = (model_sampling(each.MODEL, models.context) for each in (told, reload(models, told)))
    assert after.prediction_type == before.prediction_type == "v_prediction"
    assert torch.allclose(after.sigmas.table, before.sigmas.table, rtol=1e-3)  # type: ignore[union-attr]
    assert ("ztsnr" in load_file(saved(models))) is zero_snr


def test_parts_are_saved_alone_and_loaded_by_their_loaders(models: Models) -> None:
    checkpoint = models.load("sdxl")
    save_model(checkpoint.MODEL, ctx=models.context)
    save_vae(checkpoint.VAE, ctx=models.context)
    save_clip(checkpoint.CLIP, ctx=models.context)
    assert {path.name for path in (models.context.folders.output / "clip").iterdir()} == {
        "ComfyUI_clip_l_00001_.safetensors", "ComfyUI_clip_g_00001_.safetensors",
    }  # fmt: skip
    model = load_diffusion_model(saved(models, "diffusion_models").name, ctx=models.context)
    vae = load_vae(saved(models, "vae").name, ctx=models.context)
    names = sorted(path.name for path in (models.context.folders.output / "clip").iterdir())
    clip = load_two_clips(names[0], names[1], ctx=models.context)
    assert_same(models, checkpoint, Checkpoint(model, clip, vae))
    told = [encode_text("a cat", each, ctx=models.context)[0] for each in (checkpoint.CLIP, clip)]
    assert torch.equal(told[0][0], told[1][0])
    assert torch.equal(told[0][1]["pooled_output"], told[1][1]["pooled_output"])
    again = load_checkpoint(reload(models, Checkpoint(model, clip, vae)).MODEL.source.name, ctx=models.context)
    assert_same(models, checkpoint, again)


def test_a_text_encoder_alone_keeps_its_file(models: Models) -> None:
    save_clip(models.load("sd1").CLIP, "clip/first", ctx=models.context)
    clip = load_clip(saved(models, "clip").name, ctx=models.context)
    told = [encode_text("a cat", each, ctx=models.context)[0][0] for each in (models.load("sd1").CLIP, clip)]
    assert torch.equal(*told)


def test_files_carry_the_workflow_unless_it_is_not_wanted(models: Models, tmp_path: Path) -> None:
    folders = Folders(tmp_path, models=[models.folder])
    graph = {"1": {"class_type": "ModelSave", "inputs": {}}}
    prompt = Prompt(Workflow.from_api(graph), {"workflow": {"nodes": []}})
    for wanted in (True, False):
        context = Context(folders=folders, models=models.context.models, prompt=prompt, save_metadata=wanted)
        save_model(models.load("sd1").MODEL, ctx=context)
    first, second = sorted((tmp_path / "output" / "diffusion_models").iterdir())
    said = metadata(first)
    assert json.loads(said["prompt"]) == graph
    assert json.loads(said["workflow"]) == {"nodes": []}
    assert said["modelspec.architecture"] == "stable-diffusion-v1"
    assert metadata(second).keys() == {key for key in said if key.startswith("modelspec.")}


def metadata(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:
        found: dict[str, str] = file.metadata()
        return found


def test_nothing_is_overwritten(models: Models) -> None:
    vae = models.load("sd1").VAE
    for _ in range(2):
        save_vae(vae, "vae/twice", ctx=models.context)
    names = [path.name for path in (models.context.folders.output / "vae").glob("twice*")]
    assert sorted(names) == ["twice_00001_.safetensors", "twice_00002_.safetensors"]


def test_a_full_disk_is_a_sentence_and_leaves_nothing(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("mezzotint.nodes.models.weights_writer._bytes", full)
    with pytest.raises(OutputError, match=r"full.*cannot be written: there is no space left on the disk; free some"):
        save_vae(models.load("sd1").VAE, "full/vae", ctx=models.context)
    assert [*(models.context.folders.output / "full").iterdir()] == []


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        (
            ("sd1", "sdxl", "sd1"),
            r"the text encoder of 'sdxl.*' gives 192 numbers .* 'sd1.*' takes 24: .* different",
        ),
        (("sdxl", "sd1", "sdxl"), r"the text encoder of 'sd1.*' gives 24 numbers .* 'sdxl.*' takes 192"),
    ],
)
def test_parts_of_different_families_are_not_saved_together(
    models: Models, parts: tuple[str, ...], sentence: str
) -> None:
    model, clip, vae = (models.load(name) for name in parts)
    with pytest.raises(ModelSaveError, match=sentence):
        save_checkpoint(model.MODEL, clip.CLIP, vae.VAE, ctx=models.context)


def test_what_a_single_file_cannot_say_is_a_sentence(
    models: Models, embedded: Checkpoint, model_context: Context
) -> None:
    with pytest.raises(ModelSaveError, match=r"cannot be written as a single file, which says .*; leave out|keep its"):
        save_checkpoint(*embedded, ctx=model_context)
    distilled = model_sampling_discrete(models.load("sd1").MODEL, "lcm")
    with pytest.raises(ModelSaveError, match=r"its noise levels, or its prediction \(epsilon\), are unusual"):
        save_model(distilled, ctx=models.context)
    assert not (model_context.folders.output / "checkpoints").exists()


def test_a_prefix_that_leaves_the_folder_is_refused(models: Models) -> None:
    with pytest.raises(MezzotintError, match="leaves the output folder"):
        save_vae(models.load("sd1").VAE, "../vae", ctx=models.context)


REAL = {
    "sd15": {"cross_attention_dim": 768},
    "sd21": {"cross_attention_dim": 1024, "attention_head_dim": (5, 10, 20, 20), "use_linear_projection": True},
    "sdxl": {
        "block_out_channels": (320, 640, 1280), "attention_head_dim": (5, 10, 20), "cross_attention_dim": 2048,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"), "use_linear_projection": True,
        "transformer_layers_per_block": (1, 2, 10), "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256, "projection_class_embeddings_input_dim": 2816,
    },
    "refiner": {
        "block_out_channels": (384, 768, 1536, 1536), "attention_head_dim": (6, 12, 24, 24),
        "cross_attention_dim": 1280, "transformer_layers_per_block": 4, "use_linear_projection": True,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "addition_embed_type": "text_time", "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2560,
    },
}  # fmt: skip
"""Configurations as they were published."""


@pytest.mark.parametrize("name", REAL)
def test_names_and_configurations_of_real_models_come_back(name: str) -> None:
    from diffusers import UNet2DConditionModel
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

    with torch.device("meta"):
        unet: Any = UNet2DConditionModel(**{**REAL[name], "layers_per_block": 2})
    state = unet.state_dict()
    published = published_tensors("unet", unet, {key: DeferredTensor.of(each) for key, each in state.items()}, LDM)
    assert unlike("unet", unet, published, Part("", LDM)) is None
    prefixed = {f"model.diffusion_model.{key}": each.make() for key, each in published.items()}
    back = convert_ldm_unet_checkpoint(prefixed, unet.config)
    assert back.keys() == state.keys()
    assert all(back[key] is state[key] for key in state)


def test_files_are_safetensors_of_any_dtype(tmp_path: Path) -> None:
    tensors: dict[str, Tensor] = {
        "half": torch.randn(3, 5).half(), "brain": torch.randn(7).bfloat16(), "double": torch.randn(2, 2).double(),
        "eight": torch.randn(9).to(torch.float8_e4m3fn), "whole": torch.arange(4), "flags": torch.tensor([True, False]),
        "none": torch.zeros(0), "one": torch.tensor(2.5), "turned": torch.randn(4, 6).t(), "Ω": torch.ones(1),
    }  # fmt: skip
    path, seen = tmp_path / "all.safetensors", []
    with path.open("wb") as file:
        write_weights(
            file, {name: DeferredTensor.of(each) for name, each in tensors.items()}, {"said": "é"},
            lambda *progress: seen.append(progress),
        )  # fmt: skip
    read = load_file(path)
    assert read.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert read[name].dtype == tensor.dtype
        assert torch.equal(read[name].to(torch.float64), tensor.to(torch.float64))
    assert metadata(path) == {"said": "é"}
    assert seen == [(n, 10) for n in range(1, 11)]
