"""IP-Adapters draw what diffusers' own pipeline draws with them; CLIP reads pictures as transformers has it."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from mezzotint import Context
from mezzotint.engine.errors import MissingModelError, ModelFileError
from mezzotint.engine.folders import Folders
from mezzotint.engine.request import drive
from mezzotint.engine.residency import Residency
from mezzotint.engine.signature import read_node
from mezzotint.engine.value_type import pack, unpack
from mezzotint.nodes.adapters import clip_vision as vision
from mezzotint.nodes.adapters import ip_adapter as nodes
from mezzotint.nodes.adapters.ip_adapter_network import IPAdapterCall
from mezzotint.nodes.adapters.ip_adapter_patch import IPAdapterWeights
from mezzotint.nodes.conditioning.conditioning import encode_text
from mezzotint.nodes.latents.latent import empty_latent_image
from mezzotint.nodes.models.checkpoints import Checkpoint, load_checkpoint
from mezzotint.nodes.sampling import sampling_nodes
from mezzotint.nodes.sampling.model_sampling import model_sampling
from mezzotint.nodes.sampling.noise import initial_noise

SEED, STEPS, CFG, WIDTH, READ = 7, 4, 4.0, 128, 40
SIDE = 28


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Context:
    root = tmp_path_factory.mktemp("ip")
    for kind in ("ipadapter", "clip_vision"):
        (root / kind).mkdir()
    folders = Folders(root / "home", models=[root])
    return Context(folders=folders, models=Residency("cpu", folders=folders))


@pytest.fixture(scope="module")
def checkpoint(context: Context) -> Checkpoint:
    return load_checkpoint(ctx=context)


@pytest.fixture(scope="module")
def reader(context: Context) -> Any:
    """CLIP for pictures of 28×28, random, saved by transformers into the folder `reader`."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    config = CLIPVisionConfig(
        hidden_size=64, num_hidden_layers=3, num_attention_heads=1, intermediate_size=96, image_size=SIDE,
        patch_size=14, projection_dim=READ,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = CLIPVisionModelWithProjection(config).eval()
        for parameter in network.parameters():
            parameter.data += torch.randn_like(parameter) * 0.1
    network.save_pretrained(context.folders.model_folders("clip_vision")[0] / "reader")
    return network


@pytest.fixture(scope="module")
def image() -> Tensor:
    ramp = torch.linspace(0, 1, 40)
    return torch.stack([ramp[:, None].expand(40, 40), ramp.expand(40, 40).square(), torch.eye(40)], -1)[None]


def plain_projection(generator: torch.Generator) -> dict[str, Tensor]:
    return {
        "proj.weight": torch.randn(4 * WIDTH, READ, generator=generator), "proj.bias": torch.zeros(4 * WIDTH),
        "norm.weight": torch.ones(WIDTH), "norm.bias": torch.zeros(WIDTH),
    }  # fmt: skip


def full_projection(generator: torch.Generator) -> dict[str, Tensor]:
    """Of the full-face kind, which takes a hidden state of 64 numbers."""
    return {
        "proj.0.weight": torch.randn(64, 64, generator=generator) * 0.2, "proj.0.bias": torch.zeros(64),
        "proj.2.weight": torch.randn(WIDTH, 64, generator=generator), "proj.2.bias": torch.zeros(WIDTH),
        "proj.3.weight": torch.ones(WIDTH), "proj.3.bias": torch.zeros(WIDTH),
    }  # fmt: skip


def plus_projection(generator: torch.Generator) -> dict[str, Tensor]:
    """Of the plus kind: a resampler of 4 layers to 5 tokens, which takes a hidden state of 64 numbers."""
    inner = 128

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator) / shape[-1] ** 0.5

    made = {
        "latents": random(1, 5, inner), "proj_in.weight": random(inner, 64), "proj_in.bias": torch.zeros(inner),
        "proj_out.weight": random(WIDTH, inner), "proj_out.bias": torch.zeros(WIDTH),
        "norm_out.weight": torch.ones(WIDTH), "norm_out.bias": torch.zeros(WIDTH),
    }  # fmt: skip
    for k in range(4):
        for norm in ("0.norm1", "0.norm2", "1.0"):
            made |= {
                f"layers.{k}.{norm}.weight": torch.ones(inner),
                f"layers.{k}.{norm}.bias": torch.zeros(inner),
            }
        sizes = {"0.to_q": inner, "0.to_kv": 2 * inner, "0.to_out": inner, "1.1": 4 * inner}
        made |= {f"layers.{k}.{name}.weight": random(size, inner) for name, size in sizes.items()}
        made[f"layers.{k}.1.3.weight"] = random(inner, 4 * inner)
    return made


PROJECTIONS = {"plain": plain_projection, "full": full_projection, "plus": plus_projection}


