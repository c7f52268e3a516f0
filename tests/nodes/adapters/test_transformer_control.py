"""ControlNets of Stable Diffusion 3 and Flux: what diffusers' own pipelines draw with them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from mezzotint import Context
from mezzotint.engine.folders import Folders
from mezzotint.engine.request import drive
from mezzotint.engine.residency import Residency
from mezzotint.engine.value_type import pack, unpack
from mezzotint.nodes.adapters import control_net as nodes
from mezzotint.nodes.adapters.control_net_recipe import ControlNetRecipe
from mezzotint.nodes.conditioning.conditioning import encode_text
from mezzotint.nodes.conditioning.reference_latent import reference_latent
from mezzotint.nodes.models.checkpoints import Checkpoint, load_checkpoint
from mezzotint.nodes.sampling import sampling_nodes
from mezzotint.nodes.sampling.denoise import Denoise
from mezzotint.nodes.sampling.model_sampling import model_sampling
from mezzotint.nodes.sampling.network_call import ConditioningError
from mezzotint.nodes.sampling.noise import initial_noise
from mezzotint.nodes.sampling.noise_levels import basic_scheduler

from .. import tiny_models, tiny_pipelines

SEED, STEPS, SIDE = 7, 3, 64
PROMPT, NEGATIVE = "a photo of a cat", "blurry"
WEIGHTS = "diffusion_pytorch_model.safetensors"
SD3 = {
    "sample_size": 32, "patch_size": 1, "num_layers": 1, "attention_head_dim": 8, "num_attention_heads": 4,
    "joint_attention_dim": 32, "caption_projection_dim": 32, "pooled_projection_dim": 64,
}  # fmt: skip
LARGE = {
    "joint_attention_dim": None, "use_pos_embed": False, "pos_embed_type": None, "pos_embed_max_size": None,
    "force_zeros_for_pooled_projection": False,
}  # fmt: skip
"""Of Stability AI's for Stable Diffusion 3.5 Large."""
FLUX = {
    "num_layers": 1, "num_single_layers": 1, "attention_head_dim": 16, "num_attention_heads": 2,
    "joint_attention_dim": 32, "pooled_projection_dim": 32, "axes_dims_rope": [4, 4, 8], "guidance_embeds": True,
}  # fmt: skip
XLABS = {**FLUX, "patch_size": 2, "num_single_layers": 0, "conditioning_embedding_channels": 16}

pytestmark = pytest.mark.filterwarnings("ignore:`FluxPosEmbed`:FutureWarning")  # of diffusers' own class


