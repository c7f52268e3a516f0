"""ControlNets and T2I-Adapters: what diffusers' own pipelines draw with them, from files of every layout."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mezzotint import Context
from mezzotint.engine.folders import Folders
from mezzotint.engine.request import drive
from mezzotint.engine.residency import Residency
from mezzotint.engine.value_type import canonical, pack, unpack
from mezzotint.nodes.adapters import control_net as nodes
from mezzotint.nodes.adapters.control_chain import AppliedControl, ControlChain
from mezzotint.nodes.adapters.control_net_recipe import ControlNetRecipe
from mezzotint.nodes.adapters.control_network import ControlNetwork
from mezzotint.nodes.conditioning.conditioning import encode_text
from mezzotint.nodes.latents.latent import empty_latent_image
from mezzotint.nodes.models.checkpoints import Checkpoint, load_checkpoint
from mezzotint.nodes.sampling import sampling_nodes
from mezzotint.nodes.sampling.model_sampling import model_sampling
from mezzotint.nodes.sampling.noise import initial_noise
from mezzotint.nodes.tensor_value import tensor_value

SEED, STEPS, CFG = 7, 4, 4.0
WEIGHTS = "diffusion_pytorch_model.safetensors"


def randomised(network: Any, seed: int, size: float = 0.3) -> Any:
    """The network with random numbers in its layers of zeros, which have yet to be trained, and a keen eye."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        if not parameter.any():
            parameter.data = torch.randn(parameter.shape, generator=generator) * size
    for name, parameter in network.named_parameters():
        if name.startswith("controlnet_cond_embedding"):
            parameter.data *= 2
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Context:
    root = tmp_path_factory.mktemp("control")
    folders = Folders(root / "home", models=[root / "models"])
    return Context(folders=folders, models=Residency("cpu", folders=folders))


@pytest.fixture(scope="module")
def folder(context: Context) -> Path:
    return context.folders.model_folders("controlnet")[0]


@pytest.fixture(scope="module")
def checkpoint(context: Context) -> Checkpoint:
    return load_checkpoint(ctx=context)


@pytest.fixture(scope="module")
def prompts(checkpoint: Checkpoint, context: Context) -> list[Any]:
    return [encode_text(text, checkpoint.CLIP, ctx=context) for text in ("a red apple", "")]


@pytest.fixture(scope="module")
def networks(checkpoint: Checkpoint, context: Context, folder: Path) -> dict[str, Any]:
    """Random ones for the embedded model, saved by diffusers into folders of these names."""
    from diffusers import ControlNetModel, T2IAdapter

    with torch.random.fork_rng(devices=[]), context.models.borrow(checkpoint.MODEL) as denoiser:
        torch.manual_seed(0)
        made = {
            "first": randomised(ControlNetModel.from_unet(denoiser.network), 1),
            "second": randomised(ControlNetModel.from_unet(denoiser.network), 2),
            "adapter": randomised(T2IAdapter(3, [96, 192]), 3),
        }
    for name, network in made.items():
        network.save_pretrained(folder / name)
    return made


@pytest.fixture(scope="module")
def image() -> Tensor:
    ramp = torch.linspace(0, 1, 64)
    return torch.stack([ramp[:, None].expand(64, 64), ramp.expand(64, 64).square(), torch.eye(64)], -1)[None]


def load(name: str, context: Context) -> ControlNetRecipe:
    return nodes.load_control_net(f"{name}/{WEIGHTS}", ctx=context)


@pytest.fixture
def draw(checkpoint: Checkpoint, context: Context) -> Callable[..., Tensor]:
    def draw(positive: Any, negative: Any, **given: Any) -> Tensor:
        settings = {"seed": SEED, "steps": STEPS, "cfg": CFG, "scheduler": "simple", **given}
        latent = settings.pop("latent", empty_latent_image(64, 64))
        links = {"positive": positive, "negative": negative, "latent_image": latent}
        samples: Tensor = drive(sampling_nodes.ksampler(checkpoint.MODEL, ctx=context, **settings, **links), context)[
            "samples"
        ]
        return samples

    return draw


