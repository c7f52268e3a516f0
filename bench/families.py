"""Small random models of several families: our graph against the diffusers pipeline of the same modules.

Both call the same network, which takes nearly all of the time; what differs is the time outside of its forwards. So
that is measured, too, and the pairs are many and short: a machine's unrest is slower than that.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mezzotint.engine.event import Event, StepFinished
from mezzotint.engine.workflow import Workflow
from mezzotint.plugins.host import Host, Settings

from .embedded_model import PROMPT, WAYS, Watched, compared
from .figure import Figure, figure

STEPS, PAIRS = 4, 41


class Family(NamedTuple):
    """make: its pipeline, so large that a step is work, and small enough to measure many. side: of its latents."""

    name: str
    make: Callable[[], Any]
    side: int
    cfg: float
    noise_levels: str


def _sd1() -> Any:
    from diffusers import EulerDiscreteScheduler, StableDiffusionPipeline

    from tests.nodes import tiny_models as tiny

    return StableDiffusionPipeline(
        vae=tiny.vae(), text_encoder=tiny.text_encoder(128), tokenizer=tiny.clip_tokenizer(),
        unet=tiny.unet(128, block_out_channels=(64, 128, 256)), scheduler=EulerDiscreteScheduler(**_LEVELS),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip


def _sdxl() -> Any:
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline

    from tests.nodes import tiny_models as tiny

    return StableDiffusionXLPipeline(
        vae=tiny.vae(), text_encoder=tiny.text_encoder(64), text_encoder_2=tiny.text_encoder(64, projection=64),
        tokenizer=tiny.clip_tokenizer(), tokenizer_2=tiny.clip_tokenizer("!"),
        unet=tiny.sdxl_unet(128, 64, block_out_channels=(64, 128, 256), attention_head_dim=[1, 2, 4]),
        scheduler=EulerDiscreteScheduler(**_LEVELS), add_watermarker=False,
    )  # fmt: skip


def _sd3() -> Any:
    from diffusers import SD3Transformer2DModel

    from tests.nodes import tiny_pipelines

    pipeline = tiny_pipelines.sd3()
    transformer = SD3Transformer2DModel(
        sample_size=64, patch_size=2, in_channels=16, num_layers=6, attention_head_dim=64, num_attention_heads=4,
        caption_projection_dim=256, joint_attention_dim=32, pooled_projection_dim=64, out_channels=16,
    )  # fmt: skip
    pipeline.register_modules(transformer=transformer.eval())
    return pipeline


def _flux() -> Any:
    from diffusers import FluxTransformer2DModel

    from tests.nodes import tiny_pipelines

    pipeline = tiny_pipelines.flux()
    transformer = FluxTransformer2DModel(
        patch_size=1, in_channels=64, num_layers=3, num_single_layers=6, attention_head_dim=64, num_attention_heads=4,
        joint_attention_dim=32, pooled_projection_dim=32, axes_dims_rope=[16, 24, 24], guidance_embeds=True,
    )  # fmt: skip
    pipeline.register_modules(transformer=transformer.eval())
    return pipeline


_LEVELS = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "steps_offset": 1}
FAMILIES = (
    Family("SD1 type", _sd1, 16, 4.0, "normal"),
    Family("SDXL type", _sdxl, 16, 4.0, "normal"),
    Family("SD3 type", _sd3, 16, 4.0, "simple"),
    Family("Flux type", _flux, 16, 1.0, "simple"),
)


class Drawn(NamedTuple):
    """Seconds of a sampling: all of it, and those outside the network's forwards."""

    whole: float
    outside: float