def attention_layers(checkpoint: Checkpoint, context: Context, generator: torch.Generator) -> dict[str, Tensor]:
    with context.models.borrow(checkpoint.MODEL) as denoiser:
        names = [name for name in denoiser.network.attn_processors if name.endswith("attn2.processor")]
        sizes = [denoiser.network.get_submodule(name.removesuffix(".processor")).to_k.weight.shape for name in names]
    return {
        f"{2 * k + 1}.{part}.weight": torch.randn(*size, generator=generator) * 0.3
        for k, size in enumerate(sizes)
        for part in ("to_k_ip", "to_v_ip")
    }


@pytest.fixture(scope="module")
def states(checkpoint: Checkpoint, context: Context) -> dict[str, dict[str, dict[str, Tensor]]]:
    """The tensors of random adapters by kind, which are also in the models folder."""
    made = {}
    for seed, (kind, projection) in enumerate(PROJECTIONS.items()):
        generator = torch.Generator().manual_seed(seed)
        state = {
            "image_proj": projection(generator),
            "ip_adapter": attention_layers(checkpoint, context, generator),
        }
        flat = {f"{part}.{name}": tensor for part, tensors in state.items() for name, tensor in tensors.items()}
        save_file(flat, context.folders.model_folders("ipadapter")[0] / f"{kind}.safetensors")
        made[kind] = state
    return made


@pytest.fixture
def apply(checkpoint: Checkpoint, context: Context, states: Any, reader: Any, image: Tensor) -> Callable[..., Any]:
    """The embedded model with a random adapter."""
    clip = vision.load_clip_vision("reader/model.safetensors", ctx=context)

    def apply(kind: str, model: Any = None, **given: Any) -> Any:
        adapter = nodes.load_ip_adapter(f"{kind}.safetensors", ctx=context)
        settings = {"image": image, "weight": 0.6, "clip_vision": clip, **given}
        with torch.inference_mode():
            return nodes.apply_ip_adapter(model or checkpoint.MODEL, adapter, ctx=context, **settings)

    return apply


@pytest.fixture
def draw(checkpoint: Checkpoint, context: Context) -> Callable[..., Tensor]:
    prompts = [encode_text(text, checkpoint.CLIP, ctx=context) for text in ("a red apple", "")]

    def draw(model: Any) -> Tensor:
        links = {"positive": prompts[0], "negative": prompts[1], "latent_image": empty_latent_image(64, 64)}
        settings = {"seed": SEED, "steps": STEPS, "cfg": CFG, "scheduler": "simple"}
        samples: Tensor = drive(sampling_nodes.ksampler(model, ctx=context, **settings, **links), context)["samples"]
        return samples

    return draw


def pipeline_latents(
    path: Path, sigma: float, adapters: list[Any], weights: list[float], embeds: list[Tensor]
) -> Tensor:
    """What diffusers' pipeline draws; embeds [2, pictures, ...]: of nothing, then of the picture."""
    import diffusers

    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(path, local_files_only=True, low_cpu_mem_usage=False)
    pipeline.scheduler = diffusers.EulerDiscreteScheduler.from_config(
        pipeline.scheduler.config, timestep_spacing="trailing"
    )
    pipeline.to(torch.float32).set_progress_bar_config(disable=True)
    pipeline.unet._load_ip_adapter_weights(adapters, low_cpu_mem_usage=False)
    pipeline.set_ip_adapter_scale(weights)
    settings = {"guidance_scale": CFG, "num_inference_steps": STEPS, "output_type": "latent", "height": 64, "width": 64}
    noise = initial_noise((1, 8, 8, 8), SEED) * math.sqrt(1 + sigma**2) / sigma
    with torch.no_grad():
        latents: Tensor = pipeline(
            "a red apple", negative_prompt="", latents=noise, ip_adapter_image_embeds=embeds, **settings
        ).images
    return latents


def error(actual: Tensor, expected: Tensor) -> float:
    return float((actual - expected).norm() / expected.norm())


Apply = Callable[..., Any]
Draw = Callable[..., Tensor]


def read(reader: Any, image: Tensor) -> Any:
    """The picture as transformers' own processor and network read it."""
    from transformers import CLIPImageProcessor

    size = {"size": {"shortest_edge": SIDE}, "crop_size": {"height": SIDE, "width": SIDE}}
    pixels = CLIPImageProcessor(**size, do_rescale=False)(
        image.movedim(-1, 1), return_tensors="pt", input_data_format="channels_first"
    ).pixel_values
    with torch.no_grad():
        return reader(pixels, output_hidden_states=True)


