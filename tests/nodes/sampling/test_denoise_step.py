"""The sampling loop made of nodes: bit-equal to the sampler's own, and clear about what cannot be."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from mezzotint import Context
from mezzotint.engine.request import drive
from mezzotint.nodes.conditioning.conditioning import encode_text
from mezzotint.nodes.latents.latent import empty_latent_image, set_latent_noise_mask
from mezzotint.nodes.models.checkpoints import Checkpoint
from mezzotint.nodes.sampling.denoise_step import StepError, latent_noise, scheduler_step, unet_denoise
from mezzotint.nodes.sampling.noise_levels import basic_scheduler
from mezzotint.nodes.sampling.sampling_nodes import ksampler

SEED, STEPS, CFG = 5, 5, 4.0


class Bench:
    """The nodes of the loop, with a model and prompts."""

    def __init__(self, context: Context, checkpoint: Checkpoint) -> None:
        self.context, self.model = context, checkpoint.MODEL
        self.positive, self.negative = (
            encode_text(text, checkpoint.CLIP, ctx=context) for text in ("a blue car on a pink background", "a house")
        )

    def levels(self, scheduler: str = "normal", denoise: float = 1.0) -> Tensor:
        return basic_scheduler(self.model, scheduler, STEPS, denoise, ctx=self.context)

    def noise(self, sigmas: Tensor, start: dict[str, Any] | None = None) -> dict[str, Any]:
        given = empty_latent_image(64, 64) if start is None else start
        return latent_noise(self.model, SEED, sigmas=sigmas, latent=given, ctx=self.context)

    def predict(self, x: dict[str, Any], cfg: float = CFG) -> dict[str, Any]:
        body = unet_denoise(self.model, self.positive, self.negative, cfg, latent=x, ctx=self.context)
        return drive(body, self.context)

    def step(
        self, x: dict[str, Any], denoised: dict[str, Any], sigmas: Tensor, index: int, name: str
    ) -> dict[str, Any]:
        return scheduler_step(self.model, x, denoised, sigmas, index, name, ctx=self.context)

    def loop(self, sigmas: Tensor, name: str, start: dict[str, Any] | None = None, cfg: float = CFG) -> dict[str, Any]:
        x = self.noise(sigmas, start)
        for index in range(len(sigmas) - 1):
            x = self.step(x, self.predict(x, cfg), sigmas, index, name)
        return x

    def ksampler(self, **given: Any) -> dict[str, Any]:
        options = {"seed": SEED, "steps": STEPS, "cfg": CFG, "scheduler": "normal", **given}
        options.setdefault("latent_image", empty_latent_image(64, 64))
        body = ksampler(self.model, positive=self.positive, negative=self.negative, ctx=self.context, **options)
        return drive(body, self.context)


@pytest.fixture(scope="module")
def bench(model_context: Context, embedded: Checkpoint) -> Bench:
    return Bench(model_context, embedded)


@pytest.mark.parametrize("name", ["euler", "euler_ancestral", "lcm", "ddim"])
@pytest.mark.parametrize("scheduler", ["normal", "karras"])
def test_the_loop_is_ksampler_to_the_last_bit(bench: Bench, name: str, scheduler: str) -> None:
    looped = bench.loop(bench.levels(scheduler), name)
    whole = bench.ksampler(sampler_name=name, scheduler=scheduler)
    assert torch.equal(looped["samples"], whole["samples"])
    assert looped.keys() == whole.keys()


def test_the_loop_begins_with_a_picture_as_ksampler_does(bench: Bench) -> None:
    start = {"samples": bench.ksampler()["samples"], "batch_index": [3]}
    looped = bench.loop(bench.levels(denoise=0.6), "euler", start)
    whole = bench.ksampler(sampler_name="euler", latent_image=start, denoise=0.6)
    assert torch.equal(looped["samples"], whole["samples"])
    assert looped["batch_index"] == [3]


def test_the_loop_of_a_batch_without_guidance_is_ksampler(bench: Bench) -> None:
    start = empty_latent_image(64, 64, 2)
    looped = bench.loop(bench.levels(), "euler", start, cfg=1.0)
    assert torch.equal(looped["samples"], bench.ksampler(latent_image=start, cfg=1.0)["samples"])


def test_a_latent_between_steps_says_at_which_level_it_is(bench: Bench) -> None:
    sigmas = bench.levels()
    x = bench.noise(sigmas)
    assert (x["sigma"], x["seed"]) == (float(sigmas[0]), SEED)
    after = bench.step(x, bench.predict(x), sigmas, 0, "euler")
    assert after["sigma"] == float(sigmas[1])


def test_a_step_beyond_the_last_is_refused(bench: Bench) -> None:
    sigmas = bench.levels()
    x = bench.noise(sigmas)
    with pytest.raises(StepError, match=r"no step 5.*last step is 4.*5 turns"):
        bench.step(x, x, sigmas, 5, "euler")


def test_a_step_from_another_level_is_refused(bench: Bench) -> None:
    sigmas = bench.levels()
    x = bench.noise(sigmas)
    with pytest.raises(StepError, match=r"'latent' is at the noise level 14\.6146, and step 1 begins at"):
        bench.step(x, x, sigmas, 1, "euler")


def test_a_latent_at_no_noise_level_is_refused(bench: Bench) -> None:
    with pytest.raises(StepError, match=r"UNetDenoise: 'latent' is not at a noise level.*LatentNoise"):
        bench.predict(empty_latent_image(64, 64))


def test_a_noise_mask_and_an_empty_schedule_are_refused(bench: Bench) -> None:
    masked = set_latent_noise_mask(empty_latent_image(64, 64), torch.ones(1, 64, 64))
    with pytest.raises(StepError, match=r"noise mask.*KSampler"):
        bench.noise(bench.levels(), masked)
    with pytest.raises(StepError, match="holds 0 noise levels"):
        bench.noise(torch.zeros(0))
