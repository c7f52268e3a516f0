"""The sampling nodes give what diffusers' own pipeline gives, and what their settings say."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mezzotint import Context
from mezzotint.engine.folders import Folders
from mezzotint.engine.request import drive
from mezzotint.engine.residency import Residency
from mezzotint.nodes.conditioning.conditioning import encode_text
from mezzotint.nodes.latents.latent import empty_latent_image, latent_from_batch, set_latent_noise_mask
from mezzotint.nodes.models.checkpoints import Checkpoint, load_checkpoint
from mezzotint.nodes.sampling import noise_levels, sampler_parts, sampling_nodes
from mezzotint.nodes.sampling.model_sampling import model_sampling
from mezzotint.nodes.sampling.network_call import ConditioningError
from mezzotint.nodes.sampling.noise import initial_noise
from mezzotint.nodes.sampling.noise_levels import NoiseLevelError

SEED = 2**63 + 5
PROMPT = "a red apple"


class Studio:
    """A checkpoint with a context: runs the nodes by name."""

    def __init__(self, context: Context, checkpoint: Checkpoint) -> None:
        self.context = context
        self.model, self.clip, self.vae = checkpoint
        self.sampling = model_sampling(self.model, context)
        self.positive, self.negative = (encode_text(text, self.clip, ctx=context) for text in (PROMPT, ""))

    @property
    def prompts(self) -> dict[str, Any]:
        return {"positive": self.positive, "negative": self.negative}

    def ksampler(self, latent: dict[str, Any] | None = None, **given: Any) -> Tensor:
        options = {"seed": SEED, "steps": 4, "cfg": 4.0, **self.prompts, **given}
        latent = empty_latent_image(64, 64) if latent is None else latent
        body = sampling_nodes.ksampler(self.model, latent_image=latent, ctx=self.context, **options)
        return drive(body, self.context)["samples"]

    def advanced(self, latent: dict[str, Any] | None = None, **given: Any) -> dict[str, Any]:
        options = {"noise_seed": SEED, "steps": 6, "cfg": 4.0, **self.prompts, **given}
        latent = empty_latent_image(64, 64) if latent is None else latent
        body = sampling_nodes.ksampler_advanced(self.model, latent_image=latent, ctx=self.context, **options)
        result: dict[str, Any] = drive(body, self.context)
        return result

    def custom(self, sampler: Any, sigmas: Tensor, latent: dict[str, Any] | None = None, **given: Any) -> Any:
        noise = given.get("noise", sampler_parts.random_noise(SEED))
        guider = given.get("guider", sampler_parts.cfg_guider(self.model, self.positive, self.negative, 4.0))
        latent = empty_latent_image(64, 64) if latent is None else latent
        body = sampling_nodes.sampler_custom_advanced(noise, guider, sampler, sigmas, latent, ctx=self.context)
        return drive(body, self.context)

    def levels(self, scheduler: str = "simple", steps: int = 4, denoise: float = 1.0) -> Tensor:
        return noise_levels.basic_scheduler(self.model, scheduler, steps, denoise, ctx=self.context)


@pytest.fixture(scope="module")
def studio(model_context: Context, embedded: Checkpoint) -> Studio:
    return Studio(model_context, embedded)


@pytest.fixture(scope="module")
def tiny_path(tmp_path_factory: pytest.TempPathFactory, embedded_path: Path) -> Path:
    """A checkpoint of another build: 4 channels, epsilon, random weights, the embedded model's tokenizer."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    path = tmp_path_factory.mktemp("models") / "checkpoints" / "tiny"
    config = json.loads((embedded_path / "text_encoder" / "config.json").read_text())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        text = CLIPTextModel(CLIPTextConfig.from_dict({**config, "hidden_size": 32, "intermediate_size": 37}))
        unet = UNet2DConditionModel(
            sample_size=8, in_channels=4, out_channels=4, block_out_channels=(16, 32), layers_per_block=1,
            norm_num_groups=8, cross_attention_dim=32, attention_head_dim=4,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        )  # fmt: skip
        vae = AutoencoderKL(block_out_channels=(8,), norm_num_groups=4, latent_channels=4)
    for name, network in (("text_encoder", text), ("unet", unet), ("vae", vae)):
        network.save_pretrained(path / name)
    for name in ("tokenizer", "scheduler"):
        shutil.copytree(embedded_path / name, path / name)
    shutil.copy(embedded_path / "model_index.json", path)
    scheduler = path / "scheduler" / "scheduler_config.json"
    scheduler.write_text(json.dumps({**json.loads(scheduler.read_text()), "prediction_type": "epsilon"}))
    return path


