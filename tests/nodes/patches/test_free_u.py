"""FreeU is that of diffusers' own arithmetic, at the places of its authors' code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mezzotint import Context
from mezzotint.nodes.models.checkpoints import Checkpoint
from mezzotint.nodes.patches.free_u import FreeUChange, free_u, free_u_v2
from mezzotint.nodes.sampling.model_sampling import model_sampling
from mezzotint.nodes.sampling.network_change import NetworkChangeError, with_change

from .. import tiny_models as tiny
from .embedded_pipeline import drawn, error, pipeline, pipeline_latents, prompts

FACTORS = {"b1": 1.3, "b2": 1.6, "s1": 0.9, "s2": 0.2}


def by_width(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    """Have diffusers apply it as the authors' code does: by how wide the features are, not by the block."""
    from diffusers.models.unets import unet_2d_blocks

    arithmetic = unet_2d_blocks.apply_freeu

    def applied(_: int, features: Tensor, skip: Tensor, **factors: float) -> tuple[Tensor, Tensor]:
        stage = {4 * width: 0, 2 * width: 1}.get(features.shape[1], 2)
        return arithmetic(stage, features, skip, **factors)

    monkeypatch.setattr(unet_2d_blocks, "apply_freeu", applied)


def test_it_draws_what_diffusers_pipeline_draws(
    embedded: Checkpoint, model_context: Context, embedded_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = prompts(embedded, model_context)
    ours = drawn(free_u(embedded.MODEL, **FACTORS), given, model_context)
    made = pipeline("StableDiffusionPipeline", embedded_path)
    by_width(monkeypatch, 96)
    made.enable_freeu(**FACTORS)
    scale = model_sampling(embedded.MODEL, model_context).scaling_factor
    assert error(ours * scale, pipeline_latents(made)) < 1e-4
    assert error(ours, drawn(embedded.MODEL, given, model_context)) > 0.01


@pytest.mark.parametrize("kind", [tiny.unet, tiny.sdxl_unet])
def test_its_places_are_those_of_the_authors(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from mezzotint.nodes.sampling.network_change import Forward, with_changes, within

    network = tiny.seeded(kind, 24, 40) if kind is tiny.sdxl_unet else tiny.seeded(kind, 24)
    added = {}
    if kind is tiny.sdxl_unet:
        added = {"added_cond_kwargs": {"text_embeds": torch.zeros(1, 40), "time_ids": torch.ones(1, 6)}}
    x, tokens = torch.randn(1, 4, 16, 24), torch.randn(1, 7, 24)
    changed = with_changes(network, (FreeUChange((1.3, 1.6), (0.9, 0.2), is_adaptive=False),))
    any_sampling: Any = None
    with torch.no_grad(), within(Forward((16, 24), 1.0, any_sampling)):
        ours = changed(x, 500, tokens, return_dict=False, **added)[0]
        plain = network(x, 500, tokens, return_dict=False, **added)[0]
    by_width(monkeypatch, 32)
    for block in network.up_blocks:
        for name, factor in FACTORS.items():
            setattr(block, name, factor)
    with torch.no_grad():
        theirs = network(x, 500, tokens, return_dict=False, **added)[0]
    torch.testing.assert_close(ours, theirs)
    assert error(ours, plain) > 0.001


def test_the_second_version_weighs_by_the_mean_of_the_features() -> None:
    """Equation 3: alpha = (b - 1) (mean - min) / (max - min) + 1, for half of the channels."""
    features, skip = torch.randn(2, 6, 4, 4), torch.randn(2, 3, 4, 4)
    change: Any = FreeUChange((1.4, 1.0), (1.0, 1.0), is_adaptive=True)
    any_forward: Any = None
    ours = change._joined(6, 1.4, 1.0, any_forward, lambda x: x, torch.cat([features, skip], 1))
    for k in range(2):
        mean = features[k].mean(0)
        alpha = 0.4 * (mean - mean.min()) / (mean.max() - mean.min()) + 1
        torch.testing.assert_close(ours[k, :3], features[k, :3] * alpha)
    assert torch.equal(ours[:, 3:], torch.cat([features[:, 3:], skip], 1))


def test_factors_of_one_change_no_bit(embedded: Checkpoint, model_context: Context) -> None:
    given = prompts(embedded, model_context)
    plain = drawn(embedded.MODEL, given, model_context)
    for make in (free_u, free_u_v2):
        assert torch.equal(drawn(make(embedded.MODEL, 1, 1, 1, 1), given, model_context), plain)
    assert error(drawn(free_u_v2(embedded.MODEL), given, model_context), plain) > 0.01


def test_a_network_without_such_blocks_is_refused_in_a_sentence() -> None:
    change = FreeUChange((1.3, 1.4), (0.9, 0.2), is_adaptive=True)
    with pytest.raises(NetworkChangeError, match=r"FreeU_V2: none .* 2 or 4 times"):
        change.around(tiny.unet(block_out_channels=(32, 32, 32)))
    with pytest.raises(NetworkChangeError, match=r"FreeU_V2: .*\(Linear\) is no U-Net"):
        change.around(torch.nn.Linear(1, 1))


def test_it_is_an_entry_of_the_recipe(embedded: Checkpoint) -> None:
    change = FreeUChange((1.1, 1.2), (0.9, 0.2), is_adaptive=False)
    assert free_u(embedded.MODEL) == with_change(embedded.MODEL, change)
    assert free_u(embedded.MODEL) != free_u_v2(embedded.MODEL)
