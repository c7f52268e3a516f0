"""The embedded model through the engine, against the same diffusers modules in a bare loop and in a pipeline."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

from mezzotint.engine.event import Event, StepFinished
from mezzotint.engine.node import node
from mezzotint.engine.workflow import Workflow
from mezzotint.plugins.host import Host, Settings

from .figure import Figure, figure

STEPS, CFG, SIDE = 20, 4.0, 64
ROUNDS = 20
PROMPT = "a red apple"


class Watched:
    """Counts the seconds spent in modules' forwards."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def watch(self, owner: Any, method: str) -> None:
        """Time every call of a method from now on."""
        call = getattr(owner, method)

        def timed(*args: Any, **options: Any) -> Any:
            began = time.perf_counter()
            try:
                return call(*args, **options)
            finally:
                self.seconds += time.perf_counter() - began

        setattr(owner, method, timed)


WAYS: dict[str, Callable[[int], float]] = {}
"""The other ways to draw, by name: seed → seconds."""


@node("Compared", lane="device", fingerprint=lambda: float("nan"))
def compared(way: str, seed: int) -> float:
    """Draws in another way, on the same thread as the engine: a second one would have a second pool of threads."""
    return WAYS[way](seed)


class Subjects:
    """One set of weights, run three ways."""

    def __init__(self, folder: Path) -> None:
        self.host = Host(Settings(output_dir=folder, nodes=(compared,)))
        self.network_forwards, self.decodes = Watched(), Watched()
        self.draw(0)
        recipes = {recipe.kind: recipe for recipe in (resident.recipe for resident in self.host.models.residents())}
        borrowed = {kind: self.host.models.borrow(recipe) for kind, recipe in recipes.items()}
        self.parts = {kind: lending.__enter__() for kind, lending in borrowed.items()}
        self.network_forwards.watch(type(self.network), "__call__")
        self.decodes.watch(self.parts["vae"].network, "decode")

    @property
    def network(self) -> Any:
        return self.parts["model"].network

    def draw(self, seed: int) -> tuple[float, float]:
        """Seconds for the whole prompt and for its sampling step, through the engine."""
        sampled = 0.0

        def hear(event: Event) -> None:
            nonlocal sampled
            if isinstance(event, StepFinished) and event.node_type == "KSampler":
                sampled = event.seconds

        began = time.perf_counter()
        document = Workflow.from_api(_graph(seed))
        result = asyncio.run(self.host.engine.run(document, on_event=hear))
        result.raise_for_status()
        return time.perf_counter() - began, sampled

    def compare(self, way: str, seed: int) -> float:
        """Seconds for the sampling in one of the other ways."""
        graph = {"1": {"class_type": "Compared", "inputs": {"way": way, "seed": seed}}}
        result = asyncio.run(self.host.engine.run(Workflow.from_api(graph), targets=["1"])).raise_for_status()
        return float(result.value("1"))

    @cached_property
    def context(self) -> Any:
        import torch

        with torch.inference_mode():
            empty, prompt = (self.parts["clip"].encode(text)[0][0] for text in ("", PROMPT))
        return torch.cat([prompt, empty])

    def bare_loop(self, seed: int) -> float:
        """Seconds for the same sampling as a script would write it: the U-Net and Euler, nothing around them."""
        import torch
        from diffusers import EulerDiscreteScheduler

        with torch.inference_mode():
            context = self.context
            began = time.perf_counter()
            scheduler = EulerDiscreteScheduler.from_config(self.parts["model"].sampling.scheduler_config)
            scheduler.set_timesteps(STEPS)
            generator = torch.Generator().manual_seed(seed)
            x = torch.randn(1, 8, SIDE // 8, SIDE // 8, generator=generator) * scheduler.init_noise_sigma
            for timestep in scheduler.timesteps:
                scaled = scheduler.scale_model_input(torch.cat([x, x]), timestep)
                cond, uncond = self.network(scaled, timestep, context, return_dict=False)[0].chunk(2)
                x = scheduler.step(uncond + (cond - uncond) * CFG, timestep, x, return_dict=False)[0]
            return time.perf_counter() - began

    @cached_property
    def pipeline(self) -> Any:
        """Diffusers' own pipeline with these modules.

        Made at first use, on the thread that draws: making its scheduler computes, and on another thread that would
        start a second pool of OpenMP threads, with which everything here takes twice as long.
        """
        import transformers
        from diffusers import EulerDiscreteScheduler, StableDiffusionPipeline

        transformers.logging.set_verbosity_error()
        scheduler = EulerDiscreteScheduler.from_config(self.parts["model"].sampling.scheduler_config)
        pipe = StableDiffusionPipeline(
            vae=self.parts["vae"].network, text_encoder=self.parts["clip"].network, tokenizer=None, unet=self.network,
            scheduler=scheduler, safety_checker=None, feature_extractor=None, requires_safety_checker=False,
        )  # fmt: skip
        pipe.set_progress_bar_config(disable=True)

        return pipe

    def piped(self, seed: int) -> float:
        """Seconds for the same sampling by the pipeline: latents out, prompt encoded before."""
        import torch

        prompt, empty = self.context.chunk(2)
        pipe = self.pipeline
        began = time.perf_counter()
        pipe(
            prompt_embeds=prompt, negative_prompt_embeds=empty, num_inference_steps=STEPS, guidance_scale=CFG,
            height=SIDE, width=SIDE, generator=torch.Generator().manual_seed(seed), output_type="latent",
        )  # fmt: skip
        return time.perf_counter() - began


def _graph(seed: int) -> dict[str, Any]:
    sampling = {"seed": seed, "steps": STEPS, "cfg": CFG, "sampler_name": "euler", "scheduler": "normal", "denoise": 1}
    links = {"model": ["1", 0], "positive": ["2", 0], "negative": ["3", 0], "latent_image": ["4", 0]}
    return {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "mezzotint-emoji"}},
        "2": {"class_type": "CLIPTextEncode", "inputs": {"text": PROMPT, "clip": ["1", 1]}},
        "3": {"class_type": "CLIPTextEncode", "inputs": {"text": "", "clip": ["1", 1]}},
        "4": {"class_type": "EmptyLatentImage", "inputs": {"width": SIDE, "height": SIDE, "batch_size": 1}},
        "5": {"class_type": "KSampler", "inputs": {**sampling, **links}},
        "6": {"class_type": "VAEDecode", "inputs": {"samples": ["5", 0], "vae": ["1", 2]}},
        "7": {"class_type": "SaveImage", "inputs": {"images": ["6", 0], "filename_prefix": "bench"}},
    }