def test_clip_reads_as_transformers_does(context: Context, reader: Any, image: Tensor) -> None:
    clip = vision.load_clip_vision("reader/model.safetensors", ctx=context)
    with torch.inference_mode():
        output = vision.encode_image(clip, image, ctx=context)
    wanted = read(reader, image)
    assert error(output.image_embeds, wanted.image_embeds) < 0.01  # our pixels are rounded to 8 bits
    assert error(output.penultimate_hidden_states, wanted.hidden_states[-2]) < 0.01
    assert error(output.last_hidden_state, wanted.last_hidden_state) < 0.01
    with torch.no_grad():
        blank = reader(torch.zeros(1, 3, SIDE, SIDE), output_hidden_states=True).hidden_states[-2]
    torch.testing.assert_close(output.blank, blank, rtol=1e-4, atol=1e-5)


def test_the_middle_or_all_of_a_picture_is_read(context: Context, reader: Any, image: Tensor) -> None:
    clip = vision.load_clip_vision("reader/model.safetensors", ctx=context)
    framed = torch.cat([torch.zeros(1, 40, 20, 3), image, torch.ones(1, 40, 20, 3)], dim=2)
    plain, middle, all_of_it = (
        vision.encode_image(clip, given, crop, ctx=context).image_embeds
        for given, crop in ((image, "none"), (framed, "center"), (framed, "none"))
    )
    torch.testing.assert_close(middle, plain)
    assert error(all_of_it, plain) > 0.01


def test_a_configuration_is_read_off_the_shapes(context: Context, reader: Any, image: Tensor) -> None:
    folder = context.folders.model_folders("clip_vision")[0]
    save_file(reader.state_dict(), folder / "alone.safetensors")
    both = [
        vision.encode_image(vision.load_clip_vision(name, ctx=context), image, ctx=context)
        for name in ("alone.safetensors", "reader/model.safetensors")
    ]
    torch.testing.assert_close(both[0].image_embeds, both[1].image_embeds)


@pytest.mark.parametrize("kind", PROJECTIONS)
def test_it_draws_what_diffusers_pipeline_draws(
    kind: str, apply: Apply, draw: Draw, states: Any, checkpoint: Checkpoint, context: Context, embedded_path: Path
) -> None:
    model = apply(kind)
    (patch,) = model.patches
    levels = model_sampling(checkpoint.MODEL, context)
    embeds = torch.cat([patch.contrast.tensor, patch.image.tensor])
    theirs = pipeline_latents(embedded_path, levels.sigmas.sigma_max, [states[kind]], [0.6], [embeds])
    ours = draw(model)
    assert error(ours * levels.scaling_factor, theirs) < 1e-4
    assert error(ours, draw(checkpoint.MODEL)) > 0.01


def test_two_stacked_draw_what_diffusers_pipeline_draws(
    apply: Apply, draw: Draw, states: Any, checkpoint: Checkpoint, context: Context, embedded_path: Path, image: Tensor
) -> None:
    model = apply("full", apply("plain"), weight=0.3, image=image.flip(1))
    levels = model_sampling(checkpoint.MODEL, context)
    embeds = [torch.cat([patch.contrast.tensor, patch.image.tensor]) for patch in model.patches]
    adapters = [states["plain"], states["full"]]
    theirs = pipeline_latents(embedded_path, levels.sigmas.sigma_max, adapters, [0.6, 0.3], embeds)
    assert error(draw(model) * levels.scaling_factor, theirs) < 1e-4


def test_without_it_the_model_is_as_it_was(apply: Apply, draw: Draw, checkpoint: Checkpoint) -> None:
    before = draw(checkpoint.MODEL)
    with_one = draw(apply("plain"))
    assert torch.equal(draw(checkpoint.MODEL), before)
    assert torch.equal(draw(apply("plain")), with_one)
    assert apply("plain", weight=0.0) is checkpoint.MODEL


def test_it_counts_from_a_start_to_an_end(apply: Apply, draw: Draw, checkpoint: Checkpoint) -> None:
    never, always = apply("plain", start_at=0.999, end_at=1.0), apply("plain", start_at=0.0, end_at=0.9999)
    assert error(draw(never), draw(checkpoint.MODEL)) < 1e-5
    assert error(draw(always), draw(apply("plain"))) < 1e-5
    half = draw(apply("plain", end_at=0.4))
    assert error(half, draw(apply("plain"))) > 1e-3
    assert error(half, draw(checkpoint.MODEL)) > 1e-3


def test_several_pictures_are_side_by_side_or_averaged(apply: Apply, context: Context, image: Tensor) -> None:
    pair = torch.cat([image, image.flip(1)])
    for combine, tokens in (("concat", 8), ("average", 4)):
        with context.models.borrow(apply("plain", image=pair, combine_embeds=combine)) as denoiser:
            assert isinstance(denoiser.call, IPAdapterCall)
            assert denoiser.call.parts[0].image.shape == (1, tokens, WIDTH)
            assert denoiser.call.parts[0].contrast.shape == (1, tokens, WIDTH)


