"""Painting over a part of a picture, and drawing over the whole, against diffusers' own pipelines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from mezzotint import Context
from mezzotint.engine.request import drive
from mezzotint.engine.residency import Loaded, Residency
from mezzotint.nodes.autoencoders.autoencoder import Autoencoder
from mezzotint.nodes.autoencoders.vae import vae_encode
from mezzotint.nodes.conditioning.inpainting import (
    inpaint_model_conditioning,
    instruct_pix_to_pix_conditioning,
    vae_encode_for_inpaint,
)
from mezzotint.nodes.latents.latent import set_latent_noise_mask
from mezzotint.nodes.models.recipe import Recipe, Source
from mezzotint.nodes.samplers.schedules import DiscreteSigmas
from mezzotint.nodes.sampling.denoise import Denoise
from mezzotint.nodes.sampling.denoiser import ActivationShape, Denoiser
from mezzotint.nodes.sampling.guidance import CFGGuider
from mezzotint.nodes.sampling.model_sampling import ModelSampling
from mezzotint.nodes.sampling.network_call import UNetCall
from mezzotint.nodes.sampling.prompts import Prompts
from mezzotint.nodes.sampling.sampler_value import NamedSampler
from mezzotint.nodes.sampling.sampling_driver import sample

SOURCE = Source("checkpoints", "tiny", "0")
MODEL, VAE = Recipe("model", SOURCE), Recipe("vae", SOURCE)
SCALE, STEPS, STRENGTH, CFG = 0.18215, 8, 0.7, 4.0
SCHEDULE = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
HEIGHT, WIDTH = 16, 24


@dataclass(frozen=True)
class GivenNoise:
    """Noise that was drawn elsewhere."""

    noise: Tensor
    seed: int = 0

    def draw(self, shape: Sequence[int], batch_index: Sequence[int] | None = None) -> Tensor:
        assert tuple(shape) == self.noise.shape
        return self.noise


def unet(in_channels: int) -> Any:
    from diffusers import UNet2DConditionModel

    torch.manual_seed(in_channels)
    return UNet2DConditionModel(
        sample_size=8, in_channels=in_channels, block_out_channels=(32, 64), layers_per_block=1, cross_attention_dim=32,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    ).eval()  # fmt: skip


@pytest.fixture(scope="module")
def networks() -> dict[str, Any]:
    """Small random ones. The VAE's distribution is so narrow that a sample is its mean."""
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    vae = AutoencoderKL(
        block_out_channels=(32, 64), latent_channels=4, scaling_factor=SCALE,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    ).eval()  # fmt: skip
    with torch.no_grad():
        vae.quant_conv.weight[4:] = 0
        vae.quant_conv.bias[4:] = -30
    return {"vae": vae, "text-to-image": unet(4), "inpainting": unet(9), "editing": unet(8)}


def context_of(networks: dict[str, Any], kind: str) -> Context:
    cpu, float32 = torch.device("cpu"), torch.float32
    sampling = ModelSampling(DiscreteSigmas.from_config(SCHEDULE), "epsilon", 4, 2, SCALE, 0.0, {})
    call = UNetCall(further_channels=networks[kind].config.in_channels - 4)
    denoiser = Denoiser(networks[kind], sampling, cpu, float32, ActivationShape((32, 64), 1), 32, call)
    autoencoder = Autoencoder(networks["vae"], cpu, float32, 4, 2, 32, 64)
    models = Residency("cpu")
    models.register("model", lambda recipe, residency: Loaded(denoiser, 1))
    models.register("vae", lambda recipe, residency: Loaded(autoencoder, 1))
    return Context(models=models)


@pytest.fixture
def picture() -> Tensor:
    return torch.rand(1, HEIGHT, WIDTH, 3, generator=torch.Generator().manual_seed(5))


@pytest.fixture
def mask() -> Tensor:
    """The right half, in whole cells of the latent."""
    mask = torch.zeros(1, HEIGHT, WIDTH)
    mask[..., 10:] = 1
    return mask


PROMPTS = [
    [[torch.randn(1, 77, 32, generator=torch.Generator().manual_seed(seed)), {}]] for seed in (1, 2)
]  # positive, negative


def theirs(pipeline_class: Any, networks: dict[str, Any], kind: str, **given: Any) -> tuple[Tensor, Tensor, Tensor]:
    """What a pipeline of diffusers makes: the latent, unscaled; and the noise levels and the noise that it used."""
    from diffusers import EulerDiscreteScheduler

    scheduler = EulerDiscreteScheduler(**SCHEDULE, steps_offset=1, timestep_spacing="trailing")  # whole timesteps
    pipeline = pipeline_class(
        networks["vae"], None, None, networks[kind], scheduler, None, None, None, requires_safety_checker=False
    )
    pipeline.set_progress_bar_config(disable=True)
    (positive, _), (negative, _) = (prompt[0] for prompt in PROMPTS)
    latent = pipeline(
        prompt_embeds=positive, negative_prompt_embeds=negative, num_inference_steps=STEPS, strength=STRENGTH,
        guidance_scale=CFG, generator=torch.Generator().manual_seed(9), output_type="latent", **given,
    ).images  # fmt: skip
    generator = torch.Generator().manual_seed(9)
    _, noise = (torch.randn(latent.shape, generator=generator) for _ in range(2))  # the first is for the VAE's sample
    begin = STEPS - int(STEPS * STRENGTH)
    return latent / SCALE, scheduler.sigmas[begin:], noise


