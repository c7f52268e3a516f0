"""Flux Redux: SigLIP reads a picture, and tokens that say what is in it follow those of the text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from mezzotint import Context
from mezzotint.engine.errors import ModelFileError
from mezzotint.engine.folders import Folders
from mezzotint.engine.residency import Residency
from mezzotint.nodes.adapters.clip_vision import encode_image, load_clip_vision
from mezzotint.nodes.adapters.style_model import apply_style_model, load_style_model
from mezzotint.nodes.conditioning.conditioning import ConditioningMismatchError

WIDTH, SIDE, TEXT = 64, 28, 32


@pytest.fixture
def parts() -> tuple[Any, Any]:
    """SigLIP and Redux, small."""
    from diffusers.pipelines.flux.modeling_flux import ReduxImageEncoder
    from transformers import SiglipVisionConfig, SiglipVisionModel

    torch.manual_seed(0)
    config = SiglipVisionConfig(
        hidden_size=WIDTH, intermediate_size=96, num_hidden_layers=2, num_attention_heads=1, image_size=SIDE,
        patch_size=14,
    )  # fmt: skip
    return SiglipVisionModel(config).eval(), ReduxImageEncoder(WIDTH, TEXT)


@pytest.fixture
def ctx(parts: tuple[Any, Any], tmp_path: Path) -> Context:
    vision, redux = parts
    for kind in ("clip_vision", "style_models"):
        (tmp_path / kind).mkdir()
    published = {
        f"vision_model.{name.removeprefix('vision_model.')}": each for name, each in vision.state_dict().items()
    }
    save_file(published, tmp_path / "clip_vision" / "siglip.safetensors")
    save_file(redux.state_dict(), tmp_path / "style_models" / "redux.safetensors")
    save_file({"lora_up.weight": torch.ones(1)}, tmp_path / "style_models" / "other.safetensors")
    folders = Folders(tmp_path / "home", models=[tmp_path])
    return Context(folders=folders, models=Residency("cpu", folders=folders))


@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_tokens_of_a_picture_are_those_of_the_pipeline(strength: float, parts: tuple[Any, Any], ctx: Context) -> None:
    vision, redux = parts
    pictures = (torch.rand(2, SIDE, SIDE, 3) * 255).round() / 255
    read = encode_image(load_clip_vision("siglip.safetensors", ctx=ctx), pictures, ctx=ctx)
    text = torch.randn(1, 5, TEXT)
    model = load_style_model("redux.safetensors", ctx=ctx)
    ((tokens, options),) = apply_style_model([[text, {"guidance": 2.0}]], model, read, strength, ctx=ctx)
    with torch.no_grad():  # as FluxPriorReduxPipeline does
        seen = vision((pictures.movedim(-1, 1) - 0.5) / 0.5).last_hidden_state
        expected = redux(seen).image_embeds.reshape(1, -1, TEXT)
    torch.testing.assert_close(tokens, torch.cat([text, expected * strength], dim=1), rtol=1e-4, atol=1e-5)
    assert options == {"guidance": 2.0}


def test_what_does_not_fit_is_refused(ctx: Context) -> None:
    with pytest.raises(ModelFileError, match=r"'other.safetensors' is no style model that is known: .* a LoRA"):
        load_style_model("other.safetensors", ctx=ctx)
    model = load_style_model("redux.safetensors", ctx=ctx)
    read = encode_image(load_clip_vision("siglip.safetensors", ctx=ctx), torch.rand(1, 40, 50, 3), ctx=ctx)
    with pytest.raises(ConditioningMismatchError, match=r"conditioning has 24 numbers .* makes 32"):
        apply_style_model([[torch.ones(1, 2, 24), {}]], model, read, ctx=ctx)
    with pytest.raises(ConditioningMismatchError, match="use 'multiply'"):
        apply_style_model([[torch.ones(1, 2, TEXT), {}]], model, read, 2.0, "attn_bias", ctx=ctx)
    object.__setattr__(read, "last_hidden_state", torch.ones(1, 4, 7))
    with pytest.raises(ConditioningMismatchError, match=r"has 7 numbers .* wants 64; load SigLIP"):
        apply_style_model([[torch.ones(1, 2, TEXT), {}]], model, read, ctx=ctx)
