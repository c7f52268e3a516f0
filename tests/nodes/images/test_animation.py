from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence
from torch import Tensor

from mezzotint import Context
from mezzotint.engine.context import Prompt
from mezzotint.engine.errors import OutputError
from mezzotint.engine.folders import Folders
from mezzotint.engine.workflow import Workflow
from mezzotint.engine.workflow_file import load_workflow
from mezzotint.nodes.images.animation import save_animated_png, save_animated_webp
from mezzotint.nodes.images.image_file import read_frames

GRAPH = {"7": {"class_type": "SaveAnimatedWEBP", "inputs": {"text": "ünïcödé \u65e5"}}}
SAVERS = [(save_animated_webp, ".webp"), (save_animated_png, ".png")]


@pytest.fixture
def ctx(tmp_path: Path) -> Context:
    return Context("7", folders=Folders(tmp_path), prompt=Prompt(Workflow.from_api(GRAPH)))


def batch(count: int = 3, channels: int = 3) -> Tensor:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 12, 16, channels), np.uint8)
    return torch.from_numpy(pixels).float() / 255


def saved(ctx: Context) -> Path:
    (shown,) = ctx.shown["images"]
    path: Path = ctx.folders.output / shown["subfolder"] / shown["filename"]
    return path


@pytest.mark.parametrize(("save", "suffix"), SAVERS)
def test_a_batch_becomes_one_file_of_as_many_frames(save: Any, suffix: str, ctx: Context) -> None:
    images = batch()
    save(images, "moving", 8.0, ctx=ctx)
    assert saved(ctx).name == f"moving_00001_{suffix}"
    frames = torch.stack([frame.pixels for frame in read_frames(saved(ctx))])
    torch.testing.assert_close(frames, images)
    assert ctx.shown["animated"] == [True]
    with Image.open(saved(ctx)) as picture:
        assert picture.info["loop"] == 0
        durations = []
        for frame in ImageSequence.Iterator(picture):
            frame.load()
            durations.append(frame.info["duration"])
        assert durations == [125] * 3


@pytest.mark.parametrize(("save", "suffix"), SAVERS)
def test_the_workflow_is_inside_unless_files_carry_none(save: Any, suffix: str, ctx: Context) -> None:
    save(batch(), ctx=ctx)
    assert load_workflow(saved(ctx), {}).to_api() == GRAPH
    silent = Context("7", folders=ctx.folders, prompt=Prompt(Workflow.from_api(GRAPH)), save_metadata=False)
    save(batch(), ctx=silent)
    assert b"SaveAnimatedWEBP" not in saved(silent).read_bytes()


@pytest.mark.parametrize(("save", "suffix"), SAVERS)
def test_one_picture_is_no_animation_and_alpha_stays(save: Any, suffix: str, ctx: Context) -> None:
    images = batch(1, 4)
    images[..., 3] = 0.4
    save(images, ctx=ctx)
    assert ctx.shown["animated"] == [False]
    (frame,) = read_frames(saved(ctx))
    assert frame.alpha is not None
    assert float((frame.alpha - 0.4).abs().max()) < 1 / 255


def test_quality_counts_where_loss_is_allowed(ctx: Context) -> None:
    sizes = []
    for quality in (5, 95):
        again = Context("7", folders=ctx.folders)
        save_animated_webp(batch(), lossless=False, quality=quality, method="fastest", ctx=again)
        sizes.append(saved(again).stat().st_size)
    assert sizes[0] < sizes[1]


def test_what_the_format_cannot_hold_is_refused_in_a_sentence(ctx: Context) -> None:
    with pytest.raises(OutputError, match=r"1 pictures of 20000×1 cannot be saved as one webp file: "):
        save_animated_webp(torch.zeros(1, 1, 20_000, 3), ctx=ctx)
    assert not any(ctx.folders.output.rglob("*.webp"))
