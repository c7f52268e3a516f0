"""Noise from seeds: the published values, and that nothing else depends on it or is changed by it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mezzotint.nodes.samplers.schedules import DiscreteSigmas, FlowSigmas, schedule_sigmas
from mezzotint.nodes.sampling.noise import (
    DifferentialMasking,
    Masking,
    SeededStepNoise,
    fit_mask,
    initial_noise,
    mask_noise,
    next_seed,
    no_noise,
)

LARGEST_SEED = 2**64 - 1
SD15 = DiscreteSigmas.from_config()
KARRAS = schedule_sigmas(SD15, "karras", 10)


def step_noise(seed: int = 0, skip: int = 0) -> SeededStepNoise:
    return SeededStepNoise(torch.zeros(1, 4, 8, 8), KARRAS, seed, skip)


def test_initial_noise_has_the_published_values() -> None:
    noise = initial_noise((1, 4, 8, 8), 0)
    expected = [-1.12584, -1.15236, -0.250579, -0.433879, 0.84871, 0.692009]
    assert noise.flatten()[:6].tolist() == pytest.approx(expected, abs=5e-6)
    assert float(noise.sum()) == pytest.approx(6.59008, abs=5e-5)
    other = initial_noise((1, 4, 64, 64), 123456789).flatten()[:4].tolist()
    assert other == pytest.approx([0.264255, -0.414899, -0.607514, 0.731929], abs=5e-7)


def test_initial_noise_is_what_the_global_generator_would_give_and_leaves_it_alone() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(77)
        expected = torch.randn(2, 8, 8, 8)
    before, numpys = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index]
    assert torch.equal(initial_noise((2, 8, 8, 8), 77), expected)
    initial_noise((2, 8, 8, 8), 77, batch_index=[0, 3])
    noise = step_noise(77)
    noise.fresh()
    noise.between(10.0, 5.0)
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], numpys)  # type: ignore[index]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, LARGEST_SEED), st.integers(2, 5))
def test_the_first_image_of_a_batch_has_the_noise_of_one_alone(seed: int, batch: int) -> None:
    assert torch.equal(initial_noise((batch, 4, 8, 8), seed)[:1], initial_noise((1, 4, 8, 8), seed))


def test_batch_index_picks_images_drawn_one_by_one() -> None:
    generator = torch.Generator().manual_seed(5)
    images = [torch.randn(1, 4, 8, 8, generator=generator) for _ in range(5)]
    picked = initial_noise((4, 4, 8, 8), 5, batch_index=[4, 0, 2, 2])
    assert torch.equal(picked, torch.cat([images[4], images[0], images[2], images[2]]))


@pytest.mark.parametrize("batch_index", [[0, 1, 2], [], [0, -1]])
def test_a_batch_index_that_does_not_fit_is_refused(batch_index: list[int]) -> None:
    with pytest.raises(ValueError, match="for each of 2 images"):
        initial_noise((2, 4, 8, 8), 5, batch_index)


def test_a_batch_index_of_no_images_is_no_noise() -> None:
    assert initial_noise((0, 4, 8, 8), 5, []).shape == (0, 4, 8, 8)


def test_disabled_noise_is_zero() -> None:
    assert no_noise((1, 4, 8, 8)).abs().sum() == 0


def test_every_seed_has_a_next_one() -> None:
    assert next_seed(0) == 1
    assert next_seed(LARGEST_SEED) == 0
    noise = step_noise(LARGEST_SEED)
    assert torch.equal(noise.fresh(), initial_noise((1, 4, 8, 8), 0))
    assert noise.between(2.0, 1.0).isfinite().all()


def test_step_noise_on_the_cpu_does_not_repeat_the_initial_noise() -> None:
    noise = step_noise(8)
    first, second = noise.fresh(), noise.fresh()
    assert torch.equal(first, initial_noise((1, 4, 8, 8), 9))
    assert not torch.equal(first, second)


def test_a_run_taken_up_at_a_later_step_has_the_noise_it_would_have_had() -> None:
    whole = step_noise(3)
    drawn = [whole.fresh() for _ in range(4)]
    assert torch.equal(step_noise(3, skip=3).fresh(), drawn[3])


def test_noise_between_levels_is_standard_normal() -> None:
    x = torch.zeros(1, 4, 64, 64)
    noise = SeededStepNoise(x, KARRAS, 4)
    drawn = torch.stack([noise.between(a, b) for a, b in zip(KARRAS[:-2].tolist(), KARRAS[1:-1].tolist(), strict=True)])
    assert drawn.mean((1, 2, 3, 4)).abs().max() < 0.03
    assert (drawn.std((1, 2, 3, 4)) - 1).abs().max() < 0.03
    assert (torch.corrcoef(drawn.flatten(1)) - torch.eye(9)).abs().max() < 0.04


def test_noise_between_levels_is_one_path_whatever_the_steps_and_their_order() -> None:
    high, middle, low = 10.0, 4.0, 1.5
    one, other = step_noise(6), step_noise(6)
    whole = one.between(high, low) * math.sqrt(high - low)
    second = other.between(middle, low) * math.sqrt(middle - low)
    first = other.between(high, middle) * math.sqrt(high - middle)
    torch.testing.assert_close(first + second, whole)
    torch.testing.assert_close(other.between(low, high), -other.between(high, low))
    assert torch.equal(other.between(high, low), one.between(high, low))
    assert torch.equal(one.between(high, low, on_device=True), one.between(high, low))


def test_noise_between_levels_is_that_of_torchsde() -> None:
    from torchsde import BrownianTree

    top, bottom = float(KARRAS[0]), float(KARRAS[-2])
    tree = BrownianTree(bottom, torch.zeros(1, 4, 8, 8), top, entropy=11)
    torch.testing.assert_close(step_noise(11).between(5.0, 2.0), -tree(2.0, 5.0) / math.sqrt(3.0))


def test_noise_keeps_the_kind_of_number_of_the_latent() -> None:
    noise = SeededStepNoise(torch.zeros(1, 4, 8, 8, dtype=torch.bfloat16), KARRAS, 0)
    assert noise.fresh().dtype == noise.between(5.0, 2.0).dtype == torch.bfloat16


def test_ddim_noises_the_kept_region_with_the_next_seed() -> None:
    noise = initial_noise((1, 4, 8, 8), 5)
    assert mask_noise("euler", noise, 5) is noise
    assert torch.equal(mask_noise("ddim", noise, 5), initial_noise((1, 4, 8, 8), 6))


def test_a_mask_is_fitted_to_the_latent() -> None:
    mask = torch.zeros(64, 64)
    mask[:, 32:] = 1
    fitted = fit_mask(mask, (3, 8, 8, 8))
    assert fitted.shape == (3, 1, 8, 8)
    assert fitted[2, 0, 0].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert fit_mask(torch.stack([mask, 1 - mask]), (3, 4, 8, 8))[:, 0, 0, 0].tolist() == [0, 1, 0]
    assert fit_mask(torch.stack([mask, 1 - mask]).unsqueeze(1), (1, 4, 8, 8)).shape == (1, 1, 8, 8)
    assert fit_mask(mask, (1, 16, 5, 8, 8)).shape == (1, 1, 1, 8, 8)


@pytest.mark.parametrize("model", [SD15, FlowSigmas()], ids=["discrete", "flow"])
def test_masking_holds_the_latent_where_the_mask_is_zero(model: DiscreteSigmas | FlowSigmas) -> None:
    latent, noise, x = torch.randn(3, 1, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[[[1.0, 0.0], [0.5, 0.0]]]])
    masking = Masking(mask, latent, noise, model)
    seen = masking.before(x, 0.4)
    kept = 0.4 * noise + (0.6 if model.is_flow else 1.0) * latent
    torch.testing.assert_close(seen[..., 0, 0], x[..., 0, 0])
    torch.testing.assert_close(seen[..., 1], kept[..., 1])
    torch.testing.assert_close(seen[..., 1, 0], (x + kept)[..., 1, 0] / 2)
    torch.testing.assert_close(masking.after(x, 0.4)[..., 1], latent[..., 1])


def differential(mask: torch.Tensor, strength: float = 1.0) -> DifferentialMasking:
    zeros = torch.zeros_like(mask)
    return DifferentialMasking(mask, zeros, zeros, SD15, SD15.sigma_to_t, 999.0, 0.0, strength)


def test_the_greys_of_a_mask_say_when_a_cell_is_let_go() -> None:
    mask = torch.linspace(0, 1, 11).view(1, 1, 1, 11)
    masking = differential(mask)
    for timestep in (999, 800, 500, 0):
        free = masking.mask_at(float(SD15.table[timestep])).flatten().tolist()
        assert free == [float(grey >= timestep / 999) for grey in mask.flatten().tolist()]


def test_a_weaker_strength_mixes_the_mask_in() -> None:
    mask = torch.tensor([0.2, 0.8]).view(1, 1, 1, 2)
    sigma = float(SD15.table[500])
    assert differential(mask, 0.25).mask_at(sigma).flatten().tolist() == pytest.approx([0.15, 0.85])
    assert differential(mask, 0.0).mask_at(sigma).flatten().tolist() == pytest.approx([0.2, 0.8])
