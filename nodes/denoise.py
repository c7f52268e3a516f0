"""`Denoise`: what a sampling body asks its lane for. Those of several prompts become one forward of the network."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from mezzotint.engine.errors import OutOfMemoryError
from mezzotint.engine.request import Request

from .prompts import Item, Prompts, ReadyPrompts, joined, shape_of

if TYPE_CHECKING:
    from torch import Tensor

    from mezzotint.engine.context import Context

    from .denoiser import Denoiser
    from .network_call import NamedTensors
    from .ports import Conditioning
    from .recipe import Recipe


class Denoise(Request):
    """`first, second = yield Denoise(model, x, sigma, (positive, negative))`: the prediction for each conditioning.

    Args:
        model: the recipe of a denoiser. x: float32 [B, C, h, w] at noise level `sigma`, on the model's device.
        conditionings: several to predict for. Each is a list of items `[tokens [1, T, D], options]`, and its
            prediction is the mean over its items, weighed by their `strength` (0 outside their range of timesteps;
            zeros where nothing counts). `Prompts` of them, kept from step to step, save the work of preparing.

    Answered by one tensor for each conditioning, like x, which nobody may change in place.

    Raises:
        ConditioningError: an item has an option that is not known. OutOfMemoryError: the device has not enough.
    """

    __slots__ = ("model", "prompts", "sigma", "x")

    def __init__(self, model: Recipe, x: Tensor, sigma: float, conditionings: Sequence[Conditioning] | Prompts) -> None:
        self.model, self.x, self.sigma = model, x, sigma
        self.prompts = conditionings if isinstance(conditionings, Prompts) else Prompts(conditionings)

    def group(self) -> Hashable:
        return self.model, self.x.shape[1:], self.x.dtype

    @classmethod
    def answer(cls, requests: Sequence[Any], context: Context) -> list[Sequence[Tensor]]:
        with context.models.borrow(requests[0].model) as borrowed:
            denoiser: Any = borrowed
            return _answer(requests, denoiser)


def _answer(requests: Sequence[Denoise], denoiser: Denoiser) -> list[Sequence[Tensor]]:
    """All requests together, or one by one where together they are too much."""
    try:
        return _predictions(requests, denoiser)
    except RuntimeError as error:
        if not _is_lack_of_memory(error):
            raise
        if len(requests) > 1:
            return [_answer([request], denoiser)[0] for request in requests]
        raise OutOfMemoryError(
            f"{what_is_sampled(requests[0].x.shape, denoiser.sampling.downscale)} used up the memory of "
            f"{denoiser.device}; choose a smaller size or batch, or free some memory"
        ) from error


def _is_lack_of_memory(error: RuntimeError) -> bool:
    from torch import OutOfMemoryError as DeviceMemoryError

    return isinstance(error, DeviceMemoryError)


def what_is_sampled(shape: Sequence[int], downscale: int) -> str:
    """Latents [B, ..., h, w] in words, for messages: `sampling 2 pictures of 512×768`."""
    count = "a picture" if shape[0] == 1 else f"{shape[0]} pictures"
    return f"sampling {count} of {shape[-1] * downscale}×{shape[-2] * downscale}"


def _predictions(requests: Sequence[Denoise], denoiser: Denoiser) -> list[Sequence[Tensor]]:
    prompts = [request.prompts.ready(request.x.shape, denoiser) for request in requests]
    if len(requests) == 1 and prompts[0].joined is not None:
        return [_plain(requests[0], prompts[0].joined, prompts[0].inputs, denoiser)]
    return _weighed(requests, prompts, denoiser)


def _plain(request: Denoise, tokens: Tensor, inputs: NamedTensors, denoiser: Denoiser) -> Sequence[Tensor]:
    """The usual case, with little ceremony: after each forward this runs with the processor's caches cold."""
    import torch

    x, count = request.x, request.x.shape[0]
    times = tokens.shape[0] // count
    repeated = x.expand(times, *x.shape[1:]) if count == 1 else torch.cat([x] * times)
    return denoiser.predict(repeated, request.sigma, tokens, inputs).split_with_sizes([count] * times)


# several requests, or items that are weighed


class _Evaluation(NamedTuple):
    """One item of one conditioning of one request."""

    request: Denoise
    slot: tuple[int, int]
    item: Item


def _weighed(
    requests: Sequence[Denoise], prompts: Sequence[ReadyPrompts], denoiser: Denoiser
) -> list[Sequence[Tensor]]:
    parts: dict[tuple[int, int], list[tuple[Tensor, float]]] = {}
    for batch in _batches(_evaluations(requests, prompts)):
        for evaluation, denoised in zip(batch, _forward(batch, denoiser), strict=True):
            parts.setdefault(evaluation.slot, []).append((denoised, evaluation.item.strength))
    return [
        [_mean(parts.get((row, column), ()), request.x) for column in range(len(request.prompts.conditionings))]
        for row, request in enumerate(requests)
    ]


def _evaluations(requests: Sequence[Denoise], prompts: Sequence[ReadyPrompts]) -> Iterator[_Evaluation]:
    """What must be evaluated; items that do not count at this noise level are left out."""
    for row, (request, ready) in enumerate(zip(requests, prompts, strict=True)):
        for item in ready.items:
            if item.strength != 0 and item.low <= request.sigma <= item.high:
                yield _Evaluation(request, (row, item.column), item)


def _batches(evaluations: Iterable[_Evaluation]) -> Iterable[list[_Evaluation]]:
    """Those that can be one forward: equal numbers of tokens, and equal further inputs."""
    batches: dict[Any, list[_Evaluation]] = {}
    for evaluation in evaluations:
        batches.setdefault(shape_of(evaluation.item), []).append(evaluation)
    return batches.values()


def _forward(batch: list[_Evaluation], denoiser: Denoiser) -> Sequence[Tensor]:
    """One forward of the network; a prediction for each evaluation."""
    import torch

    counts = [evaluation.request.x.shape[0] for evaluation in batch]
    x = torch.cat([evaluation.request.x for evaluation in batch])
    tokens, inputs = joined([evaluation.item for evaluation in batch])
    sigmas = [e.request.sigma for e, count in zip(batch, counts, strict=True) for _ in range(count)]
    return denoiser.predict(x, sigmas, tokens, inputs).split_with_sizes(counts)


def _mean(parts: Sequence[tuple[Tensor, float]], x: Tensor) -> Tensor:
    """The weighed mean of predictions; zeros where there are none."""
    if len(parts) == 1:
        return parts[0][0]
    if not parts:
        return x.new_zeros(x.shape)
    total = sum(weight for _, weight in parts)
    first, *others = (denoised * (weight / total) for denoised, weight in parts)
    for other in others:
        first = first + other
    return first
