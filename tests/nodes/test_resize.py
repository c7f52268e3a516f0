"""Resizing means what the names of the methods mean elsewhere; expected values are worked out by hand or by Pillow."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from mezzotint.engine.errors import OutOfMemoryError
from mezzotint.nodes import resize as module
from mezzotint.nodes.resize import Method, bislerp, center_cut, require_memory, resize, slerp

METHODS: list[Method] = ["nearest-exact", "bilinear", "area", "bicubic", "lanczos", "bislerp"]


def row(*values: float) -> Tensor:
    """One channel, one row: [1, 1, 1, W]."""
    return torch.tensor(values, dtype=torch.float32).reshape(1, 1, 1, -1)


def values(samples: Tensor) -> list[float]:
    return [round(value, 5) for value in samples.flatten().tolist()]


def at_angles(*degrees: float, length: float = 1.0) -> Tensor:
    """A row of 2-channel vectors with these directions: [1, 2, 1, W]."""
    radians = torch.tensor(degrees).deg2rad()
    return length * torch.stack([radians.cos(), radians.sin()]).reshape(1, 2, 1, -1)


def angles(samples: Tensor) -> list[float]:
    return [round(angle, 3) for angle in torch.atan2(samples[0, 1], samples[0, 0]).rad2deg().flatten().tolist()]


class TestMethods:
    def test_nearest_takes_the_pixel_whose_area_holds_the_centre(self) -> None:
        assert values(resize(row(1, 2, 3, 4, 5), 3, 1, "nearest-exact")) == [1, 3, 5]

    def test_bilinear_holds_the_ends_and_goes_by_pixel_centres(self) -> None:
        assert values(resize(row(0, 1), 4, 1, "bilinear")) == [0, 0.25, 0.75, 1]

    def test_area_is_the_mean(self) -> None:
        assert values(resize(row(0, 1, 4, 6), 2, 1, "area")) == [0.5, 5]

    def test_bicubic_has_the_weights_of_a_is_three_quarters(self) -> None:
        # A pixel half-way between two gets -a/8 = -0.09375 of the outer and 0.59375 of the inner neighbours.
        assert values(resize(row(1, 0, 0, 0, 0, 0, 0, 1), 4, 1, "bicubic"))[0] == pytest.approx(0.59375 - 0.09375)

    @pytest.mark.parametrize("channels", [1, 3, 4, 2])
    def test_lanczos_is_pillows_by_way_of_8_bits(self, channels: int) -> None:
        samples = torch.rand(2, channels, 9, 7, generator=torch.Generator().manual_seed(0))
        resized = resize(samples, 5, 6, "lanczos")
        assert resized.shape == (2, channels, 6, 5)
        pixels = (samples[1].movedim(0, -1).numpy() * 255).astype(np.uint8)
        picture = Image.fromarray(pixels[..., 0] if channels in (1, 2) else pixels)
        expected = np.asarray(picture.resize((5, 6), Image.Resampling.LANCZOS)) / 255
        ours = resized[1, 0] if channels in (1, 2) else resized[1].movedim(0, -1)
        assert torch.allclose(ours.double(), torch.from_numpy(expected), atol=1e-6)

    @pytest.mark.parametrize("method", METHODS)
    def test_one_colour_stays(self, method: Method) -> None:
        resized = resize(torch.full((1, 3, 5, 8), 0.2), 12, 3, method)
        assert resized.shape == (1, 3, 3, 12)
        assert torch.allclose(resized, torch.tensor(0.2), atol=1e-6)

    @pytest.mark.parametrize("method", METHODS)
    def test_the_type_stays_and_the_input_is_not_touched(self, method: Method) -> None:
        samples = torch.rand(1, 3, 4, 4).to(torch.bfloat16)
        before = samples.clone()
        for size in (4, 6):
            resized = resize(samples, size, size, method)
            assert resized.dtype == torch.bfloat16
            assert resized.data_ptr() != samples.data_ptr()
        assert torch.equal(samples, before)

    def test_frames_of_a_video_are_resized_one_by_one(self) -> None:
        samples = torch.rand(2, 4, 3, 6, 6)
        resized = resize(samples, 3, 2, "bilinear")
        assert resized.shape == (2, 4, 3, 2, 3)
        assert torch.equal(resized[:, :, 1], resize(samples[:, :, 1], 3, 2, "bilinear"))


class TestCrop:
    def test_the_middle_is_cut_out_of_what_is_too_wide(self) -> None:
        assert values(center_cut(row(0, 1, 2, 3, 4, 5), 2, 1)) == [2, 3]

    def test_the_middle_is_cut_out_of_what_is_too_high(self) -> None:
        assert values(center_cut(row(0, 1, 2, 3).transpose(2, 3), 1, 2)) == [1, 2]

    def test_equal_proportions_cut_nothing(self) -> None:
        assert center_cut(torch.zeros(1, 1, 6, 8), 4, 3).shape[-2:] == (6, 8)

    def test_something_always_remains(self) -> None:
        assert center_cut(torch.zeros(1, 1, 2, 2), 1, 1000).shape[-1] > 0
        assert center_cut(torch.zeros(1, 1, 3, 1), 16384, 1).shape[-2] == 1

    def test_resizing_cuts_first(self) -> None:
        assert values(resize(row(9, 9, 1, 3, 9, 9), 1, 1, "area", "center")) == pytest.approx([2])

    def test_without_it_the_picture_is_stretched(self) -> None:
        assert values(resize(row(8, 8, 1, 3, 8, 8), 1, 1, "area")) == [6]


class TestBislerp:
    def test_directions_turn_evenly(self) -> None:
        assert angles(bislerp(at_angles(0, 80), 4, 1)) == [0, 20, 60, 80]

    def test_lengths_change_linearly_while_directions_turn(self) -> None:
        between = bislerp(torch.cat([at_angles(0, length=1), at_angles(90, length=3)], -1), 4, 1)
        assert torch.allclose(between.norm(dim=1).flatten(), torch.tensor([1, 1.5, 2.5, 3]))

    def test_bilinear_would_have_lost_contrast_there(self) -> None:
        turned, crossed = bislerp(at_angles(0, 120), 3, 1), resize(at_angles(0, 120), 3, 1, "bilinear")
        assert turned[..., 1].norm() == pytest.approx(1)
        assert crossed[..., 1].norm() == pytest.approx(0.5)

    def test_rows_come_before_columns(self) -> None:
        corners = torch.cat([at_angles(0, 90), at_angles(90, 180)], -2)
        assert angles(bislerp(corners, 3, 3)[..., 1:2, 1:2]) == [90]

    def test_parallel_vectors_are_interpolated_linearly(self) -> None:
        assert values(bislerp(row(1, 3), 4, 1)) == [1, 1.5, 2.5, 3]

    def test_opposite_vectors_cross_over(self) -> None:
        assert values(bislerp(row(-1, 1), 4, 1)) == [-1, -0.5, 0.5, 1]

    def test_a_zero_vector_has_no_direction_and_makes_no_nan(self) -> None:
        assert values(bislerp(torch.cat([torch.zeros(1, 2, 1, 1), at_angles(0)], -1), 4, 1)[:, 0]) == [0, 0.25, 0.75, 1]

    def test_shrinking_reads_between_the_pixels(self) -> None:
        assert angles(bislerp(at_angles(0, 10, 50, 60), 2, 1)) == [5, 55]

    def test_weights_0_and_1_give_the_ends(self) -> None:
        a, b = at_angles(10, length=2), at_angles(70)
        assert torch.allclose(slerp(a, b, torch.tensor(0.0)), a)
        assert torch.allclose(slerp(a, b, torch.tensor(1.0)), b)
        assert math.isclose(angles(slerp(a, b, torch.tensor(0.25)))[0], 25, abs_tol=1e-3)


class TestMemory:
    def test_what_just_fits_is_no_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "free_nbytes", lambda device: 8 * 8 * 4)
        require_memory("a picture", 8, 8)
        with pytest.raises(OutOfMemoryError, match="a picture takes"):
            require_memory("a picture", 8, 9)

    def test_what_does_not_fit_is_a_sentence_with_the_sizes_and_the_cure(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "free_nbytes", lambda device: 2**30)
        with pytest.raises(OutOfMemoryError, match=r"a picture takes 4\.0 GiB .* 1\.0 GiB are free; choose a smaller"):
            require_memory("a picture", 2**15, 2**15)
        with pytest.raises(OutOfMemoryError, match="resizing to 16384x16384"):
            resize(torch.zeros(1, 3, 2, 2), 16384, 16384, "bilinear")
