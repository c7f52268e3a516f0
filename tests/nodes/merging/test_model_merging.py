"""Merged models: what plain arithmetic on their weights gives, whatever else was added to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from mezzotint import Context
from mezzotint.engine.errors import MezzotintError
from mezzotint.engine.residency import Residency
from mezzotint.engine.value_type import pack, unpack
from mezzotint.nodes.adapters.lora import load_lora
from mezzotint.nodes.merging.merge import MergeError
from mezzotint.nodes.merging.merge_nodes import (
    add_models,
    merge_blocks,
    merge_clips,
    merge_models,
    subtract_clips,
    subtract_models,
)
from mezzotint.nodes.models.checkpoints import Checkpoint, load_checkpoint
from mezzotint.nodes.sampling.sampling_change import model_sampling_discrete

from .. import ldm_layout, tiny_pipelines
from ..lora_files import DENOISER, TEXT, attention_layers, kohya, merged, random_lora
from .model_pairs import Models, assert_close


@pytest.mark.parametrize("name", ["sd1", "sd2", "sdxl"])
def test_a_mixture_is_the_arithmetic_mean_of_the_weights(models: Models, name: str) -> None:
    first, second = models.pair(name)
    ours, theirs = models.unets(name)
    mixed = models.state(merge_models(first.MODEL, second.MODEL, 0.3))
    assert_close(mixed, {key: (0.3 * ours[key].double() + 0.7 * theirs[key].double()).float() for key in ours})
    assert any(not torch.equal(ours[key], theirs[key]) for key in ours)


def test_a_difference_times_a_factor_is_added_to_a_third(models: Models) -> None:
    first, second = models.pair("sd1")
    ours, theirs = models.unets("sd1")
    difference = subtract_models(first.MODEL, second.MODEL, 0.5)
    assert_close(models.state(difference), {key: 0.5 * (ours[key] - theirs[key]) for key in ours})
    added = models.state(add_models(second.MODEL, difference))
    assert_close(added, {key: theirs[key] + 0.5 * (ours[key] - theirs[key]) for key in ours})


@pytest.mark.parametrize("name", ["sd1", "sd2", "sdxl", "refiner"])
def test_blocks_are_mixed_by_their_published_names(models: Models, name: str) -> None:
    first, second = models.pair(name)
    ours, theirs = (ldm_layout.unet_tensors(models.family(each).unet) for each in (name, f"{name}-b"))
    ratios = {"input_blocks.": 0.25, "middle_block.": 0.5, "output_blocks.": 0.75, "out.": 0.75}
    expected = {}
    for key in ours:
        ratio = next((ratio for prefix, ratio in ratios.items() if key.startswith(prefix)), 0.25)
        expected[key] = ratio * ours[key] + (1 - ratio) * theirs[key]
    mixed = merge_blocks(first.MODEL, second.MODEL, input=0.25, middle=0.5, out=0.75)
    with models.context.models.borrow(mixed) as denoiser:
        assert_close(ldm_layout.unet_tensors(denoiser.network), expected)


def test_blocks_of_one_model_alone_are_shared_with_it(models: Models) -> None:
    first, second = models.pair("sd1")
    mixed = merge_blocks(first.MODEL, second.MODEL, input=1, middle=0.5, out=0)
    residency = models.context.models
    before = {each.recipe for each in residency.residents() if each.is_borrowed}
    with (
        residency.borrow(first.MODEL) as ours,
        residency.borrow(second.MODEL) as theirs,
        residency.borrow(mixed) as made,
    ):
        one, other, both = (loaded.network for loaded in (ours, theirs, made))
        assert both.conv_in.weight is one.conv_in.weight
        assert both.conv_out.weight is other.conv_out.weight
        assert both.time_embedding.linear_1.weight is one.time_embedding.linear_1.weight
        middle = sum(tensor.nbytes for tensor in both.mid_block.parameters())
        held = next(each.nbytes for each in residency.residents() if each.recipe == mixed.weights)
        assert middle < held < middle + 10_000_000
        stands_on = {each.recipe: each.is_borrowed for each in residency.residents()}
    assert all(stands_on[recipe] for recipe in (first.MODEL, second.MODEL))
    kept = {each.recipe for each in residency.residents() if each.is_borrowed}
    assert kept == {first.MODEL, second.MODEL} | before  # as long as the merge is there


def test_a_whole_mixture_stands_on_neither(models: Models) -> None:
    first, second = models.pair("sd1")
    mixed = merge_models(first.MODEL, second.MODEL, 0.5)
    models.context.models.clear()
    with models.context.models.borrow(mixed) as made:
        nbytes = sum(tensor.nbytes for tensor in made.network.parameters())
        assert {each.recipe for each in models.context.models.residents() if each.is_borrowed} == {mixed.weights}
        held = next(each.nbytes for each in models.context.models.residents() if each.is_borrowed)
        assert nbytes < held < nbytes + 10_000_000


def test_merging_reads_and_changes_nothing_before_it_is_used(models: Models) -> None:
    first, second = models.pair("sd1")
    models.context.models.clear()
    before = {key: tensor.clone() for key, tensor in models.state(first.MODEL).items()}
    models.context.models.clear()
    mixed = merge_models(first.MODEL, second.MODEL, 0.5)
    assert models.context.models.residents() == []
    models.state(mixed)
    assert all(torch.equal(tensor, before[key]) for key, tensor in models.state(first.MODEL).items())


def test_a_recipe_of_a_merge_is_packed_compared_and_told_apart(models: Models) -> None:
    first, second = models.pair("sd1")
    mixed = merge_models(first.MODEL, second.MODEL, 0.5)
    assert unpack(pack(mixed)) == mixed
    assert hash(mixed) == hash(merge_models(first.MODEL, second.MODEL, 0.5))
    others = (merge_models(first.MODEL, second.MODEL, 0.4), merge_models(second.MODEL, first.MODEL, 0.5), first.MODEL)
    assert mixed not in others
    assert merge_models(first.MODEL, second.MODEL, 1.0) == first.MODEL


@pytest.fixture
def lora(models: Models) -> Callable[[Checkpoint, int], tuple[Checkpoint, Any]]:
    """A checkpoint with a random LoRA, and the factors of its U-Net and of its text encoder."""

    def add(checkpoint: Checkpoint, seed: int) -> tuple[Checkpoint, Any]:
        family = models.family(checkpoint.MODEL.source.name.removesuffix(".safetensors"))
        unet = random_lora(attention_layers(family.unet), seed=seed)
        text = random_lora(attention_layers(next(iter(family.text.values()))), seed=seed)
        name = f"{seed}.safetensors"
        ldm_layout.write_single_file(
            models.folder / "loras" / name, {"": {**kohya(DENOISER, unet), **kohya(TEXT, text)}}
        )
        patched = load_lora(checkpoint.MODEL, checkpoint.CLIP, name, 0.8, 0.8, ctx=models.context)
        return checkpoint._replace(MODEL=patched.MODEL, CLIP=patched.CLIP), (unet, text)

    return add


def test_loras_of_both_go_into_a_mixture(models: Models, lora: Any) -> None:
    (first, (unet, text)), (second, (unet_b, text_b)) = (
        lora(checkpoint, seed) for seed, checkpoint in enumerate(models.pair("sd1"))
    )
    families = [models.family(name) for name in ("sd1", "sd1-b")]
    ours, theirs = (
        merged(family.unet, (factors, 0.8)).state_dict()
        for family, factors in zip(families, (unet, unet_b), strict=True)
    )
    mixed = models.state(merge_models(first.MODEL, second.MODEL, 0.4))
    assert_close(mixed, {key: 0.4 * ours[key] + 0.6 * theirs[key] for key in ours}, 1e-5)
    ours, theirs = (
        merged(next(iter(family.text.values())), (factors, 0.8)).state_dict()
        for family, factors in zip(families, (text, text_b), strict=True)
    )
    mixed = models.state(merge_clips(first.CLIP, second.CLIP, 0.4))
    assert_close(mixed, {key: 0.4 * ours[key] + 0.6 * theirs[key] for key in ours}, 1e-5)


def test_a_lora_after_a_merge_is_added_to_it(models: Models, lora: Any) -> None:
    first, second = models.pair("sd1")
    mixed = first._replace(MODEL=merge_models(first.MODEL, second.MODEL, 0.5))
    patched, (unet, _) = lora(mixed, 7)
    network: nn.Module = models.family("sd1").unet
    ours, theirs = models.unets("sd1")
    with torch.no_grad():
        plain = {key: 0.5 * ours[key] + 0.5 * theirs[key] for key in ours}
        halves = type(network)(**dict(network.config))  # type: ignore[arg-type, call-arg]
        halves.load_state_dict(plain)
        expected = merged(halves, (unet, 0.8)).eval()
        x, tokens = torch.randn(1, 4, 16, 16), torch.randn(1, 77, 24)
        with models.context.models.borrow(patched.MODEL) as denoiser:
            actual = denoiser.network(x, 500, tokens).sample
        assert torch.allclose(actual, expected(x, 500, tokens).sample, atol=1e-4)
    again = models.state(merge_models(patched.MODEL, patched.MODEL, 0.5))  # and goes into the next
    assert_close(again, expected.state_dict(), 1e-5)


def test_how_it_is_sampled_is_the_first_ones(models: Models) -> None:
    first, second = models.pair("sd1")
    told = model_sampling_discrete(first.MODEL, "v_prediction")
    assert merge_models(told, second.MODEL, 0.5).options == told.options
    assert merge_models(first.MODEL, told, 0.5).options == ()


def test_text_encoders_of_sdxl_are_merged_both(models: Models) -> None:
    first, second = models.pair("sdxl")
    with models.context.models.borrow(subtract_clips(first.CLIP, second.CLIP, 2.0)) as made:
        networks = [part.state_dict() for part in (made.first.network, made.second.network)]
    for place, network in enumerate(networks):
        ours, theirs = ([*models.family(name).text.values()][place].state_dict() for name in ("sdxl", "sdxl-b"))
        assert_close(network, {key: 2 * (ours[key] - theirs[key]) for key in ours}, 1e-5)


def test_the_embedded_model_of_a_diffusers_folder_is_merged(model_context: Context, embedded: Checkpoint) -> None:
    doubled = add_models(embedded.MODEL, embedded.MODEL)
    with model_context.models.borrow(embedded.MODEL) as one, model_context.models.borrow(doubled) as two:
        ours, made = one.network.state_dict(), two.network.state_dict()
    assert_close(made, {key: 2 * tensor for key, tensor in ours.items()})


def test_a_transformer_and_its_text_encoders_are_merged(models: Models) -> None:
    pipelines = []
    for seed, name in enumerate(("sd3", "sd3-b")):
        torch.manual_seed(seed)
        pipelines.append(tiny_pipelines.sd3())
        pipelines[-1].save_pretrained(models.folder / "checkpoints" / name)
    first, second = (load_checkpoint(name, ctx=models.context) for name in ("sd3", "sd3-b"))
    ours, theirs = (pipeline.transformer.state_dict() for pipeline in pipelines)
    mixed = merge_blocks(first.MODEL, second.MODEL, input=0.25, middle=1, out=1)  # it has no such blocks but the first
    assert_close(models.state(mixed), {key: 0.25 * ours[key] + 0.75 * theirs[key] for key in ours})
    with models.context.models.borrow(merge_clips(first.CLIP, second.CLIP, 0.5)) as made:
        for name in ("text_encoder", "text_encoder_2", "text_encoder_3"):
            ours, theirs = (getattr(pipeline, name).state_dict() for pipeline in pipelines)
            network = getattr(made.pipeline, name)
            assert_close(network.state_dict(), {key: 0.5 * ours[key] + 0.5 * theirs[key] for key in ours})
    assert made.encode("a cat")[0][0].isfinite().all()


def test_a_model_for_inpainting_keeps_its_first_layer(models: Models, caplog: pytest.LogCaptureFixture) -> None:
    first, second = models.load("sd1-inpainting"), models.load("sd1")
    made = models.state(add_models(first.MODEL, second.MODEL))
    ours, theirs = (models.family(name).unet.state_dict() for name in ("sd1-inpainting", "sd1"))
    expected = {key: ours[key] + theirs[key] for key in ours if key != "conv_in.weight"}
    assert_close(made, {**expected, "conv_in.weight": ours["conv_in.weight"]})
    assert "takes 9 channels in the one and 4 in the other, so that of 'sd1-inpainting.safetensors' is" in caplog.text


@pytest.mark.parametrize(
    ("names", "kind", "sentence"),
    [
        (("sd1", "sdxl"), "MODEL", r"are in one of them only, such as '.+', which '.+' has and '.+' has not"),
        (("sd1", "sd2"), "CLIP", r"differ in shape, such as '.+', of \[\d+.*\] and \[\d+.*\]|are in one of them only"),
        (("sd1", "sdxl"), "CLIP", r"of different families, with 1 and 2 networks \(CLIPTextModel; CLIP.*\)"),
    ],
)
def test_models_of_other_families_are_not_merged(
    models: Models, names: tuple[str, str], kind: str, sentence: str
) -> None:
    first, second = (getattr(models.load(name), kind) for name in names)
    with pytest.raises(MergeError, match=sentence) as raised:
        models.state(merge_models(first, second, 0.5))
    assert all(f"'{name}.safetensors'" in str(raised.value) for name in names)
    assert isinstance(raised.value, MezzotintError)


def test_a_merge_that_does_not_fit_into_memory_is_refused(models: Models) -> None:
    first, second = models.pair("sd1")
    nbytes = sum(tensor.nbytes for tensor in models.unets("sd1")[0].values())
    small = Residency("cpu", budget_nbytes=int(2.5 * nbytes), folders=models.context.folders)
    with (
        pytest.raises(MezzotintError, match=r"merging 'sd1.safetensors' with 'sd1-b.safetensors' needs about"),
        small.borrow(merge_models(first.MODEL, second.MODEL, 0.5)),
    ):
        pass
