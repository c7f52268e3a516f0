"""Each family draws what its diffusers pipeline draws from the same networks and the same noise, task by task."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from mezzotint import Context
from mezzotint.engine.folders import Folders
from mezzotint.engine.request import drive
from mezzotint.engine.residency import Residency
from mezzotint.nodes.conditioning.conditioning import encode_text
from mezzotint.nodes.models.checkpoints import load_checkpoint
from mezzotint.nodes.sampling import sampling_nodes
from mezzotint.nodes.sampling.model_sampling import model_sampling
from mezzotint.nodes.sampling.noise import initial_noise
from mezzotint.nodes.sampling.noise_levels import basic_scheduler

from .. import single_files, tiny_pipelines
from ..family_matrix import IMAGE_TO_IMAGE, INPAINTING, MATRIX, TASKS, TEXT_TO_IMAGE

SEED, STEPS, PICTURE = 7, 5, 64
PROMPT, NEGATIVE = "a photo of a cat", "blurry"
GUIDED: dict[str, tuple[float, dict[str, float]]] = {
    "flux": (1.0, {"guidance_scale": 3.5}),  # told to the network
    "z-image": (3.0, {"guidance_scale": 2.0}),  # counted from 0
    "qwen-image": (1.0, {"true_cfg_scale": 1.0}),  # its own guidance has a rule of its own
}
"""Our guidance scale, and what to tell the pipeline for the same; others count as we do."""


class Case(NamedTuple):
    """A family and what its pipelines are made of."""

    name: str
    family: Any
    context: Context
    model: Any
    clip: Any

    @property
    def sampled(self) -> Any:
        return model_sampling(self.model, self.context)

    @property
    def shape(self) -> tuple[int, ...]:
        side = PICTURE // self.sampled.downscale
        return 1, self.sampled.latent_channels, side, side

    @property
    def guided(self) -> tuple[float, dict[str, float]]:
        return GUIDED.get(self.name, (3.0, {"guidance_scale": 3.0}))

    def prompts(self, **options: Any) -> dict[str, Any]:
        both = (encode_text(text, self.clip, ctx=self.context) for text in (PROMPT, NEGATIVE))
        positive, negative = ([[tokens, {**said, **options}] for tokens, said in each] for each in both)
        return {"positive": positive, "negative": negative}

    def ours(self, latent: Tensor, denoise: float, mask: Tensor | None = None, **options: Any) -> Tensor:
        """What KSampler makes of a latent that is scaled as the model has it; so is the result."""
        sampled = self.sampled
        given = {"samples": sampled.to_latent(latent), **({} if mask is None else {"noise_mask": mask})}
        body = sampling_nodes.ksampler(
            self.model, seed=SEED, steps=STEPS, cfg=self.guided[0], sampler_name="euler", scheduler="simple",
            **self.prompts(**options), latent_image=given, denoise=denoise, ctx=self.context,
        )  # fmt: skip
        made: Tensor = sampled.to_model(drive(body, self.context)["samples"])
        return made

    def theirs(self, class_name: str, denoise: float, **given: Any) -> Tensor:
        """What the pipeline makes of it at the same noise levels, [B, C, h, w]."""
        pipeline, steps = self.pipeline(class_name), round(STEPS / denoise)
        known = inspect.signature(type(pipeline).__call__).parameters
        told = {"height": PICTURE, "width": PICTURE, "negative_prompt": NEGATIVE, "use_resolution_binning": False}
        if self.sampled.sigmas.is_flow:
            told["sigmas"] = basic_scheduler(self.model, "simple", steps, 1.0, ctx=self.context)[:-1].tolist()
        if self.name == "flux":
            del told["negative_prompt"]
        told = {name: value for name, value in told.items() if name in known}
        made = pipeline(
            PROMPT, num_inference_steps=steps, output_type="latent", **told, **given, **self.guided[1]
        ).images  # fmt: skip
        if hasattr(pipeline, "_unpack_latents"):
            made = pipeline._unpack_latents(made, PICTURE, PICTURE, pipeline.vae_scale_factor)
        latents: Tensor = made.reshape(self.shape)
        return latents

    def pipeline(self, class_name: str) -> Any:
        if isinstance(self.family, single_files.Family):
            return self.family.pipeline(class_name)
        return tiny_pipelines.other(self.family, class_name, self.sampled.sigmas.is_flow)

    def noise(self, class_name: str) -> Tensor:
        """Ours, as the pipeline wants it: diffusers multiplies it by sigma, ours is as wide as noised data."""
        sampled, noise = self.sampled, initial_noise(self.shape, SEED)
        if not sampled.sigmas.is_flow:
            return noise * (1 + sampled.sigmas.sigma_max**2) ** 0.5 / sampled.sigmas.sigma_max
        pipeline = self.pipeline(class_name)
        packed: Tensor = pipeline._pack_latents(noise, *noise.shape) if hasattr(pipeline, "_pack_latents") else noise
        return packed


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("families")


@pytest.fixture(scope="module", params=MATRIX)
def case(request: pytest.FixtureRequest, root: Path) -> Case:
    name = request.param
    folders = Folders(root / "home", models=[root / "models"])
    context = Context(folders=folders, models=Residency("cpu", folders=folders))
    torch.manual_seed(0)
    path = root / "models" / "checkpoints" / name
    family: Any
    if name in single_files.FAMILIES:
        path = path.with_suffix(".safetensors")
        family = single_files.FAMILIES[name]()
        family.write(path)
    else:
        family = tiny_pipelines.drawn(name)
        family.save_pretrained(path)
    model, clip, _ = load_checkpoint(path.name, ctx=context)
    return Case(name, family, context, model, clip)


def wanted(case: Case, task: str) -> str:
    class_name = MATRIX[case.name][task]
    if class_name is None:
        pytest.skip(f"diffusers has no such pipeline of {case.name}")
    return class_name


def kept(case: Case) -> Tensor:
    return torch.randn(case.shape, generator=torch.Generator().manual_seed(1))


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(SEED)


def error(actual: Tensor, expected: Tensor) -> float:
    assert expected.isfinite().all()
    return float((actual - expected).norm() / expected.norm())


def test_text_to_image(case: Case) -> None:
    class_name = wanted(case, TEXT_TO_IMAGE)
    theirs = case.theirs(class_name, 1.0, latents=case.noise(class_name))
    assert error(case.ours(torch.zeros(case.shape), 1.0), theirs) < 1e-4


def test_image_to_image(case: Case) -> None:
    class_name, latent = wanted(case, IMAGE_TO_IMAGE), kept(case)
    theirs = case.theirs(class_name, 0.5, image=latent, strength=0.5, generator=generator())
    assert error(case.ours(latent, 0.5), theirs) < 1e-4


def test_inpainting(case: Case) -> None:
    class_name, latent = wanted(case, INPAINTING), kept(case)
    mask = torch.zeros(1, 1, PICTURE, PICTURE)
    mask[..., : PICTURE // 2] = 1
    given = {"image": latent, "mask_image": mask, "masked_image_latents": latent}
    theirs = case.theirs(class_name, 0.5, strength=0.5, generator=generator(), **given)
    if "inpainting" in case.name:  # it is shown what stays, and nothing else holds it
        shown = {"concat_latent_image": case.sampled.to_latent(latent), "concat_mask": mask}
        assert error(case.ours(latent, 0.5, **shown), theirs) < 1e-4
        whole = case.theirs(class_name, 1.0, strength=1.0, latents=case.noise(class_name), **given)
        assert error(case.ours(torch.zeros(case.shape), 1.0, **shown), whole) < 1e-4
    else:
        assert error(case.ours(latent, 0.5, mask), theirs) < 1e-4


def test_the_table_of_the_documentation_is_what_is_checked() -> None:
    page = (Path(__file__).parents[3] / "docs" / "models.md").read_text(encoding="utf-8")
    head = f"| family | {' | '.join(TASKS)} |\n|---|---|---|---|\n"
    rows = page.partition(head)[2].partition("\n\n")[0].splitlines()
    said = [[cell.strip(" `") for cell in row.strip("|").split("|")[1:]] for row in rows]
    assert said == [[class_name or "–" for class_name in tasks.values()] for tasks in MATRIX.values()]
