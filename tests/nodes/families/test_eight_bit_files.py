"""Files in 8 bits, with and without scales: kept as they are, and computed with as what they stand for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mezzotint import Context
from mezzotint.engine.errors import ModelFileError
from mezzotint.engine.folders import Folders
from mezzotint.engine.residency import Residency
from mezzotint.nodes.families import diffusers_networks
from mezzotint.nodes.merging.merge_nodes import merge_models
from mezzotint.nodes.models import checkpoints, weight_casting
from mezzotint.nodes.models.recipe import Recipe
from mezzotint.nodes.models.weight_placement import WeightPlacement

from .. import ldm_layout as ldm
from .. import published_transformers as published
from .. import tiny_models as tiny
from .. import tiny_pipelines
from .test_separate_transformers import assert_encodes, text_files, write
from .test_transformer_files import transformer

E4M3 = torch.float8_e4m3fn
KEPT = pytest.mark.parametrize("is_kept", [True, False], ids=["kept", "widened"])
SCALES = pytest.mark.parametrize("form", ["plain", "scale_weight", "weight_scale", "by row"])


@pytest.fixture
def ctx(tmp_path: Path) -> Context:
    folders = Folders(tmp_path / "home", models=[tmp_path])
    return Context(folders=folders, models=Residency("cpu", folders=folders))


def keep(monkeypatch: pytest.MonkeyPatch, is_kept: bool) -> None:
    """Have small networks kept as large ones are."""
    if is_kept:
        monkeypatch.setattr(diffusers_networks, "SMALL_NBYTES", 0)
        monkeypatch.setattr(weight_casting, "SMALL", 512)


def in_eight_bits(
    tensors: dict[str, Tensor], form: str, prefix: str = ""
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """A file in 8 bits, with matrices scaled to the type's range, and the float32 tensors that it stands for."""
    file: dict[str, Tensor] = {} if form == "plain" else {f"{prefix}scaled_fp8": torch.zeros(2).to(E4M3)}
    meant: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if tensor.ndim != 2 or "pos_embed" in name:
            file[prefix + name] = meant[name] = tensor
            continue
        rows = tensor.abs().amax(1) if form == "by row" else tensor.abs().max()
        scale = torch.ones(()) if form == "plain" else rows / 448
        narrow = (tensor / (scale[:, None] if scale.ndim else scale)).to(E4M3)
        file[prefix + name] = narrow
        meant[name] = narrow.float() * (scale[:, None] if scale.ndim else scale)
        if form != "plain":
            layer = prefix + name.removesuffix(".weight")
            file |= {f"{layer}.{'weight_scale' if form != 'scale_weight' else form}": scale}
            file |= {f"{layer}.{'input_scale' if form != 'scale_weight' else 'scale_input'}": torch.ones(())}
    return file, meant


def assert_computes_with(network: Any, expected: dict[str, Tensor], is_kept: bool) -> None:
    """The weights that layers compute with; whether they lie in 8 bits."""
    own = dict(network.named_modules())
    for name, tensor in expected.items():
        layer, _, key = name.rpartition(".")
        assert torch.equal(getattr(own[layer], key), tensor), name
    narrow = [parameter for parameter in network.parameters() if parameter.dtype == E4M3]
    assert bool(narrow) == is_kept


