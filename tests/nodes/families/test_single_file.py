"""Checkpoints in one file: recognised, bit-equal, and sampled as their tensors say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mezzotint import Context
from mezzotint.engine.errors import ModelFileError, OutOfMemoryError
from mezzotint.engine.folders import Folders
from mezzotint.engine.request import drive
from mezzotint.engine.residency import Residency
from mezzotint.nodes.conditioning.conditioning import encode_text
from mezzotint.nodes.models.checkpoints import Checkpoint, load_checkpoint
from mezzotint.nodes.sampling import sampling_nodes
from mezzotint.nodes.sampling.denoise import Denoise
from mezzotint.nodes.sampling.model_sampling import model_sampling
from mezzotint.nodes.sampling.noise import initial_noise

from .. import single_files

SEED, STEPS, CFG, SIDE = 7, 5, 3.0, 64
PROMPT, NEGATIVE = "a photo of a cat", "blurry"


class Bench:
    """Every family's networks and file, made when first asked for."""

    def __init__(self, root: Path) -> None:
        folders = Folders(root / "home", models=[root / "models"])
        self.context = Context(folders=folders, models=Residency("cpu", folders=folders))
        self.folder = root / "models" / "checkpoints"
        self.families: dict[str, single_files.Family] = {}

    def family(self, name: str) -> single_files.Family:
        if name not in self.families:
            torch.manual_seed(0)
            self.families[name] = single_files.FAMILIES[name]()
            self.families[name].write(self.folder / f"{name}.safetensors")
        return self.families[name]

    def checkpoint(self, name: str) -> Checkpoint:
        self.family(name)
        return load_checkpoint(f"{name}.safetensors", ctx=self.context)

    def prompts(self, name: str, **options: Any) -> dict[str, Any]:
        clip = self.checkpoint(name).CLIP
        both = (encode_text(text, clip, ctx=self.context) for text in (PROMPT, NEGATIVE))
        positive, negative = ([[tokens, {**said, **options}] for tokens, said in each] for each in both)
        return {"positive": positive, "negative": negative}

    def draw(
        self, name: str, latent: Tensor, denoise: float = 1.0, noise_mask: Tensor | None = None, **options: Any
    ) -> Tensor:
        """The latent that KSampler gives, scaled as the model has it."""
        model = self.checkpoint(name).MODEL
        given = {"seed": SEED, "steps": STEPS, "cfg": CFG, "sampler_name": "euler", "scheduler": "simple"}
        scale = model_sampling(model, self.context).scaling_factor
        given_latent = {"samples": latent / scale, **({} if noise_mask is None else {"noise_mask": noise_mask})}
        body = sampling_nodes.ksampler(
            model, **given, **self.prompts(name, **options), latent_image=given_latent, denoise=denoise,
            ctx=self.context,
        )  # fmt: skip
        return drive(body, self.context)["samples"] * scale


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("single"))