def randomised(network: Any, seed: int) -> Any:
    """The network with random numbers throughout: some of its layers are zeros, and have yet to be trained."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.2
    return network.eval().requires_grad_(False)


def control_net(class_name: str, seed: int = 1, **config: Any) -> Any:
    import diffusers

    return randomised(getattr(diffusers, class_name)(**config), seed)


class Case(NamedTuple):
    """A family, with what its pipelines are made of."""

    family: Any
    context: Context
    checkpoint: Checkpoint
    cfg: float

    @property
    def is_flux(self) -> bool:
        return hasattr(self.family, "_pack_latents")

    @property
    def shape(self) -> tuple[int, ...]:
        side = SIDE // self.family.vae_scale_factor
        return 1, 16, side, side

    def prompts(self) -> list[Any]:
        return [encode_text(text, self.checkpoint.CLIP, ctx=self.context) for text in (PROMPT, NEGATIVE)]

    def save(self, network: Any, name: str) -> ControlNetRecipe:
        network.save_pretrained(self.context.folders.model_folders("controlnet")[0] / name)
        recipe: ControlNetRecipe = nodes.load_control_net(f"{name}/{WEIGHTS}", ctx=self.context)
        return recipe

    def ours(self, positive: Any, negative: Any, **latent: Any) -> Tensor:
        """What KSampler draws, scaled as the model sees it."""
        latent = {"samples": torch.zeros(self.shape), **latent}
        body = sampling_nodes.ksampler(
            self.checkpoint.MODEL, seed=SEED, steps=STEPS, cfg=self.cfg, sampler_name="euler", scheduler="simple",
            positive=positive, negative=negative, latent_image=latent, ctx=self.context,
        )  # fmt: skip
        sampled = model_sampling(self.checkpoint.MODEL, self.context)
        made: Tensor = sampled.to_model(drive(body, self.context)["samples"])
        return made

    def theirs(self, class_name: str, controlnet: Any, **given: Any) -> Tensor:
        """What a pipeline draws at the same noise levels, from the same noise."""
        import diffusers

        parts = {**self.family.components, "scheduler": tiny_pipelines.flow(1.0), "controlnet": controlnet}
        class_ = getattr(diffusers, class_name)
        known = inspect.signature(class_.__init__).parameters
        pipeline = class_(**{name: part for name, part in parts.items() if name in known})
        pipeline.set_progress_bar_config(disable=True)
        noise = initial_noise(self.shape, SEED)
        guidance = (
            {"guidance_scale": 3.5} if self.is_flux else {"guidance_scale": self.cfg, "negative_prompt": NEGATIVE}
        )
        if self.is_flux and "Inpaint" not in class_name:
            noise = pipeline._pack_latents(noise, *noise.shape)
        sigmas = basic_scheduler(self.checkpoint.MODEL, "simple", STEPS, 1.0, ctx=self.context)[:-1].tolist()
        with torch.no_grad():
            made = pipeline(
                PROMPT, height=SIDE, width=SIDE, num_inference_steps=STEPS, sigmas=sigmas, latents=noise,
                output_type="latent", **guidance, **given,
            ).images  # fmt: skip
        if self.is_flux:
            made = pipeline._unpack_latents(made, SIDE, SIDE, pipeline.vae_scale_factor)
        return made.reshape(self.shape)


def decided(vae: Any) -> Any:
    """The VAE with no spread around what it encodes to: pipelines draw from that."""
    channels = vae.config.latent_channels
    vae.encoder.conv_out.weight.data[channels:] = 0
    vae.encoder.conv_out.bias.data[channels:] = -30
    return vae


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("control")


def made(root: Path, name: str, **vae: Any) -> Case:
    folders = Folders(root / "home", models=[root / "models"])
    context = Context(folders=folders, models=Residency("cpu", folders=folders))
    torch.manual_seed(0)
    family = tiny_pipelines.drawn(name)
    if vae:
        parts = {**family.components, "vae": tiny_models.vae(**vae)}
        family = type(family)(**parts)
    decided(family.vae)
    path = root / "models" / "checkpoints" / f"{name}-{len(vae)}"
    family.save_pretrained(path)
    return Case(family, context, load_checkpoint(path.name, ctx=context), 1.0 if name == "flux" else 3.0)


@pytest.fixture(scope="module")
def sd3(root: Path) -> Case:
    return made(root, "sd3")


@pytest.fixture(scope="module")
def flux(root: Path) -> Case:
    return made(root, "flux")


@pytest.fixture(scope="module")
def image() -> Tensor:
    ramp = torch.linspace(0, 1, SIDE)
    return torch.stack([ramp[:, None].expand(SIDE, SIDE), ramp.expand(SIDE, SIDE).square(), torch.eye(SIDE)], -1)[None]


def pixels(image: Tensor) -> Tensor:
    return image.movedim(-1, 1) * 2 - 1


def error(actual: Tensor, expected: Tensor) -> float:
    assert expected.isfinite().all()
    return float((actual - expected).norm() / expected.norm())


@pytest.mark.parametrize("change", [{}, LARGE, {"qk_norm": "rms_norm", "dual_attention_layers": (0,)}])
def test_sd3_draws_what_diffusers_pipeline_draws(sd3: Case, image: Tensor, change: Mapping[str, Any]) -> None:
    network = control_net("SD3ControlNetModel", **{**SD3, **change})
    net = sd3.save(network, f"sd3-{len(change)}")
    steered = nodes.apply_control_net_with_vae(*sd3.prompts(), net, sd3.checkpoint.VAE, image, 0.7)
    ours = sd3.ours(*steered)
    theirs = sd3.theirs(
        "StableDiffusion3ControlNetPipeline", network, control_image=pixels(image), controlnet_conditioning_scale=0.7
    )
    assert error(ours, theirs) < 1e-4
    assert error(ours, sd3.ours(*sd3.prompts())) > 0.01


def stacked(case: Case, nets: list[ControlNetRecipe], image: Tensor, types: tuple[str, ...] = ("auto", "auto")) -> Any:
    steered: Any = case.prompts()
    for net, strength, picture, kind in zip(nets, (0.7, 0.4), (image, image.flip(1)), types, strict=True):
        told = nodes.set_union_type(net, kind)
        steered = nodes.apply_control_net_advanced(*steered, told, picture, strength, vae=case.checkpoint.VAE)
    return steered


def both(image: Tensor) -> dict[str, Any]:
    pictures = [pixels(image), pixels(image.flip(1))]
    return {"control_image": pictures, "controlnet_conditioning_scale": [0.7, 0.4]}


def test_two_stacked_for_sd3(sd3: Case, image: Tensor) -> None:
    from diffusers import SD3MultiControlNetModel

    networks = [control_net("SD3ControlNetModel", seed, **SD3) for seed in (1, 2)]
    nets = [sd3.save(network, f"sd3-stacked-{k}") for k, network in enumerate(networks)]
    theirs = sd3.theirs("StableDiffusion3ControlNetPipeline", SD3MultiControlNetModel(networks), **both(image))
    assert error(sd3.ours(*stacked(sd3, nets, image)), theirs) < 1e-4


@pytest.mark.parametrize("change", [{}, {"guidance_embeds": False}, {"num_single_layers": 0, "num_layers": 2}])
def test_flux_draws_what_diffusers_pipeline_draws(flux: Case, image: Tensor, change: Mapping[str, Any]) -> None:
    network = control_net("FluxControlNetModel", **{**FLUX, **change})
    net = flux.save(network, f"flux-{len(change)}")
    ours = flux.ours(
        *nodes.apply_control_net_advanced(*flux.prompts(), net, image, 0.7, vae=flux.checkpoint.VAE)
    )  # fmt: skip
    theirs = flux.theirs(
        "FluxControlNetPipeline", network, control_image=pixels(image), controlnet_conditioning_scale=0.7
    )
    assert error(ours, theirs) < 1e-4
    assert error(ours, flux.ours(*flux.prompts())) > 0.01


def test_two_of_a_union_for_flux(flux: Case, image: Tensor) -> None:
    """Of the kinds of pictures that unions for Flux were trained on, depth is 2 and lines are 0."""
    from diffusers import FluxMultiControlNetModel

    networks = [control_net("FluxControlNetModel", seed, **FLUX, num_mode=7) for seed in (1, 2)]
    nets = [flux.save(network, f"flux-union-{k}") for k, network in enumerate(networks)]
    ours = flux.ours(*stacked(flux, nets, image, ("depth", "canny/lineart/anime_lineart/mlsd")))
    model = FluxMultiControlNetModel(networks)
    theirs = flux.theirs("FluxControlNetPipeline", model, control_mode=[2, 0], **both(image))
    assert error(ours, theirs) < 2e-5
    assert error(flux.ours(*stacked(flux, nets, image)), theirs) > 2e-4  # the kind is one token of hundreds
    with pytest.raises(ConditioningError, match="a union for Flux, which knows"):
        flux.ours(*stacked(flux, nets, image, ("normal", "auto")))


def test_a_union_for_flux_that_is_told_nothing_is_as_one_of_no_kinds(flux: Case, image: Tensor) -> None:
    union = control_net("FluxControlNetModel", **FLUX, num_mode=7)
    plain = control_net("FluxControlNetModel", **FLUX)
    plain.load_state_dict(union.state_dict(), strict=False)
    drawn = [
        flux.ours(*nodes.apply_control_net_advanced(*flux.prompts(), net, image, 0.7, vae=flux.checkpoint.VAE))
        for net in (flux.save(union, "told-nothing"), flux.save(plain, "of-no-kinds"))
    ]
    assert error(*drawn) < 1e-5


def test_one_that_sees_pixels_and_is_repeated(root: Path, image: Tensor) -> None:
    """XLabs's for Flux. Its hint is an eighth as wide as the picture, as latents of Flux's own VAE are."""
    blocks = {
        "block_out_channels": (32,) * 4, "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4, "latent_channels": 16, "use_quant_conv": False,
        "use_post_quant_conv": False, "shift_factor": 0.06, "scaling_factor": 1.5,
    }  # fmt: skip
    case = made(root, "flux", **blocks)
    network = control_net("FluxControlNetModel", **XLABS)
    ours = case.ours(*nodes.apply_control_net_advanced(*case.prompts(), case.save(network, "xlabs"), image, 0.7))
    theirs = case.theirs(
        "FluxControlNetPipeline", network, control_image=pixels(image), controlnet_conditioning_scale=0.7
    )
    assert error(ours, theirs) < 1e-4
    assert error(ours, case.ours(*case.prompts())) > 0.01


# filling in


@pytest.fixture(scope="module")
def mask() -> Tensor:
    """[1, H, W]: the left half and a little of the right, of whole cells."""
    made = torch.zeros(1, SIDE, SIDE)
    made[:, :, : SIDE // 2] = 1
    made[:, :16] = 0.8
    return made


def test_one_for_sd3_that_fills_in(sd3: Case, image: Tensor, mask: Tensor) -> None:
    network = control_net("SD3ControlNetModel", **SD3, extra_conditioning_channels=1)
    net = sd3.save(network, "sd3-inpainting")
    drawn = [
        sd3.ours(*nodes.apply_inpainting_control_net(*sd3.prompts(), net, sd3.checkpoint.VAE, image, each, 0.7))
        for each in (mask, mask.flip(2))
    ]
    theirs = sd3.theirs(
        "StableDiffusion3ControlNetInpaintingPipeline", network, control_image=pixels(image),
        control_mask=mask[None].round(), controlnet_conditioning_scale=0.7,
    )  # fmt: skip
    assert error(drawn[0], theirs) < 1e-4
    assert error(drawn[1], theirs) > 0.01


def test_one_for_flux_that_fills_in(flux: Case, image: Tensor, mask: Tensor) -> None:
    """No pipeline of diffusers shows a Flux ControlNet the mask, so here its network does."""
    from diffusers import FluxControlNetModel

    network = control_net("FluxControlNetModel", **FLUX)
    network.controlnet_x_embedder = nn.Linear(68, 32)
    randomised(network, 1)
    keep = 1 - mask.round()
    shown = keep[:, None, ::2, ::2]
    packed = flux.family._pack_latents(shown, *shown.shape)

    class Seeing(FluxControlNetModel):  # type: ignore[misc]
        def forward(self, hidden_states: Tensor, controlnet_cond: Tensor, **rest: Any) -> Any:
            return super().forward(hidden_states, torch.cat([controlnet_cond, packed], dim=-1), **rest)

    net = flux.save(network, "flux-inpainting")
    ours = flux.ours(*nodes.apply_inpainting_control_net(*flux.prompts(), net, flux.checkpoint.VAE, image, mask, 0.7))
    network.__class__ = Seeing
    theirs = flux.theirs(
        "FluxControlNetPipeline", network, control_image=pixels(image * keep[..., None]),
        controlnet_conditioning_scale=0.7,
    )  # fmt: skip
    assert error(ours, theirs) < 1e-4


def test_a_latent_with_a_mask_is_steered_as_diffusers_does_it(flux: Case, image: Tensor, mask: Tensor) -> None:
    network = control_net("FluxControlNetModel", **FLUX)
    net, vae = flux.save(network, "flux-masked"), flux.checkpoint.VAE
    with flux.context.models.borrow(vae) as autoencoder:
        latent = autoencoder.encode(image.flip(2))
    steered = nodes.apply_inpainting_control_net(*flux.prompts(), net, vae, image, mask, 0.7)
    theirs = flux.theirs(
        "FluxControlNetInpaintPipeline", network, image=image.flip(2).movedim(-1, 1), mask_image=mask[None].round(),
        control_image=pixels(image), controlnet_conditioning_scale=0.7, strength=1.0,
    )  # fmt: skip
    assert error(flux.ours(*steered, samples=latent, noise_mask=mask.round()), theirs) < 1e-4


def test_a_chain_with_a_vae_and_a_mask_is_stored(sd3: Case, image: Tensor, mask: Tensor) -> None:
    net = sd3.save(control_net("SD3ControlNetModel", **SD3, extra_conditioning_channels=1), "stored")
    vae = sd3.checkpoint.VAE
    first, other = (
        nodes.apply_inpainting_control_net(*sd3.prompts(), net, vae, image, each).positive[0][1]["control"]
        for each in (mask, mask.flip(2))
    )
    stored = unpack(pack(first))
    assert stored == first
    assert stored.links[0].vae == vae
    assert torch.equal(stored.links[0].mask.tensor, mask)
    assert other != first


# rows


def test_pictures_of_a_batch_steer_one_latent_each(flux: Case, image: Tensor) -> None:
    net, pair = flux.save(control_net("FluxControlNetModel", **FLUX), "batch"), torch.cat([image, image.flip(1)])
    together, *alone = (
        nodes.apply_control_net_advanced(*flux.prompts(), net, picture, 0.7, vae=flux.checkpoint.VAE).positive
        for picture in (pair, *pair.split(1))
    )
    x = torch.randn(2, *flux.shape[1:], generator=torch.Generator().manual_seed(1))
    batch = predicted(flux, x, together)[0]
    for k, conditioning in enumerate(alone):
        torch.testing.assert_close(batch[k], predicted(flux, x[k : k + 1], conditioning)[0][0], rtol=1e-4, atol=1e-4)


def predicted(case: Case, x: Tensor, *conditionings: Any, sigmas: tuple[float, ...] = (0.7,)) -> list[Tensor]:
    requests = [Denoise(case.checkpoint.MODEL, x, sigma, conditionings) for sigma in sigmas]
    with torch.inference_mode():
        return [tensor for answer in Denoise.answer(requests, case.context) for tensor in answer]


def test_requests_at_several_noise_levels_are_steered_each_at_its_own(flux: Case, image: Tensor) -> None:
    net = flux.save(control_net("FluxControlNetModel", **FLUX), "levels")
    pair = torch.cat([image, image.flip(1)])
    steered = nodes.apply_control_net_advanced(*flux.prompts(), net, pair, 0.7, vae=flux.checkpoint.VAE).positive
    x = torch.randn(2, *flux.shape[1:], generator=torch.Generator().manual_seed(1))
    together = predicted(flux, x, steered, sigmas=(0.7, 0.3))
    for made, sigma in zip(together, (0.7, 0.3), strict=True):
        torch.testing.assert_close(made, predicted(flux, x, steered, sigmas=(sigma,))[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("start", "end", "expected"), [(0.0, 1.0, 3), (0.0, 0.5, 2), (0.3, 0.6, 1), (0.9, 1.0, 0)])
def test_it_steers_from_a_start_to_an_end(
    sd3: Case, image: Tensor, monkeypatch: pytest.MonkeyPatch, start: float, end: float, expected: int
) -> None:
    """Of three steps, which begin at 0, 1/3 and 2/3; each forward is of both prompts together."""
    from mezzotint.nodes.adapters.transformer_control import Sd3ControlNetwork

    net, calls = sd3.save(control_net("SD3ControlNetModel", **SD3), "ranges"), []
    residuals = Sd3ControlNetwork.residuals

    def told(network: Any, transformer: Any, arguments: Any, picture: Tensor, strength: float) -> Any:
        calls.append(len(picture))
        return residuals(network, transformer, arguments, picture, strength)

    monkeypatch.setattr(Sd3ControlNetwork, "residuals", told)
    sd3.ours(*nodes.apply_control_net_with_vae(*sd3.prompts(), net, sd3.checkpoint.VAE, image, 0.7, start, end))
    assert calls == [2] * expected


def test_what_several_of_other_depths_add_adds_up(sd3: Case, image: Tensor) -> None:
    """Those of one block and of two, against a network that is the latter with the former's addition in each."""
    from diffusers import SD3ControlNetModel

    one, two = (control_net("SD3ControlNetModel", n, **{**SD3, "num_layers": n}) for n in (1, 2))
    nets = [sd3.save(network, f"depth-{k}") for k, network in enumerate((one, two))]
    steered: Any = sd3.prompts()
    for net in nets:
        steered = nodes.apply_control_net_with_vae(*steered, net, sd3.checkpoint.VAE, image, 0.5)

    class Both(SD3ControlNetModel):  # type: ignore[misc]
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            (added,), (more,) = one(*args, **kwargs), super().forward(*args, **kwargs)
            return ([added[0] + each for each in more],)

    two.__class__ = Both
    theirs = sd3.theirs(
        "StableDiffusion3ControlNetPipeline", two, control_image=pixels(image), controlnet_conditioning_scale=0.5
    )
    assert error(sd3.ours(*steered), theirs) < 1e-4


