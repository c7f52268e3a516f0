"""A picture of a loss curve: each step faint, a running mean over it, axes with numbers. Drawn with Pillow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image

WIDTH, HEIGHT, MARGIN = 640, 360, 48
MAX_POINTS = 2000
BARS = "▁▂▃▄▅▆▇█"
BACKGROUND, INK, GRID, EACH, MEAN = "white", (60, 60, 60), (225, 225, 225), (170, 200, 235), (25, 90, 180)


def loss_plot(losses: Sequence[float], first_step: int = 1) -> Image:
    """The curve of losses, one for each step, on a logarithmic scale: 640×360 pixels."""
    from PIL import Image, ImageDraw

    picture = Image.new("RGB", (WIDTH, HEIGHT), BACKGROUND)
    pen = ImageDraw.Draw(picture)
    finite = [loss for loss in losses if math.isfinite(loss) and loss > 0]
    if not finite:
        pen.text((MARGIN, HEIGHT // 2), "no losses yet", fill=INK)
        return picture
    low, high = _decades(min(finite), max(finite))
    last = first_step + len(losses) - 1

    def at(step: float, loss: float) -> tuple[float, float]:
        x = MARGIN + (step - first_step) / max(last - first_step, 1) * (WIDTH - 1.5 * MARGIN)
        y = HEIGHT - MARGIN - (math.log10(loss) - low) / (high - low) * (HEIGHT - 2 * MARGIN)
        return x, y

    _draw_axes(pen, at, low, high, first_step, last)
    every = max(1, len(losses) // MAX_POINTS)
    points = [(first_step + i, loss) for i, loss in enumerate(losses) if loss > 0 and math.isfinite(loss)][::every]
    means = [(first_step + i, loss) for i, loss in enumerate(running_mean(losses)) if loss > 0][::every]
    for line, colour, width in ((points, EACH, 1), (means, MEAN, 2)):
        if len(line) > 1:
            pen.line([at(*point) for point in line], fill=colour, width=width)
    pen.text((MARGIN, MARGIN // 3), f"loss {means[-1][1]:.4g} after {last} steps", fill=INK)
    return picture


def sparkline(losses: Sequence[float], width: int = 16) -> str:
    """The curve as a line of text, of means over parts of equal length, on a logarithmic scale; empty of one part."""
    finite = [loss for loss in losses if math.isfinite(loss) and loss > 0]
    parts = min(width, len(finite))
    if parts < 2:
        return ""
    ends = [round(index * len(finite) / parts) for index in range(parts + 1)]
    means = [math.log(sum(finite[one:other]) / (other - one)) for one, other in pairwise(ends)]
    low, span = min(means), max(max(means) - min(means), 1e-9)
    return "".join(BARS[round((mean - low) / span * (len(BARS) - 1))] for mean in means)


def running_mean(losses: Sequence[float], share: float = 0.05) -> list[float]:
    """An exponential mean over about this share of the steps, unbiased at the beginning (as Adam's moments are)."""
    decay = 1 - 1 / max(1.0, share * len(losses))
    mean, weight, means = 0.0, 0.0, []
    for loss in losses:
        if math.isfinite(loss):
            mean, weight = decay * mean + (1 - decay) * loss, decay * weight + (1 - decay)
        means.append(mean / weight if weight else loss)
    return means


def _decades(low: float, high: float) -> tuple[float, float]:
    """The range of the axis, in powers of ten, a little wider than the values."""
    bottom, top = math.log10(low), math.log10(high)
    room = max(0.05 * (top - bottom), 0.02)
    return bottom - room, top + room


def _draw_axes(pen: Any, at: Any, low: float, high: float, first: int, last: int) -> None:
    for index in range(5):
        loss = 10 ** (low + (high - low) * index / 4)
        x, y = at(first, loss)
        pen.line([(x, y), (WIDTH - MARGIN / 2, y)], fill=GRID)
        pen.text((4, y - 6), f"{loss:.3g}", fill=INK)
        step = round(first + (last - first) * index / 4)
        pen.text((at(step, loss)[0] - 8, HEIGHT - MARGIN + 8), str(step), fill=INK)
