"""unCLIP models draw what diffusers' own pipeline draws, shown the same picture with the same noise."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from mezzotint import Context
from mezzotint.engine.errors import ModelFileError
from mezzotint.engine.folders import Folders
from mezzotint.engine.request import drive
from mezzotint.engine.residency import Residency
from mezzotint.engine.value_type import pack, unpack
from mezzotint.nodes.adapters import clip_vision, unclip
from mezzotint.nodes.adapters.clip_vision_recipe import ClipVisionOutput
from mezzotint.nodes.conditioning.conditioning import encode_text
from mezzotint.nodes.merging.save_nodes import save_checkpoint
from mezzotint.nodes.models.checkpoints import load_checkpoint
from mezzotint.nodes.sampling import denoise_step, sampling_nodes
from mezzotint.nodes.sampling.model_sampling import model_sampling
from mezzotint.nodes.sampling.network_call import NOISE_SEED, UNCLIP, ConditioningError
from mezzotint.nodes.sampling.noise import initial_noise
from mezzotint.nodes.sampling.noise_levels import basic_scheduler
from mezzotint.nodes.sampling.picture_vector import PictureVector

from .. import ldm_layout as ldm
from .. import single_files
from .. import tiny_models as tiny

SEED, STEPS, CFG, SIDE, D = 7, 4, 3.0, 28, 48
PROMPT, NEGATIVE = "a photo of a cat", "blurry"
AUGMENTATION = 0.1
LEVEL = 100  # of 999
ONE = torch.ones(1)


class Case(NamedTuple):
    """A checkpoint, opened, and what it was written from."""

    pipeline: Any
    context: Context
    opened: Any

    def shown(self, picture: Tensor, strength: float = 1.0, augmentation: float = AUGMENTATION) -> Any:
        read = clip_vision.encode_image(self.opened.CLIP_VISION, picture, ctx=self.context)
        return unclip.show_picture(self.text(PROMPT), read, strength, augmentation)

    def text(self, text: str) -> Any:
        return encode_text(text, self.opened.CLIP, ctx=self.context)

    def drawn(self, positive: Any, cfg: float = CFG) -> Tensor:
        latent = {"samples": torch.zeros(1, 4, 8, 8)}
        body = sampling_nodes.ksampler(
            self.opened.MODEL, seed=SEED, steps=STEPS, cfg=cfg, sampler_name="euler", scheduler="simple",
            positive=positive, negative=self.text(NEGATIVE), latent_image=latent, ctx=self.context,
        )  # fmt: skip
        made: Tensor = model_sampling(self.opened.MODEL, self.context).to_model(drive(body, self.context)["samples"])
        return made

    def theirs(self, **given: Any) -> Tensor:
        sigma = model_sampling(self.opened.MODEL, self.context).sigmas.sigma_max
        noise = initial_noise((1, 4, 8, 8), SEED) * (1 + sigma**2) ** 0.5  # this pipeline takes it as it is
        with torch.no_grad():
            made: Tensor = self.pipeline(
                prompt=PROMPT, negative_prompt=NEGATIVE, guidance_scale=CFG, num_inference_steps=STEPS, latents=noise,
                generator=torch.Generator().manual_seed(SEED - 10), height=16, width=16, output_type="latent", **given,
            ).images  # fmt: skip
        return made


def reader() -> Any:
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    config = CLIPVisionConfig(
        hidden_size=64, num_hidden_layers=2, num_attention_heads=1, intermediate_size=96, image_size=SIDE,
        patch_size=14, projection_dim=D,
    )  # fmt: skip
    network = CLIPVisionModelWithProjection(config).eval()
    for parameter in network.parameters():
        parameter.data += torch.randn_like(parameter) * 0.1
    return network


def family(width: int = 128) -> Any:
    """Of Stable Diffusion 2 with pictures in place of a class."""
    made = single_files.sd2("v_prediction")
    made.unet = tiny.linear_unet(
        width, block_out_channels=(64, 64, 64, 64), attention_head_dim=[1, 1, 1, 1], layers_per_block=2,
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        class_embed_type="projection", projection_class_embeddings_input_dim=2 * D,
    )  # fmt: skip
    torch.nn.init.normal_(made.unet.up_blocks[3].attentions[2].transformer_blocks[0].norm1.bias, std=0.2)
    for parameter in made.unet.class_embedding.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return made


def published_reader(network: Any) -> dict[str, Tensor]:
    """Its tensors by the names of OpenAI's and OpenCLIP's code."""
    plain = {name.removeprefix("vision_model."): each for name, each in network.state_dict().items()}
    made = {
        "conv1.weight": plain["embeddings.patch_embedding.weight"],
        "class_embedding": plain["embeddings.class_embedding"],
        "positional_embedding": plain["embeddings.position_embedding.weight"],
        "proj": plain["visual_projection.weight"].T,
    }
    for end in ("weight", "bias"):
        made |= {f"ln_pre.{end}": plain[f"pre_layrnorm.{end}"], f"ln_post.{end}": plain[f"post_layernorm.{end}"]}
        for k in range(network.config.num_hidden_layers):
            layer, theirs = f"encoder.layers.{k}", f"transformer.resblocks.{k}"
            names = {"ln_1": "layer_norm1", "ln_2": "layer_norm2", "attn.out_proj": "self_attn.out_proj"}
            for published, name in {**names, "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}.items():
                made[f"{theirs}.{published}.{end}"] = plain[f"{layer}.{name}.{end}"]
            joined = [plain[f"{layer}.self_attn.{part}_proj.{end}"] for part in "qkv"]
            made[f"{theirs}.attn.in_proj_{end}"] = torch.cat(joined)
    return made


def pipeline_of(made: Any, network: Any, normalizer: Any) -> Any:
    import diffusers
    from transformers import CLIPImageProcessor

    size = {"height": SIDE, "width": SIDE}
    plain = made.pipeline()
    pipeline = diffusers.StableUnCLIPImg2ImgPipeline(
        feature_extractor=CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size=size), image_encoder=network,
        image_normalizer=normalizer, unet=plain.unet, vae=plain.vae, scheduler=plain.scheduler,
        image_noising_scheduler=diffusers.DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
        tokenizer=plain.tokenizer, text_encoder=plain.text_encoder,
    )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="module", params=["file", "folder"])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import StableUnCLIPImageNormalizer

    torch.manual_seed(0)
    root = tmp_path_factory.mktemp("unclip")
    made, network, normalizer = family(), reader(), StableUnCLIPImageNormalizer(D)
    normalizer.mean.data.normal_(std=0.3)
    normalizer.std.data.uniform_(0.5, 1.5)
    pipeline = pipeline_of(made, network, normalizer)
    name = "picture"
    if request.param == "folder":
        pipeline.save_pretrained(root / "checkpoints" / name)
    else:
        name += ".safetensors"
        write(root / "checkpoints" / name, made, network, normalizer)
    context = context_of(root)
    return Case(pipeline, context, unclip.load_unclip_checkpoint(name, ctx=context))


def context_of(root: Path) -> Context:
    folders = Folders(root / "home", models=[root])
    return Context(folders=folders, models=Residency("cpu", folders=folders))


def write(path: Path, made: Any, network: Any, normalizer: Any = None) -> None:
    from safetensors.torch import load_file

    made.write(path)
    further = {"embedder.model.visual.": published_reader(network)}
    if normalizer is not None:
        further["noise_augmentor."] = {"data_mean": normalizer.mean.data, "data_std": normalizer.std.data}
    ldm.write_single_file(path, {"": load_file(path), **further})


@pytest.fixture(scope="module")
def picture() -> Tensor:
    ramp = torch.linspace(0, 1, SIDE)
    return torch.stack([ramp[:, None].expand(SIDE, SIDE), ramp.expand(SIDE, SIDE).square(), torch.eye(SIDE)], -1)[None]


def error(actual: Tensor, expected: Tensor) -> float:
    assert expected.isfinite().all()
    return float((actual - expected).norm() / expected.norm())


def test_a_picture_is_drawn_as_by_the_pipeline(case: Case, picture: Tensor) -> None:
    from PIL import Image

    ours = case.drawn(case.shown(picture))
    image = Image.fromarray((picture[0] * 255).round().byte().numpy())
    assert error(ours, case.theirs(image=image, noise_level=LEVEL)) < 1e-4
    assert error(ours, case.drawn(case.shown(picture, augmentation=0.0))) > 1e-3
    assert error(ours, case.drawn(case.text(PROMPT))) > 1e-3


def test_without_a_picture_it_is_told_nothing(case: Case) -> None:
    vector = torch.zeros(1, D)
    noised = case.pipeline.noise_image_embeddings(vector, 0, noise=torch.zeros(1, D))
    assert noised.abs().sum() > 0  # an embedding of zeros is not nothing
    with case.context.models.borrow(case.opened.MODEL) as denoiser:
        assert not denoiser.call.pictures.of({}).any()


def test_several_pictures_are_summed_by_strength_and_noised_once_more() -> None:
    torch.manual_seed(0)
    mean, deviation = torch.randn(1, 6), torch.rand(1, 6) + 0.5
    kept = torch.linspace(1, 0.1, 1000)
    vector = PictureVector(mean, deviation, kept)
    embeds = torch.randn(3, 6)
    noise = torch.randn(1, 6, generator=torch.Generator().manual_seed(SEED - 10))

    def noised(x: Tensor, level: int) -> Tensor:
        return ((x - mean) / deviation * kept[level] ** 0.5 + noise * (1 - kept[level]) ** 0.5) * deviation + mean

    def level_embedding(level: int) -> Tensor:  # of 3 frequencies, cosines first
        angles = level * 10000 ** (-torch.arange(3) / 3)
        return torch.cat([angles.cos(), angles.sin()])[None]

    def shown(rows: Tensor, strength: float, augmentation: float) -> dict[str, Any]:
        read = ClipVisionOutput(rows, rows, rows, rows)
        return {"clip_vision_output": read, "strength": strength, "noise_augmentation": augmentation}

    one = vector.of({UNCLIP: [shown(embeds[:1], 0.5, 0.25)], NOISE_SEED: SEED})
    assert torch.allclose(one, 0.5 * torch.cat([noised(embeds[:1], 250), level_embedding(250)], 1), atol=1e-5)
    pictures = [shown(embeds[:2], 0.5, 0.0), shown(embeds[2:], -2.0, 1.0)]
    merged = 0.5 * noised(embeds[:1], 0) + 0.5 * noised(embeds[1:2], 0) - 2 * noised(embeds[2:], 999)
    several = vector.of({UNCLIP: pictures, NOISE_SEED: SEED})
    assert torch.allclose(several, torch.cat([noised(merged, 50), level_embedding(50)], 1), atol=1e-4)
    assert torch.equal(vector.of({}), torch.zeros(1, 12))


def test_pictures_add_up_and_one_of_no_strength_is_left_out() -> None:
    read = ClipVisionOutput(*[torch.ones(1, 2)] * 4)
    once = unclip.show_picture([[torch.zeros(1, 1, 2), {"strength": 0.5}]], read, 0.25, 0.5)
    twice = unclip.show_picture(once, read, 2.0)
    assert [shown["strength"] for shown in twice[0][1][UNCLIP]] == [0.25, 2.0]
    assert len(once[0][1][UNCLIP]) == 1
    assert once[0][1]["strength"] == 0.5
    assert unclip.show_picture(twice, read, 0) is twice
    (again,) = unpack(pack(twice))
    assert torch.equal(again[1][UNCLIP][1]["clip_vision_output"].image_embeds, torch.ones(1, 2))


def test_single_steps_draw_what_the_sampler_draws(case: Case, picture: Tensor) -> None:
    shown = case.shown(picture)
    sigmas = basic_scheduler(case.opened.MODEL, "simple", STEPS, 1.0, ctx=case.context)
    latent = denoise_step.latent_noise(
        case.opened.MODEL, SEED, sigmas=sigmas, latent={"samples": torch.zeros(1, 4, 8, 8)}, ctx=case.context
    )
    for index in range(STEPS):
        body = denoise_step.unet_denoise(
            case.opened.MODEL, shown, case.text(NEGATIVE), CFG, latent=latent, ctx=case.context
        )
        denoised = drive(body, case.context)
        latent = denoise_step.scheduler_step(case.opened.MODEL, latent, denoised, sigmas, index, ctx=case.context)
    made = model_sampling(case.opened.MODEL, case.context).to_model(latent["samples"])
    assert torch.equal(made, case.drawn(shown))


def test_a_picture_that_another_network_read_is_refused(case: Case) -> None:
    read = ClipVisionOutput(*[torch.ones(1, 5)] * 4)
    with pytest.raises(ConditioningError, match=r"a picture as 5 numbers, and the model wants 48: .* unCLIPCheckpoint"):
        case.drawn(unclip.show_picture(case.text(PROMPT), read))


def test_a_model_that_takes_no_picture_says_so(tmp_path: Path) -> None:
    context = context_of(tmp_path)
    model, clip, _ = load_checkpoint(ctx=context)
    read = ClipVisionOutput(*[torch.ones(1, 5)] * 4)
    shown = unclip.show_picture(encode_text(PROMPT, clip, ctx=context), read)
    latent = {"samples": torch.zeros(1, 8, 4, 4)}
    body = sampling_nodes.ksampler(
        model, seed=0, steps=1, cfg=1.0, positive=shown, negative=shown, latent_image=latent, ctx=context
    )
    with pytest.raises(ConditioningError, match="shows the model a picture, and the model takes none"):
        drive(body, context)


def test_a_checkpoint_without_such_a_network_is_refused(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    single_files.sd1().write(tmp_path / "checkpoints" / "plain.safetensors")
    with pytest.raises(ModelFileError, match=r"'plain.safetensors' holds no network that reads pictures"):
        unclip.load_unclip_checkpoint("plain.safetensors", ctx=context_of(tmp_path))


def test_without_statistics_nothing_is_normalised(tmp_path: Path) -> None:
    torch.manual_seed(0)
    write(tmp_path / "checkpoints" / "h.safetensors", family(), reader())
    context = context_of(tmp_path)
    with context.models.borrow(unclip.load_unclip_checkpoint("h.safetensors", ctx=context).MODEL) as denoiser:
        vector = denoiser.call.pictures
    assert torch.equal(vector.mean, torch.zeros(1, D))
    assert torch.equal(vector.deviation, torch.ones(1, D))


def test_a_saved_model_is_shown_pictures_as_before(case: Case, picture: Tensor) -> None:
    save_checkpoint(case.opened.MODEL, case.opened.CLIP, case.opened.VAE, "checkpoints/saved", ctx=case.context)
    folder = case.context.folders.output / "checkpoints"
    saved = load_checkpoint(max(folder.glob("saved*")).name, ctx=case.context)
    shown = case.shown(picture)
    again = case._replace(opened=case.opened._replace(MODEL=saved.MODEL))
    assert torch.equal(again.drawn(shown), case.drawn(shown))


def test_clip_in_its_own_layout_reads_what_it_reads_in_transformers(tmp_path: Path, picture: Tensor) -> None:
    network = reader()
    tensors = published_reader(network)
    ldm.write_single_file(tmp_path / "clip_vision" / "own.safetensors", {"visual.": tensors, "logit_": {"scale": ONE}})
    network.save_pretrained(tmp_path / "clip_vision" / "theirs")
    context = context_of(tmp_path)
    read = [
        clip_vision.encode_image(clip_vision.load_clip_vision(name, ctx=context), picture, ctx=context)
        for name in ("own.safetensors", "theirs/model.safetensors")
    ]
    assert torch.equal(read[0].image_embeds, read[1].image_embeds)