def embedded_model() -> Iterator[Figure]:
    """The figures of the embedded model."""
    with tempfile.TemporaryDirectory() as folder:
        subjects = Subjects(Path(folder))
        WAYS.update(bare=subjects.bare_loop, pipeline=subjects.piped)
        rows = [_row(subjects, seed) for seed in range(1, ROUNDS + 3)][2:]
        subjects.host.close()

    def middle(value: Callable[[Row], float]) -> float:
        return statistics.median(map(value, rows))

    yield figure(
        "a picture (20 steps, cfg 4, decode, save), through the engine", middle(lambda r: r.whole), "s", digits=3
    )
    yield figure("its sampling, through the engine", middle(lambda r: r.sampled), "s", digits=3)
    yield figure("the same sampling in a bare loop", middle(lambda r: r.bare), "s", digits=3)
    yield figure("the same sampling by the diffusers pipeline", middle(lambda r: r.piped), "s", digits=3)
    yield figure("sampling: engine / bare loop, median of 20 pairs", middle(lambda r: r.sampled / r.bare), "", digits=3)
    ratio = middle(lambda r: r.sampled / r.piped)
    yield figure("sampling: engine / pipeline, median of 20 pairs", ratio, "", at_most=1.0, digits=3)
    for name, share, target in (
        ("outside model forwards: sampling, through the engine", lambda r: 1 - r.network / r.sampled, 1),
        ("outside model forwards: sampling, in a bare loop", lambda r: 1 - r.bare_network / r.bare, None),
        ("outside model forwards: sampling, by the pipeline", lambda r: 1 - r.piped_network / r.piped, None),
        ("outside model forwards: the whole prompt", lambda r: 1 - (r.network + r.decode) / r.whole, None),
    ):
        yield figure(f"{name}, median of 20", middle(share) * 100, "%", at_most=target, digits=2)


class Row(NamedTuple):
    """Seconds of one round, all ways in turn."""

    bare: float
    bare_network: float
    piped: float
    piped_network: float
    whole: float
    sampled: float
    network: float
    decode: float


def _row(subjects: Subjects, seed: int) -> Row:
    """The ways take turns, first in one order and then in the other, since the machine's speed changes meanwhile."""
    ways: dict[str, Callable[[int], Any]] = {
        "bare": partial(subjects.compare, "bare"),
        "pipeline": partial(subjects.compare, "pipeline"),
        "engine": subjects.draw,
    }
    taken, network = {}, {}
    subjects.decodes.seconds = 0.0
    for name in ways if seed % 2 else reversed(ways):
        subjects.network_forwards.seconds = 0.0
        taken[name], network[name] = ways[name](seed), subjects.network_forwards.seconds
    return Row(
        taken["bare"], network["bare"], taken["pipeline"], network["pipeline"],
        *taken["engine"], network["engine"], subjects.decodes.seconds,
    )  # fmt: skip