@pytest.fixture(scope="module")
def tiny(tiny_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Studio:
    folders = Folders(tmp_path_factory.mktemp("tiny-home"), models=[tiny_path.parents[1]])
    context = Context(folders=folders, models=Residency("cpu", folders=folders))
    return Studio(context, load_checkpoint("tiny", ctx=context))


def pipeline_latents(path: Path, scheduler_name: str, channels: int, width: float, steps: int) -> Tensor:
    """What diffusers' own pipeline makes of the prompt, from the seed's noise times `width` at the first level."""
    import diffusers

    scheduler = getattr(diffusers, scheduler_name).from_pretrained(
        path / "scheduler", local_files_only=True, timestep_spacing="trailing"
    )
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(
        path, scheduler=scheduler, local_files_only=True, low_cpu_mem_usage=False
    ).to(torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    noise = initial_noise((1, channels, 8, 8), SEED) * width
    given = {"guidance_scale": 4.0, "num_inference_steps": steps, "output_type": "latent", "latents": noise}
    latents: Tensor = pipeline(PROMPT, negative_prompt="", height=64, width=64, **given).images
    return latents


def error(actual: Tensor, expected: Tensor) -> float:
    return float((actual - expected).norm() / expected.norm())


@pytest.mark.parametrize("name", ["studio", "tiny"])
def test_ksampler_gives_what_diffusers_pipeline_gives(
    name: str, request: pytest.FixtureRequest, embedded_path: Path, tiny_path: Path
) -> None:
    studio: Studio = request.getfixturevalue(name)
    path, channels = (embedded_path, 8) if name == "studio" else (tiny_path, 4)
    latent = empty_latent_image(64, 64)
    ours = studio.ksampler(latent, steps=10, scheduler="simple") * studio.sampling.scaling_factor
    sigma = studio.sampling.sigmas.sigma_max
    # diffusers multiplies the noise by sigma; ours is as wide as the noised data that the model was trained on.
    theirs = pipeline_latents(path, "EulerDiscreteScheduler", channels, math.sqrt(1 + sigma**2) / sigma, 10)
    assert error(ours, theirs) < 1e-4


def test_a_conditioning_of_another_text_encoder_is_refused_in_a_sentence(studio: Studio, tiny: Studio) -> None:
    for given in ({"positive": tiny.positive}, {"negative": tiny.negative}, tiny.prompts):
        with pytest.raises(ConditioningError, match="has 32 numbers for each token, and the model wants 128"):
            studio.ksampler(**given)


def test_a_diffusers_scheduler_gives_what_its_pipeline_gives(studio: Studio, embedded_path: Path) -> None:
    sampler = sampler_parts.diffusers_sampler("DDIMScheduler", "trailing")
    ours = studio.custom(sampler, studio.levels("sgm_uniform", 10)).output["samples"] * studio.sampling.scaling_factor
    theirs = pipeline_latents(embedded_path, "DDIMScheduler", 8, 1.0, 10)
    assert error(ours, theirs) < 1e-4


def test_a_picture_of_a_batch_can_be_made_again_alone(studio: Studio) -> None:
    batch = empty_latent_image(64, 64, 3)
    whole = studio.ksampler(batch)
    alone = studio.ksampler(latent_from_batch(batch, 1, 1))
    assert error(alone, whole[1:2]) < 1e-4
    assert error(whole[:1], whole[1:2]) > 0.01


def test_denoise_takes_the_last_steps_of_a_longer_run(studio: Studio) -> None:
    latent = {"samples": studio.ksampler()}
    half = studio.ksampler(latent, denoise=0.5, scheduler="normal")
    sigmas = studio.levels("normal", 8)[4:]
    assert torch.equal(half, studio.custom(sampler_parts.ksampler_select("euler"), sigmas, latent).output["samples"])
    assert torch.equal(studio.ksampler(latent, denoise=0.0), latent["samples"])


def test_two_halves_are_the_whole(studio: Studio) -> None:
    whole = studio.advanced()["samples"]
    first = studio.advanced(end_at_step=3, return_with_leftover_noise="enable")
    second = studio.advanced(first, add_noise="disable", start_at_step=3)["samples"]
    assert error(second, whole) < 1e-4
    cut = studio.advanced(end_at_step=3)["samples"]
    assert error(cut, first["samples"]) > 0.01  # without leftover noise the last step goes to 0


def test_a_part_that_holds_no_step_gives_the_latent_back(studio: Studio) -> None:
    latent = {"samples": torch.ones(1, 8, 8, 8)}
    assert studio.advanced(latent, start_at_step=6) is latent


def test_the_mask_leaves_the_rest_of_the_picture(studio: Studio) -> None:
    latent = {"samples": studio.ksampler()}
    mask = torch.zeros(1, 64, 64)
    mask[:, :, 32:] = 1
    painted = studio.ksampler(set_latent_noise_mask(latent, mask), seed=1)
    kept, changed = (painted - latent["samples"]).abs().split([4, 4], dim=-1)
    assert float(kept[..., :3].max()) < 1e-4 * float(latent["samples"].abs().max())
    assert float(changed.mean()) > 0.1


def test_custom_sampling_is_ksampler_taken_apart(studio: Studio) -> None:
    whole = studio.ksampler(sampler_name="dpmpp_2m", scheduler="karras")
    sampler, sigmas = sampler_parts.ksampler_select("dpmpp_2m"), studio.levels("karras")
    result = studio.custom(sampler, sigmas)
    assert torch.equal(result.output["samples"], whole)
    assert error(result.denoised_output["samples"], whole) < 1e-5
    body = sampling_nodes.sampler_custom(
        studio.model, True, SEED, 4.0, **studio.prompts, sampler=sampler, sigmas=sigmas,
        latent_image=empty_latent_image(64, 64), ctx=studio.context,
    )  # fmt: skip
    assert torch.equal(drive(body, studio.context).output["samples"], whole)


@pytest.mark.parametrize("name", ["dpm_adaptive", "dpm_fast", "sa_solver", "dpmpp_2s_ancestral_cfg_pp"])
def test_every_way_to_choose_a_sampler_leads_to_it(studio: Studio, name: str) -> None:
    whole = studio.ksampler(sampler_name=name, scheduler="karras", steps=3)
    advanced = studio.advanced(sampler_name=name, scheduler="karras", steps=3)["samples"]
    custom = studio.custom(sampler_parts.ksampler_select(name), studio.levels("karras", 3)).output["samples"]
    assert torch.equal(whole, custom)
    assert torch.equal(whole, advanced)
    assert error(whole, studio.ksampler(scheduler="karras", steps=3)) > 0.01


def test_no_guidance_is_a_guidance_scale_of_one(studio: Studio) -> None:
    sampler, sigmas = sampler_parts.ksampler_select("euler"), studio.levels()
    basic = studio.custom(sampler, sigmas, guider=sampler_parts.basic_guider(studio.model, studio.positive))
    assert torch.equal(basic.output["samples"], studio.ksampler(cfg=1.0))


def test_disabled_noise_starts_from_the_latent_alone(studio: Studio) -> None:
    sampler, sigmas = sampler_parts.ksampler_select("euler"), studio.levels()
    silent = studio.custom(sampler, sigmas, noise=sampler_parts.disable_noise()).output["samples"]
    assert error(silent, studio.ksampler()) > 0.01
    advanced = studio.advanced(add_noise="disable", steps=4)["samples"]
    assert torch.equal(silent, advanced)


def test_the_options_of_a_sampler_reach_it(studio: Studio) -> None:
    still = sampler_parts.sampler_euler_ancestral(eta=0.0)
    assert error(studio.custom(still, studio.levels()).output["samples"], studio.ksampler()) < 1e-5
    sde = sampler_parts.sampler_dpmpp_2m_sde(eta=0.0)
    assert error(studio.custom(sde, studio.levels()).output["samples"], studio.ksampler(sampler_name="dpmpp_2m")) < 0.1


# noise levels


def test_schedules_have_the_published_levels() -> None:
    karras = [14.61464, 3.1686, 0.44692, 0.02917, 0]
    exponential = [14.61464, 1.84002, 0.23166, 0.02917, 0]
    assert noise_levels.karras_scheduler(4).tolist() == pytest.approx(karras, abs=2e-5)
    assert noise_levels.exponential_scheduler(4).tolist() == pytest.approx(exponential, abs=2e-5)


def test_a_polynomial_of_degree_1_is_exponential_and_others_bend() -> None:
    straight, bent = (noise_levels.polyexponential_scheduler(3, 16.0, 1.0, rho).tolist() for rho in (1.0, 2.0))
    assert straight == pytest.approx([16, 4, 1, 0])
    assert bent == pytest.approx([16, 2, 1, 0])
    with pytest.raises(NoiseLevelError, match="PolyexponentialScheduler: a limit of 0 has no logarithm"):
        noise_levels.polyexponential_scheduler(4, sigma_min=0.0)


def test_laplace_levels_lie_at_quantiles_of_the_distribution_of_their_logarithm() -> None:
    from scipy.stats import laplace

    levels = noise_levels.laplace_scheduler(9, 100.0, 1e-3, 0.3, 0.8).tolist()
    quantiles = laplace.ppf([1 - k / 8 for k in range(1, 8)], loc=0.3, scale=0.8)
    assert levels == pytest.approx([100.0, *np.exp(quantiles), 1e-3, 0.0], rel=1e-5)
    narrow = noise_levels.laplace_scheduler(5)
    assert narrow.tolist() == pytest.approx([14.614642, 2**0.5, 1.0, 0.5**0.5, 0.0291675, 0.0])
    assert noise_levels.laplace_scheduler(3, beta=0.0).tolist() == [1.0, 1.0, 1.0, 0.0]


def test_the_variance_preserving_levels_are_those_of_the_closed_form() -> None:
    levels = noise_levels.vp_scheduler(2, 2.0, 1.0, 0.5).tolist()
    assert levels == pytest.approx([(math.e**2 - 1) ** 0.5, (math.e**0.75 - 1) ** 0.5, 0])


@pytest.mark.parametrize(("steps", "denoise", "timesteps"), [(1, 1.0, [999]), (4, 0.5, [499, 399, 299, 199])])
def test_a_turbo_run_begins_where_its_share_does(
    studio: Studio, steps: int, denoise: float, timesteps: list[int]
) -> None:
    table = model_sampling(studio.model, studio.context).sigmas.table
    levels = noise_levels.sd_turbo_scheduler(studio.model, steps, denoise, ctx=studio.context)
    assert levels.tolist() == pytest.approx([*(table[t].item() for t in timesteps), 0], rel=1e-5)


def test_aligned_steps_are_those_published_and_lie_between_them_at_other_counts() -> None:
    from diffusers.schedulers import AysSchedules

    published = AysSchedules["StableDiffusionXLSigmas"]
    assert noise_levels.align_your_steps_scheduler("SDXL", 10).tolist() == pytest.approx(published)
    twice = noise_levels.align_your_steps_scheduler("SDXL", 20).tolist()
    assert twice[:-1:2] == pytest.approx(published[:-1])
    assert twice[1] == pytest.approx((published[0] * published[1]) ** 0.5)
    assert noise_levels.align_your_steps_scheduler("SDXL", 10, 0.3).tolist() == pytest.approx(published[-4:])
    assert len(noise_levels.align_your_steps_scheduler("SD1", 10, 0.0)) == 0


def test_the_beta_schedule_is_that_of_its_name(studio: Studio) -> None:
    own = noise_levels.beta_sampling_scheduler(studio.model, 9, ctx=studio.context)
    assert torch.equal(own, studio.levels("beta", 9))


def test_levels_that_cannot_be_made_are_refused(studio: Studio) -> None:
    with pytest.raises(NoiseLevelError, match="rho is 0"):
        noise_levels.karras_scheduler(4, rho=0.0)
    with pytest.raises(NoiseLevelError, match="sigma_min above 0"):
        noise_levels.exponential_scheduler(4, sigma_min=0.0)
    with pytest.raises(NoiseLevelError, match="above 0"):
        noise_levels.beta_sampling_scheduler(studio.model, 4, alpha=0.0, ctx=studio.context)


def test_levels_are_split_turned_and_replaced() -> None:
    sigmas = torch.tensor([4.0, 3.0, 2.0, 1.0, 0.0])
    high, low = noise_levels.split_sigmas(sigmas, 2)
    assert (high.tolist(), low.tolist()) == ([4.0, 3.0, 2.0], [2.0, 1.0, 0.0])
    high, low = noise_levels.split_sigmas_denoise(sigmas, 0.75)
    assert (high.tolist(), low.tolist()) == ([4.0, 3.0], [3.0, 2.0, 1.0, 0.0])
    high, low = noise_levels.split_sigmas_denoise(sigmas, 0.0)
    assert (high.tolist(), low.tolist()) == ([], [0.0])
    assert noise_levels.flip_sigmas(sigmas).tolist() == pytest.approx([0.0001, 1.0, 2.0, 3.0, 4.0])
    assert noise_levels.set_first_sigma(sigmas, 9.0).tolist() == [9.0, 3.0, 2.0, 1.0, 0.0]
    assert sigmas.tolist() == [4.0, 3.0, 2.0, 1.0, 0.0]
    none = torch.zeros(0)
    assert len(noise_levels.flip_sigmas(none)) == len(noise_levels.set_first_sigma(none)) == 0
