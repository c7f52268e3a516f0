"""Diffusers folders of pipelines with a transformer draw what the pipelines draw, all through one adapter."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from mezzotint import Context
from mezzotint.engine.errors import ModelFileError
from mezzotint.engine.folders import Folders
from mezzotint.engine.residency import Residency
from mezzotint.nodes.conditioning.conditioning import ConditioningMismatchError, encode_text, flux_guidance
from mezzotint.nodes.conditioning.reference_latent import reference_latent
from mezzotint.nodes.conditioning.transformer_prompts import encode_flux, encode_sd3
from mezzotint.nodes.families import diffusers_networks
from mezzotint.nodes.models import weight_casting
from mezzotint.nodes.models.checkpoints import Checkpoint, load_checkpoint
from mezzotint.nodes.sampling.denoise import Denoise
from mezzotint.nodes.sampling.model_sampling import model_sampling
from mezzotint.nodes.sampling.network_call import ConditioningError

from .. import tiny_pipelines

PROMPT = "a photo of a cat"


class Bench:
    """Every pipeline and its folder, made when first asked for."""

    def __init__(self, root: Path) -> None:
        folders = Folders(root / "home", models=[root / "models"])
        self.context = Context(folders=folders, models=Residency("cpu", folders=folders))
        self.folder = root / "models" / "checkpoints"
        self.pipelines: dict[str, Any] = {}

    def pipeline(self, name: str) -> Any:
        if name not in self.pipelines:
            torch.manual_seed(0)
            self.pipelines[name] = tiny_pipelines.drawn(name)
            self.pipelines[name].save_pretrained(self.folder / name)
        return self.pipelines[name]

    def checkpoint(self, name: str) -> Checkpoint:
        self.pipeline(name)
        return load_checkpoint(name, ctx=self.context)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("pipelines"))


@pytest.fixture(params=tiny_pipelines.PIPELINES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def channels(bench: Bench, name: str) -> int:
    return model_sampling(bench.checkpoint(name).MODEL, bench.context).latent_channels


def test_a_batch_is_predicted_as_each_alone(bench: Bench, name: str) -> None:
    model, clip, _ = bench.checkpoint(name)
    positive = encode_text(PROMPT, clip, ctx=bench.context)
    x = torch.randn(2, channels(bench, name), 8, 8)
    with torch.inference_mode():
        (together,) = Denoise.answer([Denoise(model, x, 0.7, (positive,))], bench.context)
        alone = [
            Denoise.answer([Denoise(model, x[i : i + 1], 0.7, (positive,))], bench.context)[0][0] for i in range(2)
        ]
    torch.testing.assert_close(together[0], torch.cat(alone), rtol=1e-4, atol=1e-5)


def test_the_vae_gives_latents_as_the_model_wants_them(bench: Bench, name: str) -> None:
    model, _, vae = bench.checkpoint(name)
    network = bench.pipeline(name).vae
    sampled = model_sampling(model, bench.context)
    picture = torch.rand(1, 16, 16, 3)
    is_film = name == "qwen-image"
    with bench.context.models.borrow(vae) as autoencoder, torch.no_grad():
        ours = sampled.to_model(autoencoder.encode(picture))
        pixels = picture.movedim(-1, 1) * 2 - 1
        theirs = network.encode(pixels[:, :, None] if is_film else pixels).latent_dist.mean
        if is_film:
            mean, deviation = (torch.tensor(network.config[key]) for key in ("latents_mean", "latents_std"))
            theirs = (theirs[:, :, 0] - mean.view(1, -1, 1, 1)) / deviation.view(1, -1, 1, 1)
        else:
            theirs = (theirs - (network.config.shift_factor or 0)) * network.config.scaling_factor
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
        assert autoencoder.decode(autoencoder.encode(picture)).shape == picture.shape


@pytest.mark.parametrize("name", ["sd3", "flux"])
def test_each_text_encoder_may_have_its_own_text(bench: Bench, name: str) -> None:
    clip = bench.checkpoint(name).CLIP
    if name == "sd3":
        conditioning = encode_sd3(clip, clip_l="a cat", clip_g="on mars", t5xxl="a dog", ctx=bench.context)
        texts = {"prompt": "a cat", "prompt_2": "on mars", "prompt_3": "a dog", "do_classifier_free_guidance": False}
    else:
        conditioning = encode_flux(clip, clip_l="a cat", t5xxl="a dog", guidance=2.0, ctx=bench.context)
        texts = {"prompt": "a cat", "prompt_2": "a dog"}
    ((tokens, options),) = conditioning
    with torch.no_grad():
        returned = bench.pipeline(name).encode_prompt(**texts)
    embeds, pooled = (returned[0], returned[2]) if name == "sd3" else returned[:2]
    torch.testing.assert_close(tokens, embeds, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(options["pooled_output"], pooled, rtol=1e-4, atol=1e-5)
    assert options.get("guidance") == (None if name == "sd3" else 2.0)


def test_the_network_is_told_how_strong_guidance_is(bench: Bench) -> None:
    model, clip, _ = bench.checkpoint("flux")
    plain = encode_text(PROMPT, clip, ctx=bench.context)
    x = torch.randn(1, channels(bench, "flux"), 8, 8)
    with torch.inference_mode():
        both = (flux_guidance(plain, 3.5), flux_guidance(plain, 9.0))
        usual, strong = Denoise.answer([Denoise(model, x, 0.7, both)], bench.context)[0]
        (default,) = Denoise.answer([Denoise(model, x, 0.7, (plain,))], bench.context)[0]
    torch.testing.assert_close(usual, default)
    assert not torch.allclose(usual, strong, atol=1e-3)


def test_texts_for_several_encoders_want_several(embedded: Checkpoint, model_context: Context) -> None:
    with pytest.raises(ConditioningMismatchError, match="is of a Stable Diffusion before 3"):
        encode_flux(embedded.CLIP, clip_l="", t5xxl="", ctx=model_context)


def test_a_pipeline_that_diffusers_does_not_know(bench: Bench, tmp_path: Path) -> None:
    bench.pipeline("sd3")
    shutil.copytree(bench.folder / "sd3", tmp_path / "checkpoints" / "new")
    index = tmp_path / "checkpoints" / "new" / "model_index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "_class_name": "NextYearsPipeline"}))
    folders = Folders(tmp_path / "home", models=[tmp_path])
    context = Context(folders=folders, models=Residency("cpu", folders=folders))
    recipe = load_checkpoint("new", ctx=context).MODEL
    with pytest.raises(ModelFileError, match=r"is a NextYearsPipeline, which the installed diffusers .* does not know"):
        context.models.borrow(recipe).__enter__()


def test_a_part_that_is_missing(bench: Bench, tmp_path: Path) -> None:
    bench.pipeline("sd3")
    shutil.copytree(bench.folder / "sd3", tmp_path / "checkpoints" / "torn")
    (tmp_path / "checkpoints" / "torn" / "transformer" / "diffusion_pytorch_model.safetensors").unlink()
    context = Context(folders=Folders(tmp_path / "home", models=[tmp_path]))
    with pytest.raises(ModelFileError, match="the checkpoint 'torn' has no weights for its transformer"):
        load_checkpoint("torn", ctx=context)


def test_a_size_that_the_pipeline_refuses(bench: Bench) -> None:
    model, clip, _ = bench.checkpoint("z-image")
    positive = encode_text(PROMPT, clip, ctx=bench.context)
    with pytest.raises(ConditioningError, match=r"ZImagePipeline\) refuses a picture of 14×16 .* divisible by"):
        Denoise.answer([Denoise(model, torch.randn(1, 4, 8, 7), 0.7, (positive,))], bench.context)


def test_prompts_of_another_form(bench: Bench, tmp_path: Path) -> None:
    bench.pipeline("sd3")
    shutil.copytree(bench.folder / "sd3", tmp_path / "checkpoints" / "other")
    index = tmp_path / "checkpoints" / "other" / "model_index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "_class_name": "DiTPipeline"}))
    folders = Folders(tmp_path / "home", models=[tmp_path])
    context = Context(folders=folders, models=Residency("cpu", folders=folders))
    with pytest.raises(ModelFileError, match="DiTPipeline, which takes no prompt_embeds"):
        context.models.borrow(load_checkpoint("other", ctx=context).CLIP).__enter__()


def test_text_encoders_in_half_precision_are_kept_so_and_compute_the_same(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.pipeline("flux")
    made = tiny_pipelines.flux()
    made.text_encoder.load_state_dict(bench.pipelines["flux"].text_encoder.state_dict())
    made.text_encoder_2.load_state_dict(bench.pipelines["flux"].text_encoder_2.state_dict())
    made.to(torch.bfloat16).save_pretrained(tmp_path / "checkpoints" / "half")
    folders = Folders(tmp_path / "home", models=[tmp_path])
    encoded = []
    for limit in (0, 1 << 30):
        monkeypatch.setattr(diffusers_networks, "SMALL_NBYTES", limit)
        monkeypatch.setattr(weight_casting, "SMALL", 1024)
        context = Context(folders=folders, models=Residency("cpu", folders=folders))
        clip = load_checkpoint("half", ctx=context).CLIP
        with context.models.borrow(clip) as encoder:
            halves = {p.dtype for p in encoder.pipeline.text_encoder_2.parameters()}
            assert (torch.bfloat16 in halves) == (limit == 0)
            encoded.append(encoder.encode(PROMPT))
    ((first, said),), ((second, again),) = encoded
    assert torch.equal(first, second)
    assert torch.equal(said["pooled_output"], again["pooled_output"])


def test_transformers_in_half_precision_are_kept_so_and_compute_the_same(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bench: Bench
) -> None:
    clip = bench.checkpoint(name).CLIP
    positive = encode_text(PROMPT, clip, ctx=bench.context)
    torch.manual_seed(0)
    tiny_pipelines.PIPELINES[name]().to(torch.bfloat16).save_pretrained(tmp_path / "checkpoints" / "half")
    folders, x = Folders(tmp_path / "home", models=[tmp_path]), torch.randn(1, channels(bench, name), 8, 8)
    answers = []
    for limit in (0, 1 << 30):
        monkeypatch.setattr(diffusers_networks, "SMALL_NBYTES", limit)
        monkeypatch.setattr(weight_casting, "SMALL", 512)
        context = Context(folders=folders, models=Residency("cpu", folders=folders))
        model = load_checkpoint("half", ctx=context).MODEL
        with context.models.borrow(model) as denoiser:
            kept = {parameter.dtype for parameter in denoiser.network.parameters()}
            assert (torch.bfloat16 in kept) == (limit == 0)
        with torch.inference_mode():
            answers.append(Denoise.answer([Denoise(model, x, 0.7, (positive,))], context)[0][0])
    assert torch.equal(*answers)


def test_a_reference_is_shown_as_the_pipeline_that_edits_shows_it(bench: Bench) -> None:
    model, clip, _ = bench.checkpoint("flux")
    sampled = model_sampling(model, bench.context)
    plain = encode_text(PROMPT, clip, ctx=bench.context)
    shown, x = torch.randn(1, 16, 6, 10), torch.randn(2, 16, 8, 8)
    told = reference_latent(plain, {"samples": sampled.to_latent(shown)})
    with torch.inference_mode():
        edited, drawn = Denoise.answer([Denoise(model, x, 0.7, (told, plain))], bench.context)[0]
    other = tiny_pipelines.other(bench.pipeline("flux"), "FluxKontextPipeline", is_flow=True)
    noisy = other._pack_latents(x[:1], *x[:1].shape)
    given = {"latents": noisy, "height": 16, "width": 16, "max_area": 256, "guidance_scale": 3.5}
    result = other(shown, PROMPT, sigmas=[0.7], num_inference_steps=1, output_type="latent", **given).images
    theirs = other._unpack_latents(result, 16, 16, other.vae_scale_factor)  # one step to 0: what is predicted
    torch.testing.assert_close(edited[:1], theirs, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(edited, drawn, atol=1e-3)


def test_a_reference_that_cannot_be_shown(bench: Bench) -> None:
    latent = {"samples": torch.randn(1, 16, 8, 8)}
    for name, times, says in (("sd3", 1, r"StableDiffusion3Pipeline\) takes none"), ("flux", 2, "2 reference latents")):
        model, clip, _ = bench.checkpoint(name)
        told = encode_text(PROMPT, clip, ctx=bench.context)
        for _ in range(times):
            told = reference_latent(told, latent)
        with pytest.raises(ConditioningError, match=says):
            Denoise.answer([Denoise(model, torch.randn(1, 16, 8, 8), 0.7, (told,))], bench.context)
    assert reference_latent(told) is told
