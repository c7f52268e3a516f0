"""Transformers in single files, in each layout that people have: what a diffusers folder of the same weights does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mezzotint import Context
from mezzotint.engine.folders import Folders
from mezzotint.engine.residency import Residency
from mezzotint.nodes.conditioning.conditioning import encode_text
from mezzotint.nodes.families.file_parts import find_parts
from mezzotint.nodes.families.published_transformers import published_plan, published_shapes
from mezzotint.nodes.models import checkpoints
from mezzotint.nodes.models.recipe import Recipe
from mezzotint.nodes.sampling.denoise import Denoise
from mezzotint.nodes.sampling.model_sampling import model_sampling

from .. import published_transformers as published
from .. import tiny_pipelines
from .test_separate_transformers import said, write
from .test_single_file import assert_equal

SD3_SIZES = {
    "sample_size": 128, "patch_size": 2, "in_channels": 16, "num_layers": 2, "attention_head_dim": 64,
    "num_attention_heads": 1, "caption_projection_dim": 64, "joint_attention_dim": 32, "pooled_projection_dim": 64,
    "pos_embed_max_size": 8,
}  # fmt: skip
TRANSFORMERS: dict[str, tuple[str, dict[str, Any]]] = {
    "sd3": ("SD3Transformer2DModel", SD3_SIZES),
    "sd3.5": ("SD3Transformer2DModel", {**SD3_SIZES, "qk_norm": "rms_norm", "dual_attention_layers": [0]}),
    "flux": ("FluxTransformer2DModel", {
        "num_layers": 2, "num_single_layers": 2, "attention_head_dim": 32, "num_attention_heads": 2,
        "joint_attention_dim": 32, "pooled_projection_dim": 32, "axes_dims_rope": [4, 14, 14], "guidance_embeds": True,
    }),
    "pixart": ("PixArtTransformer2DModel", {
        "num_layers": 2, "attention_head_dim": 72, "num_attention_heads": 1, "caption_channels": 32,
        "cross_attention_dim": 72, "out_channels": 8, "use_additional_conditions": False,
    }),
    "z-image": ("ZImageTransformer2DModel", {
        "dim": 64, "n_layers": 2, "n_refiner_layers": 1, "n_heads": 2, "n_kv_heads": 2, "cap_feat_dim": 16,
        "axes_dims": [8, 12, 12], "axes_lens": [1536, 512, 512],
    }),
    "hidream": ("HiDreamImageTransformer2DModel", {
        "patch_size": 2, "in_channels": 16, "num_layers": 1, "num_single_layers": 1, "attention_head_dim": 128,
        "num_attention_heads": 1, "caption_channels": [32, 16], "text_emb_dim": 64, "axes_dims_rope": (64, 32, 32),
        "llama_layers": [0, 1],
    }),
    "qwen-image": ("QwenImageTransformer2DModel", {
        "num_layers": 2, "attention_head_dim": 32, "num_attention_heads": 2, "joint_attention_dim": 16,
        "axes_dims_rope": [4, 14, 14],
    }),
}  # fmt: skip
"""Small ones of the shapes that the families have."""
CHANNELS = {"pixart": 4}
PUBLISHED = {"sd3": published.sd3_tensors, "sd3.5": published.sd3_tensors, "z-image": published.z_image_tensors}


def transformer(name: str) -> Any:
    """With random weights throughout: some begin with zeros."""
    import diffusers

    class_name, config = TRANSFORMERS[name]
    torch.manual_seed(0)
    made = getattr(diffusers, class_name)(**config).eval()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return made


class Family:
    """A transformer, the folder of its pipeline, and what that says for a prompt."""

    def __init__(self, name: str, root: Path) -> None:
        self.network = transformer(name)
        pipeline = tiny_pipelines.PIPELINES[name.removesuffix(".5")]()
        pipeline.register_modules(transformer=self.network)
        if name in ("z-image", "hidream"):
            pipeline.register_modules(vae=tiny_pipelines.vae(16))
        pipeline.save_pretrained(root / "checkpoints" / name)
        folders = Folders(root / "home", models=[root])
        self.ctx = Context(folders=folders, models=Residency("cpu", folders=folders))
        self.folder = checkpoints.load_checkpoint(name, ctx=self.ctx)
        self.conditioning = encode_text("a cat", self.folder.CLIP, ctx=self.ctx)
        self.x = torch.randn(1, CHANNELS.get(name, 16), 8, 8)
        self.expected = self.answer(self.folder.MODEL)

    def answer(self, model: Recipe) -> Tensor:
        with torch.inference_mode():
            ((denoised,),) = Denoise.answer([Denoise(model, self.x, 0.7, (self.conditioning,))], self.ctx)
        return denoised


@pytest.fixture(scope="module")
def families(tmp_path_factory: pytest.TempPathFactory) -> Any:
    made: dict[str, Family] = {}

    def family(name: str) -> Family:
        if name not in made:
            made[name] = Family(name, tmp_path_factory.mktemp(name))
        return made[name]

    return family


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
@pytest.mark.parametrize(
    ("name", "layout"), [*((name, "diffusers") for name in TRANSFORMERS), *((name, "published") for name in PUBLISHED)]
)
def test_a_file_does_what_the_folder_does(name: str, layout: str, prefix: str, families: Any) -> None:
    family: Family = families(name)
    tensors = PUBLISHED[name](family.network) if layout == "published" else family.network.state_dict()
    folder = family.ctx.folders.model_folders("diffusion_models")[0]
    file = write(
        folder / f"{layout}{len(prefix)}.safetensors", {prefix + key: tensor for key, tensor in tensors.items()}
    )
    recipe = checkpoints.load_diffusion_model(file, ctx=family.ctx)
    with family.ctx.models.borrow(recipe) as denoiser:
        assert_equal(denoiser.network, family.network)
        assert said(denoiser.network) == said(family.network)
    assert torch.equal(family.answer(recipe), family.expected)
    ours, theirs = model_sampling(recipe, family.ctx), model_sampling(family.folder.MODEL, family.ctx)
    assert (ours.prediction_type, type(ours.sigmas)) == (theirs.prediction_type, type(theirs.sigmas))


@pytest.mark.parametrize("name", ["sd3", "sd3.5", "flux", "z-image"])
def test_published_names_are_found_from_those_of_diffusers(name: str) -> None:
    """Against the tensors that were written from the published code."""
    network = transformer(name)
    family = {"sd3.5": "sd3", "z-image": "z_image"}.get(name, name)
    expected = {**PUBLISHED, "flux": published.flux_tensors}[name](network)
    state = network.state_dict()
    shapes = {key: tuple(tensor.shape) for key, tensor in state.items()}
    assert published_shapes(family, shapes) == {key: tuple(tensor.shape) for key, tensor in expected.items()}
    for key, parts in published_plan(family, state).items():
        joined = torch.cat([state[part] for part in parts.names]) if len(parts.names) > 1 else state[parts.names[0]]
        made = torch.cat([*joined.chunk(2)][::-1]) if parts.is_swapped else joined
        assert torch.equal(made, expected[key]), key


def test_pixart_that_is_told_the_size_of_the_picture(families: Any, tmp_path: Path) -> None:
    """Of the older PixArt, whose latents are scaled otherwise."""
    from diffusers import PixArtTransformer2DModel

    network = PixArtTransformer2DModel(**{**TRANSFORMERS["pixart"][1], "use_additional_conditions": True})
    folders = Folders(tmp_path / "home", models=[tmp_path])
    ctx = Context(folders=folders, models=Residency("cpu", folders=folders))
    name = write(tmp_path / "diffusion_models" / "alpha.safetensors", network.state_dict())
    recipe = checkpoints.load_diffusion_model(name, ctx=ctx)
    assert model_sampling(recipe, ctx).scaling_factor == 0.18215
    with ctx.models.borrow(recipe) as denoiser:
        assert_equal(denoiser.network, network)
        assert type(denoiser.call.pipeline).__name__ == "PixArtAlphaPipeline"


@pytest.mark.parametrize("name", ["sd3", "flux", "qwen-image"])
def test_a_controlnet_is_no_transformer(name: str) -> None:
    shapes = {key: tuple(tensor.shape) for key, tensor in transformer(name).state_dict().items()}
    assert "transformer" in find_parts(shapes)
    assert find_parts({key: shape for key, shape in shapes.items() if not key.startswith("proj_out")}) == {}
