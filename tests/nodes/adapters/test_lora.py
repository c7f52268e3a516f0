"""LoRAs: a base with some on it predicts what merged weights would, and without them it is as it was, to the bit."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from mezzotint import Context
from mezzotint.engine.errors import MissingModelError, ModelFileError
from mezzotint.engine.folders import Folders
from mezzotint.engine.residency import Residency
from mezzotint.engine.signature import read_node
from mezzotint.engine.value_type import canonical, pack, unpack
from mezzotint.nodes.adapters.lora import load_lora, load_lora_model_only, lora_identity
from mezzotint.nodes.adapters.lora_file import LoraFile
from mezzotint.nodes.adapters.lora_weights import fit_lora
from mezzotint.nodes.models.checkpoints import Checkpoint, load_checkpoint
from mezzotint.nodes.models.recipe import Recipe
from mezzotint.nodes.models.weight_casting import compute_in

from ..lora_files import (
    DENOISER,
    TEXT,
    Lora,
    attention_layers,
    attention_processors,
    diffusers,
    kohya,
    merged,
    peft,
    random_lora,
)

Layout = Callable[[str, Lora], dict[str, Tensor]]
SIGMA = 3.0


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Context:
    root = tmp_path_factory.mktemp("lora")
    (root / "models" / "loras").mkdir(parents=True)
    folders = Folders(root / "home", models=[root / "models"])
    return Context(folders=folders, models=Residency("cpu", folders=folders))


@pytest.fixture(scope="module")
def checkpoint(context: Context) -> Checkpoint:
    return load_checkpoint(ctx=context)


@pytest.fixture(scope="module")
def unet(checkpoint: Checkpoint, context: Context) -> nn.Module:
    with context.models.borrow(checkpoint.MODEL) as denoiser:
        network: nn.Module = denoiser.network
        return network


@pytest.fixture(scope="module")
def text_network(checkpoint: Checkpoint, context: Context) -> nn.Module:
    with context.models.borrow(checkpoint.CLIP) as encoder:
        network: nn.Module = encoder.network
        return network


@pytest.fixture
def save(context: Context) -> Callable[..., str]:
    """Write tensors into the loras folder; the file's name."""

    def write(tensors: Mapping[str, Tensor], name: str = "test.safetensors", **metadata: str) -> str:
        path = context.folders.model_folders("loras")[0] / name
        new = path.with_suffix(".new")
        save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, new, metadata or None)
        new.replace(path)
        return name

    return write


def predicted(denoiser: Any, batch: int = 1, side: int = 8) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(batch, 8, side, side, generator=generator) * SIGMA
    tokens = torch.randn(batch, 24, 128, generator=generator)
    with torch.inference_mode():
        denoised: Tensor = denoiser.predict(x, SIGMA, tokens)
        return denoised


@pytest.fixture
def predict(context: Context) -> Callable[..., Tensor]:
    """The prediction of a recipe's model, or of that model with another network in it."""

    def predict(recipe: Recipe, network: nn.Module | None = None, **shape: int) -> Tensor:
        with context.models.borrow(recipe) as denoiser:
            return predicted(denoiser.with_networks({DENOISER: network}) if network else denoiser, **shape)

    return predict


def error(actual: Tensor, expected: Tensor) -> float:
    return float((actual - expected).norm() / expected.norm())


Save = Callable[..., str]
Predict = Callable[..., Tensor]


def test_three_stacked_are_the_merged_weights(
    checkpoint: Checkpoint, context: Context, unet: nn.Module, save: Save, predict: Predict
) -> None:
    strengths = [0.8, -0.5, 1.3]
    loras = [random_lora(attention_layers(unet), rank=2 + 3 * seed, seed=seed) for seed in range(3)]
    model = checkpoint.MODEL
    for seed, (lora, strength) in enumerate(zip(loras, strengths, strict=True)):
        model = load_lora_model_only(model, save(kohya(DENOISER, lora), f"{seed}.safetensors"), strength, ctx=context)
    expected = predict(checkpoint.MODEL, merged(unet, *zip(loras, strengths, strict=True)))
    assert error(predict(model), expected) < 1e-5
    assert error(predict(checkpoint.MODEL), expected) > 0.05


