"""ControlNets and unions of them for SDXL: what diffusers' own pipelines draw with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from mezzotint import Context
from mezzotint.engine.folders import Folders
from mezzotint.engine.request import drive
from mezzotint.engine.residency import Residency
from mezzotint.nodes.adapters import control_net as nodes
from mezzotint.nodes.conditioning.conditioning import encode_text
from mezzotint.nodes.models.checkpoints import Checkpoint, load_checkpoint
from mezzotint.nodes.sampling import sampling_nodes
from mezzotint.nodes.sampling.model_sampling import model_sampling
from mezzotint.nodes.sampling.noise import initial_noise

from .. import single_files

SEED, STEPS, SIDE, CFG = 7, 3, 64, 3.0
PROMPT, NEGATIVE = "a photo of a cat", "blurry"
UNION = {"num_control_type": 6, "num_trans_channel": 32, "num_trans_head": 4, "num_proj_channel": 32}
HINT = (8, 16)
"""Channels of the layers that make the picture as small as the latent: half as wide, as the VAE here has it."""


class Case(NamedTuple):
    family: single_files.Family
    context: Context
    checkpoint: Checkpoint


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    root: Path = tmp_path_factory.mktemp("sdxl")
    for name in ("checkpoints", "controlnet"):
        (root / name).mkdir()
    torch.manual_seed(0)
    family = single_files.sdxl()
    family.write(root / "checkpoints" / "sdxl.safetensors")
    folders = Folders(root / "home", models=[root])
    context = Context(folders=folders, models=Residency("cpu", folders=folders))
    return Case(family, context, load_checkpoint("sdxl.safetensors", ctx=context))


@pytest.fixture(scope="module")
def image() -> Tensor:
    ramp = torch.linspace(0, 1, SIDE)
    return torch.stack([ramp[:, None].expand(SIDE, SIDE), ramp.expand(SIDE, SIDE).square(), torch.eye(SIDE)], -1)[None]


def control_net(class_name: str, unet: Any, seed: int = 1, **config: Any) -> Any:
    import diffusers

    shared = (
        "in_channels", "down_block_types", "block_out_channels", "layers_per_block", "cross_attention_dim",
        "transformer_layers_per_block", "attention_head_dim", "use_linear_projection", "addition_embed_type",
        "addition_time_embed_dim", "projection_class_embeddings_input_dim", "norm_num_groups",
    )  # fmt: skip
    like = {name: unet.config[name] for name in shared}
    network = getattr(diffusers, class_name)(**like, conditioning_embedding_out_channels=HINT, **config)
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        if not parameter.any():
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3
    return network.eval().requires_grad_(False)


def test_it_draws_what_diffusers_pipelines_draw(case: Case, image: Tensor) -> None:
    networks = [control_net("ControlNetModel", case.family.unet, seed) for seed in (1, 2)]
    steered = _prompts(case)
    for k, (network, picture, strength) in enumerate(zip(networks, (image, image.flip(1)), (0.8, 0.4), strict=True)):
        net = saved(case, network, f"plain-{k}")
        steered = nodes.apply_control_net_advanced(*steered, net, picture, strength)
    pictures = [picture.movedim(-1, 1) for picture in (image, image.flip(1))]
    theirs = drawn(
        case, "StableDiffusionXLControlNetPipeline", networks, image=pictures, controlnet_conditioning_scale=[0.8, 0.4]
    )
    assert error(ours(case, steered), theirs) < 1e-4
    assert error(ours(case, _prompts(case)), theirs) > 0.01


@pytest.mark.parametrize(("kind", "number"), [("depth", 1), ("canny/lineart/anime_lineart/mlsd", 3)])
def test_a_union_draws_what_diffusers_pipeline_draws(case: Case, image: Tensor, kind: str, number: int) -> None:
    network = control_net("ControlNetUnionModel", case.family.unet, **UNION)
    net: Any = nodes.set_union_type(saved(case, network, f"union-{number}"), kind)
    steered = nodes.apply_control_net_advanced(*_prompts(case), net, image, 0.8)
    theirs = drawn(
        case, "StableDiffusionXLControlNetUnionPipeline", network, control_image=[image.movedim(-1, 1)],
        control_mode=[number], controlnet_conditioning_scale=0.8,
    )  # fmt: skip
    assert error(ours(case, steered), theirs) < 1e-4
    untold = nodes.apply_control_net_advanced(*_prompts(case), net.with_type(-1), image, 0.8)
    assert error(ours(case, untold), theirs) > 1e-3


def _prompts(case: Case) -> Any:
    return [encode_text(text, case.checkpoint.CLIP, ctx=case.context) for text in (PROMPT, NEGATIVE)]


def saved(case: Case, network: Any, name: str) -> Any:
    network.save_pretrained(case.context.folders.model_folders("controlnet")[0] / name)
    return nodes.load_control_net(f"{name}/diffusion_pytorch_model.safetensors", ctx=case.context)


def shape(case: Case) -> tuple[int, ...]:
    sampled = model_sampling(case.checkpoint.MODEL, case.context)
    return 1, 4, SIDE // sampled.downscale, SIDE // sampled.downscale


def ours(case: Case, steered: Any) -> Tensor:
    body = sampling_nodes.ksampler(
        case.checkpoint.MODEL, seed=SEED, steps=STEPS, cfg=CFG, sampler_name="euler", scheduler="simple",
        positive=steered[0], negative=steered[1], latent_image={"samples": torch.zeros(shape(case))}, ctx=case.context,
    )  # fmt: skip
    made: Tensor = drive(body, case.context)["samples"]
    return model_sampling(case.checkpoint.MODEL, case.context).to_model(made)


def drawn(case: Case, class_name: str, controlnet: Any, **given: Any) -> Tensor:
    import diffusers

    base = case.family.pipeline()
    pipeline = getattr(diffusers, class_name)(
        **{name: part for name, part in base.components.items() if part is not None},
        controlnet=controlnet, add_watermarker=False,
    )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    sigma = model_sampling(case.checkpoint.MODEL, case.context).sigmas.sigma_max
    noise = initial_noise(shape(case), SEED) * (1 + sigma**2) ** 0.5 / sigma
    with torch.no_grad():
        latents: Tensor = pipeline(
            PROMPT, negative_prompt=NEGATIVE, height=SIDE, width=SIDE, num_inference_steps=STEPS, guidance_scale=CFG,
            latents=noise, output_type="latent", **given,
        ).images  # fmt: skip
    return latents


def error(actual: Tensor, expected: Tensor) -> float:
    assert expected.isfinite().all()
    return float((actual - expected).norm() / expected.norm())
