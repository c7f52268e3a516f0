from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mezzotint import Context
from mezzotint.engine.errors import MezzotintError, MissingModelError, ModelFileError, OutOfMemoryError
from mezzotint.engine.residency import Residency
from mezzotint.engine.signature import read_node
from mezzotint.engine.value_type import canonical, pack, unpack
from mezzotint.nodes.adapters.lora_patch import LoraPatch
from mezzotint.nodes.models.checkpoints import Checkpoint, checkpoint_identity, load_checkpoint
from mezzotint.nodes.models.embedded_model import EMBEDDED_CHECKPOINT
from mezzotint.nodes.models.recipe import Recipe, Source

ChangeConfig = Callable[[str, dict[str, Any]], None]
UNET = "unet/diffusion_pytorch_model.safetensors"


def use(ctx: Context, name: str) -> None:
    for recipe in load_checkpoint(name, ctx=ctx):
        with ctx.models.borrow(recipe):
            pass


def refusal(ctx: Context, name: str = "copy") -> str:
    """What loading the checkpoint and everything in it says is wrong."""
    with pytest.raises(MezzotintError) as raised:
        use(ctx, name)
    assert raised.type in (ModelFileError, MissingModelError, OutOfMemoryError)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_the_embedded_model_is_a_checkpoint_everywhere() -> None:
    ctx = Context()
    assert EMBEDDED_CHECKPOINT in ctx.folders.filenames("checkpoints")
    checkpoint = load_checkpoint(ctx=ctx)
    assert [recipe.kind for recipe in checkpoint] == ["model", "clip", "vae"]
    assert {recipe.source.name for recipe in checkpoint} == {EMBEDDED_CHECKPOINT}


def test_a_copy_is_the_same_content_under_another_name(own_context: Context, embedded: Checkpoint) -> None:
    copy = load_checkpoint("copy", ctx=own_context)
    assert copy.MODEL.source == Source("checkpoints", "copy", embedded.MODEL.source.digest)


def test_loading_reads_no_weights(own_context: Context) -> None:
    load_checkpoint("copy", ctx=own_context)
    assert own_context.models.residents() == []


def test_weights_of_a_half_precision_file_are_float32_on_the_cpu(model_context: Context, embedded: Checkpoint) -> None:
    for recipe in embedded:
        with model_context.models.borrow(recipe) as borrowed:
            parameters = list(borrowed.network.parameters())
            assert {parameter.dtype for parameter in parameters} == {torch.float32}
            assert {parameter.device.type for parameter in parameters} == {"cpu"}
            assert not any(module.training for module in borrowed.network.modules())
        resident = next(r for r in model_context.models.residents() if r.recipe == recipe)
        assert resident.nbytes == pytest.approx(sum(p.nbytes for p in parameters), rel=0.01)


def test_a_recipe_may_name_its_dtype(model_context: Context, embedded: Checkpoint) -> None:
    recipe = Recipe("vae", embedded.VAE.source, dtype="bfloat16")
    with model_context.models.borrow(recipe) as autoencoder:
        assert autoencoder.dtype == torch.bfloat16
        assert autoencoder.decode(torch.zeros(1, 8, 2, 2)).dtype == torch.float32


def test_weights_in_parts_are_those_in_one_file(own_context: Context, copy_path: Path, embedded: Checkpoint) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(copy_path / UNET)
    names = sorted(weights)
    parts = {"part-1.safetensors": names[:100], "part-2.safetensors": names[100:]}
    for part, held in parts.items():
        save_file({name: weights[name] for name in held}, copy_path / "unet" / part)
    index = {"weight_map": {name: part for part, held in parts.items() for name in held}}
    (copy_path / f"{UNET}.index.json").write_text(json.dumps(index))
    (copy_path / UNET).unlink()
    with own_context.models.borrow(load_checkpoint("copy", ctx=own_context).MODEL) as denoiser:
        assert sum(parameter.numel() for parameter in denoiser.network.parameters()) == 9_488_072
    (copy_path / "unet" / "part-2.safetensors").unlink()
    assert "part-2.safetensors', a part of its unet; fetch the folder again" in refusal(own_context)