def test_a_model_that_is_shown_a_picture_is_steered_too(flux: Case, image: Tensor) -> None:
    """Its tokens come behind those of the latent; the ControlNet knows nothing of them."""
    net = flux.save(control_net("FluxControlNetModel", **FLUX), "kontext")
    plain = reference_latent(flux.prompts()[0], {"samples": torch.randn(flux.shape)})
    steered = nodes.apply_control_net_advanced(plain, plain, net, image, 0.7, vae=flux.checkpoint.VAE).positive
    x = torch.randn(flux.shape, generator=torch.Generator().manual_seed(1))
    without, beside = predicted(flux, x, plain, steered)
    assert error(beside, without) > 0.01


# what does not fit


def test_a_network_that_is_shown_latents_wants_a_vae(flux: Case, image: Tensor) -> None:
    net = flux.save(control_net("FluxControlNetModel", **FLUX), "no-vae")
    with pytest.raises(ConditioningError, match="no VAE is linked; link that of the model to 'vae'"):
        nodes.apply_control_net_advanced(*flux.prompts(), net, image)


def test_a_network_that_fills_in_wants_a_mask(sd3: Case, image: Tensor) -> None:
    net = sd3.save(control_net("SD3ControlNetModel", **SD3, extra_conditioning_channels=1), "no-mask")
    with pytest.raises(ConditioningError, match="has none; apply it with ControlNetInpaintingAliMamaApply"):
        nodes.apply_control_net_with_vae(*sd3.prompts(), net, sd3.checkpoint.VAE, image)


