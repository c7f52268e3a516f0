"""Functions that packs put into a U-Net, against weights that say the same, our own nodes, and plain attention."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from diffusers.utils.torch_utils import fourier_filter
from torch import Tensor
from torch.nn.functional import interpolate

from mezzotint.nodes.adapters import patched_layer
from mezzotint.nodes.adapters.ip_adapter_network import _with_tokens
from mezzotint.nodes.adapters.patched_layer import Weighted
from mezzotint.nodes.adapters.weight_change import LowRank
from mezzotint.nodes.models.network_overlay import with_layers
from mezzotint.nodes.models.recipe import Source
from mezzotint.nodes.patches.deep_shrink import DeepShrink
from mezzotint.nodes.patches.free_u import FreeUChange
from mezzotint.nodes.patches.perturbed_attention import PerturbedAttention
from mezzotint.nodes.patches.unet_blocks import output_blocks
from mezzotint.nodes.sampling.network_change import (
    Forward,
    NetworkChange,
    NetworkChangeError,
    changes_of,
    with_changes,
    within,
)
from mezzotint.plugins.compat.model_value import ModelValue

from ..nodes import tiny_models as tiny

X, TOKENS = torch.randn(2, 4, 8, 16), torch.randn(2, 7, 24)
ADDED = {"text_embeds": torch.randn(2, 40), "time_ids": torch.ones(2, 6)}
Options = dict[str, Any]


@pytest.fixture(scope="module", params=["sd1", "sdxl"])
def unet(request: pytest.FixtureRequest) -> Any:
    return tiny.seeded(tiny.unet, 24) if request.param == "sd1" else tiny.seeded(tiny.sdxl_unet, 24, 40)


@pytest.fixture
def model() -> ModelValue:
    return ModelValue("model", Source("checkpoints", "some", "digest"))


def forward(network: Any, *changes: NetworkChange, sigma: float = 2.0, **added: Any) -> Tensor:
    any_sampling: Any = None
    changed = with_changes(network, changes)
    with torch.no_grad(), within(Forward((8, 16), sigma, any_sampling, (0, 1))):
        output: Tensor = changed(X, 500, TOKENS, added_cond_kwargs={**ADDED, **added}, return_dict=False)[0]
        return output


def patched(network: Any, model: ModelValue, **given: Any) -> Tensor:
    return forward(network, *changes_of(model), **given)


def modules(network: Any, ending: str) -> list[str]:
    return [name for name, _ in network.named_modules() if name.endswith(ending)]


class Scaled:
    """A `NetworkChange`: what modules give, times a factor."""

    def __init__(self, names: list[str], factor: float) -> None:
        assert names
        self.names, self.factor = names, factor

    def around(self, network: Any) -> dict[str, Callable[..., Any]]:
        return dict.fromkeys(self.names, lambda _, compute, *args, **kwargs: compute(*args, **kwargs) * self.factor)


@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("kind", ["attn1", "attn2"])
def test_what_queries_keys_and_values_are_made_of(unet: Any, model: ModelValue, kind: str, place: int) -> None:
    """Twice as much of either is as if its weights were doubled, which have no bias."""

    def double(*given: Any) -> tuple[Tensor, ...]:
        return tuple(each * 2 if number == place else each for number, each in enumerate(given[:3]))

    model.set_model_patch(double, f"{kind}_patch")
    doubled = Scaled(modules(unet, f"{kind}.{('to_q', 'to_k', 'to_v')[place]}"), 2.0)
    torch.testing.assert_close(patched(unet, model), forward(unet, doubled))
    assert not torch.allclose(patched(unet, model), forward(unet))


@pytest.mark.parametrize("kind", ["attn1", "attn2"])
def test_what_attention_gives(unet: Any, model: ModelValue, kind: str) -> None:
    model.set_model_patch(lambda x, options: x * 3, f"{kind}_output_patch")
    torch.testing.assert_close(patched(unet, model), forward(unet, Scaled(modules(unet, f".{kind}"), 3.0)))


def test_functions_are_called_in_the_order_they_were_set_in(unet: Any, model: ModelValue) -> None:
    model.set_model_attn1_output_patch(lambda x, options: x + 1)
    first = model.clone()
    model.set_model_attn1_output_patch(lambda x, options: x * 0)
    torch.testing.assert_close(patched(unet, model), forward(unet, Scaled(modules(unet, ".attn1"), 0.0)))
    assert not torch.allclose(patched(unet, first), patched(unet, model))
    listed = model.model_options["transformer_options"]["patches"]["attn1_output_patch"]
    assert [function(2.0, {}) for function in listed] == [3.0, 0.0]


def attention(q: Tensor, k: Tensor, v: Tensor, options: Options) -> Tensor:
    """Vaswani et al. 2017, equation 1, for each head."""
    q, k, v = (each.unflatten(-1, (options["n_heads"], options["dim_head"])).transpose(1, 2) for each in (q, k, v))
    weights = (q @ k.transpose(-1, -2) / options["dim_head"] ** 0.5).softmax(-1)
    return (weights @ v).transpose(1, 2).flatten(2)


@pytest.mark.parametrize("kind", ["attn1", "attn2"])
def test_attention_that_a_function_computes_as_it_is_changes_nothing(unet: Any, model: ModelValue, kind: str) -> None:
    calls: list[tuple[str, int]] = []

    def told(q: Tensor, k: Tensor, v: Tensor, options: Options) -> Tensor:
        calls.append(options["block"])
        return attention(q, k, v, options)

    blocks = [("input", number) for number in range(9)] + [("middle", 0)] + [("output", number) for number in range(9)]
    for name, number in blocks:
        model.set_model_patch_replace(told, kind, name, number)
    torch.testing.assert_close(patched(unet, model), forward(unet), rtol=1e-4, atol=1e-5)
    assert len(calls) == len(modules(unet, f".{kind}"))


def test_attention_that_gives_its_values_is_perturbed(unet: Any, model: ModelValue) -> None:
    model.set_model_attn1_replace(lambda q, k, v, options: v, "middle", 0)
    torch.testing.assert_close(patched(unet, model), forward(unet, PerturbedAttention()))
    assert not torch.allclose(patched(unet, model), forward(unet))


def test_one_transformer_of_a_block_goes_before_the_whole_block(model: ModelValue) -> None:
    """SDXL has blocks of several; here the first is as it is, and what is set for the block is for the others."""
    network = tiny.seeded(tiny.sdxl_unet, 24, 40)
    inside = [name for name in modules(network, ".attn1") if name.startswith("mid_block")]
    assert len(inside) > 1
    model.set_model_attn1_replace(lambda q, k, v, options: v * 0, "middle", 0)
    model.set_model_attn1_replace(attention, "middle", 0, 0)
    expected = forward(network, Scaled([f"{name}.to_v" for name in inside[1:]], 0.0))
    torch.testing.assert_close(patched(network, model), expected, rtol=1e-4, atol=1e-5)


def test_they_work_together_with_a_lora(unet: Any, model: ModelValue) -> None:
    """As in a copy of the network whose weights the LoRA was added to; with a replaced attention, too."""
    lora, merged = {}, deepcopy(unet)
    for name in modules(unet, ".attn1.to_v") + modules(unet, ".attn2.to_q"):
        weight = unet.get_submodule(name).weight
        change = LowRank(torch.randn(len(weight), 2) / 8, torch.randn(2, weight.shape[1]) / 8, 1.0)
        lora[name] = patched_layer.patched(unet.get_submodule(name), Weighted(change, None, 0.7))
        merged.get_submodule(name).weight.data += 0.7 * change.delta()
    model.set_model_attn1_output_patch(lambda x, options: x * 3)
    model.set_model_attn2_replace(attention, "middle", 0)
    together = patched(with_layers(unet, lora), model)
    torch.testing.assert_close(together, patched(merged, model), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(together, patched(unet, model), rtol=1e-3, atol=1e-3)
    assert not torch.allclose(together, forward(merged), rtol=1e-3, atol=1e-3)


def with_picture_tokens(network: Any) -> Any:
    """The network with an IP-Adapter of random weights."""
    layers = {}
    for name in modules(network, ".attn2"):
        attention: Any = network.get_submodule(name)
        keys, values = (torch.nn.Linear(24, attention.inner_dim, bias=False) for _ in range(2))
        layers[name] = _with_tokens(attention, keys, values, 0.7)
    made: Any = with_layers(network, layers)
    made._internal_dict = type(made.config)({**made.config, "encoder_hid_dim_type": "ip_image_proj"})
    made.encoder_hid_proj = torch.nn.Identity()
    return made


def test_the_tokens_of_pictures_stay_as_they_are(unet: Any, model: ModelValue) -> None:
    network = with_picture_tokens(unet)
    added = {"image_embeds": [torch.randn(2, 1, 3, 24)]}
    plain = forward(network, **added)
    assert not torch.allclose(plain, forward(unet))
    model.set_model_attn2_patch(lambda n, context, value, options: (n, context, value * 2))
    doubled = forward(network, Scaled(modules(unet, "attn2.to_v"), 2.0), **added)
    torch.testing.assert_close(patched(network, model, **added), doubled)
    model.set_model_attn2_patch(lambda n, context, value, options: (n, context, value / 2))
    model.set_model_attn2_replace(attention, "middle", 0)
    torch.testing.assert_close(patched(network, model, **added), plain, rtol=1e-4, atol=1e-5)


def test_what_functions_are_told(unet: Any, model: ModelValue) -> None:
    told: list[Options] = []

    def keep(n: Tensor, context: Tensor, value: Tensor, options: Options) -> tuple[Tensor, ...]:
        told.append({**options, "tokens": n.shape[1], "width": n.shape[2]})
        return n, context, value

    model.set_model_attn1_patch(keep)
    assert torch.equal(patched(unet, model), forward(unet))
    assert len(told) == len(modules(unet, ".attn1"))
    for options in told:
        assert options["cond_or_uncond"] == [0, 1]
        assert options["sigmas"].tolist() == [2.0, 2.0]
        assert options["original_shape"] == [2, 4, 8, 16]
        batch, channels, height, width = options["activations_shape"]
        assert (batch, channels, height * width) == (2, options["width"], options["tokens"])
        assert options["n_heads"] * options["dim_head"] == options["width"]
        assert options["patches"]["attn1_patch"] == [keep]
    places = [(options["transformer_index"], options["block"], options["block_index"]) for options in told]
    assert places == sorted(places, key=lambda place: (place[0], place[2]))
    assert len({(block, part) for _, block, part in places}) == len(places)
    names = [block for _, block, _ in places]
    assert names == sorted(names, key=lambda block: ("input", "middle", "output").index(block[0]))
    assert ("middle", 0) in names


def test_free_u_of_a_pack_is_our_free_u(unet: Any, model: ModelValue) -> None:
    width, factors = unet.config.block_out_channels[0], {4: (1.3, 0.9), 2: (1.6, 0.2)}

    def free_u(h: Tensor, skip: Tensor, options: Options) -> tuple[Tensor, Tensor]:
        if h.shape[1] % width or h.shape[1] // width not in factors:
            return h, skip
        backbone, damped = factors[h.shape[1] // width]
        half = h.shape[1] // 2
        return torch.cat([h[:, :half] * backbone, h[:, half:]], 1), fourier_filter(skip, threshold=1, scale=damped)

    model.set_model_output_block_patch(free_u)
    ours = forward(unet, FreeUChange((1.3, 1.6), (0.9, 0.2), is_adaptive=False))
    torch.testing.assert_close(patched(unet, model), ours)
    assert not torch.allclose(ours, forward(unet))


@pytest.mark.parametrize("keeps_skip", [True, False])
@pytest.mark.parametrize("block", [2, 3, 5, 8])
def test_deep_shrink_of_a_pack_is_ours(unet: Any, model: ModelValue, block: int, keeps_skip: bool) -> None:
    def sized(x: Tensor, height: int, width: int) -> Tensor:
        return interpolate(x, (height, width), mode="bilinear")

    def shrink(h: Tensor, options: Options) -> Tensor:
        acts = options["block"] == ("input", block) and options["sigmas"][0] <= 5
        return sized(h, h.shape[2] // 2, h.shape[3] // 2) if acts else h

    def enlarge(h: Tensor, skip: Tensor, options: Options) -> tuple[Tensor, Tensor]:
        return (h if h.shape[2:] == skip.shape[2:] else sized(h, *skip.shape[2:])), skip

    model.set_model_patch(shrink, "input_block_patch_after_skip" if keeps_skip else "input_block_patch")
    model.set_model_output_block_patch(enlarge)
    ours = DeepShrink(block, 2.0, 1.0, 5.0, keeps_skip, "bilinear", "bilinear")
    for sigma in (2.0, 6.0):
        torch.testing.assert_close(patched(unet, model, sigma=sigma), forward(unet, ours, sigma=sigma))


def test_skip_connections_of_every_output_block_may_be_changed(unet: Any, model: ModelValue) -> None:
    seen: list[tuple[str, int]] = []

    def without(h: Tensor, skip: Tensor, options: Options) -> tuple[Tensor, Tensor]:
        seen.append(options["block"])
        return h, skip * 0

    class WithoutSkip:
        """A `NetworkChange`: zeros in place of what residual blocks get beside what comes from below."""

        def around(self, network: Any) -> dict[str, Callable[..., Any]]:
            return {block.resnet: self.cut(block.channels) for block in output_blocks(network)}

        def cut(self, channels: int) -> Callable[..., Any]:
            def cut(_: Forward, compute: Callable[..., Any], x: Tensor, *args: Any) -> Any:
                return compute(torch.cat([x[:, :channels], x[:, channels:] * 0], 1), *args)

            return cut

    model.set_model_output_block_patch(without)
    torch.testing.assert_close(patched(unet, model), forward(unet, WithoutSkip()))
    assert seen == [("output", number) for number in range(len(output_blocks(unet)))]


def test_other_networks_and_other_places_are_refused_in_a_sentence(model: ModelValue) -> None:
    with pytest.raises(NotImplementedError, match=r"'model.set_model_patch.*middle_patch.* belongs to"):
        model.set_model_patch(print, "middle_patch")
    with pytest.raises(NotImplementedError, match=r"'model.set_model_patch_replace.*layer.* belongs to"):
        model.set_model_patch_replace(print, "layer", "input", 1)
    model.set_model_attn1_patch(lambda *given: given[:3])
    with pytest.raises(NetworkChangeError, match=r"a patch of a node pack: .*\(Linear\) is no U-Net"):
        with_changes(torch.nn.Linear(2, 2), changes_of(model))
