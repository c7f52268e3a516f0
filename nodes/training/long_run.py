"""Training for long: progress, a curve of the loss, samples now and then, checkpoints, and going on after a stop."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from mezzotint.engine.atomic_file import write_atomically
from mezzotint.engine.context import Context
from mezzotint.engine.errors import Cancelled, OutputError
from mezzotint.engine.failure import is_out_of_memory

from .checkpoint import load_checkpoint, save_checkpoint
from .loss_plot import loss_plot, running_mean, sparkline
from .state import TrainingState
from .step import NotANumberError, told_out_of_memory

if TYPE_CHECKING:
    from torch import Tensor

PREVIEW_SECONDS = 1.0
RECENT = 20
"""Over so many steps the loss that is told is a mean."""
MAX_SKIPPED_TOGETHER = 100
"""So many batches in a row with a loss that is no number end a run that skips them: nothing would come of it."""


@dataclass(slots=True)
class LongRun:
    """The watch over a training.

    Attributes:
        steps: optimiser steps, counted from the beginning of the training, at which it ends. batch_size: for sentences.
        folder: where checkpoints, samples and the curve go; None for nowhere.
        checkpoint_every, samples_every: optimiser steps; 0 for never. samples: draws a sheet [H, W, 3].
    """

    ctx: Context
    steps: int
    batch_size: int
    folder: Path | None = None
    checkpoint_every: int = 0
    samples_every: int = 0
    samples: Callable[[], Tensor] | None = None
    _saved: int = -1
    _next_preview: float = field(default=0.0)
    _curve: str = field(default="")

    def run(self, state: TrainingState, batch: Callable[[], Any], resume: bool) -> None:
        """Train with batch after batch. Where it is cancelled, or has its steps done, a checkpoint is written.

        Raises:
            NotANumberError, OutOfMemoryError, OutputError, TrainingError: see `step` and `checkpoint`. Cancelled.
        """
        if resume and self.folder is not None and load_checkpoint(state, self.folder):
            self._saved = state.step
        try:
            while state.step < self.steps:
                if self._train(state, batch):
                    self._after_step(state)
        except Cancelled:
            self._save(state)
            raise
        self._save(state)
        self._write("loss.png", loss_plot(state.losses))

    def _train(self, state: TrainingState, batch: Callable[[], Any]) -> bool:
        """Train with one batch; whether the weights changed."""
        before, skipped = state.step, state.skipped
        try:
            while state.step == before:
                batch()
                if state.skipped - skipped >= MAX_SKIPPED_TOGETHER:
                    raise NotANumberError(
                        f"the losses of {MAX_SKIPPED_TOGETHER} batches in a row are no numbers: the weights are lost. "
                        f"Go back to an earlier checkpoint with a lower learning rate"
                    )
        except (RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                raise told_out_of_memory(error, self.batch_size) from error
            raise
        return state.step > before

    def _after_step(self, state: TrainingState) -> None:
        recent = state.losses[-RECENT:]
        preview = self._preview(state)
        text = f"loss {sum(recent) / len(recent):.4g} {self._curve}".rstrip()
        self.ctx.progress(state.step, self.steps, preview, text)
        if self.samples is not None and self.samples_every and state.step % self.samples_every == 0:
            drawn = self.samples()
            self._write(f"samples_{state.step:08d}.png", drawn)
            if self.ctx.wants_previews:
                self.ctx.progress(state.step, self.steps, _picture(drawn))
        if self.checkpoint_every and state.step % self.checkpoint_every == 0:
            self._save(state)

    def _preview(self, state: TrainingState) -> Any:
        """The curve so far, as a picture; None when nobody would see it, or one was made a moment ago."""
        now = time.monotonic()
        if now < self._next_preview:
            return None
        self._next_preview, self._curve = now + PREVIEW_SECONDS, sparkline(state.losses)
        return loss_plot(state.losses) if self.ctx.wants_previews else None

    def _save(self, state: TrainingState) -> None:
        if self.folder is not None and state.step != self._saved and not state.pending:
            save_checkpoint(state, self.folder)
            self._saved = state.step

    def _write(self, name: str, picture: Any) -> None:
        """A PNG in the folder: a Pillow picture, or float [H, W, 3]."""
        from ..png import encode_png, to_uint8

        if self.folder is None:
            return
        import numpy as np

        pixels = to_uint8(picture) if isinstance(picture, torch.Tensor) else np.asarray(picture)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(self.folder / name, encode_png(pixels))
        except OSError as error:
            raise OutputError(
                f"'{name}' cannot be written to '{self.folder}' ({error.strerror or error}); free some space"
            ) from error


def _picture(drawn: Tensor) -> Any:
    from PIL import Image

    from ..png import to_uint8

    return Image.fromarray(to_uint8(drawn))


def curve_image(state: TrainingState) -> Tensor:
    """The curve of a training's losses as an image [1, H, W, 3], 0..1."""
    import numpy as np

    return torch.from_numpy(np.asarray(loss_plot(state.losses)).astype(np.float32) / 255)[None]


def latest_loss(state: TrainingState) -> float:
    """The running mean of the losses at their end; 0 before the first step."""
    return running_mean(state.losses)[-1] if state.losses else 0.0
