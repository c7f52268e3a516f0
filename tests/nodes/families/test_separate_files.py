"""Networks with files of their own: the same as those of the checkpoint that they were taken from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from mezzotint import Context
from mezzotint.engine.errors import ModelFileError
from mezzotint.engine.folders import Folders
from mezzotint.engine.residency import Residency
from mezzotint.engine.signature import read_node
from mezzotint.nodes.autoencoders import vae_loader
from mezzotint.nodes.conditioning.conditioning import ConditioningMismatchError
from mezzotint.nodes.conditioning.sdxl_prompts import encode_sdxl, encode_sdxl_refiner
from mezzotint.nodes.conditioning.transformer_prompts import encode_flux, encode_sd3
from mezzotint.nodes.models import checkpoints

from .. import ldm_layout as ldm
from .. import single_files
from .test_single_file import assert_equal

SIZES = ["width", "height", "crop_w", "crop_h", "target_width", "target_height"]
KINDS = {"unet": "diffusion_models", "vae": "vae", "text": "text_encoders"}


@pytest.fixture(scope="module")
def sdxl() -> single_files.Family:
    torch.manual_seed(0)
    return single_files.sdxl()


@pytest.fixture(scope="module")
def sd1() -> single_files.Family:
    torch.manual_seed(0)
    return single_files.sd1()


@pytest.fixture
def ctx(tmp_path: Path) -> Context:
    folders = Folders(tmp_path / "home", models=[tmp_path])
    return Context(folders=folders, models=Residency("cpu", folders=folders))


def write(tmp_path: Path, kind: str, tensors: dict[str, Tensor], prefix: str = "") -> str:
    ldm.write_single_file(tmp_path / KINDS[kind] / f"{kind}.safetensors", {prefix: tensors})
    return f"{kind}.safetensors"


@pytest.mark.parametrize("form", ["published", "published, without prefix", "diffusers"])
@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_a_diffusion_model(form: str, family: str, request: Any, tmp_path: Path, ctx: Context) -> None:
    unet = request.getfixturevalue(family).unet
    tensors = unet.state_dict() if form == "diffusers" else ldm.unet_tensors(unet)
    name = write(tmp_path, "unet", tensors, "model.diffusion_model." if form == "published" else "")
    with ctx.models.borrow(checkpoints.load_diffusion_model(name, ctx=ctx)) as denoiser:
        assert_equal(denoiser.network, unet)
        assert denoiser.sampling.scaling_factor == (0.13025 if family == "sdxl" else 0.18215)


@pytest.mark.parametrize(("weight_dtype", "stored"), [("fp8_e4m3fn", "float8_e4m3fn"), ("fp8_e5m2", "float8_e5m2")])
def test_a_diffusion_model_kept_in_eight_bits(
    weight_dtype: Any, stored: str, sd1: single_files.Family, tmp_path: Path, ctx: Context
) -> None:
    name = write(tmp_path, "unet", sd1.unet.state_dict())
    recipe = checkpoints.load_diffusion_model(name, weight_dtype, ctx=ctx)
    kept = {key: tensor.to(getattr(torch, stored)).float() for key, tensor in sd1.unet.state_dict().items()}
    rounded = type(sd1.unet)(**{key: sd1.unet.config[key] for key in sd1.unet.config if not key.startswith("_")})
    rounded.load_state_dict(kept)
    x, tokens = torch.randn(1, 4, 8, 8), torch.randn(1, 77, 24)
    with ctx.models.borrow(recipe) as denoiser, torch.no_grad():
        dtypes = {p.dtype for p in denoiser.network.parameters() if p.numel() >= 1 << 16}
        assert dtypes <= {getattr(torch, stored)}
        sigma = float(denoiser.sampling.sigmas.table[500])
        noise = rounded(x / (1 + sigma**2) ** 0.5, 500, tokens).sample
        torch.testing.assert_close(denoiser.predict(x, sigma, tokens), x - sigma * noise, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("form", ["published", "diffusers"])
def test_a_vae(form: str, sd1: single_files.Family, tmp_path: Path, ctx: Context) -> None:
    name = write(tmp_path, "vae", sd1.vae.state_dict() if form == "diffusers" else ldm.vae_tensors(sd1.vae))
    with ctx.models.borrow(vae_loader.load_vae(name, ctx=ctx)) as autoencoder:
        assert_equal(autoencoder.network, sd1.vae)


def test_a_text_encoder(sd1: single_files.Family, tmp_path: Path, ctx: Context) -> None:
    (network,) = sd1.text.values()
    name = write(tmp_path, "text", ldm.clip_tensors(network))
    with ctx.models.borrow(checkpoints.load_clip(name, ctx=ctx)) as encoder:
        assert_equal(encoder.network, network)
        assert encoder.reading == (-1, True)


@pytest.fixture
def two_files(sdxl: single_files.Family, tmp_path: Path) -> tuple[str, str]:
    first, second = sdxl.text.values()
    (tmp_path / "text_encoders").mkdir(exist_ok=True)
    for name, tensors in (("l", ldm.clip_tensors(first)), ("g", ldm.open_clip_tensors(second))):
        contiguous = {key: tensor.clone().contiguous() for key, tensor in tensors.items()}
        save_file(contiguous, tmp_path / "text_encoders" / f"{name}.safetensors")
    return "l.safetensors", "g.safetensors"


@pytest.mark.parametrize("order", [1, -1])
def test_two_text_encoders_in_any_order(
    order: int, two_files: tuple[str, str], sdxl: single_files.Family, tmp_path: Path, ctx: Context
) -> None:
    clip = checkpoints.load_two_clips(*two_files[::order], ctx=ctx)
    pipeline = sdxl.pipeline()
    with ctx.models.borrow(clip) as encoder, torch.no_grad():
        ((tokens, options),) = encoder.encode("a photo of a cat")
        embeds, _, pooled, _ = pipeline.encode_prompt(
            "a photo of a cat", device="cpu", do_classifier_free_guidance=False
        )
    torch.testing.assert_close(tokens, embeds, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(options["pooled_output"], pooled, rtol=1e-4, atol=1e-5)


def test_each_text_encoder_of_sdxl_may_have_its_own_text(
    two_files: tuple[str, str], sdxl: single_files.Family, ctx: Context
) -> None:
    clip = checkpoints.load_two_clips(*two_files, ctx=ctx)
    ((tokens, options),) = encode_sdxl(clip, text_g="on mars", text_l="a cat", crop_w=8, target_height=256, ctx=ctx)
    with torch.no_grad():
        embeds, _, pooled, _ = sdxl.pipeline().encode_prompt(
            "a cat", prompt_2="on mars", device="cpu", do_classifier_free_guidance=False
        )
    torch.testing.assert_close(tokens, embeds, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(options.pop("pooled_output"), pooled, rtol=1e-4, atol=1e-5)
    size = {"width": 1024, "height": 1024, "crop_w": 8, "crop_h": 0, "target_width": 1024, "target_height": 256}
    assert options == size


def test_the_shorter_of_two_texts_is_followed_by_empty_chunks(two_files: tuple[str, str], ctx: Context) -> None:
    clip = checkpoints.load_two_clips(*two_files, ctx=ctx)
    ((tokens, _),) = encode_sdxl(clip, text_g="cat " * 100, text_l="a cat", ctx=ctx)
    assert tokens.shape == (1, 2 * 77, 64 + 128)


def test_the_refiner_is_told_a_score(two_files: tuple[str, str], ctx: Context) -> None:
    clip = checkpoints.load_clip(two_files[1], ctx=ctx)
    ((tokens, options),) = encode_sdxl_refiner(text="a cat", ascore=4.5, width=640, clip=clip, ctx=ctx)
    assert tokens.shape == (1, 77, 128)
    del options["pooled_output"]
    assert options == {"aesthetic_score": 4.5, "width": 640, "height": 1024}


# what is wrong, in a sentence


def test_two_texts_for_one_text_encoder(two_files: tuple[str, str], ctx: Context) -> None:
    clip = checkpoints.load_clip(two_files[0], ctx=ctx)
    with pytest.raises(ConditioningMismatchError, match="the clip that it is given has one"):
        encode_sdxl(clip, text_g="on mars", text_l="a cat", ctx=ctx)


def test_twice_the_same_text_encoder(two_files: tuple[str, str], ctx: Context) -> None:
    clip = checkpoints.load_two_clips(two_files[0], two_files[0], ctx=ctx)
    with (
        pytest.raises(ModelFileError, match="are not the two text encoders of SDXL; choose CLIP L"),
        ctx.models.borrow(clip),
    ):
        pass


def test_a_type_of_text_encoder_that_is_not_known(two_files: tuple[str, str], ctx: Context) -> None:
    with pytest.raises(ModelFileError, match="of the type 'hunyuan_video' cannot be loaded from files"):
        checkpoints.load_two_clips(*two_files, "hunyuan_video", ctx=ctx)


def test_a_file_of_something_else(sd1: single_files.Family, tmp_path: Path, ctx: Context) -> None:
    write(tmp_path, "vae", ldm.vae_tensors(sd1.vae))
    (tmp_path / "vae" / "vae.safetensors").rename(tmp_path / "vae.safetensors")
    (tmp_path / "diffusion_models").mkdir()
    (tmp_path / "vae.safetensors").rename(tmp_path / "diffusion_models" / "vae.safetensors")
    recipe = checkpoints.load_diffusion_model("vae.safetensors", ctx=ctx)
    says = "holds no diffusion model; going by its tensors it is a VAE: load the diffusion model from another file"
    with pytest.raises(ModelFileError, match=says), ctx.models.borrow(recipe):
        pass


def test_a_checkpoint_without_a_text_encoder(sd1: single_files.Family, tmp_path: Path, ctx: Context) -> None:
    ldm.write_single_file(
        tmp_path / "checkpoints" / "bare.safetensors",
        {"model.diffusion_model.": ldm.unet_tensors(sd1.unet), "first_stage_model.": ldm.vae_tensors(sd1.vae)},
    )
    _, clip, _ = checkpoints.load_checkpoint("bare.safetensors", ctx=ctx)
    with pytest.raises(
        ModelFileError,
        match="holds no text encoder; going by its tensors it is a diffusion model: load the text encoder",
    ):
        ctx.models.borrow(clip).__enter__()


@pytest.mark.parametrize(
    ("function", "inputs"),
    [
        (checkpoints.load_configured_checkpoint, ["config_name", "ckpt_name"]),
        (checkpoints.load_diffusers, ["model_path"]),
        (checkpoints.load_diffusion_model, ["unet_name", "weight_dtype"]),
        (vae_loader.load_vae, ["vae_name"]),
        (checkpoints.load_clip, ["clip_name", "type", "device"]),
        (checkpoints.load_two_clips, ["clip_name1", "clip_name2", "type", "device"]),
        (
            encode_sdxl,
            ["clip", "width", "height", "crop_w", "crop_h", "target_width", "target_height", "text_g", "text_l"],
        ),
        (encode_flux, ["clip", "clip_l", "t5xxl", "guidance"]),
        (encode_sd3, ["clip", "clip_l", "clip_g", "t5xxl", "empty_padding"]),
        (encode_sdxl_refiner, ["ascore", "width", "height", "text", "clip"]),
    ],
)
def test_inputs_have_the_order_that_saved_workflows_know(function: Any, inputs: list[str]) -> None:
    assert list(read_node(function).inputs) == inputs
