"""Networks conditioned by class and by further channels: in a step, when samples are drawn, saved and loaded."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from mezzotint import Context
from mezzotint.nodes.models.checkpoints import load_checkpoint
from mezzotint.nodes.training.begin import begin_training
from mezzotint.nodes.training.diffusers_writer import write_pipeline
from mezzotint.nodes.training.diffusion_loss import diffusion_step
from mezzotint.nodes.training.network_nodes import checkpoint_networks, new_diffusion_networks
from mezzotint.nodes.training.noise_nodes import noise_process
from mezzotint.nodes.training.optimiser_plan import OptimiserPlan
from mezzotint.nodes.training.picture_nodes import encode_training_pictures, training_shapes
from mezzotint.nodes.training.sample_plan import SamplePlan
from mezzotint.nodes.training.samples import draw_samples
from mezzotint.nodes.training.state import TrainingError
from mezzotint.nodes.training.step import draw_latents, encode_captions, predict
from mezzotint.nodes.training.step_settings import DiffusionSettings
from mezzotint.nodes.training.train_nodes import training_samples

from .tiny_training import Begin, masked_latents, random_latents, tiny_plan

BY_CLASS = {"num_class_embeds": 4}
INPAINTING = {"in_channels": 9}
X, T = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(1)), torch.tensor([5, 500, 900])


def test_the_network_is_told_the_class_and_its_last_one_for_none(begin: Begin) -> None:
    state = begin(tiny_plan(unet=BY_CLASS))
    told = predict(state, X, T, ["a", "b", "c"], labels=torch.tensor([2, -1, 0]))
    text = encode_captions(state, ["a", "b", "c"])
    expected = state.networks["unet"](X, T, text, class_labels=torch.tensor([2, 3, 0])).sample
    assert torch.equal(told, expected)
    nothing = state.networks["unet"](X, T, text, class_labels=torch.tensor([3, 3, 3])).sample
    assert torch.equal(predict(state, X, T, ["a", "b", "c"]), nothing)


def test_the_classes_of_the_data_are_learnt_and_no_others(begin: Begin) -> None:
    state = begin(tiny_plan(unet={"num_class_embeds": 6}), accumulate=100)
    for _ in range(3):
        diffusion_step(state, masked_latents_without_masks(), DiffusionSettings(batch_size=5))
    network: Any = state.networks["unet"]
    is_learnt = network.class_embedding.weight.grad.ne(0).any(1).tolist()
    assert is_learnt == [True, True, True, False, False, True], "the last one where class and caption are left out"


def masked_latents_without_masks() -> Any:
    import dataclasses

    return dataclasses.replace(masked_latents(), masks=None, masked=None)


def test_a_class_that_the_network_has_not_is_told(begin: Begin) -> None:
    state = begin(tiny_plan(unet={"num_class_embeds": 3}))
    with pytest.raises(TrainingError, match="class 2 is asked for, and the network has 2 classes, from 0; begin a new"):
        diffusion_step(state, masked_latents_without_masks(), DiffusionSettings(batch_size=5))


def test_a_network_without_classes_takes_no_notice_of_them(begin: Begin) -> None:
    with_labels, without = begin(), begin()
    diffusion_step(with_labels, masked_latents_without_masks(), DiffusionSettings(batch_size=3))
    diffusion_step(without, random_latents(), DiffusionSettings(batch_size=3))
    assert with_labels.losses == without.losses


def test_masks_and_what_they_leave_are_joined_to_the_noisy_latents(begin: Begin) -> None:
    state = begin(tiny_plan(unet=INPAINTING))
    data = masked_latents()
    batch = draw_latents(state, data, 4)
    assert batch.concatenated is not None
    scale = 0.18215 if state.process is None else state.process.scaling_factor
    for latent, further in zip(batch.latents, batch.concatenated, strict=True):
        (found,) = (data.samples == latent).flatten(2).all(2).nonzero().tolist()
        assert torch.equal(further[:1], data.masks[tuple(found)])
        assert torch.allclose(further[1:], data.masked[tuple(found)] * scale)
    seen: list[torch.Tensor] = []
    state.networks["unet"].register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    predict(state, batch.latents, torch.tensor([1, 2, 3, 4]), batch.captions, batch.concatenated)
    assert torch.equal(seen[0], torch.cat([batch.latents, batch.concatenated], 1))


def test_masks_that_the_network_does_not_take_are_told(begin: Begin) -> None:
    with pytest.raises(TrainingError, match="the network takes 4 channels and is given 9"):
        diffusion_step(begin(), masked_latents(), DiffusionSettings(batch_size=3))


def test_samples_are_drawn_of_classes_and_with_all_masked(begin: Begin, context: Context) -> None:
    state = begin(tiny_plan(unet=BY_CLASS | INPAINTING))
    seen: list[Any] = []
    state.networks["unet"].register_forward_pre_hook(
        lambda module, given, named: seen.append((given, named)), with_kwargs=True
    )
    drawn = draw_samples(state, SamplePlan(("a", "b"), steps=2, labels=(2, 0)), 16, context)
    assert drawn.shape == (2, 16, 16, 3)
    (x, *_), named = seen[0]
    assert x.shape == (4, 9, 8, 8)
    assert x[:, 4].eq(1).all(), "the mask selects all"
    assert named["class_labels"].tolist() == [2, 0, 3, 3]
    with pytest.raises(TrainingError, match="class 3 is asked for"):
        draw_samples(state, SamplePlan(("a",), steps=2, labels=(3,)), 16, context)


def test_samples_have_as_many_classes_as_prompts() -> None:
    assert training_samples("a\nb", class_labels="1, 2").labels == (1, 2)
    assert training_samples("a\nb", class_labels="3").labels == (3, 3)
    assert training_samples("a\nb").labels == ()
    with pytest.raises(TrainingError, match="there are 2 prompts and 3 class_labels"):
        training_samples("a\nb", class_labels="1,2,3")


@pytest.mark.parametrize("masks", [False, True])
def test_a_new_model_conditioned_by_all_is_saved_and_samples_as_diffusers_do(
    begin: Begin, embedded: Any, model_context: Context, tmp_path: Any, masks: bool
) -> None:
    """The U-Net that diffusers loads from the folder says the same as ours, for a class and for none."""
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    from mezzotint.nodes.sampling.network_call import Target, UNetCall

    latents = encode_training_pictures(training_shapes(4, 16), embedded.VAE, 1, 0, masks, ctx=model_context)
    plan = new_diffusion_networks(latents, embedded.VAE, noise_process(), "16", 1, 8, 32, 1, 8, 600, by_class=True)
    state = begin_training(plan, OptimiserPlan(), 0, "float32", False, model_context)
    diffusion_step(state, latents, DiffusionSettings(batch_size=2))
    write_pipeline(state, tmp_path / "made", torch.float32, replace=False)
    index = json.loads((tmp_path / "made" / "model_index.json").read_text())
    assert index["id2label"]["3"] == "star"
    network = UNet2DConditionModel.from_pretrained(tmp_path / "made" / "unet").eval()
    assert network.config.num_class_embeds == 9
    assert network.config.in_channels == 8 + (9 if masks else 0)
    call = UNetCall(further_channels=9 if masks else 0, class_count=9)
    x, text = torch.randn(1, 8, 2, 2), torch.randn(1, 8, 32)
    shown = {"concat_latent_image": torch.randn(1, 8, 2, 2), "concat_mask": torch.ones(1, 1, 2, 2)} if masks else {}
    for option, label in (({"class_label": 3}, 3), ({}, 8)):
        sampling: Any = state.process
        given = call.inputs({**option, **shown}, Target(tuple(x.shape), 0, sampling, torch.device("cpu")))
        with torch.no_grad():
            ours = call.forward(network, x, torch.tensor([7]), text, given, {})
            joined = torch.cat([x, given["concat"]], 1) if masks else x
            assert torch.equal(ours, network(joined, 7, text, class_labels=torch.tensor([label])).sample)


def test_the_names_of_classes_are_kept_when_a_model_is_trained_further(begin: Begin, own_context: Context) -> None:
    state = begin(tiny_plan(unet=BY_CLASS))
    state.class_names = ("one", "two", "three")
    folder = own_context.folders.require("checkpoints", "copy").parent
    write_pipeline(state, folder / "first", torch.float32, replace=False)
    first = load_checkpoint("first", ctx=own_context)
    again = begin_training(checkpoint_networks(*first), OptimiserPlan(), 0, "float32", False, own_context)
    write_pipeline(again, folder / "second", torch.float32, replace=False)
    first_index, second_index = (
        json.loads((folder / name / "model_index.json").read_text()) for name in ("first", "second")
    )
    assert second_index["id2label"] == first_index["id2label"] == {"0": "one", "1": "two", "2": "three"}


def test_classes_are_asked_for_where_there_are_none(embedded: Any) -> None:
    with pytest.raises(TrainingError, match="by_class is on, and the pictures have no classes; set classes where"):
        new_diffusion_networks(random_latents(), embedded.VAE, noise_process(), by_class=True)