def test_on_off_and_on_again_are_equal_to_the_bit(
    checkpoint: Checkpoint, context: Context, unet: nn.Module, save: Save, predict: Predict
) -> None:
    before = {name: weight.clone() for name, weight in unet.state_dict().items()}
    off = predict(checkpoint.MODEL)
    name = save(kohya(DENOISER, random_lora(attention_layers(unet))))
    patched = load_lora_model_only(checkpoint.MODEL, name, 0.7, ctx=context)
    on = predict(patched)
    assert not torch.equal(on, off)
    for _ in range(2):
        assert torch.equal(predict(checkpoint.MODEL), off)
        assert torch.equal(predict(patched), on)
    context.models.clear()
    assert torch.equal(predict(patched), on)
    assert all(torch.equal(weight, before[name]) for name, weight in unet.state_dict().items())


@pytest.mark.parametrize("layout", [kohya, peft, diffusers, attention_processors])
def test_every_layout_is_the_same_lora(
    layout: Layout, checkpoint: Checkpoint, context: Context, unet: nn.Module, text_network: nn.Module,
    save: Save, predict: Predict,
) -> None:  # fmt: skip
    lora, text_lora = random_lora(attention_layers(unet)), random_lora(attention_layers(text_network), seed=9)
    name = save({**layout(DENOISER, lora), **layout(TEXT, text_lora)}, f"{layout.__name__}.safetensors")
    patched = load_lora(checkpoint.MODEL, checkpoint.CLIP, name, 0.9, 0.6, ctx=context)
    assert error(predict(patched.MODEL), predict(checkpoint.MODEL, merged(unet, (lora, 0.9)))) < 1e-5
    with context.models.borrow(patched.CLIP) as encoder, context.models.borrow(checkpoint.CLIP) as base:
        ((tokens, options),) = encoder.encode("a red apple")
        wanted = base.with_networks({TEXT: merged(text_network, (text_lora, 0.6))}).encode("a red apple")
        assert error(tokens, base.encode("a red apple")[0][0]) > 0.05
    assert error(tokens, wanted[0][0]) < 1e-5
    assert error(options["pooled_output"], wanted[0][1]["pooled_output"]) < 1e-5


@pytest.mark.parametrize("side", [2, 8, 32])
def test_linear_and_convolution_layers_of_all_kinds(
    side: int, checkpoint: Checkpoint, context: Context, unet: nn.Module, save: Save, predict: Predict
) -> None:
    """Sizes on both sides of where a merged weight is made for one call."""
    layers = {name: layer for name, layer in unet.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)}
    lora = random_lora(layers, size=0.05)
    patched = load_lora_model_only(checkpoint.MODEL, save(kohya(DENOISER, lora), "all.safetensors"), 1.0, ctx=context)
    expected = predict(checkpoint.MODEL, merged(unet, (lora, 1.0)), side=side)
    assert error(predict(patched, side=side), expected) < 1e-5
    assert error(predict(checkpoint.MODEL, side=side), expected) > 0.05


def test_metadata_of_diffusers_say_alpha(
    checkpoint: Checkpoint, context: Context, unet: nn.Module, save: Save, predict: Predict
) -> None:
    lora = random_lora(attention_layers(unet), rank=4, alpha=4.0)  # so that the tensors of the file are not scaled
    peft_config = '{"unet.lora_alpha": 2, "unet.r": 4, "unet.alpha_pattern": {"to_q": 8}}'
    name = save(peft(DENOISER, lora), "alpha.safetensors", lora_adapter_metadata=peft_config)
    patched = load_lora_model_only(checkpoint.MODEL, name, 1.0, ctx=context)
    to_q = {layer: factors for layer, factors in lora.items() if layer.endswith("to_q")}
    others = {layer: factors for layer, factors in lora.items() if layer not in to_q}
    assert error(predict(patched), predict(checkpoint.MODEL, merged(unet, (to_q, 2.0), (others, 0.5)))) < 1e-5


@pytest.mark.parametrize("side", [2, 32])
def test_weights_that_are_kept_narrower_than_they_are_computed_with(
    side: int, checkpoint: Checkpoint, unet: nn.Module, context: Context, save: Save, predict: Predict
) -> None:
    lora = random_lora(
        {name: layer for name, layer in unet.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)}
    )
    narrow = deepcopy(unet).half()
    compute_in(narrow, torch.float32)
    assert {weight.dtype for weight in narrow.parameters()} == {torch.float16, torch.float32}
    path = context.folders.require("loras", save(kohya(DENOISER, lora), "narrow.safetensors"))
    fitted = fit_lora(LoraFile(path, "narrow"), {DENOISER: narrow}, "model", context.models).object
    with context.models.borrow(checkpoint.MODEL) as denoiser:
        actual = predicted(fitted.apply(denoiser.with_networks({DENOISER: narrow}), 0.1), side=side)
    wide = deepcopy(unet).half().float()
    assert error(actual, predict(checkpoint.MODEL, merged(wide, (lora, 0.1)), side=side)) < 1e-5