# what is wrong with a file, in a sentence


def test_a_missing_checkpoint(own_context: Context) -> None:
    message = refusal(own_context, "coppy")
    assert "the model 'coppy' (checkpoints) is missing; did you mean 'copy'?" in message


@pytest.mark.parametrize("suffix", [".ckpt", ".pt", ".pth", ".bin"])
def test_a_pickle_is_refused(own_context: Context, copy_path: Path, suffix: str) -> None:
    (copy_path.parent / f"old{suffix}").write_bytes(b"\x80\x02")
    message = refusal(own_context, f"old{suffix}")
    assert f"old{suffix}' is a pickle ({suffix}), which can run any code when it is read, so it is refused" in message
    assert "use the model's .safetensors file" in message


def test_a_pickle_inside_a_folder_is_refused(own_context: Context, copy_path: Path) -> None:
    (copy_path / UNET).rename(copy_path / "unet" / "diffusion_pytorch_model.bin")
    assert "diffusion_pytorch_model.bin' is a pickle (.bin)" in refusal(own_context)


def test_a_file_of_something_else(own_context: Context, copy_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"lora_unet_mid.lora_down.weight": torch.ones(1)}, copy_path.parent / "style.safetensors")
    message = refusal(own_context, "style.safetensors")
    assert "'style.safetensors' is no checkpoint of a known family: going by its tensors it is a LoRA" in message


@pytest.mark.parametrize("kept", [0, 4, 3000, 1_000_000])
def test_truncated_weights(own_context: Context, copy_path: Path, kept: int) -> None:
    os.truncate(copy_path / UNET, kept)
    message = refusal(own_context)
    assert f"{copy_path / UNET}' is no safetensors file, or is damaged" in message
    assert message.endswith("fetch it again")


@pytest.mark.parametrize("content", [b"\x00" * 100, b"not weights at all", b"\x02\0\0\0\0\0\0\0[]", b"\xff" * 50])
def test_weights_that_are_none(own_context: Context, copy_path: Path, content: bytes) -> None:
    (copy_path / UNET).write_bytes(content)
    assert "is no safetensors file, or is damaged" in refusal(own_context)


def test_missing_weights(own_context: Context, copy_path: Path) -> None:
    (copy_path / UNET).unlink()
    message = refusal(own_context)
    assert "the checkpoint 'copy' has no weights for its unet" in message
    assert str(copy_path / "unet") in message


@pytest.mark.parametrize("component", ["unet", "vae", "text_encoder", "scheduler", "tokenizer"])
def test_a_missing_component(own_context: Context, copy_path: Path, component: str) -> None:
    shutil.rmtree(copy_path / component)
    message = refusal(own_context)
    assert "'copy'" in message
    assert component in message
    assert "fetch" in message


@pytest.mark.parametrize("component", ["unet", "vae", "text_encoder", "scheduler", "tokenizer"])
def test_a_component_that_the_index_does_not_name(
    own_context: Context, change_config: ChangeConfig, component: str
) -> None:
    change_config("model_index.json", {component: [None, None]})
    assert f"the checkpoint 'copy' (StableDiffusionPipeline) has no {component}, which" in refusal(own_context)


@pytest.mark.parametrize("name", ["model_index.json", "unet/config.json", "scheduler/scheduler_config.json"])
@pytest.mark.parametrize(("content", "why"), [(b"{", "is not JSON"), (b"[]", "holds a JSON list, no object")])
def test_an_unreadable_configuration(
    own_context: Context, copy_path: Path, name: str, content: bytes, why: str
) -> None:
    (copy_path / name).write_bytes(content)
    message = refusal(own_context)
    assert f"{name}' {why}" in message
    assert message.endswith("fetch it again")


