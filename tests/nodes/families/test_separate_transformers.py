"""Transformers, their VAEs and their text encoders from files of their own do what their pipelines' folders do."""

from __future__ import annotations

import json
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
from mezzotint.nodes.conditioning.conditioning import encode_text
from mezzotint.nodes.merging.save_nodes import save_clip
from mezzotint.nodes.merging.saved_weights import ModelSaveError
from mezzotint.nodes.models import checkpoints
from mezzotint.nodes.sampling.denoise import Denoise
from mezzotint.nodes.sampling.model_sampling import model_sampling

from .. import ldm_layout as ldm
from .. import published_transformers as published
from .. import tiny_models as tiny
from .. import tiny_pipelines
from .test_single_file import assert_equal

PROMPT = "a photo of a cat"
FILES = {"l": "text_encoder", "g": "text_encoder_2", "t5": "text_encoder_3"}


@pytest.fixture
def ctx(tmp_path: Path) -> Context:
    folders = Folders(tmp_path / "home", models=[tmp_path])
    return Context(folders=folders, models=Residency("cpu", folders=folders))


def write(path: Path, tensors: dict[str, Tensor]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.clone().contiguous() for name, tensor in tensors.items()}, path)
    return path.name


def said(network: Any) -> dict[str, Any]:
    """What a configuration says, with lists for all that are one."""
    told = {key: value for key, value in network.config.items() if key[0] != "_" and key != "out_channels"}
    return {key: [*value] if isinstance(value, tuple | list) else value for key, value in told.items()}


