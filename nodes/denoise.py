"""`Denoise`: what a sampling body asks its lane for. Those of several prompts become one forward of the network."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from mezzotint.engine.errors import MezzotintError, OutOfMemoryError
from mezzotint.engine.request import Request

if TYPE_CHECKING:
    from torch import Tensor

    from mezzotint.engine.context import Context

    from .denoiser import Denoiser
    from .ports import Conditioning
    from .recipe import Recipe
    from .schedules import ModelSigmas

WEIGHING = frozenset({"strength", "start_percent", "end_percent"})
"""Options of a conditioning's item that say how much it counts, and when."""

NOT_READ = frozenset(
    {
        "pooled_output", "guidance", "width", "height", "crop_w", "crop_h", "target_width", "target_height",
        "aesthetic_score",
    }
)  # fmt: skip
"""Options that only networks with an input for them read; those that can be loaded today have none."""


class ConditioningError(MezzotintError):
    """A conditioning asks for something that is not done."""


class Denoise(Request):
    """`first, second = yield Denoise(model, x, sigma, (positive, negative))`: the prediction for each conditioning.

    Args:
        model: the recipe of a denoiser. x: float32 [B, C, h, w] at noise level `sigma`, on the model's device.
        conditionings: several to predict for. Each is a list of items `[tokens [1, T, D], options]`, and its
            prediction is the mean over its items, weighed by their `strength` (0 outside their range of timesteps;
            zeros where nothing counts).

    Answered by one tensor for each conditioning, like x, which nobody may change in place.

    Raises:
        ConditioningError: an item has an option that is not known. OutOfMemoryError: the device has not enough.
    """

    __slots__ = ("conditionings", "model", "sigma", "x")

    def __init__(self, model: Recipe, x: Tensor, sigma: float, conditionings: Sequence[Conditioning]) -> None:
        self.model, self.x, self.sigma, self.conditionings = model, x, sigma, conditionings

    def group(self) -> Hashable:
        return self.model, self.x.shape[1:], self.x.dtype

    @classmethod
    def answer(cls, requests: Sequence[Any], context: Context) -> list[list[Tensor]]:
        with context.models.borrow(requests[0].model) as borrowed:
            denoiser: Any = borrowed
            return _answer(requests, denoiser)


class _Evaluation(NamedTuple):
    """One item of one conditioning of one request."""

    request: Denoise
    slot: tuple[int, int]
    tokens: Tensor
    weight: float


_Parts = dict[tuple[int, int], list[tuple["Tensor", float]]]


def _answer(requests: Sequence[Denoise], denoiser: Denoiser) -> list[list[Tensor]]:
    """All requests together, or one by one where together they are too much."""
    from torch import OutOfMemoryError as DeviceMemoryError

    try:
        return _predictions(requests, denoiser)
    except DeviceMemoryError as error:
        if len(requests) > 1:
            return [_answer([request], denoiser)[0] for request in requests]
        batch, _, height, width = requests[0].x.shape
        raise OutOfMemoryError(
            f"the memory of {denoiser.device} was used up in denoising a latent of {width}×{height}, {batch} at once; "
            f"choose a smaller size or batch, or free some memory"
        ) from error


def _predictions(requests: Sequence[Denoise], denoiser: Denoiser) -> list[list[Tensor]]:
    parts: _Parts = {}
    for batch in _batches(_evaluations(requests, denoiser.sampling.sigmas)):
        for evaluation, denoised in zip(batch, _forward(batch, denoiser), strict=True):
            parts.setdefault(evaluation.slot, []).append((denoised, evaluation.weight))
    return [
        [_mean(parts.get((row, column), ()), request.x) for column in range(len(request.conditionings))]
        for row, request in enumerate(requests)
    ]


def _evaluations(requests: Sequence[Denoise], levels: ModelSigmas) -> Iterator[_Evaluation]:
    """What must be evaluated; items that do not count at this noise level are left out."""
    for row, request in enumerate(requests):
        for column, conditioning in enumerate(request.conditionings):
            for tokens, options in conditioning:
                weight = _weight(options, request.sigma, levels) if options else 1.0
                if weight != 0:
                    yield _Evaluation(request, (row, column), tokens, weight)


def _weight(options: Mapping[str, Any], sigma: float, levels: ModelSigmas) -> float:
    unknown = options.keys() - WEIGHING - NOT_READ
    if unknown:
        names = ", ".join(f"'{name}'" for name in sorted(unknown))
        raise ConditioningError(
            f"a conditioning carries {names}, which sampling does not know yet; it can do without areas, masks, "
            f"control nets and the like: leave out the node that sets it"
        )
    start, end = options.get("start_percent", 0.0), options.get("end_percent", 1.0)
    if (start > 0 and sigma > levels.percent_to_sigma(start)) or (end < 1 and sigma < levels.percent_to_sigma(end)):
        return 0.0
    return float(options.get("strength", 1.0))


def _batches(evaluations: Iterable[_Evaluation]) -> Iterable[list[_Evaluation]]:
    """Those that can be one forward: equal numbers of tokens."""
    batches: dict[Any, list[_Evaluation]] = {}
    for evaluation in evaluations:
        batches.setdefault(evaluation.tokens.shape[1:], []).append(evaluation)
    return batches.values()


def _forward(batch: list[_Evaluation], denoiser: Denoiser) -> Sequence[Tensor]:
    """One forward of the network; a prediction for each evaluation."""
    import torch

    counts = [evaluation.request.x.shape[0] for evaluation in batch]
    x = torch.cat([evaluation.request.x for evaluation in batch])
    tokens = torch.cat([_for_each(e.tokens.to(x.device), count) for e, count in zip(batch, counts, strict=True)])
    sigmas = [evaluation.request.sigma for evaluation in batch for _ in range(evaluation.request.x.shape[0])]
    return denoiser.predict(x, sigmas, tokens).split_with_sizes(counts)


def _for_each(tokens: Tensor, count: int) -> Tensor:
    """Tokens for each latent of a batch, [count, T, D]; fewer are repeated from the first."""
    if tokens.shape[0] == count:
        return tokens
    if tokens.shape[0] == 1:
        return tokens.expand(count, -1, -1)
    return tokens.repeat(-(-count // len(tokens)), 1, 1)[:count]


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
