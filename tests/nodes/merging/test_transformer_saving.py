"""Models with a transformer, saved as single files and loaded again: equal to the bit, wherever they came from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from mezzotint import Context
from mezzotint.engine.folders import Folders
from mezzotint.engine.residency import Residency
from mezzotint.nodes.autoencoders.vae_loader import load_vae
from mezzotint.nodes.conditioning.conditioning import encode_text
from mezzotint.nodes.merging.merge_nodes import merge_models
from mezzotint.nodes.merging.save_nodes import save_checkpoint, save_clip, save_model, save_vae
from mezzotint.nodes.merging.saved_weights import ModelSaveError
from mezzotint.nodes.models import checkpoints
from mezzotint.nodes.models.checkpoints import Checkpoint, load_checkpoint
from mezzotint.nodes.models.recipe import Recipe
from mezzotint.nodes.sampling.model_sampling import model_sampling
from mezzotint.nodes.sampling.sampling_change import model_sampling_sd3

from .. import tiny_models as tiny
from .. import tiny_pipelines
from ..families.test_transformer_files import PUBLISHED, transformer
from ..published_transformers import flux_tensors, narrow_flux_conversion

LATENTS = {
    "sd3": (16, 1.5305, 0.0609), "flux": (16, 0.3611, 0.1159), "z-image": (16, 0.3611, 0.1159),
    "pixart": (4, 0.13025, 0.0),
}  # fmt: skip
"""Channels, scale and shift, as published."""


def pipeline(name: str) -> Any:
    """A small pipeline of which a single file can say all that it is."""
    torch.manual_seed(1)
    made = tiny_pipelines.PIPELINES[name]()
    made.register_modules(transformer=transformer(name))
    if name in LATENTS:
        channels, scale, shift = LATENTS[name]
        blocks = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
        vae = tiny.vae(
            **blocks, block_out_channels=(32,) * 4, layers_per_block=1, latent_channels=channels, scaling_factor=scale,
            shift_factor=shift,
        )  # fmt: skip
        made.register_modules(vae=vae)
    if name == "sd3":
        made.register_modules(text_encoder_2=tiny.text_encoder(64, 2, 32, activation="gelu"))
    if name == "flux":
        made.register_modules(scheduler=flux_scheduler())
    if name == "qwen-image":
        made.register_modules(
            scheduler=type(made.scheduler)(use_dynamic_shifting=True, base_shift=0.5, max_shift=0.9),
            vae=tiny_frames(),
        )
    return made


def flux_scheduler() -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler

    return FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, base_shift=0.5, max_shift=1.15, shift=3.0)


def tiny_frames() -> Any:
    """Qwen-Image's VAE with few channels inside."""
    from diffusers import AutoencoderKLQwenImage

    return AutoencoderKLQwenImage(base_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1).eval()


class Bench:
    """Folders of pipelines, made when they are first asked for."""

    def __init__(self, root: Path) -> None:
        self.folders = Folders(root / "home", models=[root])
        self.ctx = Context(folders=self.folders, models=Residency("cpu", folders=self.folders))
        self.root = root

    def load(self, name: str) -> Checkpoint:
        folder = self.root / "checkpoints" / name
        if not folder.exists():
            pipeline(name).save_pretrained(folder)
        return load_checkpoint(name, ctx=self.ctx)

    def saved(self, kind: str) -> list[Path]:
        return sorted((self.folders.output / kind).iterdir(), key=lambda path: path.stat().st_mtime_ns)

    def state(self, recipe: Recipe) -> dict[str, Tensor]:
        with self.ctx.models.borrow(recipe) as loaded:
            return dict(loaded.network.state_dict())

    def assert_same(self, before: Recipe, after: Recipe) -> None:
        ours, theirs = self.state(before), self.state(after)
        assert ours.keys() == theirs.keys()
        assert [key for key in ours if not torch.equal(ours[key], theirs[key])] == []

    def assert_reads_alike(self, before: Recipe, after: Recipe) -> None:
        (tokens, said), (tokens_after, said_after) = (
            encode_text("a cat", each, ctx=self.ctx)[0] for each in (before, after)
        )
        assert torch.equal(tokens, tokens_after)
        for key in said:
            if isinstance(said[key], Tensor):
                assert torch.equal(said[key], said_after[key]), key


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("transformers"))


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    narrow_flux_conversion(monkeypatch)