def ours(context: Context, prompts: Sequence[Any], sigmas: Tensor, noise: Tensor, latent: dict[str, Any]) -> Tensor:
    guider = CFGGuider(MODEL, prompts[0], prompts[1], CFG)
    result = drive(sample(context, guider, NamedSampler("euler"), sigmas, GivenNoise(noise), latent), context)
    samples: Tensor = result.output["samples"]
    return samples


def error(actual: Tensor, expected: Tensor) -> float:
    return float((actual - expected).norm() / expected.norm())


@pytest.fixture(autouse=True)
def no_gradients() -> Any:
    with torch.inference_mode():
        yield


def test_image_to_image_is_that_of_diffusers(networks: dict[str, Any], picture: Tensor) -> None:
    from diffusers import StableDiffusionImg2ImgPipeline

    context = context_of(networks, "text-to-image")
    pixels = picture.movedim(-1, 1)
    expected, sigmas, noise = theirs(StableDiffusionImg2ImgPipeline, networks, "text-to-image", image=pixels)
    assert error(ours(context, PROMPTS, sigmas, noise, vae_encode(picture, VAE, ctx=context)), expected) < 1e-4


def test_a_noise_mask_is_what_diffusers_does_with_a_model_that_does_not_see_the_picture(
    networks: dict[str, Any], picture: Tensor, mask: Tensor
) -> None:
    from diffusers import StableDiffusionInpaintPipeline

    context = context_of(networks, "text-to-image")
    expected, sigmas, noise = theirs(
        StableDiffusionInpaintPipeline, networks, "text-to-image",
        image=picture.movedim(-1, 1), mask_image=mask[:, None], height=HEIGHT, width=WIDTH,
    )  # fmt: skip
    latent = set_latent_noise_mask(vae_encode(picture, VAE, ctx=context), mask)
    result = ours(context, PROMPTS, sigmas, noise, latent)
    assert error(result, expected) < 1e-4
    torch.testing.assert_close(result[..., :5], latent["samples"][..., :5])


def test_a_model_for_inpainting_sees_what_it_sees_in_diffusers(
    networks: dict[str, Any], picture: Tensor, mask: Tensor
) -> None:
    from diffusers import StableDiffusionInpaintPipeline

    context = context_of(networks, "inpainting")
    expected, sigmas, noise = theirs(
        StableDiffusionInpaintPipeline, networks, "inpainting",
        image=picture.movedim(-1, 1), mask_image=mask[:, None], height=HEIGHT, width=WIDTH,
    )  # fmt: skip
    positive, negative, latent = inpaint_model_conditioning(
        PROMPTS[0], PROMPTS[1], VAE, picture, mask, noise_mask=False, ctx=context
    )
    assert "noise_mask" not in latent
    assert error(ours(context, (positive, negative), sigmas, noise, latent), expected) < 1e-4


def test_with_a_noise_mask_what_is_not_selected_stays(networks: dict[str, Any], picture: Tensor, mask: Tensor) -> None:
    context = context_of(networks, "inpainting")
    positive, negative, latent = inpaint_model_conditioning(PROMPTS[0], PROMPTS[1], VAE, picture, mask, ctx=context)
    noise = torch.randn(latent["samples"].shape)
    result = ours(context, (positive, negative), torch.tensor([5.0, 1.0, 0.0]), noise, latent)
    torch.testing.assert_close(result[..., :5], latent["samples"][..., :5])
    assert not torch.allclose(result[..., 5:], latent["samples"][..., 5:])