def test_a_recipe_with_one_is_stored_and_accounted_for(apply: Apply, context: Context) -> None:
    model = apply("plain")
    assert unpack(pack(model)) == model
    models = Residency("cpu", folders=context.folders)
    with models.borrow(model) as one, models.borrow(apply("plain", weight=0.2)) as two:
        first, second = ({*map(id, holder.network.parameters())} for holder in (one, two))
        assert first == second
    assert [type(resident.recipe).__name__ for resident in models.residents()].count("IPAdapterWeights") == 1


def test_all_of_one_waits_in_main_memory(
    apply: Apply, context: Context, draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    models, model = Residency("cpu", 1 << 30, context.folders, host_nbytes=1 << 30), apply("plus")
    monkeypatch.setattr(context, "_models", models)
    first = draw(model)
    (adapter,) = (each for each in models.residents() if isinstance(each.recipe, IPAdapterWeights))
    with models.borrow(adapter.recipe) as fitted:
        assert sum(tensor.nbytes for tensor in fitted.tensors()) == adapter.nbytes
    models.reserve(1 << 30, "making it wait")
    waiting = {each.recipe: each.offloaded_nbytes for each in models.residents()}
    assert waiting[adapter.recipe] == adapter.nbytes
    monkeypatch.setattr(IPAdapterWeights, "load", None)  # it is not read again
    assert torch.equal(draw(model), first)


# what is wrong, in a sentence


def test_what_reads_the_picture_is_missing(apply: Apply) -> None:
    with pytest.raises(nodes.IPAdapterError, match="connect a CLIPVisionLoader to it"):
        apply("plain", clip_vision=None)
    with pytest.raises(nodes.IPAdapterError, match="does not know attn_mask yet"):
        apply("plain", attn_mask=torch.ones(1, 8, 8))


def test_an_adapter_for_another_model(apply: Apply, checkpoint: Checkpoint, context: Context, states: Any) -> None:
    folder = context.folders.model_folders("ipadapter")[0]
    narrow = {name: tensor[:, :64].clone() for name, tensor in states["plain"]["ip_adapter"].items()}
    state = {"image_proj": states["plain"]["image_proj"], "ip_adapter": narrow}
    flat = {f"{part}.{name}": tensor for part, tensors in state.items() for name, tensor in tensors.items()}
    save_file(flat, folder / "narrow.safetensors")
    with pytest.raises(
        ModelFileError, match=r"is not for the model 'mezzotint-emoji' \(.*size mismatch.* use one that"
    ):
        context.models.borrow(apply("narrow")).__enter__()


def test_files_that_are_none(context: Context) -> None:
    folder = context.folders.model_folders("ipadapter")[0]
    save_file({"weight": torch.zeros(2)}, folder / "other.safetensors")
    face = {"image_proj.proj.0.weight": torch.zeros(2), "ip_adapter.1.to_k_ip.weight": torch.zeros(2)}
    save_file(face, folder / "face.safetensors")
    for name, message in (("other", "is no IP-Adapter: it has no tensors"), ("face", "such as FaceID")):
        with pytest.raises(ModelFileError, match=message):
            nodes.load_ip_adapter(f"{name}.safetensors", ctx=context)
    os.truncate(folder / "other.safetensors", 20)
    with pytest.raises(ModelFileError, match="is damaged"):
        nodes.load_ip_adapter("other.safetensors", ctx=context)
    with pytest.raises(MissingModelError):
        nodes.load_ip_adapter("nosuch", ctx=context)


def test_a_file_that_is_no_clip_vision_model(context: Context) -> None:
    folder = context.folders.model_folders("clip_vision")[0]
    save_file({"visual.conv1.weight": torch.zeros(2)}, folder / "other.safetensors")
    with pytest.raises(ModelFileError, match="is no CLIP vision model in the layout of transformers or OpenCLIP"):
        vision.load_clip_vision("other.safetensors", ctx=context)


def test_the_nodes_are_declared_as_saved_workflows_know_them() -> None:
    loader, encode = read_node(vision.load_clip_vision), read_node(vision.encode_image)
    assert (loader.name, [*loader.inputs], loader.outputs[0].port) == ("CLIPVisionLoader", ["clip_name"], "CLIP_VISION")
    assert (encode.name, [*encode.inputs]) == ("CLIPVisionEncode", ["clip_vision", "image", "crop"])
    assert encode.outputs[0].port == "CLIP_VISION_OUTPUT"
    adapter = read_node(nodes.apply_ip_adapter)
    assert [*adapter.inputs] == [
        "model", "ipadapter", "image", "weight", "weight_type", "combine_embeds", "start_at", "end_at",
        "embeds_scaling", "image_negative", "attn_mask", "clip_vision",
    ]  # fmt: skip