def pipeline_latents(pipeline_class: str, path: Path, sigma: float, *image: Any, **given: Any) -> Tensor:
    """What a pipeline of diffusers draws with the embedded model, from the noise of our seed."""
    import diffusers

    parts = {name: given.pop(name) for name in ("controlnet", "adapter") if name in given}
    base = diffusers.StableDiffusionPipeline.from_pretrained(path, local_files_only=True, low_cpu_mem_usage=False)
    scheduler = diffusers.EulerDiscreteScheduler.from_config(base.scheduler.config, timestep_spacing="trailing")
    components = {**base.components, "scheduler": scheduler, **parts}
    accepted = {name: part for name, part in components.items() if name != "image_encoder"}
    pipeline = getattr(diffusers, pipeline_class)(**accepted, requires_safety_checker=False).to(torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    noise = initial_noise((1, 8, 8, 8), SEED) * math.sqrt(1 + sigma**2) / sigma
    settings = {"guidance_scale": CFG, "num_inference_steps": STEPS, "output_type": "latent", "latents": noise}
    with torch.no_grad():
        latents: Tensor = pipeline(
            "a red apple", *image, negative_prompt="", height=64, width=64, **settings, **given
        ).images
    return latents


def error(actual: Tensor, expected: Tensor) -> float:
    return float((actual - expected).norm() / expected.norm())


Draw = Callable[..., Tensor]


def test_two_stacked_draw_what_diffusers_pipeline_draws(
    checkpoint: Checkpoint, context: Context, networks: dict[str, Any], prompts: list[Any], image: Tensor,
    draw: Draw, embedded_path: Path,
) -> None:  # fmt: skip
    levels = model_sampling(checkpoint.MODEL, context)
    other = image.flip(1)
    steered = nodes.apply_control_net_advanced(*prompts, load("first", context), image, 0.8)
    steered = nodes.apply_control_net_advanced(*steered, load("second", context), other, 0.4)
    ours = draw(*steered)
    pictures = [picture.movedim(-1, 1) for picture in (image, other)]
    theirs = pipeline_latents(
        "StableDiffusionControlNetPipeline", embedded_path, levels.sigmas.sigma_max, pictures,
        controlnet=[networks["first"], networks["second"]], controlnet_conditioning_scale=[0.8, 0.4],
    )  # fmt: skip
    assert error(ours * levels.scaling_factor, theirs) < 1e-4
    assert error(ours, draw(*prompts)) > 0.01
    alone = nodes.apply_control_net_advanced(*prompts, load("first", context), image, 0.8)
    assert error(ours, draw(*alone)) > 0.02


def test_an_adapter_draws_what_diffusers_pipeline_draws(
    checkpoint: Checkpoint, context: Context, networks: dict[str, Any], prompts: list[Any], image: Tensor,
    draw: Draw, embedded_path: Path,
) -> None:  # fmt: skip
    levels = model_sampling(checkpoint.MODEL, context)
    ours = draw(*nodes.apply_control_net_advanced(*prompts, load("adapter", context), image, 0.5))
    theirs = pipeline_latents(
        "StableDiffusionAdapterPipeline", embedded_path, levels.sigmas.sigma_max, image.movedim(-1, 1),
        adapter=networks["adapter"], adapter_conditioning_scale=0.5,
    )  # fmt: skip
    assert error(ours * levels.scaling_factor, theirs) < 1e-4
    assert error(ours, draw(*prompts)) > 0.01


@pytest.fixture
def forwards(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, float]]:
    """Latents and timestep of each forward of a ControlNet."""
    calls: list[tuple[int, float]] = []
    forward = ControlNetwork._forward

    def told(network: ControlNetwork, x: Tensor, timestep: Tensor, *rest: Any, **options: Any) -> Any:
        calls.append((len(x), float(timestep[0])))
        return forward(network, x, timestep, *rest, **options)

    monkeypatch.setattr(ControlNetwork, "_forward", told)
    return calls


@pytest.mark.parametrize(
    ("start", "end", "expected"), [(0, 1, 4), (0.2, 0.6, 2), (0, 0.5, 2), (0.5, 1, 2), (0.9, 1, 0)]
)
def test_it_steers_from_a_start_to_an_end(
    start: float, end: float, expected: int, context: Context, networks: dict[str, Any], prompts: list[Any],
    image: Tensor, draw: Draw, forwards: list[tuple[int, float]],
) -> None:  # fmt: skip
    """Of the timesteps 999, 749, 499 and 249; each forward is of the positive and the negative prompt together."""
    steered = nodes.apply_control_net_advanced(*prompts, load("first", context), image, 1.0, start, end)
    draw(*steered)
    assert [count for count, _ in forwards] == [2] * expected
    assert all((1 - end) * 999 - 1 <= timestep <= (1 - start) * 999 + 1 for _, timestep in forwards)