# what recipes are with one


def test_strengths_of_zero_change_nothing(checkpoint: Checkpoint, context: Context) -> None:
    assert load_lora(checkpoint.MODEL, checkpoint.CLIP, "not read", 0.0, 0.0, ctx=context) == checkpoint[:2]
    assert load_lora_model_only(checkpoint.MODEL, "not read", 0.0, ctx=context) is checkpoint.MODEL


def test_a_network_that_a_file_says_nothing_of_stays_as_it_was(
    checkpoint: Checkpoint, context: Context, unet: nn.Module, text_network: nn.Module, save: Save
) -> None:
    name = save(kohya(DENOISER, random_lora(attention_layers(unet))), "model.safetensors")
    model, clip = load_lora(checkpoint.MODEL, checkpoint.CLIP, name, ctx=context)
    assert (len(model.patches), clip) == (1, checkpoint.CLIP)
    name = save(kohya(TEXT, random_lora(attention_layers(text_network))), "text.safetensors")
    model, clip = load_lora(checkpoint.MODEL, checkpoint.CLIP, name, ctx=context)
    assert (model, len(clip.patches)) == (checkpoint.MODEL, 1)


def test_a_recipe_with_loras_is_stored_and_named(
    checkpoint: Checkpoint, context: Context, unet: nn.Module, save: Save
) -> None:
    name = save(kohya(DENOISER, random_lora(attention_layers(unet))))
    recipes = [load_lora_model_only(checkpoint.MODEL, name, s, ctx=context) for s in (0.5, 0.25)]
    stored = unpack(pack(recipes[0]))
    assert stored == recipes[0]
    assert hash(stored) == hash(recipes[0])
    assert b"".join(canonical(recipes[0])) != b"".join(canonical(recipes[1]))
    assert recipes[0].with_option("a", 1).weights == recipes[0].weights


def test_the_base_and_the_file_are_there_once_and_are_accounted_for(
    checkpoint: Checkpoint, unet: nn.Module, context: Context, save: Save
) -> None:
    lora = random_lora(attention_layers(unet))
    name = save(kohya(DENOISER, lora), "counted.safetensors")
    models = Residency("cpu", folders=context.folders)
    recipes = [load_lora_model_only(checkpoint.MODEL, name, s, ctx=context) for s in (0.5, 0.25)]
    with models.borrow(checkpoint.MODEL) as base, models.borrow(recipes[0]) as one, models.borrow(recipes[1]) as two:
        parameters = [[*holder.network.parameters()] for holder in (base, one, two)]
        assert all(a is b is c for a, b, c in zip(*parameters, strict=True))
        residents = {type(resident.recipe).__name__: resident for resident in models.residents()}
        assert len(models.residents()) == 4
    nbytes = sum(4 * (factors.up.numel() + factors.down.numel() + 1) for factors in lora.values())
    assert residents["LoraWeights"].nbytes == nbytes
    assert models.total_nbytes > residents["Recipe"].nbytes + nbytes
    models.clear()
    assert models.residents() == []


def test_a_file_that_is_replaced_is_another_lora(
    checkpoint: Checkpoint, context: Context, unet: nn.Module, save: Save
) -> None:
    layers = attention_layers(unet)
    name = save(kohya(DENOISER, random_lora(layers)), "changing.safetensors")
    identity = lora_identity(name, context.folders)
    first = load_lora_model_only(checkpoint.MODEL, name, ctx=context)
    save(kohya(DENOISER, random_lora(layers, seed=1)), name)
    assert lora_identity(name, context.folders) != identity
    assert load_lora_model_only(checkpoint.MODEL, name, ctx=context) != first
    with pytest.raises(ModelFileError, match="is not the file that this value was made from: it has changed"):
        context.models.borrow(first).__enter__()


# what is wrong, in a sentence


def refusal(recipe: Recipe, ctx: Context) -> str:
    with pytest.raises(ModelFileError) as raised:
        ctx.models.borrow(recipe).__enter__()
    return str(raised.value)


def test_a_lora_for_another_family(checkpoint: Checkpoint, context: Context, save: Save) -> None:
    block = "lora_unet_double_blocks_0_img_attn_proj"
    name = save({f"{block}.lora_up.weight": torch.zeros(8, 2), f"{block}.lora_down.weight": torch.zeros(2, 8)}, "f.sft")
    assert refusal(load_lora_model_only(checkpoint.MODEL, name, ctx=context), context) == (
        "the LoRA 'f.sft' is not for the model 'mezzotint-emoji': none of its 1 layers is in there (the first is "
        "'double_blocks_0_img_attn_proj'); it looks like one for Flux; use a LoRA that was made for this kind of model"
    )


