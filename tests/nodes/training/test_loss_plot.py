"""The curve of losses as a line of text."""

from __future__ import annotations

import math

import pytest

from mezzotint.nodes.training.loss_plot import BARS, sparkline


def test_a_curve_that_falls_goes_down_by_powers() -> None:
    assert sparkline([10.0**-index for index in range(8)], 8) == BARS[::-1]


def test_many_losses_are_means_over_equal_parts() -> None:
    losses = [4.0] * 500 + [1.0] * 500
    assert sparkline(losses, 4) == "██▁▁"
    assert len(sparkline([1.0, 2.0, 3.0] * 1000)) == 16


@pytest.mark.parametrize("losses", [[], [1.0], [math.nan, math.inf, 1.0]])
def test_of_one_loss_there_is_no_curve(losses: list[float]) -> None:
    assert sparkline(losses) == ""


def test_losses_that_are_no_numbers_are_left_out() -> None:
    assert sparkline([1.0, math.nan, 0.1], 4) == "█▁"
    assert sparkline([2.0, 2.0]) == "▁▁"