@pytest.mark.parametrize(
    ("component", "class_name"),
    [("unet", "UNetMotionModel"), ("text_encoder", "T5EncoderModel"), ("vae", "AutoencoderTiny")],
)
def test_a_component_of_an_unknown_class(
    own_context: Context, change_config: ChangeConfig, component: str, class_name: str
) -> None:
    change_config("model_index.json", {component: ["diffusers", class_name]})
    message = refusal(own_context)
    assert f"'copy' (StableDiffusionPipeline) has a {component} of class {class_name}, which cannot be used" in message
    assert "known are folders with a UNet2DConditionModel" in message


def test_a_damaged_single_file(own_context: Context, copy_path: Path) -> None:
    (copy_path.parent / "torn.safetensors").write_bytes((copy_path / UNET).read_bytes()[:5000])
    assert "torn.safetensors' is no safetensors file, or is damaged" in refusal(own_context, "torn.safetensors")


def test_a_pipeline_that_lacks_its_second_tokenizer(own_context: Context, change_config: ChangeConfig) -> None:
    second = ["transformers", "CLIPTextModelWithProjection"]
    change_config("model_index.json", {"_class_name": "StableDiffusionXLPipeline", "text_encoder_2": second})
    assert "tokenizer_2/tokenizer.json', or vocab.json and merges.txt beside it" in refusal(own_context)


def test_weights_of_another_shape(own_context: Context, change_config: ChangeConfig) -> None:
    change_config("unet/config.json", {"block_out_channels": [64, 128]})
    message = refusal(own_context)
    assert message.startswith("the unet of the checkpoint 'copy': its weights do not fit its configuration (")


def test_a_configuration_that_makes_no_network(own_context: Context, change_config: ChangeConfig) -> None:
    change_config("unet/config.json", {"down_block_types": ["NoSuchBlock", "NoSuchBlock"]})
    message = refusal(own_context)
    assert message.startswith("the unet of the checkpoint 'copy': its config.json cannot be used (")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"class_embed_type": "timestep"}, "wants more than text (class_embed_type: 'timestep')"),
        ({"addition_embed_type": "image"}, "wants more than text (addition_embed_type: 'image')"),
        ({"in_channels": 9}, "takes 9 channels and gives 8; known are 8 more, for editing, and 9 more, for inpainting"),
    ],
)
def test_a_network_with_inputs_that_nothing_gives(
    own_context: Context, change_config: ChangeConfig, changes: dict[str, Any], why: str
) -> None:
    change_config("unet/config.json", changes)
    assert why in refusal(own_context)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"prediction_type": "thoughts"}, "prediction 'thoughts' is not known"),
        ({"beta_schedule": "wavy"}, "beta_schedule 'wavy' is not known"),
    ],
)
def test_a_scheduler_that_is_not_known(
    own_context: Context, change_config: ChangeConfig, changes: dict[str, Any], why: str
) -> None:
    change_config("scheduler/scheduler_config.json", changes)
    assert f"the configuration of the checkpoint 'copy' cannot be used for sampling: {why}" in refusal(own_context)


def test_a_scheduler_with_no_noise_levels(own_context: Context, copy_path: Path) -> None:
    (copy_path / "scheduler" / "scheduler_config.json").write_text('{"_class_name": "EDMEulerScheduler"}')
    assert "has a EDMEulerScheduler that names no beta_schedule" in refusal(own_context)


def test_a_broken_tokenizer(own_context: Context, copy_path: Path) -> None:
    (copy_path / "tokenizer" / "tokenizer.json").write_text("{")
    assert "the tokenizer of the checkpoint 'copy' cannot be read from" in refusal(own_context)


def test_files_that_change_after_loading(own_context: Context, change_config: ChangeConfig) -> None:
    model = load_checkpoint("copy", ctx=own_context).MODEL
    change_config("scheduler/scheduler_config.json", {"prediction_type": "epsilon"})
    with pytest.raises(ModelFileError, match="'copy' is not the one that this value was made from"):
        own_context.models.borrow(model).__enter__()