class Subject:
    """One family's modules, sampled by our graph and by their pipeline."""

    def __init__(self, host: Host, folder: Path, family: Family) -> None:
        import torch

        torch.manual_seed(0)
        self.host, self.family = host, family
        self.pipe = family.make()
        self.pipe.set_progress_bar_config(disable=True)
        self.pipe.save_pretrained(folder / family.name)
        self.forwards = Watched()

    def draw(self, seed: int) -> Drawn:
        """By our graph."""
        sampled, self.forwards.seconds = 0.0, 0.0

        def hear(event: Event) -> None:
            nonlocal sampled
            if isinstance(event, StepFinished) and event.node_type == "KSampler":
                sampled = event.seconds

        document = Workflow.from_api(_graph(self.family, seed))
        asyncio.run(self.host.engine.run(document, targets=["5"], on_event=hear)).raise_for_status()
        return Drawn(sampled, sampled - self.forwards.seconds)

    def pipeline(self, seed: int) -> Drawn:
        """By the pipeline, with the modules that our graph has and an encoded prompt."""
        WAYS["family"], self.forwards.seconds = self._piped, 0.0
        graph = {"1": {"class_type": "Compared", "inputs": {"way": "family", "seed": seed}}}
        result = asyncio.run(self.host.engine.run(Workflow.from_api(graph), targets=["1"])).raise_for_status()
        return Drawn(result.value("1"), result.value("1") - self.forwards.seconds)

    def _piped(self, seed: int) -> float:
        import torch

        pipe = self._with_our_network()
        side = self.family.side * pipe.vae_scale_factor
        guidance = {"guidance_scale": self.family.cfg} if self.family.cfg != 1 else {}
        began = time.perf_counter()
        pipe(
            **self.embeds, **guidance, num_inference_steps=STEPS, height=side, width=side,
            generator=torch.Generator().manual_seed(seed), output_type="latent",
        )  # fmt: skip
        return time.perf_counter() - began

    def _with_our_network(self) -> Any:
        import torch

        if not hasattr(self, "embeds"):
            recipes = [resident.recipe for resident in self.host.models.residents()]
            recipe = next(r for r in recipes if r.kind == "model" and r.source.name == self.family.name)
            with self.host.models.borrow(recipe) as denoiser:
                name = "unet" if hasattr(self.pipe, "unet") else "transformer"
                self.pipe.register_modules(**{name: denoiser.network})
                self.forwards.watch(denoiser.network, "forward")
            with torch.inference_mode():
                self.embeds = _embeds(self.pipe, self.family)
        return self.pipe


def _embeds(pipe: Any, family: Family) -> dict[str, Any]:
    """The prompts as the pipeline's call takes them."""
    if family.cfg == 1:
        tokens, pooled, _ = pipe.encode_prompt(PROMPT, None)
        return {"prompt_embeds": tokens, "pooled_prompt_embeds": pooled}
    if family.name == "SD1 type":
        tokens, negative = pipe.encode_prompt(PROMPT, "cpu", 1, True, "")
        return {"prompt_embeds": tokens, "negative_prompt_embeds": negative}
    further = (None, None) if family.name == "SD3 type" else (None,)
    tokens, negative, pooled, negative_pooled = pipe.encode_prompt(PROMPT, *further)
    return {
        "prompt_embeds": tokens, "negative_prompt_embeds": negative,
        "pooled_prompt_embeds": pooled, "negative_pooled_prompt_embeds": negative_pooled,
    }  # fmt: skip


def _graph(family: Family, seed: int) -> dict[str, Any]:
    side = family.side * 8  # which is what an empty latent takes for a cell of it
    size = {"width": side, "height": side, "batch_size": 1}
    sampling = {
        "seed": seed, "steps": STEPS, "cfg": family.cfg, "sampler_name": "euler", "scheduler": family.noise_levels,
        "denoise": 1,
    }  # fmt: skip
    links = {"model": ["1", 0], "positive": ["2", 0], "negative": ["3", 0], "latent_image": ["4", 0]}
    return {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": family.name}},
        "2": {"class_type": "CLIPTextEncode", "inputs": {"text": PROMPT, "clip": ["1", 1]}},
        "3": {"class_type": "CLIPTextEncode", "inputs": {"text": "", "clip": ["1", 1]}},
        "4": {"class_type": "EmptyLatentImage", "inputs": size},
        "5": {"class_type": "KSampler", "inputs": {**sampling, **links}},
    }


def families() -> Iterator[Figure]:
    """Seconds of each family's sampling by both. The pairs draw in turn first one way, then the other."""
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root) / "checkpoints"
        settings = Settings(models_dir=Path(root), output_dir=Path(root), nodes=(compared,))
        with Host(settings) as host:
            for family in FAMILIES:
                yield from _figures(Subject(host, folder, family))


def _figures(subject: Subject) -> Iterator[Figure]:
    pairs = []
    for seed in range(PAIRS + 2):
        ways = (subject.draw, subject.pipeline) if seed % 2 == 0 else (subject.pipeline, subject.draw)
        drawn = {way: way(seed) for way in ways}
        pairs.append((drawn[subject.draw], drawn[subject.pipeline]))
    ours, theirs = zip(*pairs[2:], strict=True)
    for name, of in (("our graph", ours), ("the pipeline", theirs)):
        what = f"{subject.family.name}, {STEPS} steps by {name}"
        yield figure(what, statistics.median(each.whole for each in of) * 1000, "ms")
        yield figure(
            f"{what}: outside the network", statistics.median(each.outside for each in of) * 1000, "ms", digits=2
        )
    ratio = statistics.median(a.whole / b.whole for a, b in zip(ours, theirs, strict=True))
    what = f"{subject.family.name}: our graph / pipeline, median of {PAIRS} pairs"
    yield figure(what, ratio, "", at_most=1.0, digits=3)