@pytest.mark.parametrize("name", ["sd3", "flux", "pixart"])
def test_a_folder_becomes_one_file_that_does_the_same(bench: Bench, name: str) -> None:
    """It brings T5's tokenizer, too: none lies beside it."""
    before = bench.load(name)
    save_checkpoint(*before, ctx=bench.ctx)
    file = bench.saved("checkpoints")[-1]
    after = load_checkpoint(file.name, ctx=bench.ctx)
    bench.assert_same(before.MODEL, after.MODEL)
    bench.assert_same(before.VAE, after.VAE)
    bench.assert_reads_alike(before.CLIP, after.CLIP)
    ours, theirs = (model_sampling(each.MODEL, bench.ctx) for each in (before, after))
    assert torch.equal(ours.sigmas.table, theirs.sigmas.table)  # type: ignore[union-attr]
    assert (ours.scaling_factor, ours.shift_factor) == (theirs.scaling_factor, theirs.shift_factor)
    save_checkpoint(*after, ctx=bench.ctx)
    assert_equal_files(file, bench.saved("checkpoints")[-1])


def assert_equal_files(one: Path, other: Path) -> None:
    assert one != other
    ours, theirs = load_file(one), load_file(other)
    assert ours.keys() == theirs.keys()
    assert [key for key in ours if not torch.equal(ours[key], theirs[key])] == []


def test_names_are_those_that_were_published(bench: Bench) -> None:
    for name, tensors_of in (("sd3", PUBLISHED["sd3"]), ("flux", flux_tensors), ("z-image", PUBLISHED["z-image"])):
        save_model(bench.load(name).MODEL, f"diffusion_models/{name}", ctx=bench.ctx)
        file = load_file(bench.saved("diffusion_models")[-1])
        expected = tensors_of(transformer(name))
        assert file.keys() == {f"model.diffusion_model.{key}" for key in expected}
        assert all(torch.equal(file[f"model.diffusion_model.{key}"], expected[key]) for key in expected)


@pytest.mark.parametrize("name", ["sd3", "flux", "pixart", "z-image", "qwen-image"])
def test_a_transformer_alone(bench: Bench, name: str) -> None:
    before = bench.load(name).MODEL
    save_model(before, ctx=bench.ctx)
    file = bench.saved("diffusion_models")[-1]
    after = checkpoints.load_diffusion_model(file.name, ctx=bench.ctx)
    bench.assert_same(before, after)
    save_model(after, ctx=bench.ctx)
    assert_equal_files(file, bench.saved("diffusion_models")[-1])


def test_text_encoders_and_a_vae_alone(bench: Bench) -> None:
    before = bench.load("sd3")
    save_clip(before.CLIP, "clip/of3", ctx=bench.ctx)
    save_vae(before.VAE, ctx=bench.ctx)
    names = [f"of3_{kind}_00001_.safetensors" for kind in ("t5xxl", "clip_g", "clip_l")]
    bench.assert_reads_alike(before.CLIP, checkpoints.load_three_clips(*names, ctx=bench.ctx))
    bench.assert_same(before.VAE, load_vae(bench.saved("vae")[-1].name, ctx=bench.ctx))


def test_a_merge_is_in_the_weights(bench: Bench) -> None:
    model = bench.load("sd3").MODEL
    torch.manual_seed(5)
    other = pipeline("sd3")
    for parameter in other.transformer.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    other.save_pretrained(bench.root / "checkpoints" / "sd3-other")
    mixed = merge_models(model, load_checkpoint("sd3-other", ctx=bench.ctx).MODEL, 0.25)
    save_model(mixed, ctx=bench.ctx)
    after = checkpoints.load_diffusion_model(bench.saved("diffusion_models")[-1].name, ctx=bench.ctx)
    bench.assert_same(mixed, after)


def test_what_stays_refused_is_a_sentence(bench: Bench) -> None:
    qwen, sd3, flux = (bench.load(name) for name in ("qwen-image", "sd3", "flux"))
    with pytest.raises(ModelSaveError, match=r"is of a family \(Qwen2_5_VL.*\) for which there is no layout of single"):
        save_checkpoint(*qwen, ctx=bench.ctx)
    with pytest.raises(ModelSaveError, match=r"is of a family \(AutoencoderKLQwenImage\) for which"):
        save_vae(qwen.VAE, ctx=bench.ctx)
    with pytest.raises(ModelSaveError, match="text encoders of 'flux' are not those of the family of 'sd3'; connect"):
        save_checkpoint(sd3.MODEL, flux.CLIP, sd3.VAE, ctx=bench.ctx)
    with pytest.raises(
        ModelSaveError, match="its noise levels, or their shift, are not those of its family; leave out"
    ):
        save_model(model_sampling_sd3(sd3.MODEL, 1.0), ctx=bench.ctx)
    tiny_pipelines.sd3().save_pretrained(bench.root / "checkpoints" / "sd3-scaled")
    with pytest.raises(ModelSaveError, match=r"the downscale of its latents is 2, and would be 8"):
        save_model(load_checkpoint("sd3-scaled", ctx=bench.ctx).MODEL, ctx=bench.ctx)
