"""Guidance by further predictions is that of diffusers' pipelines, and of the formulas where none has it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mezzotint import Context
from mezzotint.engine.folders import Folders
from mezzotint.engine.request import drive
from mezzotint.engine.residency import Residency
from mezzotint.engine.value_type import pack, unpack
from mezzotint.nodes.conditioning.conditioning import encode_text
from mezzotint.nodes.models.checkpoints import Checkpoint, load_checkpoint
from mezzotint.nodes.patches.perturbed_attention import perturbed_attention_guidance
from mezzotint.nodes.patches.self_attention_guidance import blur, self_attention_guidance
from mezzotint.nodes.patches.skip_layer_guidance import (
    layer_numbers,
    skip_layer_guidance_dit,
    skip_layer_guidance_dit_simple,
    skip_layer_guidance_sd3,
)
from mezzotint.nodes.sampling import sampling_nodes as sampling
from mezzotint.nodes.sampling.denoise import Denoise
from mezzotint.nodes.sampling.dual_guidance import DualCFGGuider, dual_cfg_guider
from mezzotint.nodes.sampling.frame_guidance import video_linear_cfg_guidance, video_triangle_cfg_guidance
from mezzotint.nodes.sampling.guidance import BasicGuider, CFGGuider
from mezzotint.nodes.sampling.model_sampling import model_sampling
from mezzotint.nodes.sampling.network_change import NetworkChangeError
from mezzotint.nodes.sampling.noise import initial_noise
from mezzotint.nodes.sampling.noise_levels import basic_scheduler
from mezzotint.nodes.sampling.sampling_change import model_sampling_discrete

from .. import tiny_pipelines
from .embedded_pipeline import CFG, drawn, drawn_by_ddim, error, pipeline, pipeline_latents, prompts


@pytest.fixture(scope="module")
def given(embedded: Checkpoint, model_context: Context) -> list[Any]:
    return prompts(embedded, model_context)


@pytest.fixture(scope="module")
def plain(embedded: Checkpoint, model_context: Context, given: list[Any]) -> Tensor:
    return drawn(embedded.MODEL, given, model_context)


def predicted(guider: Any, x: Tensor, sigma: float, context: Context) -> Tensor:
    with torch.inference_mode():
        prediction: Tensor = drive(guider.predict(x, sigma), context)
        return prediction


def predictions(model: Any, given: list[Any], x: Tensor, sigma: float, context: Context) -> list[Tensor]:
    with torch.inference_mode():
        return [*Denoise.answer([Denoise(model, x, sigma, tuple(given))], context)[0]]


# perturbed attention


@pytest.mark.parametrize("cfg", [CFG, 1.0])
def test_perturbed_attention_draws_what_diffusers_pipeline_draws(
    cfg: float, embedded: Checkpoint, model_context: Context, embedded_path: Path, given: list[Any], plain: Tensor
) -> None:
    ours = drawn(perturbed_attention_guidance(embedded.MODEL, 5.0), given, model_context, cfg=cfg)
    made = pipeline("StableDiffusionPAGPipeline", embedded_path, pag_applied_layers="mid")
    theirs = pipeline_latents(made, pag_scale=5.0, guidance_scale=cfg if cfg != 1 else 0.0)
    assert error(ours * model_sampling(embedded.MODEL, model_context).scaling_factor, theirs) < 1e-4
    assert error(ours, plain) > 0.01


def test_it_works_with_one_prompt_alone(embedded: Checkpoint, model_context: Context, given: list[Any]) -> None:
    model, x = perturbed_attention_guidance(embedded.MODEL, 2.5), torch.randn(1, 8, 8, 8)
    alone = predicted(BasicGuider(model, given[0]), x, 2.0, model_context)
    torch.testing.assert_close(alone, predicted(CFGGuider(model, *given, 1.0), x, 2.0, model_context))


# self-attention


def test_self_attention_guidance_draws_what_diffusers_pipeline_draws(
    embedded: Checkpoint, model_context: Context, embedded_path: Path, given: list[Any]
) -> None:
    """As the paper has it, by noise predictions; of v-predictions diffusers subtracts those of different x."""
    base = model_sampling_discrete(embedded.MODEL, "eps")
    model = self_attention_guidance(base, 0.75, 1.0)  # diffusers' blur has a deviation of 1
    ours = drawn_by_ddim(model, given, model_context)
    made = pipeline("StableDiffusionSAGPipeline", embedded_path, "DDIMScheduler", prediction_type="epsilon")
    theirs = pipeline_latents(made, sag_scale=0.75)
    assert error(ours * model_sampling(model, model_context).scaling_factor, theirs) < 1e-4
    assert error(ours, drawn_by_ddim(base, given, model_context)) > 0.01


def test_it_asks_for_the_negative_prediction_at_a_scale_of_1(
    embedded: Checkpoint, model_context: Context, given: list[Any]
) -> None:
    model, x = self_attention_guidance(embedded.MODEL), torch.randn(1, 8, 8, 8)
    guided = predicted(CFGGuider(model, *given, 1.0), x, 2.0, model_context)
    assert error(guided, predictions(embedded.MODEL, given, x, 2.0, model_context)[0]) > 1e-3


@pytest.mark.parametrize("sigma", [0.7, 2.0])
def test_the_blur_is_a_gaussian(sigma: float) -> None:
    from diffusers.pipelines.deprecated.stable_diffusion_sag.pipeline_stable_diffusion_sag import gaussian_blur_2d

    x = torch.randn(2, 3, 12, 10)
    torch.testing.assert_close(blur(x, sigma), gaussian_blur_2d(x, 9, sigma))
    assert torch.equal(blur(x, 0.0), x)


# skipped layers


@pytest.fixture(scope="module")
def sd3(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Checkpoint, Context]:
    """A pipeline, and the same as a checkpoint of ours."""
    root = tmp_path_factory.mktemp("skip")
    folders = Folders(root / "home", models=[root])
    context = Context(folders=folders, models=Residency("cpu", folders=folders))
    torch.manual_seed(0)
    made = tiny_pipelines.sd3()
    for parameter in made.transformer.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    made.save_pretrained(root / "checkpoints" / "sd3")
    made.set_progress_bar_config(disable=True)
    return made, load_checkpoint("sd3", ctx=context), context


def drawn_sd3(sd3: Any, change: Any, steps: int = 8) -> Tensor:
    _, checkpoint, context = sd3
    positive, negative = (encode_text(text, checkpoint.CLIP, ctx=context) for text in ("a cat", "blurry"))
    latent = {"samples": torch.zeros(1, 16, 16, 16)}
    body = sampling.ksampler(
        change(checkpoint.MODEL), seed=3, steps=steps, cfg=3.0, scheduler="simple", positive=positive,
        negative=negative, latent_image=latent, ctx=context,
    )  # fmt: skip
    samples: Tensor = drive(body, context)["samples"]
    return model_sampling(checkpoint.MODEL, context).to_model(samples)


def test_skipped_layers_draw_what_diffusers_pipeline_draws(sd3: Any) -> None:
    from diffusers import FlowMatchEulerDiscreteScheduler

    made, checkpoint, context = sd3
    levels = basic_scheduler(checkpoint.MODEL, "simple", 8, ctx=context)[:-1].tolist()
    start, end = 0.05, 0.4  # of 8 steps, those after 0.4 and before 3.2: the second to the fourth
    ours = drawn_sd3(sd3, lambda model: skip_layer_guidance_sd3(model, "0", 2.0, start, end, ctx=context))
    made.scheduler = FlowMatchEulerDiscreteScheduler(shift=1.0)
    theirs = made(
        "a cat", negative_prompt="blurry", num_inference_steps=8, sigmas=levels, guidance_scale=3.0, height=32,
        width=32, latents=initial_noise((1, 16, 16, 16), 3), output_type="latent", skip_guidance_layers=[0],
        skip_layer_guidance_scale=2.0, skip_layer_guidance_start=start, skip_layer_guidance_stop=end,
    ).images  # fmt: skip
    assert error(ours, theirs) < 1e-4
    assert error(ours, drawn_sd3(sd3, lambda model: model)) > 0.01


def test_layers_are_skipped_in_every_kind_of_transformer(sd3: Any) -> None:
    context = sd3[2]
    same = drawn_sd3(sd3, lambda model: skip_layer_guidance_sd3(model, "0", 2.0, 0.0, 1.0, ctx=context), 2)
    other = drawn_sd3(sd3, lambda model: skip_layer_guidance_dit(model, "0", "", 2.0, 0.0, 1.0, ctx=context), 2)
    assert torch.equal(same, other)
    rescaled = drawn_sd3(sd3, lambda model: skip_layer_guidance_dit(model, "0", "", 2, 0, 1, 0.7, ctx=context), 2)
    assert error(rescaled, same) > 1e-3


def test_layers_may_be_skipped_for_the_negative_prompt_alone(sd3: Any) -> None:
    _, checkpoint, context = sd3
    given = [encode_text(text, checkpoint.CLIP, ctx=context) for text in ("a cat", "blurry")]
    x, sigma = torch.randn(1, 16, 8, 8), 0.6
    simple = skip_layer_guidance_dit_simple(checkpoint.MODEL, "1", "", ctx=context)
    found = predicted(CFGGuider(simple, *given, 3.0), x, sigma, context)
    full = skip_layer_guidance_dit(checkpoint.MODEL, "1", "", 1.0, 0.0, 1.0, ctx=context)
    # cond + 1 (cond - without) at a guidance scale of 1, for the negative prompt as if it were the positive one
    negative, _ = predictions(checkpoint.MODEL, given[::-1], x, sigma, context)
    without = 2 * negative - predicted(BasicGuider(full, given[1]), x, sigma, context)
    positive, _ = predictions(checkpoint.MODEL, given, x, sigma, context)
    torch.testing.assert_close(found, without + 3.0 * (positive - without), rtol=1e-4, atol=1e-4)


def test_what_cannot_be_skipped_is_said_in_a_sentence(sd3: Any, embedded: Checkpoint, model_context: Context) -> None:
    context = sd3[2]
    with pytest.raises(NetworkChangeError, match=r"SkipLayerGuidanceSD3: layer 7 .* numbered 0 to 1"):
        drawn_sd3(sd3, lambda model: skip_layer_guidance_sd3(model, start_percent=0.0, ctx=context))
    unet = skip_layer_guidance_sd3(embedded.MODEL, start_percent=0.0, ctx=model_context)
    with pytest.raises(NetworkChangeError, match="no blocks of this kind"):
        drawn(unet, prompts(embedded, model_context), model_context)
    with pytest.raises(NetworkChangeError, match=r"PerturbedAttentionGuidance: .* is no U-Net"):
        drawn_sd3(sd3, perturbed_attention_guidance)


def test_layers_are_given_as_text() -> None:
    assert layer_numbers("7, 8,9") == (7, 8, 9)
    assert layer_numbers("1 1 layer 2") == (1, 2)
    assert layer_numbers("") == ()


# scales of zero, and several at once


def test_a_scale_of_zero_is_no_change_at_all(embedded: Checkpoint, model_context: Context) -> None:
    model = embedded.MODEL
    assert perturbed_attention_guidance(model, 0.0) is model
    assert self_attention_guidance(model, 0.0) is model
    assert skip_layer_guidance_sd3(model, scale=0.0, ctx=model_context) is model
    assert skip_layer_guidance_sd3(model, layers="", ctx=model_context) is model
    assert skip_layer_guidance_dit(model, "", "", ctx=model_context) is model
    assert skip_layer_guidance_dit_simple(model, "", "", ctx=model_context) is model


def test_several_add_up(embedded: Checkpoint, model_context: Context, given: list[Any]) -> None:
    model, x, sigma = embedded.MODEL, torch.randn(1, 8, 8, 8), 2.0
    found = [
        predicted(CFGGuider(each, *given, CFG), x, sigma, model_context)
        for each in (
            model, perturbed_attention_guidance(model), self_attention_guidance(model),
            self_attention_guidance(perturbed_attention_guidance(model)),
        )
    ]  # fmt: skip
    torch.testing.assert_close(found[3], found[1] + found[2] - found[0], rtol=1e-4, atol=1e-4)


# frames and two prompts


@pytest.mark.parametrize(
    ("change", "scales"),
    [
        (video_linear_cfg_guidance, [1.5, 2.75, 4.0, 5.25, 6.5]),
        (video_triangle_cfg_guidance, [1.5, 4.0, 6.5, 4.0, 1.5]),
    ],
)
def test_each_frame_has_its_scale(
    change: Any, scales: list[float], embedded: Checkpoint, model_context: Context, given: list[Any]
) -> None:
    x = torch.randn(5, 8, 8, 8)
    found = predicted(CFGGuider(change(embedded.MODEL, 1.5), *given, 6.5), x, 2.0, model_context)
    positive, negative = predictions(embedded.MODEL, given, x, 2.0, model_context)
    expected = torch.stack([n + (p - n) * s for p, n, s in zip(positive, negative, scales, strict=True)])
    torch.testing.assert_close(found, expected)


def test_it_takes_the_place_of_the_usual_guidance_before_other_changes(
    embedded: Checkpoint, model_context: Context, given: list[Any]
) -> None:
    x = torch.randn(2, 8, 8, 8)
    model = embedded.MODEL
    one = video_linear_cfg_guidance(perturbed_attention_guidance(model))
    other = perturbed_attention_guidance(video_linear_cfg_guidance(model))
    found = [predicted(CFGGuider(each, *given, CFG), x, 2.0, model_context) for each in (one, other)]
    assert torch.equal(*found)


def test_two_prompts_are_guided_by_the_published_formula(embedded: Checkpoint, model_context: Context) -> None:
    """Brooks et al. 2023, equation 3, with the second prompt in the place of the picture alone."""
    texts = [encode_text(text, embedded.CLIP, ctx=model_context) for text in ("a red apple", "a ghost", "")]
    x = torch.randn(1, 8, 8, 8)
    first, second, negative = predictions(embedded.MODEL, texts, x, 2.0, model_context)
    regular = dual_cfg_guider(embedded.MODEL, *texts, 5.0, 2.0)
    expected = negative + 2.0 * (second - negative) + 5.0 * (first - second)
    torch.testing.assert_close(predicted(regular, x, 2.0, model_context), expected, rtol=1e-4, atol=1e-4)
    nested = dual_cfg_guider(embedded.MODEL, *texts, 5.0, 2.0, "nested")
    expected = negative + 2.0 * (second + 5.0 * (first - second) - negative)
    torch.testing.assert_close(predicted(nested, x, 2.0, model_context), expected, rtol=1e-4, atol=1e-4)


def test_a_dual_guider_is_a_value_and_takes_changes(embedded: Checkpoint, model_context: Context) -> None:
    texts = [encode_text(text, embedded.CLIP, ctx=model_context) for text in ("a red apple", "a ghost", "")]
    guider: Any = dual_cfg_guider(perturbed_attention_guidance(embedded.MODEL), *texts, 5.0, 2.0)
    stored = unpack(pack(guider))
    assert isinstance(stored, DualCFGGuider)
    x = torch.randn(1, 8, 8, 8)
    plain = predicted(dual_cfg_guider(embedded.MODEL, *texts, 5.0, 2.0), x, 2.0, model_context)
    found = predicted(stored, x, 2.0, model_context)
    assert torch.equal(found, predicted(guider, x, 2.0, model_context))
    assert error(found, plain) > 1e-3
