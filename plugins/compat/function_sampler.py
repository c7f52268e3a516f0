"""A sampler that a pack wrote as a function which calls the model; ours are generators, which are sent predictions."""

from __future__ import annotations

import contextvars
import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mezzotint.nodes.inference import settle_threads

if TYPE_CHECKING:
    from torch import Tensor

    from mezzotint.nodes.samplers.sampler import Denoising, StepNoise
    from mezzotint.nodes.sampling.model_sampling import ModelSampling


class _Abandoned(BaseException):
    """Nobody waits for the function any more."""


@dataclass(frozen=True, eq=False)
class FunctionSampler:
    """A sampler of a function `f(model, x, sigmas, extra_args=, callback=, disable=, **extra_options)`.

    In it `model(x, sigma)` gives the prediction of the clean latent; `sigma` is a tensor [B], or a number. The function
    runs on a thread of its own, which waits while predictions are made.
    """

    sampler_function: Callable[..., Tensor]
    extra_options: Mapping[str, Any] = field(default_factory=dict)
    inpaint_options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return getattr(self.sampler_function, "__name__", "function")

    def begin(self, x: Tensor, sigmas: Tensor, step_noise: StepNoise, sampling: ModelSampling) -> Denoising:
        calls = _Calls()
        worker = threading.Thread(
            target=contextvars.copy_context().run, args=(self._work, calls, x, sigmas), daemon=True
        )
        worker.start()
        try:
            while True:
                kind, value = calls.asked.get()
                if kind == "done":
                    result: Tensor = value
                    return result
                if kind == "failed":
                    raise value
                x, sigma = value
                denoised = yield x, sigma
                calls.answered.put(denoised)
        finally:
            calls.answered.put(None)
            worker.join()

    def _work(self, calls: _Calls, x: Tensor, sigmas: Tensor) -> None:
        import torch

        settle_threads("cpu")
        try:
            with torch.inference_mode():
                extra_args: dict[str, Any] = {"model_options": {}, "seed": None}
                done = self.sampler_function(
                    calls, x, sigmas, extra_args=extra_args, callback=None, disable=True, **self.extra_options
                )
            calls.asked.put(("done", done))
        except _Abandoned:
            pass
        except BaseException as error:
            calls.asked.put(("failed", error))


class _Calls:
    """The model, as the function sees it."""

    def __init__(self) -> None:
        self.asked: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self.answered: queue.SimpleQueue[Tensor | None] = queue.SimpleQueue()

    def __call__(self, x: Tensor, sigma: Any, **_: Any) -> Tensor:
        level = float(sigma.flatten()[0]) if hasattr(sigma, "flatten") else float(sigma)
        self.asked.put(("predict", (x, level)))
        denoised = self.answered.get()
        if denoised is None:
            raise _Abandoned
        return denoised
