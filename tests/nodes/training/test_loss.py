"""Losses against formulas written out, and against torch's own."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Normal, kl_divergence
from torch.nn import functional

from mezzotint.nodes.training.loss import (
    encoder_features,
    feature_loss,
    gradient_loss,
    kl_loss,
    low_pass_loss,
    pointwise_loss,
)

A, B = torch.randn(2, 3, 4, 8, 8, generator=torch.Generator().manual_seed(1))


def test_mse_and_l1_are_means_over_each_sample() -> None:
    assert pointwise_loss(A, B, "mse").mean() == pytest.approx(functional.mse_loss(A, B).item(), rel=1e-6)
    assert pointwise_loss(A, B, "l1").mean() == pytest.approx(functional.l1_loss(A, B).item(), rel=1e-6)
    assert pointwise_loss(A, B, "mse").shape == (3,)


def test_huber_is_squares_near_zero_and_amounts_far_away() -> None:
    near = pointwise_loss(torch.full((1, 1), 1e-3), torch.zeros(1, 1), "huber", 1.0)
    far = pointwise_loss(torch.full((1, 1), 1e4), torch.zeros(1, 1), "huber", 0.5)
    assert near.item() == pytest.approx(1e-6, rel=0.1)
    assert far.item() == pytest.approx(2 * 0.5 * 1e4, rel=1e-3)


def test_kl_is_that_of_torch() -> None:
    expected = kl_divergence(Normal(A, (0.5 * B).exp()), Normal(torch.zeros_like(A), torch.ones_like(A)))
    assert torch.allclose(kl_loss(A, B), expected.flatten(1).mean(1), rtol=1e-5)


def test_gradient_loss_sees_edges_and_no_shift_of_brightness() -> None:
    assert gradient_loss(A, A + 0.3).max() < 1e-6
    assert gradient_loss(A, B).min() > 0.1


def test_low_pass_loss_sees_areas_and_no_fine_grain() -> None:
    checks = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(4, 4).expand(1, 4, 8, 8)
    assert low_pass_loss(A[:1] + checks, A[:1]).item() == pytest.approx(0, abs=1e-6)
    assert low_pass_loss(A[:1] + 0.5, A[:1]).item() == pytest.approx(0.5, rel=1e-5)


def test_feature_loss_is_written_out() -> None:
    expected = torch.zeros(3)
    for n in range(3):
        for y in range(8):
            for x in range(8):
                one, other = A[n, :, y, x], B[n, :, y, x]
                expected[n] += (one / one.norm() - other / other.norm()).square().sum() / 64
    assert torch.allclose(feature_loss([A, A], [B, A]), expected, rtol=1e-4)


def test_features_are_those_inside_the_encoder() -> None:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    network = AutoencoderKL(block_out_channels=(8, 16), down_block_types=("DownEncoderBlock2D",) * 2, norm_num_groups=4,
                            up_block_types=("UpDecoderBlock2D",) * 2).eval()  # fmt: skip
    seen: list[torch.Tensor] = []
    for block in network.encoder.down_blocks:
        block.register_forward_hook(lambda module, given, result: seen.append(result))
    pixels = torch.randn(1, 3, 16, 16)
    with torch.no_grad():
        network.encoder(pixels)
        ours = encoder_features(network, pixels)
    assert [torch.equal(one, other) for one, other in zip(ours, seen[:2], strict=True)] == [True, True]