@KEPT
@SCALES
def test_flux_and_sd3(form: str, is_kept: bool, tmp_path: Path, ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of SD3 are joined and parted by row on the way from published names."""
    keep(monkeypatch, is_kept)
    for name, tensors_of in (("sd3", published.sd3_tensors), ("flux", None)):
        network = transformer(name)
        tensors = tensors_of(network) if tensors_of else network.state_dict()
        file, meant = in_eight_bits(tensors, form, "model.diffusion_model.")
        path = write(tmp_path / "diffusion_models" / f"{name}.safetensors", file)
        write(tmp_path / "diffusion_models" / f"{name}-whole.safetensors", meant)
        recipe = checkpoints.load_diffusion_model(path, ctx=ctx)
        whole = checkpoints.load_diffusion_model(f"{name}-whole.safetensors", ctx=ctx)
        with ctx.models.borrow(recipe) as ours, ctx.models.borrow(whole) as theirs:
            assert ours.dtype == torch.float32
            assert_computes_with(ours.network, dict(theirs.network.state_dict()), is_kept)


@pytest.mark.parametrize("form", ["plain", "scale_weight"])
@KEPT
def test_text_encoders(form: str, is_kept: bool, tmp_path: Path, ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(monkeypatch, is_kept)
    torch.manual_seed(0)
    pipeline = tiny_pipelines.pixart()
    text_files(pipeline, {"t5": "text_encoder"}, tmp_path)
    file, meant = in_eight_bits(pipeline.text_encoder.state_dict(), form)
    path = write(tmp_path / "text_encoders" / "t5-fp8.safetensors", file)
    pipeline.text_encoder.load_state_dict(meant)
    clip = checkpoints.load_clip(path, "pixart", ctx=ctx)
    assert_encodes(clip, pipeline, ctx, do_classifier_free_guidance=False)
    with ctx.models.borrow(clip) as encoder:
        assert_computes_with(encoder.networks["text_encoder"], meant, is_kept)


def scaled_unet(tmp_path: Path) -> tuple[str, Any]:
    """A file of Stable Diffusion 1 in 8 bits with scales, and the U-Net that it stands for."""
    unet = tiny.seeded(tiny.unet)
    file, _ = in_eight_bits(ldm.unet_tensors(unet), "scale_weight", "model.diffusion_model.")
    _, meant = in_eight_bits(unet.state_dict(), "scale_weight")
    unet.load_state_dict(meant)
    return write(tmp_path / "diffusion_models" / "sd1-fp8.safetensors", file), unet


def predictions(ctx: Context, recipe: Recipe) -> Tensor:
    torch.manual_seed(1)
    x, tokens = torch.randn(1, 4, 16, 16), torch.randn(1, 77, 24)
    with ctx.models.borrow(recipe) as denoiser:
        predicted: Tensor = denoiser.predict(x, 3.0, tokens)
        return predicted


def test_scales_are_in_what_is_made_of_a_model(tmp_path: Path, ctx: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """A merge, and a part that is fetched layer by layer."""
    keep(monkeypatch, True)
    path, unet = scaled_unet(tmp_path)
    write(tmp_path / "diffusion_models" / "whole.safetensors", unet.state_dict())
    ours, whole = (checkpoints.load_diffusion_model(name, ctx=ctx) for name in (path, "whole.safetensors"))
    expected = predictions(ctx, whole)
    assert torch.equal(predictions(ctx, ours), expected)
    assert torch.allclose(predictions(ctx, merge_models(ours, whole, 0.5)), expected, atol=1e-5)
    with ctx.models.borrow(ours) as denoiser:
        placement = WeightPlacement(denoiser.network, torch.device("cpu"), 1 << 30, torch.float32)
        placement.to_device(placement.least_nbytes)
    assert torch.equal(predictions(ctx, ours), expected)


@pytest.mark.parametrize(
    ("weight_dtype", "stored"), [("fp8_e4m3fn", E4M3), ("fp8_e4m3fn_fast", E4M3), ("fp8_e5m2", torch.float8_e5m2)]
)
def test_asked_for_in_eight_bits(
    weight_dtype: Any, stored: torch.dtype, tmp_path: Path, ctx: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the type of the file, they stay as they are; in the other, they are rounded once more, without a scale."""
    keep(monkeypatch, True)
    path, unet = scaled_unet(tmp_path)
    recipe = checkpoints.load_diffusion_model(path, weight_dtype, ctx=ctx)
    name = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    meant = unet.get_submodule(name).weight
    with ctx.models.borrow(recipe) as denoiser:
        layer = denoiser.network.get_submodule(name)
        assert layer._parameters["weight"].dtype == stored
        assert torch.equal(layer.weight, meant if stored == E4M3 else meant.to(stored).float())


@pytest.mark.parametrize(
    ("end", "form"), [("weight_scale_2", "NVFP4"), ("weight.quant_state.bitsandbytes__nf4", "NF4")]
)
def test_weights_that_are_packed_otherwise_are_refused(end: str, form: str, tmp_path: Path, ctx: Context) -> None:
    tensors = {**transformer("flux").state_dict(), f"transformer_blocks.0.attn.to_q.{end}": torch.ones(1)}
    path = write(tmp_path / "diffusion_models" / "packed.safetensors", tensors)
    with pytest.raises(
        ModelFileError, match=f"packed as {form}, which cannot be read; use the model's file in 16 bits"
    ):
        checkpoints.load_diffusion_model(path, ctx=ctx)