def test_a_lora_for_a_model_of_other_sizes(
    checkpoint: Checkpoint, context: Context, unet: nn.Module, save: Save
) -> None:
    layers = attention_layers(unet)
    wide = {name: nn.Linear(768, len(layer.weight)) for name, layer in layers.items() if name.endswith("attn2.to_k")}
    name = save(kohya(DENOISER, random_lora({**layers, **wide})), "wide.safetensors")
    message = refusal(load_lora_model_only(checkpoint.MODEL, name, ctx=context), context)
    first = next(iter(wide)).replace(".", "_")
    assert message == (
        f"the LoRA 'wide.safetensors' is not for the model 'mezzotint-emoji': {len(wide)} of its {len(layers)} layers "
        f"do not fit ('{first}' changes 96 × 768 numbers, and the model has 96 × 128); it looks like one for Stable "
        f"Diffusion 1; use a LoRA that was made for this kind of model"
    )


def test_a_lora_that_lacks_a_part(checkpoint: Checkpoint, context: Context, unet: nn.Module, save: Save) -> None:
    layer = next(iter(attention_layers(unet))).replace(".", "_")
    name = save({f"lora_unet_{layer}.hada_w1_a": torch.zeros(96, 2)}, "part.safetensors")
    message = refusal(load_lora_model_only(checkpoint.MODEL, name, ctx=context), context)
    assert f"1 of its 1 layers do not fit ('{layer}' lacks 'hada_w1_b')" in message


def test_layers_that_are_not_known_are_left_out_with_a_warning(
    checkpoint: Checkpoint, context: Context, unet: nn.Module, save: Save, predict: Predict,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    lora = random_lora(attention_layers(unet))
    more = kohya(DENOISER, random_lora({"mid_block.nowhere": nn.Linear(4, 4)}))
    name = save({**kohya(DENOISER, lora), **more}, "more.safetensors")
    with caplog.at_level(logging.WARNING):
        actual = predict(load_lora_model_only(checkpoint.MODEL, name, ctx=context))
    assert error(actual, predict(checkpoint.MODEL, merged(unet, (lora, 1.0)))) < 1e-5
    assert f"1 of its {len(lora) + 1} layers are not in the model 'mezzotint-emoji' and are left out" in caplog.text


def test_a_missing_file(checkpoint: Checkpoint, context: Context) -> None:
    with pytest.raises(MissingModelError, match=r"the model 'nosuch\.safetensors' \(loras\) is missing"):
        load_lora(checkpoint.MODEL, checkpoint.CLIP, "nosuch.safetensors", ctx=context)


def test_a_whole_model_is_no_lora(checkpoint: Checkpoint, context: Context, save: Save) -> None:
    name = save({"model.diffusion_model.out.2.weight": torch.zeros(4, 4)}, "whole.safetensors")
    with pytest.raises(ModelFileError, match=r"is no LoRA of a known layout: none of its 1 tensors is named like one"):
        load_lora_model_only(checkpoint.MODEL, name, ctx=context)


@pytest.mark.parametrize("kept", [0, 4, 300, 20_000])
def test_a_damaged_file(kept: int, checkpoint: Checkpoint, context: Context, unet: nn.Module, save: Save) -> None:
    name = save(kohya(DENOISER, random_lora(attention_layers(unet))), f"damaged-{kept}.safetensors")
    path: Path = context.folders.require("loras", name)
    os.truncate(path, kept)
    with pytest.raises(ModelFileError, match=r"is no safetensors file, or is damaged .* fetch it again"):
        load_lora_model_only(checkpoint.MODEL, name, ctx=context)


def test_the_loaders_are_declared_as_saved_workflows_know_them() -> None:
    spec = read_node(load_lora)
    assert (spec.name, spec.title, spec.category) == ("LoraLoader", "Load LoRA", "loaders")
    assert [*spec.inputs] == ["model", "clip", "lora_name", "strength_model", "strength_clip"]
    assert [(output.name, output.port) for output in spec.outputs] == [("MODEL", "MODEL"), ("CLIP", "CLIP")]
    only = read_node(load_lora_model_only)
    assert (only.name, [*only.inputs]) == ("LoraLoaderModelOnly", ["model", "lora_name", "strength_model"])
    for given in (spec.inputs["strength_clip"], only.inputs["strength_model"]):
        assert (given.default, given.limits, given.widget.step) == (1.0, {"ge": -100, "le": 100}, 0.01)