def test_editing_is_that_of_diffusers(networks: dict[str, Any], picture: Tensor) -> None:
    from diffusers import EulerDiscreteScheduler, StableDiffusionInstructPix2PixPipeline

    context, picture_cfg = context_of(networks, "editing"), 1.5
    scheduler = EulerDiscreteScheduler(**SCHEDULE, steps_offset=1, timestep_spacing="trailing")
    pipeline = StableDiffusionInstructPix2PixPipeline(
        networks["vae"], None, None, networks["editing"], scheduler, None, None, requires_safety_checker=False
    )
    pipeline.set_progress_bar_config(disable=True)
    noise = torch.randn(1, 4, HEIGHT // 2, WIDTH // 2, generator=torch.Generator().manual_seed(9))
    (text, _), (no_text, _) = (prompt[0] for prompt in PROMPTS)
    expected = pipeline(
        image=picture.movedim(-1, 1), prompt_embeds=text, negative_prompt_embeds=no_text, latents=noise,
        num_inference_steps=STEPS, guidance_scale=CFG, image_guidance_scale=picture_cfg, output_type="latent",
    ).images / SCALE  # fmt: skip
    positive, negative, latent = instruct_pix_to_pix_conditioning(PROMPTS[0], PROMPTS[1], VAE, picture, ctx=context)

    class Editing:
        """Equation 3 of Brooks et al. 2023: away from no text and from no picture, each by a scale of its own."""

        model, evaluations = MODEL, 3
        prompts = Prompts((positive, negative, PROMPTS[1]))

        def predict(self, x: Tensor, sigma: float) -> Any:
            both, picture_only, none = yield Denoise(MODEL, x, sigma, self.prompts)
            return none + (picture_only - none) * picture_cfg + (both - picture_only) * CFG

    sigmas = scheduler.sigmas
    first = float(sigmas[0])
    given = GivenNoise(noise * first / (1 + first**2) ** 0.5)  # diffusers begins with sigma times the noise
    result = drive(sample(context, Editing(), NamedSampler("euler"), sigmas, given, latent), context)
    assert error(result.output["samples"], expected) < 1e-4


# the nodes


def test_the_picture_is_grey_where_the_mask_selects_and_whole_in_the_latent(
    networks: dict[str, Any], picture: Tensor, mask: Tensor
) -> None:
    context = context_of(networks, "inpainting")
    ((_, options),), negative, latent = inpaint_model_conditioning(
        PROMPTS[0], PROMPTS[1], VAE, picture, mask * 0.8, ctx=context
    )
    grey = torch.where(mask[..., None] == 1, 0.5, picture)
    torch.testing.assert_close(options["concat_latent_image"], vae_encode(grey, VAE, ctx=context)["samples"])
    torch.testing.assert_close(latent["samples"], vae_encode(picture, VAE, ctx=context)["samples"])
    torch.testing.assert_close(options["concat_mask"], mask[:, None] * 0.8)
    assert latent["noise_mask"] is options["concat_mask"]
    assert negative[0][1].keys() == options.keys()
    assert torch.equal(negative[0][0], PROMPTS[1][0][0])
    assert PROMPTS[0][0][1] == {}


def test_picture_and_mask_are_cut_alike_and_a_mask_is_fitted(networks: dict[str, Any]) -> None:
    context = context_of(networks, "inpainting")
    pixels, mask = torch.rand(1, 17, 25, 4), torch.rand(34, 50)
    _, _, latent = inpaint_model_conditioning(PROMPTS[0], PROMPTS[1], VAE, pixels, mask, ctx=context)
    assert (latent["samples"].shape, latent["noise_mask"].shape) == ((1, 4, 8, 12), (1, 1, 16, 24))
    fitted = torch.nn.functional.interpolate(mask[None, None], (17, 25), mode="bilinear")
    torch.testing.assert_close(latent["noise_mask"], fitted[..., :16, :24])


@pytest.mark.parametrize("by", [0, 1, 2, 5, 6, 64])
def test_a_mask_grows_as_a_convolution_with_ones_does(networks: dict[str, Any], by: int) -> None:
    context = context_of(networks, "inpainting")
    mask = (torch.rand(2, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1)) > 0.97).float() * 0.7
    latent = vae_encode_for_inpaint(torch.rand(2, HEIGHT, WIDTH, 3), VAE, mask, by, ctx=context)
    expected = mask.round()[:, None]
    if by:
        ones, padding = torch.ones(1, 1, by, by), -(-(by - 1) // 2)
        expected = torch.nn.functional.conv2d(expected, ones, padding=padding).clamp(0, 1)[..., :HEIGHT, :WIDTH].round()
    assert torch.equal(latent["noise_mask"], expected)


def test_a_latent_for_inpainting_is_grey_where_the_mask_selects(
    networks: dict[str, Any], picture: Tensor, mask: Tensor
) -> None:
    context = context_of(networks, "inpainting")
    latent = vae_encode_for_inpaint(picture, VAE, mask, ctx=context)
    grey = torch.where(mask[..., None] == 1, 0.5, picture)
    torch.testing.assert_close(latent["samples"], vae_encode(grey, VAE, ctx=context)["samples"])


def test_one_picture_can_be_painted_over_in_several_places(networks: dict[str, Any], picture: Tensor) -> None:
    masks = torch.zeros(2, HEIGHT, WIDTH)
    masks[0, :8], masks[1, 8:] = 1, 1
    latent = vae_encode_for_inpaint(picture, VAE, masks, ctx=context_of(networks, "inpainting"))
    assert (latent["samples"].shape[0], latent["noise_mask"].shape[0]) == (2, 2)


def test_editing_shows_the_picture_and_begins_with_nothing(networks: dict[str, Any], picture: Tensor) -> None:
    context = context_of(networks, "inpainting")
    positive, negative, latent = instruct_pix_to_pix_conditioning(PROMPTS[0], PROMPTS[1], VAE, picture, ctx=context)
    encoded = vae_encode(picture, VAE, ctx=context)["samples"]
    assert [torch.equal(side[0][1]["concat_latent_image"], encoded) for side in (positive, negative)] == [True, True]
    assert torch.equal(latent["samples"], torch.zeros_like(encoded))
