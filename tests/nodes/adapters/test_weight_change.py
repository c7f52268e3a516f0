"""Changes of one layer: the closed forms of the papers in numpy, and layers that hold them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mezzotint.nodes.adapters.layer_change import layer_change
from mezzotint.nodes.adapters.patched_layer import PatchedForward, Weighted, patched
from mezzotint.nodes.adapters.weight_change import LowRank, WeightChange

OUT, IN, RANK = 6, 4, 2


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape) + len(shape)), dtype=torch.float64)


LINEAR, CONVOLUTION = random(OUT, IN), random(OUT, IN, 3, 3)


def changed(tensors: dict[str, Tensor], weight: Tensor, strength: float = 1.0, alpha: float | None = None) -> Any:
    change = layer_change(tensors, weight, alpha)
    assert change is not None
    return change.merged(weight, strength).numpy()


def test_low_rank() -> None:
    tensors = {"up": random(OUT, RANK), "down": random(RANK, IN), "alpha": torch.tensor(3.0)}
    expected = LINEAR.numpy() + 0.5 * 3 / RANK * tensors["up"].numpy() @ tensors["down"].numpy()
    np.testing.assert_allclose(changed(tensors, LINEAR, 0.5), expected)
    del tensors["alpha"]
    expected = LINEAR.numpy() + tensors["up"].numpy() @ tensors["down"].numpy()
    np.testing.assert_allclose(changed(tensors, LINEAR), expected)
    np.testing.assert_allclose(changed(tensors, LINEAR, alpha=2.0), expected)


def test_low_rank_of_one_by_one_convolutions_fits_linear_layers_and_the_other_way_round() -> None:
    tensors = {"up": random(OUT, RANK, 1, 1), "down": random(RANK, IN, 1, 1)}
    flat = {role: tensor[..., 0, 0] for role, tensor in tensors.items()}
    np.testing.assert_array_equal(changed(tensors, LINEAR), changed(flat, LINEAR))
    convolution = LINEAR[..., None, None]
    np.testing.assert_array_equal(changed(flat, convolution), changed(tensors, convolution))


def test_low_rank_with_a_core() -> None:
    up, core, down = random(OUT, RANK, 1, 1), random(RANK, RANK, 3, 3), random(RANK, IN, 1, 1)
    delta = np.einsum("om,mnxy,ni->oixy", up[..., 0, 0].numpy(), core.numpy(), down[..., 0, 0].numpy())
    actual = changed({"up": up, "mid": core, "down": down, "alpha": torch.tensor(1.0)}, CONVOLUTION)
    np.testing.assert_allclose(actual, CONVOLUTION.numpy() + delta / RANK)


def test_hadamard() -> None:
    names = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")
    tensors = {
        name: random(*((OUT, RANK) if name.endswith("a") else (RANK, IN * 9))) + k for k, name in enumerate(names)
    }
    a, b, c, d = (tensor.numpy() for tensor in tensors.values())
    delta = ((a @ b) * (c @ d)).reshape(OUT, IN, 3, 3) * 4 / RANK
    actual = changed({**tensors, "alpha": torch.tensor(4.0)}, CONVOLUTION, 0.5)
    np.testing.assert_allclose(actual, CONVOLUTION.numpy() + 0.5 * delta)


def test_hadamard_with_cores() -> None:
    tensors: dict[str, Tensor] = {}
    deltas = []
    for n in (1, 2):
        core, left, right = random(RANK, RANK, 3, 3) + n, random(RANK, OUT) * n, random(RANK, IN)
        tensors |= {f"hada_t{n}": core, f"hada_w{n}_a": left, f"hada_w{n}_b": right}
        deltas.append(np.einsum("mnxy,mo,ni->oixy", core.numpy(), left.numpy(), right.numpy()))
    np.testing.assert_allclose(changed(tensors, CONVOLUTION), CONVOLUTION.numpy() + deltas[0] * deltas[1])


def test_kronecker_of_whole_factors_is_not_scaled() -> None:
    left, right = random(2, 2), random(3, 2)
    actual = changed({"lokr_w1": left, "lokr_w2": right, "alpha": torch.tensor(9.0)}, LINEAR)
    np.testing.assert_allclose(actual, LINEAR.numpy() + np.kron(left.numpy(), right.numpy()))


def test_kronecker_of_a_low_rank_factor() -> None:
    left, a, b = random(2, 2), random(3, RANK), random(RANK, 2 * 9)
    right = (a.numpy() @ b.numpy()).reshape(3, 2, 3, 3)
    delta = np.einsum("ac,bdxy->abcdxy", left.numpy(), right).reshape(OUT, IN, 3, 3) * 3 / RANK
    tensors = {"lokr_w1": left, "lokr_w2_a": a, "lokr_w2_b": b, "alpha": torch.tensor(3.0)}
    np.testing.assert_allclose(changed(tensors, CONVOLUTION), CONVOLUTION.numpy() + delta)


def test_a_whole_difference() -> None:
    np.testing.assert_allclose(changed({"diff": CONVOLUTION * 2}, CONVOLUTION, 0.25), 1.5 * CONVOLUTION.numpy())


@pytest.mark.parametrize("strength", [1.0, 0.4])
def test_decomposed_sets_the_magnitudes_of_outputs(strength: float) -> None:
    up, down, magnitude = random(OUT, RANK), random(RANK, IN), random(OUT, 1).abs()
    whole = LINEAR.numpy() + up.numpy() @ down.numpy()
    whole = magnitude.numpy() * whole / np.linalg.norm(whole, axis=1, keepdims=True)
    expected = LINEAR.numpy() + strength * (whole - LINEAR.numpy())
    for given in (magnitude, magnitude[:, 0]):
        actual = changed({"up": up, "down": down, "dora_scale": given}, LINEAR, strength)
        np.testing.assert_allclose(actual, expected, rtol=1e-6)


def test_decomposed_of_older_files_sets_those_of_inputs() -> None:
    magnitude = random(1, IN).abs()
    actual = changed({"diff": LINEAR, "dora_scale": magnitude}, LINEAR)
    np.testing.assert_allclose(np.linalg.norm(actual, axis=0), magnitude[0].numpy(), rtol=1e-6)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"up": random(OUT, 2), "down": random(2, IN + 1)}, "changes 6 × 5 numbers, and the model has 6 × 4"),
        ({"up": random(OUT + 1, 2), "down": random(2, IN)}, "changes 7 × 4 numbers, and the model has 6 × 4"),
        ({"up": random(OUT, 3), "down": random(2, IN)}, "that cannot be multiplied"),
        ({"diff": random(OUT, IN, 3)}, "changes 6 × 12 numbers"),
        ({"lokr_w1": random(2, 2), "lokr_w2": random(2, 2)}, "Kronecker factors"),
        ({"diff": LINEAR, "dora_scale": random(3)}, "magnitudes of"),
        ({"up": random(OUT, 2), "alpha": torch.tensor(1.0)}, "has one of its two factors alone"),
    ],
)
def test_what_does_not_fit(tensors: dict[str, Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        layer_change(tensors, LINEAR, None)


def test_no_tensors_for_a_weight_are_no_change() -> None:
    assert layer_change({"diff_b": random(OUT)}, LINEAR, None) is None


# layers


LAYERS = [
    nn.Linear(8, 12),
    nn.Conv2d(8, 12, 3, padding=1, stride=2),
    nn.Conv2d(8, 12, 1, bias=False),
    nn.Conv1d(8, 12, 3),
    nn.Conv2d(8, 12, 3, padding=1, padding_mode="circular"),
    nn.Conv2d(8, 12, 3, groups=2),
]


def low_rank(layer: Any, rank: int = 2) -> LowRank:
    return LowRank(torch.randn(12, rank), torch.randn(rank, *layer.weight.shape[1:]), 0.3)


@pytest.mark.parametrize("layer", LAYERS, ids=str)
@pytest.mark.parametrize("size", [1, 40])
@torch.no_grad()
def test_a_patched_layer_does_what_one_with_merged_weights_does(layer: Any, size: int) -> None:
    shape = (2, size, 8) if isinstance(layer, nn.Linear) else (2, 8, *[size + 4] * (layer.weight.ndim - 2))
    x, changes = torch.randn(shape), [(low_rank(layer), 0.5), (low_rank(layer, 3), -1.0)]
    made, weight = layer, layer.weight
    before = layer(x)
    for change, strength in changes:
        made = patched(made, Weighted(change, None, strength))
        weight = weight + strength * change.delta().view(weight.shape)
    merged: Any = type(layer).__new__(type(layer))
    merged.__dict__ = {**layer.__dict__, "_parameters": {"weight": nn.Parameter(weight), "bias": layer.bias}}
    torch.testing.assert_close(made(x), merged(x), rtol=1e-4, atol=1e-5)
    assert made.weight is layer.weight
    assert torch.equal(layer(x), before)


@torch.no_grad()
def test_few_rows_go_through_the_ranks_and_many_through_a_weight_merged_for_the_call() -> None:
    layer = nn.Linear(64, 64)
    calls: list[str] = []

    class Told(LowRank):
        def merged(self, weight: Tensor, strength: float) -> Tensor:
            calls.append("merged")
            return super().merged(weight, strength)

        def added_to(self, output: Tensor, layer: Any, x: Tensor, strength: float) -> Tensor:
            calls.append("branch")
            return super().added_to(output, layer, x, strength)

    made = patched(layer, Weighted(Told(torch.randn(64, 4), torch.randn(4, 64), 1.0), None, 1.0))
    few, many = made(torch.randn(2, 64)), made(torch.randn(4096, 64))
    assert calls == ["branch", "merged"]
    assert (few.shape, many.shape) == ((2, 64), (4096, 64))


@torch.no_grad()
def test_a_bias_is_changed_too() -> None:
    layer, x, bias = nn.Linear(8, 12), torch.randn(3, 8), torch.randn(12)
    made = patched(layer, Weighted(None, bias, 0.5))
    torch.testing.assert_close(made(x), layer(x) + 0.5 * bias)
    bare = nn.Linear(8, 12, bias=False)
    torch.testing.assert_close(patched(bare, Weighted(None, bias, 0.5))(x), bare(x) + 0.5 * bias)


def test_gradients_pass_through_a_patched_layer() -> None:
    layer = nn.Linear(8, 12).requires_grad_(False)
    change: WeightChange = low_rank(layer)
    for rows in (1, 500):
        x = torch.randn(rows, 8, requires_grad=True)
        patched(layer, Weighted(change, None, 1.0))(x).sum().backward()
        expected = (layer.weight + change.delta()).sum(0).expand(rows, -1)
        torch.testing.assert_close(x.grad, expected, rtol=1e-4, atol=1e-4)
    assert isinstance(patched(layer, Weighted(change, None, 1.0)).forward, PatchedForward)
