"""Denoise requests of several prompts answered together: fewer forwards, the same pictures."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from mezzotint import Context
from mezzotint.engine.engine import Engine
from mezzotint.engine.node import nodes_in
from mezzotint.engine.residency import Loaded, Residency
from mezzotint.engine.workflow import Workflow
from mezzotint.nodes.conditioning import conditioning
from mezzotint.nodes.conditioning.conditioning import encode_text
from mezzotint.nodes.inference import inference_scope
from mezzotint.nodes.latents import latent
from mezzotint.nodes.models import checkpoints
from mezzotint.nodes.models.checkpoints import Checkpoint
from mezzotint.nodes.models.model_source import register_loaders
from mezzotint.nodes.sampling import sampling_nodes
from mezzotint.nodes.sampling.denoise import Denoise
from mezzotint.nodes.sampling.denoiser import Denoiser

STEPS = 8


class Counting:
    """The embedded network, which counts its forwards and takes its time, so that other prompts can catch up."""

    def __init__(self, denoiser: Denoiser) -> None:
        self.denoiser = denoiser
        self.sampling, self.device, self.dtype = denoiser.sampling, denoiser.device, denoiser.dtype
        self.conditioning_width = None
        self.estimate_nbytes = denoiser.estimate_nbytes
        self.batches: list[int] = []
        self.seconds = 0.0

    def inputs(self, options: Any, target: Any) -> dict[str, Tensor]:
        return {}

    def predict(self, x: Tensor, sigma: float | Sequence[float], tokens: Tensor, inputs: Any = None) -> Tensor:
        self.batches.append(len(x))
        time.sleep(self.seconds)
        return self.denoiser.predict(x, sigma, tokens)


@pytest.fixture
def counting(embedded: Checkpoint, model_context: Context) -> Counting:
    with model_context.models.borrow(embedded.MODEL) as denoiser:
        return Counting(denoiser)


@pytest.fixture
def models(counting: Counting, model_context: Context) -> Residency:
    models = Residency("cpu", folders=model_context.folders)
    register_loaders(models)
    models.register("model", lambda recipe, residency: Loaded(counting, 1))
    return models


def error(actual: Tensor, expected: Tensor) -> float:
    return float((actual - expected).norm() / expected.norm())


def test_requests_of_several_prompts_are_one_forward(
    counting: Counting, models: Residency, embedded: Checkpoint, model_context: Context
) -> None:
    texts = [encode_text(text, embedded.CLIP, ctx=model_context) for text in ("a red apple", "a blue car", "")]
    generator = torch.Generator().manual_seed(2)
    requests = [
        Denoise(embedded.MODEL, torch.randn(batch, 8, 8, 8, generator=generator) * sigma, sigma, (texts[k], texts[2]))
        for k, (batch, sigma) in enumerate([(1, 14.0), (2, 0.7)])
    ]
    context = Context(models=models)
    together = Denoise.answer(requests, context)
    assert counting.batches == [6]
    alone = [Denoise.answer([request], context)[0] for request in requests]
    assert counting.batches == [6, 2, 4]
    for merged, single in zip(together, alone, strict=True):
        for one, other in zip(merged, single, strict=True):
            assert error(one, other) < 1e-4


def prompt(text: str, seed: int, side: int = 64, sampler: str = "euler") -> Workflow:
    links = {"model": ["1", 0], "positive": ["2", 0], "negative": ["3", 0], "latent_image": ["4", 0]}
    settings = {"seed": seed, "steps": STEPS, "cfg": 4.0, "sampler_name": sampler, "scheduler": "normal"}
    return Workflow.from_api(
        {
            "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "mezzotint-emoji"}},
            "2": {"class_type": "CLIPTextEncode", "inputs": {"text": text, "clip": ["1", 1]}},
            "3": {"class_type": "CLIPTextEncode", "inputs": {"text": "", "clip": ["1", 1]}},
            "4": {"class_type": "EmptyLatentImage", "inputs": {"width": side, "height": side, "batch_size": 1}},
            "5": {"class_type": "KSampler", "inputs": {**settings, "denoise": 1.0, **links}},
        }
    )


PROMPTS = [prompt("a red apple", 1), prompt("a blue car", 2), prompt("a house", 3)]


@pytest.fixture
def run_all(make_engine: Callable[..., Engine], models: Residency) -> Callable[..., list[Tensor]]:
    """Run prompts at once on an engine of the given width; the latents."""

    def run(width: int, prompts: list[Workflow]) -> list[Tensor]:
        nodes = nodes_in(checkpoints, conditioning, latent, sampling_nodes)
        engine = make_engine(*nodes, models=models, scope=inference_scope, device_width=width)

        async def work() -> list[Any]:
            return await asyncio.gather(*(engine.run(prompt, targets=["5"]) for prompt in prompts))

        results = [result.raise_for_status() for result in asyncio.run(work())]
        return [result.values["5"].outputs[0][0]["samples"] for result in results]

    return run


def test_a_wide_lane_merges_the_steps_of_its_prompts(counting: Counting, run_all: Callable[..., list[Tensor]]) -> None:
    one_by_one = run_all(1, PROMPTS)
    assert counting.batches == [2] * (3 * STEPS)
    counting.batches.clear()
    counting.seconds = 0.02
    together = run_all(4, PROMPTS)
    assert sum(counting.batches) == 2 * 3 * STEPS
    assert len(counting.batches) <= 2 * STEPS
    assert max(counting.batches) == 6
    assert max(error(merged, single) for merged, single in zip(together, one_by_one, strict=True)) < 1e-4


def test_prompts_whose_steps_are_of_different_lengths_are_merged_too(
    counting: Counting, run_all: Callable[..., list[Tensor]]
) -> None:
    prompts = [prompt("a red apple", 1, sampler="dpm_adaptive"), prompt("a blue car", 2, sampler="sa_solver")]
    one_by_one = run_all(1, prompts)
    assert set(counting.batches) == {2}
    forwards = len(counting.batches)
    counting.batches.clear()
    counting.seconds = 0.02
    together = run_all(4, prompts)
    assert max(counting.batches) == 4
    assert len(counting.batches) < forwards
    assert max(error(merged, single) for merged, single in zip(together, one_by_one, strict=True)) < 1e-3


def test_a_narrow_lane_gives_the_same_bits_with_others_waiting(run_all: Callable[..., list[Tensor]]) -> None:
    crowded = run_all(1, PROMPTS)[1]
    assert torch.equal(crowded, run_all(1, PROMPTS[1:2])[0])


def test_sizes_that_do_not_fit_together_stay_apart(counting: Counting, run_all: Callable[..., list[Tensor]]) -> None:
    counting.seconds = 0.005
    small, large = run_all(4, [prompt("a red apple", 1), prompt("a red apple", 1, side=128)])
    assert (small.shape, large.shape) == ((1, 8, 8, 8), (1, 8, 16, 16))
    assert set(counting.batches) == {2}