@pytest.fixture(params=single_files.FAMILIES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def only(*names: str) -> Callable[[Any], Any]:
    return pytest.mark.parametrize("name", names)


def error(actual: Tensor, expected: Tensor) -> float:
    return float((actual - expected).norm() / expected.norm())


def test_every_weight_is_that_of_the_file(bench: Bench, name: str) -> None:
    family = bench.family(name)
    model, clip, vae = bench.checkpoint(name)
    with bench.context.models.borrow(model) as denoiser, bench.context.models.borrow(vae) as autoencoder:
        assert_equal(denoiser.network, family.unet)
        assert_equal(autoencoder.network, family.vae)
    with bench.context.models.borrow(clip) as encoder:
        parts = [encoder] if len(family.text) == 1 else [encoder.first, encoder.second]
        for part, network in zip(parts, family.text.values(), strict=True):
            assert_equal(part.network, network)


def assert_equal(actual: torch.nn.Module, expected: torch.nn.Module) -> None:
    ours, theirs = actual.state_dict(), expected.state_dict()
    assert ours.keys() == theirs.keys()
    assert [name for name in theirs if not torch.equal(ours[name], theirs[name])] == []


def test_the_configuration_is_read_off_the_tensors(bench: Bench, name: str) -> None:
    family = bench.family(name)
    model, _, vae = bench.checkpoint(name)
    for recipe, network in ((model, family.unet), (vae, family.vae)):
        with bench.context.models.borrow(recipe) as borrowed:
            ours, theirs = normal(borrowed.network.config), normal(network.config)
            assert {key: (ours[key], theirs[key]) for key in theirs if ours[key] != theirs[key]} == {}


def normal(config: Any) -> dict[str, Any]:
    """What makes a difference, with a number for each level where one may stand for all."""
    levels = len(config["block_out_channels"])
    told = {key: value for key, value in config.items() if key not in ("sample_size", "_use_default_values")}
    for key in ("attention_head_dim", "transformer_layers_per_block"):
        if isinstance(told.get(key), int):
            told[key] = [told[key]] * levels
    return {key: list(value) if isinstance(value, tuple) else value for key, value in told.items()}


def test_how_it_is_sampled_is_seen_from_the_file(bench: Bench, name: str) -> None:
    sampled = model_sampling(bench.checkpoint(name).MODEL, bench.context)
    assert sampled.prediction_type == ("v_prediction" if name == "sd2-v" else "epsilon")
    assert sampled.scaling_factor == (0.13025 if bench.family(name).is_sdxl else 0.18215)
    assert sampled.sigmas.sigma_max == pytest.approx(14.614641, abs=1e-5)


@only("sd1-inpainting", "sdxl-inpainting")
def test_a_masked_latent_is_shown_to_a_model_for_inpainting(bench: Bench, name: str) -> None:
    latent, mask = torch.randn(1, 4, 32, 32), torch.zeros(1, 1, 64, 64)
    mask[..., :32] = 1
    scale = model_sampling(bench.checkpoint(name).MODEL, bench.context).scaling_factor
    shown = {"concat_latent_image": latent / scale, "concat_mask": mask}
    plain, told = (bench.draw(name, latent, noise_mask=mask, **options) for options in ({}, shown))
    assert torch.equal(plain, told)
    blind = bench.draw(name, latent, **{**shown, "concat_mask": torch.zeros_like(mask)}, noise_mask=mask)
    assert not torch.allclose(plain, blind)


def pipeline_latents(pipeline: Any, steps: int = STEPS, **given: Any) -> Tensor:
    options = {"guidance_scale": CFG, "num_inference_steps": steps, "output_type": "latent"}
    latents: Tensor = pipeline(PROMPT, negative_prompt=NEGATIVE, **options, **given).images
    return latents


def test_a_picture_is_told_its_size_and_cut(bench: Bench) -> None:
    options = {"width": 80, "height": 96, "crop_w": 4, "crop_h": 8, "target_width": 48, "target_height": 32}
    ours = bench.draw("sdxl", torch.zeros(1, 4, 32, 32), **options)
    sigma = model_sampling(bench.checkpoint("sdxl").MODEL, bench.context).sigmas.sigma_max
    noise = initial_noise((1, 4, 32, 32), SEED) * (1 + sigma**2) ** 0.5 / sigma
    size = {"original_size": (96, 80), "crops_coords_top_left": (8, 4), "target_size": (32, 48)}
    negative = {f"negative_{key}": value for key, value in size.items()}
    theirs = pipeline_latents(
        bench.family("sdxl").pipeline(), latents=noise, height=SIDE, width=SIDE, **size, **negative
    )
    assert error(ours, theirs) < 1e-4


@only("sdxl", "sdxl-inpainting", "refiner", "sd1-inpainting")
def test_a_folder_of_the_same_networks_draws_the_same(bench: Bench, name: str) -> None:
    x, mask = torch.randn(1, 4, 32, 32), torch.ones(1, 1, 64, 64)
    bench.family(name).pipeline().save_pretrained(bench.folder / f"{name}-folder")
    answers = []
    for path in (f"{name}.safetensors", f"{name}-folder"):
        model, clip, _ = load_checkpoint(path, ctx=bench.context)
        ((tokens, options),) = encode_text(PROMPT, clip, ctx=bench.context)
        further = {"concat_latent_image": x, "concat_mask": mask} if "inpainting" in name else {}
        request = Denoise(model, x, 2.0, ([[tokens, {**options, **further}]],))
        with torch.inference_mode():
            answers.append(Denoise.answer([request], bench.context)[0][0])
    assert error(*answers) < 1e-5


def test_what_does_not_fit_into_memory_is_refused_before_it_is_read(bench: Bench) -> None:
    recipe = bench.checkpoint("sd1").MODEL
    small = Residency("cpu", budget_nbytes=1_000_000, folders=bench.context.folders)
    with pytest.raises(OutOfMemoryError, match=r"loading the unet of the checkpoint 'sd1.safetensors' needs about"):
        small.borrow(recipe).__enter__()


@pytest.mark.parametrize(
    "missing", ["out.2.weight", "input_blocks.1.1.proj_in.weight", "input_blocks.1.0.out_layers.3.weight"]
)
def test_a_tensor_that_is_missing_is_named(bench: Bench, missing: str, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    bench.family("sd1")
    tensors = load_file(bench.folder / "sd1.safetensors")
    del tensors[f"model.diffusion_model.{missing}"]
    (tmp_path / "checkpoints").mkdir()
    save_file(tensors, tmp_path / "checkpoints" / "torn.safetensors")
    folders = Folders(tmp_path / "home", models=[tmp_path])
    context = Context(folders=folders, models=Residency("cpu", folders=folders))
    with pytest.raises(ModelFileError) as raised:
        context.models.borrow(load_checkpoint("torn.safetensors", ctx=context).MODEL).__enter__()
    assert "torn.safetensors" in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("mark", "family"), [("edm_mean", "Playground 2.5"), ("edm_vpred.sigma_max", "CosXL")])
def test_a_family_that_only_looks_like_a_known_one_is_refused(
    bench: Bench, mark: str, family: str, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    bench.family("sdxl")
    tensors = {**load_file(bench.folder / "sdxl.safetensors"), mark: torch.ones(4)}
    (tmp_path / "checkpoints").mkdir()
    save_file(tensors, tmp_path / "checkpoints" / "other.safetensors")
    context = Context(folders=Folders(tmp_path / "home", models=[tmp_path]))
    with pytest.raises(ModelFileError, match=f"'other.safetensors' is a model of {family}, going by its tensor"):
        load_checkpoint("other.safetensors", ctx=context)


def test_a_checkpoint_says_itself_that_it_predicts_v(bench: Bench, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    bench.family("sdxl")
    tensors = load_file(bench.folder / "sdxl.safetensors")
    (tmp_path / "checkpoints").mkdir()
    folders = Folders(tmp_path / "home", models=[tmp_path])
    context = Context(folders=folders, models=Residency("cpu", folders=folders))
    marked = {**tensors, "v_pred": torch.ones(1), "ztsnr": torch.ones(1)}
    save_file(marked, tmp_path / "checkpoints" / "marked.safetensors")
    save_file(tensors, tmp_path / "checkpoints" / "said.safetensors", {"modelspec.prediction_type": "v"})
    sampled = [
        model_sampling(load_checkpoint(f"{name}.safetensors", ctx=context).MODEL, context)
        for name in ("marked", "said")
    ]
    assert [each.prediction_type for each in sampled] == ["v_prediction"] * 2
    assert sampled[0].sigmas.sigma_max > 1000 > sampled[1].sigmas.sigma_max
