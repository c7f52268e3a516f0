"""Changes of a network: around which modules, in which order, and gone without a trace."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mezzotint import Context
from mezzotint.engine.value_type import canonical, pack, unpack, value_type
from mezzotint.nodes.adapters.patched_layer import Weighted, patched
from mezzotint.nodes.adapters.weight_change import LowRank
from mezzotint.nodes.models.checkpoints import Checkpoint
from mezzotint.nodes.models.network_overlay import with_layers
from mezzotint.nodes.patches.deep_shrink import patch_model_add_downscale
from mezzotint.nodes.patches.free_u import free_u
from mezzotint.nodes.patches.hyper_tile import hyper_tile
from mezzotint.nodes.patches.perturbed_attention import perturbed_attention_guidance
from mezzotint.nodes.patches.self_attention_guidance import self_attention_guidance
from mezzotint.nodes.patches.token_merging import tome_patch_model
from mezzotint.nodes.sampling.denoise import Denoise
from mezzotint.nodes.sampling.network_change import Forward, with_change, with_changes, within

from .embedded_pipeline import drawn, error, prompts


@value_type("tests.Times")
@dataclass(frozen=True)
class Times:
    """Multiplies what a module gives, and adds to it."""

    name: str
    factor: float
    added: float = 0.0

    def around(self, network: nn.Module) -> Mapping[str, Callable[..., Any]]:
        return {self.name: self._times}

    def _times(self, forward: Forward, compute: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        return compute(*args, **kwargs) * self.factor + self.added


def call(network: nn.Module, x: Tensor) -> Tensor:
    any_sampling: Any = None
    with torch.no_grad(), within(Forward((1, 1), 1.0, any_sampling)):
        output: Tensor = network(x)
        return output


def test_the_last_change_is_outermost_and_the_network_stays_as_it_was() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.ReLU(), nn.Linear(4, 2)))
    x = torch.randn(5, 3)
    plain = call(network, x)
    changed = with_changes(network, (Times("1.1", 2.0), Times("1.1", 3.0, 1.0), Times("", 10.0)))
    torch.testing.assert_close(call(changed, x), (plain * 2 * 3 + 1) * 10)
    assert torch.equal(call(network, x), plain)
    assert changed.get_submodule("1.1").weight is network.get_submodule("1.1").weight
    assert isinstance(changed.get_submodule("1.1"), nn.Linear)


def test_it_goes_around_what_adapters_changed_and_with_later_copies() -> None:
    network = nn.Sequential(nn.Sequential(nn.Linear(3, 4)))
    x = torch.randn(5, 3)
    layer = network.get_submodule("0.0")
    change = LowRank(torch.randn(4, 2), torch.randn(2, 3), 1.0)
    adapted = with_layers(network, {"0.0": patched(layer, Weighted(change, None, 0.5))})
    both = with_changes(adapted, (Times("0.0", 2.0), Times("0", 3.0)))
    torch.testing.assert_close(call(both, x), call(adapted, x) * 6)
    later = with_layers(with_changes(network, (Times("0", 3.0),)), {"0.0": adapted.get_submodule("0.0")})
    torch.testing.assert_close(call(later, x), call(adapted, x) * 3)


def changes(context: Context) -> dict[str, Callable[[Any], Any]]:
    return {
        "FreeU": free_u,
        "deep shrink": lambda model: patch_model_add_downscale(model, 1, end_percent=0.6, ctx=context),
        "HyperTile": lambda model: hyper_tile(model, 32),
        "token merging": lambda model: tome_patch_model(model, 0.5),
        "perturbed attention": perturbed_attention_guidance,
        "self-attention": self_attention_guidance,
    }


NAMES = ["FreeU", "deep shrink", "HyperTile", "token merging", "perturbed attention", "self-attention"]


@pytest.fixture(scope="module")
def given(embedded: Checkpoint, model_context: Context) -> list[Any]:
    return prompts(embedded, model_context)


@pytest.fixture(scope="module")
def plain(embedded: Checkpoint, model_context: Context, given: list[Any]) -> Tensor:
    return drawn(embedded.MODEL, given, model_context)


@pytest.mark.parametrize("name", NAMES)
def test_on_off_on(name: str, embedded: Checkpoint, model_context: Context, given: list[Any], plain: Tensor) -> None:
    changed = changes(model_context)[name](embedded.MODEL)
    first = drawn(changed, given, model_context)
    assert error(first, plain) > 1e-3
    assert torch.equal(drawn(embedded.MODEL, given, model_context), plain)
    assert torch.equal(drawn(changed, given, model_context), first)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_stored_and_named(name: str, embedded: Checkpoint, model_context: Context) -> None:
    changed = changes(model_context)[name](embedded.MODEL)
    assert unpack(pack(changed)) == changed
    assert hash(unpack(pack(changed))) == hash(changed)
    assert b"".join(canonical(changed)) != b"".join(canonical(embedded.MODEL))


@pytest.mark.parametrize("name", NAMES)
def test_areas_and_batches_are_predicted_as_alone(
    name: str, embedded: Checkpoint, model_context: Context, given: list[Any]
) -> None:
    model = changes(model_context)[name](embedded.MODEL)
    (tokens, options), *_ = given[0]
    split = [[tokens, {**options, "area": (4, 8, 0, 0)}], [tokens, {**options, "area": (4, 8, 4, 0)}]]
    x = torch.randn(2, 8, 8, 8)
    with torch.inference_mode():
        both = Denoise.answer([Denoise(model, x, 2.0, (split, given[1]))], model_context)[0]
        for k in range(2):
            alone = Denoise.answer([Denoise(model, x[k : k + 1], 2.0, (split, given[1]))], model_context)[0]
            for found, expected in zip(both, alone, strict=True):
                torch.testing.assert_close(found[k : k + 1], expected, rtol=1e-4, atol=1e-5)


def test_requests_at_other_noise_levels_are_other_forwards(embedded: Checkpoint, given: list[Any]) -> None:
    x = torch.randn(1, 8, 8, 8)
    plain = [Denoise(embedded.MODEL, x, sigma, (given[0],)).group() for sigma in (1.0, 2.0)]
    model = with_change(embedded.MODEL, Times("mid_block", 0.5))
    changed = [Denoise(model, x, sigma, (given[0],)).group() for sigma in (1.0, 2.0, 2.0)]
    assert plain[0] == plain[1]
    assert changed[0] != changed[1]
    assert changed[1] == changed[2]