def test_a_model_that_does_not_fit(own_context: Context) -> None:
    own_context = Context(folders=own_context.folders, models=Residency("cpu", 10**7, own_context.folders))
    message = refusal(own_context)
    assert message.startswith(
        "loading the unet of the checkpoint 'copy' needs about 38.0 MB of memory, and 10.0 MB can"
    )


# what a recipe's name and identity depend on


def test_a_file_that_is_replaced_changes_the_identity(own_context: Context, copy_path: Path) -> None:
    folders = own_context.folders
    before = checkpoint_identity("copy", folders)
    assert checkpoint_identity("copy", folders) == before
    shutil.copy(copy_path / UNET, copy_path / "new")
    (copy_path / "new").replace(copy_path / UNET)
    assert checkpoint_identity("copy", folders) != before


def test_what_cannot_be_looked_at_is_never_the_same(own_context: Context) -> None:
    assert math.isnan(checkpoint_identity("nosuch", own_context.folders))
    assert math.isnan(checkpoint_identity(None, own_context.folders))


def test_an_unread_file_does_not_change_the_content(own_context: Context, copy_path: Path) -> None:
    before = load_checkpoint("copy", ctx=own_context)
    (copy_path / "README.md").write_text("new words")
    assert load_checkpoint("copy", ctx=own_context) == before


def test_a_changed_configuration_is_another_content(own_context: Context, change_config: ChangeConfig) -> None:
    before = load_checkpoint("copy", ctx=own_context)
    change_config("scheduler/scheduler_config.json", {"prediction_type": "epsilon"})
    assert load_checkpoint("copy", ctx=own_context).MODEL.source.digest != before.MODEL.source.digest


def test_recipes_are_stored_and_named(embedded: Checkpoint) -> None:
    patch = LoraPatch(Source("loras", "red", "0" * 64), 0.5)
    recipe = embedded.CLIP.with_option("b", 1).with_option("a", 2.5).with_patch(patch)
    assert recipe.options == (("a", 2.5), ("b", 1))
    stored = unpack(pack(recipe))
    assert stored == recipe
    assert hash(stored) == hash(recipe)
    assert b"".join(canonical(stored)) == b"".join(canonical(recipe))
    assert recipe.weights == embedded.CLIP.with_patch(patch).weights


def test_the_loader_is_declared_as_saved_workflows_know_it() -> None:
    spec = read_node(load_checkpoint)
    assert (spec.name, spec.title, spec.category) == ("CheckpointLoaderSimple", "Load Checkpoint", "loaders")
    assert list(spec.inputs) == ["ckpt_name"]
    assert spec.inputs["ckpt_name"].port == "COMBO"
    assert [(output.name, output.port) for output in spec.outputs] == [(p, p) for p in ("MODEL", "CLIP", "VAE")]


@pytest.mark.timeout(60)
def test_loading_and_using_the_model_prints_nothing_and_asks_no_network(tmp_path: Path) -> None:
    code = """
import socket, sys
def refuse(*a, **k): raise AssertionError("a model was asked for on the network")
socket.socket.connect = refuse
from mezzotint import Context
from mezzotint.nodes.models.checkpoints import load_checkpoint
assert "torch" not in sys.modules
ctx = Context()
checkpoint = load_checkpoint(ctx=ctx)
assert "torch" not in sys.modules, "loading a checkpoint reads no weights"
import torch
for recipe in checkpoint:
    with ctx.models.borrow(recipe) as borrowed:
        if recipe.kind == "clip":
            borrowed.encode("a (red:1.2) " + "extraordinarily" * 50)
"""
    environment = {**os.environ, "MEZZOTINT_HOME": str(tmp_path)}
    environment.pop("HF_HUB_OFFLINE", None)
    done = subprocess.run(
        [sys.executable, "-W", "default", "-c", code], capture_output=True, text=True, check=False, env=environment
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