def test_a_vae_of_another_model(flux: Case, embedded: Checkpoint, image: Tensor) -> None:
    net = flux.save(control_net("FluxControlNetModel", **FLUX), "other-vae")
    steered = nodes.apply_control_net_advanced(*flux.prompts(), net, image, vae=embedded.VAE)
    with pytest.raises(ConditioningError, match="latents of 16 channels, and the VAE that is linked with it makes"):
        flux.ours(*steered)


def other_family(name: str) -> Any:
    small = {"block_out_channels": (32, 64), "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D")}
    return {
        "sd1": lambda: control_net("ControlNetModel", **small, cross_attention_dim=32, norm_num_groups=8),
        "sd3": lambda: control_net("SD3ControlNetModel", **SD3),
        "flux": lambda: control_net("FluxControlNetModel", **FLUX),
        "wide": lambda: control_net("FluxControlNetModel", **{**FLUX, "num_attention_heads": 4}),
    }[name]()


@pytest.mark.parametrize(
    ("net", "model", "message"),
    [
        ("sd1", "flux", "'sd1-on-flux/.*' is for another kind of model"),
        ("sd3", "flux", "'sd3-on-flux/.*' is for Stable Diffusion 3, and the model is of another kind; use a"),
        ("flux", "sd3", "'flux-on-sd3/.*' is for Flux, and the model is of another kind; use a"),
        ("wide", "flux", r"is for Flux, .* of another kind \(num_attention_heads 4 and not 2\); use a ControlNet"),
        ("flux", "embedded", "'flux-on-embedded/.*' is for Flux, and the model is of another kind; use a"),
    ],
)
def test_one_for_another_family(
    net: str, model: str, message: str, flux: Case, sd3: Case, embedded: Checkpoint, image: Tensor
) -> None:
    case = flux if model == "flux" else sd3
    checkpoint = embedded if model == "embedded" else case.checkpoint
    of_model = case._replace(checkpoint=checkpoint)
    recipe = case.save(other_family(net), f"{net}-on-{model}")
    steered = nodes.apply_control_net_advanced(*of_model.prompts(), recipe, image, vae=checkpoint.VAE)
    channels = model_sampling(checkpoint.MODEL, case.context).latent_channels
    with pytest.raises(ConditioningError, match=message):
        predicted(of_model, torch.randn(1, channels, 8, 8), steered.positive)
