"""A checkpoint of other proportions, written by diffusers itself, works as diffusers has it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mezzotint import Context
from mezzotint.engine.folders import Folders
from mezzotint.engine.residency import Loaded, Residency
from mezzotint.nodes.models.checkpoints import Checkpoint, load_checkpoint
from mezzotint.nodes.models.model_source import register_loaders
from mezzotint.nodes.sampling.model_sampling import model_sampling

TOKENS, LATENT_CHANNELS = 77, 4


@pytest.fixture(scope="module")
def parts(embedded_path: Path) -> dict[str, Any]:
    """Small random components in the proportions of Stable Diffusion 1: 4 latent channels, 77 tokens, epsilon."""
    from diffusers import AutoencoderKL, PNDMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    torch.manual_seed(0)
    text = CLIPTextConfig(
        vocab_size=1320, hidden_size=32, intermediate_size=37, num_hidden_layers=5, num_attention_heads=4,
        max_position_embeddings=TOKENS, bos_token_id=0, eos_token_id=2, pad_token_id=1,
    )  # fmt: skip
    unet = UNet2DConditionModel(
        sample_size=8, block_out_channels=(32, 64), layers_per_block=2, cross_attention_dim=32,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    vae = AutoencoderKL(
        block_out_channels=(32, 64), latent_channels=LATENT_CHANNELS,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    )  # fmt: skip
    return {
        "unet": unet.eval(),
        "text_encoder": CLIPTextModel(text).eval(),
        "vae": vae.eval(),
        "tokenizer": CLIPTokenizer.from_pretrained(embedded_path / "tokenizer", local_files_only=True),
        "scheduler": PNDMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, steps_offset=1),
    }


@pytest.fixture(scope="module")
def context(parts: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Context:
    from diffusers import StableDiffusionPipeline

    root = tmp_path_factory.mktemp("random")
    pipeline = StableDiffusionPipeline(
        **parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False
    )
    pipeline.save_pretrained(root / "models" / "checkpoints" / "random")
    folders = Folders(root / "home", models=[root / "models"])
    return Context(folders=folders, models=Residency("cpu", folders=folders))


@pytest.fixture
def checkpoint(context: Context) -> Checkpoint:
    return load_checkpoint("random", ctx=context)


def test_sampling_follows_the_folder(checkpoint: Checkpoint, context: Context) -> None:
    sampling = model_sampling(checkpoint.MODEL, context)
    assert (sampling.latent_channels, sampling.downscale, sampling.prediction_type) == (LATENT_CHANNELS, 2, "epsilon")


def test_the_network_predicts_as_the_original(checkpoint: Checkpoint, context: Context, parts: dict[str, Any]) -> None:
    x, conditioning = torch.randn(2, LATENT_CHANNELS, 8, 8), torch.randn(2, TOKENS, 32)
    with context.models.borrow(checkpoint.MODEL) as denoiser, torch.no_grad():
        sigma = float(denoiser.sampling.sigmas.table[500])
        denoised = denoiser.predict(x, sigma, conditioning)
        scaled = x / (1 + sigma**2) ** 0.5
        noise = parts["unet"](scaled, 500, encoder_hidden_states=conditioning).sample
    torch.testing.assert_close(denoised, x - sigma * noise, rtol=1e-4, atol=1e-4)


def test_the_text_encoder_encodes_as_the_original(
    checkpoint: Checkpoint, context: Context, parts: dict[str, Any]
) -> None:
    with context.models.borrow(checkpoint.CLIP) as encoder, torch.no_grad():
        ((tokens, options),) = encoder.encode("a red apple")
        ids = torch.tensor([encoder.tokenize("a red apple")[0].tokens])
        want = parts["text_encoder"](ids)
    assert tokens.shape == (1, TOKENS, 32)
    torch.testing.assert_close(tokens, want.last_hidden_state, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(options["pooled_output"], want.pooler_output, rtol=1e-4, atol=1e-5)


def test_the_autoencoder_decodes_as_the_original(
    checkpoint: Checkpoint, context: Context, parts: dict[str, Any]
) -> None:
    samples = torch.randn(1, LATENT_CHANNELS, 4, 4)
    with context.models.borrow(checkpoint.VAE) as autoencoder, torch.no_grad():
        image = autoencoder.decode(samples)
        want = (parts["vae"].decode(samples).sample / 2 + 0.5).clamp(0, 1)
    assert image.shape == (1, 8, 8, 3)
    torch.testing.assert_close(image, want.movedim(1, -1), rtol=1e-4, atol=1e-5)


def test_registered_loaders_serve_the_three_kinds(checkpoint: Checkpoint, context: Context) -> None:
    models = Residency("cpu", folders=context.folders)
    register_loaders(models)
    for recipe in checkpoint:
        with models.borrow(recipe) as borrowed:
            assert isinstance(borrowed.network, nn.Module)


def test_a_plugin_may_load_a_kind_in_its_own_way(checkpoint: Checkpoint, context: Context) -> None:
    models = Residency("cpu", folders=context.folders)
    models.register("vae", lambda recipe, manager: Loaded("mine", 0))
    with models.borrow(checkpoint.VAE) as borrowed:
        assert borrowed == "mine"


@pytest.mark.gpu
def test_on_cuda_the_files_dtype_is_kept_but_for_the_vae(embedded: Checkpoint) -> None:
    ctx = Context(models=Residency("cuda"))
    dtypes = []
    for recipe in load_checkpoint(ctx=ctx):
        with ctx.models.borrow(recipe) as borrowed:
            dtypes.append(next(borrowed.network.parameters()).dtype)
    assert dtypes == [torch.float16, torch.float16, torch.float32]