@pytest.fixture
def narrow_flux(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A small Flux, of a width that diffusers' conversion is told."""
    from diffusers import FluxTransformer2DModel

    published.narrow_flux_conversion(monkeypatch)
    torch.manual_seed(0)
    return FluxTransformer2DModel(
        patch_size=1, in_channels=64, num_layers=2, num_single_layers=2, attention_head_dim=32, num_attention_heads=2,
        joint_attention_dim=32, pooled_projection_dim=32, axes_dims_rope=[4, 14, 14], guidance_embeds=True,
    ).eval()  # fmt: skip


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
def test_flux(prefix: str, narrow_flux: Any, tmp_path: Path, ctx: Context) -> None:
    tensors = {prefix + name: tensor for name, tensor in published.flux_tensors(narrow_flux).items()}
    name = write(tmp_path / "diffusion_models" / "flux.safetensors", tensors)
    recipe = checkpoints.load_diffusion_model(name, ctx=ctx)
    with ctx.models.borrow(recipe) as denoiser:
        assert_equal(denoiser.network, narrow_flux)
        assert said(denoiser.network) == said(narrow_flux)
    sampled = model_sampling(recipe, ctx)
    assert (sampled.latent_channels, sampled.downscale) == (16, 8)
    assert (sampled.scaling_factor, sampled.shift_factor) == (0.3611, 0.1159)
    assert sampled.sigmas.percent_to_sigma(0.5) == pytest.approx(2.718281828**1.15 / (2.718281828**1.15 + 1), abs=1e-3)


def test_flux_for_few_steps_is_not_shifted(narrow_flux: Any, tmp_path: Path, ctx: Context) -> None:
    tensors = published.flux_tensors(narrow_flux)
    schnell = {name: tensor for name, tensor in tensors.items() if not name.startswith("guidance_in")}
    name = write(tmp_path / "diffusion_models" / "schnell.safetensors", schnell)
    sampled = model_sampling(checkpoints.load_diffusion_model(name, ctx=ctx), ctx)
    assert sampled.sigmas.percent_to_sigma(0.5) == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize("is_normed", [False, True])
def test_sd3(is_normed: bool, tmp_path: Path, ctx: Context) -> None:
    from diffusers import SD3Transformer2DModel

    torch.manual_seed(0)
    network = SD3Transformer2DModel(
        sample_size=128, patch_size=2, in_channels=16, num_layers=2, attention_head_dim=64, num_attention_heads=1,
        caption_projection_dim=64, joint_attention_dim=32, pooled_projection_dim=64, out_channels=16,
        pos_embed_max_size=8, qk_norm="rms_norm" if is_normed else None,
    ).eval()  # fmt: skip
    name = write(tmp_path / "diffusion_models" / "sd3.safetensors", published.sd3_tensors(network))
    recipe = checkpoints.load_diffusion_model(name, ctx=ctx)
    with ctx.models.borrow(recipe) as denoiser:
        assert_equal(denoiser.network, network)
        assert said(denoiser.network) == said(network)
        tokens, pooled = torch.randn(1, 7, 32), torch.randn(1, 64)
        x, sigma = torch.randn(1, 16, 8, 8), 0.7
        conditioning = [[tokens, {"pooled_output": pooled}]]
        with torch.inference_mode():
            ((denoised,),) = Denoise.answer([Denoise(recipe, x, sigma, (conditioning,))], ctx)
            velocity = network(x, tokens, pooled, torch.tensor([1000 * sigma]), return_dict=False)[0]
    torch.testing.assert_close(denoised, x - sigma * velocity, rtol=1e-4, atol=1e-4)
    assert model_sampling(recipe, ctx).sigmas.percent_to_sigma(0.5) == pytest.approx(0.75, abs=1e-3)


def text_files(pipeline: Any, names: dict[str, str], tmp_path: Path, with_tokenizer: bool = True) -> list[str]:
    """A file for each text encoder of a pipeline, and T5's tokenizer."""
    made, folder = [], tmp_path / "text_encoders"
    for name, component in names.items():
        network = getattr(pipeline, component)
        tensors = {"l": ldm.clip_tensors, "g": ldm.open_clip_tensors}.get(name, lambda each: each.state_dict())(network)
        made.append(write(folder / f"{name}.safetensors", tensors))
        if name == "t5" and with_tokenizer:
            getattr(pipeline, component.replace("text_encoder", "tokenizer")).save_pretrained(folder / "t5_tokenizer")
    return made


def assert_encodes(clip: Any, pipeline: Any, ctx: Context, **options: Any) -> None:
    ((tokens, said),) = encode_text(PROMPT, clip, ctx=ctx)
    with torch.no_grad():
        returned = pipeline.encode_prompt(PROMPT, **options)
    embeds, pooled = (returned[0], returned[2]) if len(returned) == 4 else returned[:2]
    torch.testing.assert_close(tokens, embeds, rtol=1e-4, atol=1e-5)
    if "pooled_output" in said:
        torch.testing.assert_close(said["pooled_output"], pooled, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("order", [1, -1])
def test_text_encoders_of_flux_in_any_order(order: int, tmp_path: Path, ctx: Context) -> None:
    torch.manual_seed(0)
    pipeline = tiny_pipelines.flux()
    names = text_files(pipeline, {"l": "text_encoder", "t5": "text_encoder_2"}, tmp_path)
    assert_encodes(checkpoints.load_two_clips(*names[::order], "flux", ctx=ctx), pipeline, ctx)


def test_text_encoders_of_sd3_without_t5(tmp_path: Path, ctx: Context) -> None:
    torch.manual_seed(0)
    pipeline = tiny_pipelines.sd3()
    pipeline.register_modules(
        text_encoder_2=tiny.text_encoder(64, 3, 32, activation="gelu"), tokenizer_2=tiny.clip_tokenizer("!"),
        text_encoder_3=None, tokenizer_3=None,
    )  # fmt: skip
    pipeline.transformer.register_to_config(joint_attention_dim=4096)  # as wide as T5's tokens
    names = text_files(pipeline, {"l": "text_encoder", "g": "text_encoder_2"}, tmp_path)
    clip = checkpoints.load_two_clips(*names, "sd3", ctx=ctx)
    assert_encodes(clip, pipeline, ctx, prompt_2=None, prompt_3=None, do_classifier_free_guidance=False)


def test_the_three_text_encoders_of_sd3(tmp_path: Path, ctx: Context) -> None:
    torch.manual_seed(0)
    pipeline = tiny_pipelines.sd3()
    pipeline.register_modules(
        text_encoder_2=tiny.text_encoder(64, 3, 32, activation="gelu"), tokenizer_2=tiny.clip_tokenizer("!")
    )
    pipeline.text_encoder_3, pipeline.tokenizer_3 = wide_t5(96)
    names = text_files(pipeline, FILES, tmp_path)
    clip = checkpoints.load_three_clips(names[2], names[0], names[1], ctx=ctx)
    assert_encodes(clip, pipeline, ctx, prompt_2=None, prompt_3=None, do_classifier_free_guidance=False)


LONG = {"l": "text_encoder", "g": "text_encoder_2", "t5": "text_encoder_3", "llama": "text_encoder_4"}


def hidream() -> Any:
    """With CLIP for long texts, and Llama of the real one's rotations."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    pipeline = tiny_pipelines.hidream()
    config = LlamaConfig(
        hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
        head_dim=128, vocab_size=256, rms_norm_eps=1e-5, max_position_embeddings=131072,
        rope_parameters={
            "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
        },
    )  # fmt: skip
    second = tiny.text_encoder(64, 3, 32, activation="gelu", length=248)
    pipeline.register_modules(
        text_encoder_2=second, tokenizer_2=tiny.clip_tokenizer("!"), text_encoder_4=LlamaForCausalLM(config).eval()
    )
    return pipeline


def test_the_four_text_encoders_of_hidream(tmp_path: Path, ctx: Context) -> None:
    pipeline = hidream()
    names = text_files(pipeline, LONG, tmp_path)
    pipeline.tokenizer_4.save_pretrained(tmp_path / "text_encoders" / "llama_tokenizer")
    clip = checkpoints.load_four_clips(*names[::-1], ctx=ctx)
    ((tokens, said),) = encode_text(PROMPT, clip, ctx=ctx)
    with torch.no_grad():
        t5, _, llama, _, pooled, _ = pipeline.encode_prompt(PROMPT, do_classifier_free_guidance=False)
    torch.testing.assert_close(tokens, t5, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(said["pooled_output"], pooled, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(said["prompt_inputs"]["prompt_embeds_llama3"], llama.movedim(1, 0), rtol=1e-4, atol=1e-5)
    with pytest.raises(ModelSaveError, match=r"is of a family .* for which there is no layout"):
        save_clip(clip, ctx=ctx)


def test_llama_says_where_its_tokenizer_goes_and_what_it_is_for(tmp_path: Path, ctx: Context) -> None:
    names = text_files(hidream(), LONG, tmp_path)
    with pytest.raises(ModelFileError, match=r"'llama.safetensors' is Llama, whose tokenizer .*llama_tokenizer"):
        ctx.models.borrow(checkpoints.load_four_clips(*names, ctx=ctx)).__enter__()
    with pytest.raises(ModelFileError, match="load it for HiDream with QuadrupleCLIPLoader"):
        ctx.models.borrow(checkpoints.load_clip(names[3], ctx=ctx)).__enter__()
    with pytest.raises(ModelFileError, match="wants the text encoders CLIP L, CLIP G, T5, Llama, and"):
        ctx.models.borrow(checkpoints.load_four_clips(*names[:3], names[0], ctx=ctx)).__enter__()


def wide_t5(width: int) -> tuple[Any, Any]:
    """T5 with tokens as wide as those of both CLIPs side by side, at least, and gated like the real one."""
    from transformers import T5Config, T5EncoderModel

    options = {"d_kv": 8, "d_ff": 37, "num_layers": 2, "num_heads": 4, "feed_forward_proj": "gated-gelu"}
    return T5EncoderModel(T5Config(vocab_size=64, d_model=width, **options)).eval(), tiny_pipelines.t5()[1]


def test_the_text_encoder_of_pixart(tmp_path: Path, ctx: Context) -> None:
    torch.manual_seed(0)
    pipeline = tiny_pipelines.pixart()
    (name,) = text_files(pipeline, {"t5": "text_encoder"}, tmp_path)
    clip = checkpoints.load_clip(name, "pixart", ctx=ctx)
    assert_encodes(clip, pipeline, ctx, do_classifier_free_guidance=False)


def test_a_checkpoint_of_flux_with_all_its_parts(narrow_flux: Any, tmp_path: Path, ctx: Context) -> None:
    torch.manual_seed(0)
    pipeline, vae = tiny_pipelines.flux(), tiny_pipelines.vae(16)
    parts = {
        "model.diffusion_model.": published.flux_tensors(narrow_flux), "vae.": ldm.vae_tensors(vae),
        "text_encoders.clip_l.transformer.": ldm.clip_tensors(pipeline.text_encoder),
        "text_encoders.t5xxl.transformer.": pipeline.text_encoder_2.state_dict(),
    }  # fmt: skip
    tensors = {prefix + name: tensor for prefix, part in parts.items() for name, tensor in part.items()}
    name = write(tmp_path / "checkpoints" / "flux-all.safetensors", tensors)
    text_files(pipeline, {"t5": "text_encoder_2"}, tmp_path)  # the tokenizer lies with the other text encoders
    model, clip, decoder = checkpoints.load_checkpoint(name, ctx=ctx)
    with ctx.models.borrow(model) as denoiser, ctx.models.borrow(decoder) as autoencoder:
        assert_equal(denoiser.network, narrow_flux)
        assert_equal(autoencoder.network, vae)
    assert_encodes(clip, pipeline, ctx)


def test_another_tokenizer_makes_another_recipe(tmp_path: Path, ctx: Context) -> None:
    """So that nothing that was encoded with the old one is reused, from a cache folder either."""
    (name,) = text_files(tiny_pipelines.pixart(), {"t5": "text_encoder"}, tmp_path)
    told = tmp_path / "text_encoders" / "t5_tokenizer" / "tokenizer_config.json"
    recipes, identities = [], []
    for length in (16, 8):
        told.write_text(json.dumps({**json.loads(told.read_text()), "model_max_length": length}))
        recipes.append(checkpoints.load_clip(name, "pixart", ctx=ctx))
        identities.append(checkpoints.clip_identity(name, ctx.folders))
    assert recipes[0].source.digest != recipes[1].source.digest
    assert identities[0] != identities[1]
    with pytest.raises(ModelFileError, match="its files have changed; run the workflow again"):
        ctx.models.borrow(recipes[0]).__enter__()
    assert recipes[1] == checkpoints.load_clip(name, "pixart", ctx=ctx)


# what is wrong, in a sentence


def test_a_tokenizer_that_is_missing(tmp_path: Path, ctx: Context) -> None:
    names = text_files(tiny_pipelines.flux(), {"l": "text_encoder", "t5": "text_encoder_2"}, tmp_path, False)
    clip = checkpoints.load_two_clips(*names, "flux", ctx=ctx)
    says = r"'t5.safetensors' has T5 as a text encoder, .* into '.*text_encoders.t5_tokenizer'"
    with pytest.raises(ModelFileError, match=says):
        ctx.models.borrow(clip).__enter__()


def test_text_encoders_of_another_family(tmp_path: Path, ctx: Context) -> None:
    names = text_files(tiny_pipelines.flux(), {"l": "text_encoder", "t5": "text_encoder_2"}, tmp_path)
    says = r"the type 'sd3' wants the text encoders CLIP L, CLIP G, T5 \(optional\), and 'l.safetensors' is CLIP L, "
    with pytest.raises(ModelFileError, match=says):
        ctx.models.borrow(checkpoints.load_two_clips(*names, "sd3", ctx=ctx)).__enter__()
    for clip in (checkpoints.load_two_clips(*names, ctx=ctx), checkpoints.load_clip(names[1], ctx=ctx)):
        with pytest.raises(ModelFileError, match="is T5"):
            ctx.models.borrow(clip).__enter__()


def test_a_model_that_is_shown_a_picture(narrow_flux: Any, tmp_path: Path, ctx: Context) -> None:
    tensors = published.flux_tensors(narrow_flux)
    tensors["img_in.weight"] = torch.randn(64, 128)
    name = write(tmp_path / "diffusion_models" / "canny.safetensors", tensors)
    with pytest.raises(ModelFileError, match="takes 128 channels and gives 64"):
        checkpoints.load_diffusion_model(name, ctx=ctx)
