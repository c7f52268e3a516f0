"""Weights that stay in half precision give the numbers of weights that were widened once."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mezzotint import Context
from mezzotint.engine.residency import Residency
from mezzotint.nodes.adapters.patched_layer import Weighted, patched
from mezzotint.nodes.adapters.weight_change import LowRank
from mezzotint.nodes.families import diffusers_networks
from mezzotint.nodes.models import weight_casting
from mezzotint.nodes.models.checkpoints import Checkpoint, load_checkpoint
from mezzotint.nodes.models.weight_casting import compute_in


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch, model_context: Context, embedded: Checkpoint) -> Context:
    """A context in which even small networks and small tensors keep their file's dtype; in the other they don't."""
    for recipe in embedded:
        with model_context.models.borrow(recipe):
            pass
    monkeypatch.setattr(diffusers_networks, "SMALL_NBYTES", 0)
    monkeypatch.setattr(weight_casting, "SMALL", 4096)
    return Context(models=Residency("cpu"))


def halves(network: nn.Module) -> float:
    """The share of its numbers that are stored in half precision."""
    parameters = list(network.parameters())
    return sum(p.numel() for p in parameters if p.dtype == torch.float16) / sum(p.numel() for p in parameters)


def test_all_networks_compute_as_if_widened(kept: Context, model_context: Context, embedded: Checkpoint) -> None:
    with kept.models.borrow(embedded.CLIP) as ours, model_context.models.borrow(embedded.CLIP) as theirs:
        assert halves(ours.network) > 0.95
        tokens: Tensor = ours.encode("a (red:1.3) apple")[0][0]
        assert torch.equal(tokens, theirs.encode("a (red:1.3) apple")[0][0])
    latent = torch.randn(1, 8, 8, 8)
    with kept.models.borrow(embedded.MODEL) as ours, model_context.models.borrow(embedded.MODEL) as theirs:
        assert halves(ours.network) > 0.95
        assert torch.equal(ours.predict(latent, 3.0, tokens), theirs.predict(latent, 3.0, tokens))
        assert halves(ours.network) > 0.95
    with kept.models.borrow(embedded.VAE) as ours, model_context.models.borrow(embedded.VAE) as theirs:
        assert halves(ours.network) > 0.95
        picture = ours.decode(latent)
        assert torch.equal(picture, theirs.decode(latent))
        assert torch.equal(ours.encode(picture), theirs.encode(picture))


def test_what_is_held_is_what_the_file_holds(kept: Context) -> None:
    for recipe in load_checkpoint(ctx=kept):
        with kept.models.borrow(recipe) as borrowed:
            count = sum(parameter.numel() for parameter in borrowed.network.parameters())
        resident = next(each for each in kept.models.residents() if each.recipe == recipe)
        assert resident.nbytes == pytest.approx(2 * count, rel=0.01)


@pytest.mark.parametrize("rows", [2, 5000])  # beside the layer, and merged into its weight
def test_an_adapter_sees_the_widened_weight(rows: int) -> None:
    torch.manual_seed(0)
    stored = nn.Linear(256, 512).half().requires_grad_(False)
    whole = nn.Linear(256, 512).requires_grad_(False)
    whole.load_state_dict(stored.state_dict())
    compute_in(stored, torch.float32)
    assert stored.weight.dtype == torch.float32
    assert next(stored.parameters()).dtype == torch.float16
    change = Weighted(LowRank(torch.randn(512, 4), torch.randn(4, 256), 0.5), None, 0.7)
    x: Any = torch.randn(rows, 256)
    assert torch.equal(patched(stored, change)(x), patched(whole, change)(x))
