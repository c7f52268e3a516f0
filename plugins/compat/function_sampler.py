"""A sampler that a pack wrote as a function which calls the model; ours are generators, which are sent predictions."""

from __future__ import annotations

import contextvars
import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mezzotint.nodes.inference import settle_threads

from .model_value import PackModelSampling

if TYPE_CHECKING:
    from torch import Tensor

    from mezzotint.nodes.samplers.sampler import Denoising, StepNoise
    from mezzotint.nodes.samplers.schedules import ModelSigmas
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
        return run_function(self.sampler_function, x, sigmas, step_noise, sampling.sigmas, **self.extra_options)


def run_function(
    function: Callable[..., Tensor],
    x: Tensor,
    sigmas: Tensor,
    step_noise: StepNoise,
    levels: ModelSigmas,
    **options: Any,
) -> Denoising:
    """A `nodes.samplers.sampler` of a function such as `FunctionSampler` holds."""
    calls = _Calls(levels)
    extra_args: dict[str, Any] = {"model_options": {}, "seed": getattr(step_noise, "seed", None)}

    def work() -> None:
        import torch

        settle_threads("cpu")
        try:
            with torch.inference_mode():
                done = function(calls, x, sigmas, extra_args=extra_args, callback=None, disable=True, **options)
            calls.asked.put(("done", done))
        except _Abandoned:
            pass
        except BaseException as error:
            calls.asked.put(("failed", error))

    worker = threading.Thread(target=contextvars.copy_context().run, args=(work,), daemon=True)
    worker.start()
    try:
        while True:
            kind, value = calls.asked.get()
            if kind == "done":
                result: Tensor = value
                return result
            if kind == "failed":
                raise value
            denoised = yield value
            calls.answered.put(denoised)
    finally:
        calls.answered.put(None)
        worker.join()


class _Calls:
    """The model, as the function sees it."""

    def __init__(self, levels: ModelSigmas) -> None:
        self.asked: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self.answered: queue.SimpleQueue[Tensor | None] = queue.SimpleQueue()
        self.inner_model = _Inner(PackModelSampling(levels))

    def __call__(self, x: Tensor, sigma: Any, **_: Any) -> Tensor:
        level = float(sigma.flatten()[0]) if hasattr(sigma, "flatten") else float(sigma)
        self.asked.put(("predict", (x, level)))
        denoised = self.answered.get()
        if denoised is None:
            raise _Abandoned
        return denoised


class _Inner:
    """What functions reach the noise levels by: `model.inner_model.inner_model.model_sampling`."""

    def __init__(self, model_sampling: PackModelSampling) -> None:
        self.model_sampling, self.inner_model = model_sampling, self