def test_links_of_a_chain_have_ranges_of_their_own(
    context: Context, networks: dict[str, Any], prompts: list[Any], image: Tensor, draw: Draw,
    forwards: list[tuple[int, float]],
) -> None:  # fmt: skip
    steered = nodes.apply_control_net_advanced(*prompts, load("first", context), image, 1.0, 0.0, 0.5)
    draw(*nodes.apply_control_net_advanced(*steered, load("second", context), image, 1.0, 0.5, 1.0))
    assert len(forwards) == 4
    assert len({timestep for _, timestep in forwards}) == 4


def test_the_old_node_steers_the_negative_prompt_too(
    context: Context, networks: dict[str, Any], prompts: list[Any], image: Tensor, draw: Draw
) -> None:
    net = load("first", context)
    old = nodes.apply_control_net(prompts[0], net, image, 0.8)
    assert torch.equal(draw(old, prompts[1]), draw(*nodes.apply_control_net_advanced(*prompts, net, image, 0.8)))


def test_a_strength_of_zero_changes_nothing(prompts: list[Any], image: Tensor) -> None:
    net: Any = None
    assert nodes.apply_control_net(prompts[0], net, image, 0.0) is prompts[0]
    steered = nodes.apply_control_net_advanced(*prompts, net, image, 0.0)
    assert steered.positive is prompts[0]
    assert steered.negative is prompts[1]


def test_pictures_of_a_batch_steer_one_latent_each(
    context: Context, networks: dict[str, Any], prompts: list[Any], image: Tensor, draw: Draw
) -> None:
    net, pair = load("first", context), torch.cat([image, image.flip(1)])
    latent = empty_latent_image(64, 64, 3)
    batch = draw(*nodes.apply_control_net_advanced(*prompts, net, pair, 0.8), latent=latent)
    for k in range(3):
        alone = draw(*nodes.apply_control_net_advanced(*prompts, net, pair[k % 2 : k % 2 + 1], 0.8), latent=latent)
        assert error(batch[k], alone[k]) < 1e-4


def test_of_an_area_the_network_sees_that_part_of_the_picture(
    context: Context, networks: dict[str, Any], prompts: list[Any], image: Tensor, draw: Draw
) -> None:
    """What lies outside the only area steers nothing."""
    net, elsewhere = load("first", context), image.clone()
    elsewhere[:, :, 32:] = 0.0
    inside = [[[tokens, {**options, "area": (8, 4, 0, 0)}] for tokens, options in given] for given in prompts]
    whole, same = (
        draw(*nodes.apply_control_net_advanced(*inside, net, picture, 0.8)) for picture in (image, elsewhere)
    )
    assert torch.equal(whole, same)
    assert error(draw(*nodes.apply_control_net_advanced(*inside, net, image.flip(2), 0.8)), whole) > 0.01


def test_a_picture_of_another_size_is_cut_evenly_and_fitted(
    context: Context, networks: dict[str, Any], prompts: list[Any], image: Tensor, draw: Draw
) -> None:
    net = load("first", context)
    large = image.repeat_interleave(2, 1).repeat_interleave(2, 2)
    framed = torch.cat([torch.zeros(1, 128, 20, 3), large, torch.zeros(1, 128, 20, 3)], dim=2)
    plain, fitted = (draw(*nodes.apply_control_net_advanced(*prompts, net, each, 0.8)) for each in (image, framed))
    assert torch.equal(plain, fitted)


# values


def test_a_chain_is_stored_and_named(context: Context, networks: dict[str, Any], image: Tensor) -> None:
    net = load("first", context)
    chain = ControlChain((AppliedControl(net, tensor_value(image), 0.8, 0.1, 0.9),))
    stored = unpack(pack(chain))
    assert stored == chain
    assert hash(stored) == hash(chain)
    assert torch.equal(stored.links[0].hint.tensor, image)
    other = ControlChain((AppliedControl(net, tensor_value(image.flip(1)), 0.8, 0.1, 0.9),))
    assert other != chain
    assert b"".join(canonical(other)) != b"".join(canonical(chain))


def test_a_loaded_network_is_shared_and_counted(context: Context, networks: dict[str, Any]) -> None:
    models = Residency("cpu", folders=context.folders)
    net = load("first", context)
    with models.borrow(net) as one, models.borrow(net.with_type(2)) as two:
        assert one.network is two.network
    assert models.total_nbytes == sum(parameter.nbytes for parameter in networks["first"].parameters())
