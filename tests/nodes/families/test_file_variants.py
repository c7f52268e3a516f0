"""Checkpoints as they are passed on: with averages beside the weights, with parts of other files, with older names."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from mezzotint import Context
from mezzotint.engine.errors import ModelFileError
from mezzotint.engine.folders import Folders
from mezzotint.engine.residency import Residency
from mezzotint.nodes.conditioning.conditioning import encode_text
from mezzotint.nodes.models.checkpoints import Checkpoint, load_checkpoint
from mezzotint.nodes.models.weights_file import read_header

from .. import ldm_layout as ldm
from .. import single_files
from .test_separate_transformers import write
from .test_single_file import assert_equal

UNET, VAE, TEXT = "model.diffusion_model.", "first_stage_model.", "cond_stage_model.transformer."


@pytest.fixture(scope="module")
def sd1() -> single_files.Family:
    torch.manual_seed(0)
    return single_files.sd1()


@pytest.fixture
def ctx(tmp_path: Path) -> Context:
    folders = Folders(tmp_path / "home", models=[tmp_path])
    return Context(folders=folders, models=Residency("cpu", folders=folders))


def tensors_of(family: single_files.Family) -> dict[str, Tensor]:
    parts = {UNET: ldm.unet_tensors(family.unet), VAE: ldm.vae_tensors(family.vae)}
    for prefix, network in family.text.items():
        parts[prefix] = (ldm.open_clip_tensors if prefix.endswith(".model.") else ldm.clip_tensors)(network)
    return {prefix + name: tensor for prefix, part in parts.items() for name, tensor in part.items()}


def loaded(tensors: dict[str, Tensor], tmp_path: Path, ctx: Context) -> Checkpoint:
    return load_checkpoint(write(tmp_path / "checkpoints" / "variant.safetensors", tensors), ctx=ctx)


def assert_is(checkpoint: Checkpoint, family: single_files.Family, ctx: Context) -> None:
    (text,) = family.text.values()
    for recipe, network in zip(checkpoint, (family.unet, text, family.vae), strict=True):
        with ctx.models.borrow(recipe) as borrowed:
            assert_equal(borrowed.network, network)


def test_averages_and_noise_levels_beside_the_weights(sd1: single_files.Family, tmp_path: Path, ctx: Context) -> None:
    """As training left them: the averages' names have no dots, and are not taken for the weights'."""
    tensors = tensors_of(sd1)
    names = [name for name in tensors if name.startswith(UNET)]
    tensors |= {f"model_ema.{name.removeprefix('model.').replace('.', '')}": tensors[name] + 1 for name in names}
    tensors |= {"model_ema.decay": torch.tensor(0.9999), "model_ema.num_updates": torch.tensor(7)}
    tensors |= {name: torch.ones(1000) for name in ("betas", "alphas_cumprod", "sqrt_alphas_cumprod", "scale_factor")}
    assert_is(loaded(tensors, tmp_path, ctx), sd1, ctx)


def test_older_names_of_the_text_encoder(sd1: single_files.Family, tmp_path: Path, ctx: Context) -> None:
    tensors = {name.replace(f"{TEXT}text_model.", TEXT): tensor for name, tensor in tensors_of(sd1).items()}
    assert f"{TEXT}embeddings.position_ids" in tensors
    assert_is(loaded(tensors, tmp_path, ctx), sd1, ctx)


def test_a_vae_under_diffusers_names(sd1: single_files.Family, tmp_path: Path, ctx: Context) -> None:
    tensors = {name: tensor for name, tensor in tensors_of(sd1).items() if not name.startswith(VAE)}
    tensors |= {f"vae.{name}": tensor for name, tensor in sd1.vae.state_dict().items()}
    assert_is(loaded(tensors, tmp_path, ctx), sd1, ctx)


def test_no_vae(sd1: single_files.Family, tmp_path: Path, ctx: Context) -> None:
    tensors = {name: tensor for name, tensor in tensors_of(sd1).items() if not name.startswith(VAE)}
    model, clip, vae = loaded(tensors, tmp_path, ctx)
    assert encode_text("a cat", clip, ctx=ctx)[0][0].shape == (1, 77, 24)
    with ctx.models.borrow(model) as denoiser:
        assert_equal(denoiser.network, sd1.unet)
    with pytest.raises(ModelFileError, match=r"holds no VAE; .* load the VAE from another file with VAELoader"):
        ctx.models.borrow(vae).__enter__()


def test_sdxl_with_a_vae_of_half_the_precision(tmp_path: Path, ctx: Context) -> None:
    """As the VAE that does not overflow in float16 is put into files of float32, or the other way round."""
    torch.manual_seed(0)
    family = single_files.sdxl()
    tensors = tensors_of(family)
    tensors = {name: tensor.half() if name.startswith(VAE) else tensor for name, tensor in tensors.items()}
    checkpoint = load_checkpoint(write(tmp_path / "checkpoints" / "mixed.safetensors", tensors), ctx=ctx)
    with ctx.models.borrow(checkpoint.MODEL) as denoiser, ctx.models.borrow(checkpoint.VAE) as autoencoder:
        assert_equal(denoiser.network, family.unet)
        family.vae.half().float()
        assert_equal(autoencoder.network, family.vae)
        assert autoencoder.dtype == torch.float32


def test_a_header_is_read_once_until_the_file_changes(tmp_path: Path) -> None:
    path = tmp_path / "some.safetensors"
    write(path, {"a": torch.zeros(2)})
    first = read_header(path)
    assert read_header(path) is first
    write(path, {"a": torch.zeros(2), "b": torch.zeros(3)})
    assert read_header(path).shapes == {"a": (2,), "b": (3,)}
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ModelFileError, match="its header speaks of"):
        read_header(path)
