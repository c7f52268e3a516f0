"""`Denoise`: what a sampling body asks its lane for. Those of several prompts become one forward of the network."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from mezzotint.engine.errors import OutOfMemoryError
from mezzotint.engine.request import Request

from .control import Control, ControlledForward
from .network_change import changes_of
from .prompts import Item, Prompts, ReadyPrompts, joined

if TYPE_CHECKING:
    from torch import Tensor

    from mezzotint.engine.context import Context

    from ..models.recipe import Recipe
    from ..ports import Conditioning
    from .denoiser import Denoiser, Steering
    from .model_sampling import ModelSampling
    from .network_call import NamedTensors


NOTHING: Mapping[str, Any] = {}
SMALLEST_WEIGHT = 1e-37
"""Where items count less, they do not count: zeros are predicted there."""


class Denoise(Request):
    """`first, second = yield Denoise(model, x, sigma, (positive, negative))`: the prediction for each conditioning.

    Args:
        model: the recipe of a denoiser. x: float32 [B, C, h, w] at noise level `sigma`, on the model's device.
        conditionings: several to predict for. Each is a list of items `[tokens [1, T, D], options]`, and its
            prediction is the mean over its items, in each cell weighed by how much they count there (their strength,
            area and mask; 0 outside their range of timesteps; zeros where nothing counts). `Prompts` of them, kept from
            step to step, save the work of preparing.

    Answered by one tensor for each conditioning, like x, which nobody may change in place.

    Raises:
        ConditioningError: see `Prompts.ready`. OutOfMemoryError: the device has not enough.
    """

    __slots__ = ("model", "prompts", "sigma", "x")

    def __init__(self, model: Recipe, x: Tensor, sigma: float, conditionings: Sequence[Conditioning] | Prompts) -> None:
        self.model, self.x, self.sigma = model, x, sigma
        self.prompts = conditionings if isinstance(conditionings, Prompts) else Prompts(conditionings)

    def group(self) -> Hashable:
        # What changes a network may look at the noise level, so then a forward has one.
        sigma = self.sigma if self.model.options and changes_of(self.model) else None
        return self.model, self.x.shape[1:], self.x.dtype, sigma

    @classmethod
    def answer(cls, requests: Sequence[Any], context: Context) -> list[Sequence[Tensor]]:
        with context.models.borrow(requests[0].model) as borrowed:
            denoiser: Any = borrowed
            return _answer(requests, denoiser, context)


def _answer(requests: Sequence[Denoise], denoiser: Denoiser, context: Context) -> list[Sequence[Tensor]]:
    """All requests together, or one by one where together they are too much; a single one by its evaluations."""
    try:
        return _predictions(requests, denoiser, context)
    except RuntimeError as error:
        if not _is_lack_of_memory(error):
            raise
    # Outside of the block above, since the error's traceback keeps alive what filled the memory.
    if len(requests) > 1:
        return [_answer([request], denoiser, context)[0] for request in requests]
    if requests[0].prompts.take_apart():
        return _answer(requests, denoiser, context)
    raise OutOfMemoryError(
        f"{what_is_sampled(requests[0].x.shape, denoiser.sampling.downscale)} used up the memory of "
        f"{denoiser.device}; choose a smaller size or batch, or free some memory"
    )


def _is_lack_of_memory(error: RuntimeError) -> bool:
    from torch import OutOfMemoryError as DeviceMemoryError

    return isinstance(error, DeviceMemoryError)


def what_is_sampled(shape: Sequence[int], downscale: int) -> str:
    """Latents [B, ..., h, w] in words, for messages: `sampling 2 pictures of 512×768`."""
    count = "a picture" if shape[0] == 1 else f"{shape[0]} pictures"
    return f"sampling {count} of {shape[-1] * downscale}×{shape[-2] * downscale}"


def _predictions(requests: Sequence[Denoise], denoiser: Denoiser, context: Context) -> list[Sequence[Tensor]]:
    prompts = [request.prompts.ready(request.x.shape, denoiser, context.models) for request in requests]
    if len(requests) == 1 and prompts[0].joined is not None:
        return [_plain(requests[0], prompts[0].joined, prompts[0].inputs, denoiser)]
    return _weighed(requests, prompts, denoiser, context)


def _plain(request: Denoise, tokens: Tensor, inputs: NamedTensors, denoiser: Denoiser) -> Sequence[Tensor]:
    """The usual case, with little ceremony: after each forward this runs with the processor's caches cold."""
    x, count = request.x, request.x.shape[0]
    times = tokens.shape[0] // count
    if times == 1:
        return (denoiser.predict(x, request.sigma, tokens, inputs),)
    repeated = x.expand(times, *x.shape[1:]) if count == 1 else _repeated(x, times)
    told = {"columns": (*range(times),)} if request.model.options and denoiser.is_changed else NOTHING
    return denoiser.predict(repeated, request.sigma, tokens, inputs, **told).split_with_sizes([count] * times)


def _repeated(x: Tensor, times: int) -> Tensor:
    import torch

    return torch.cat([x] * times)


# several requests, or items that are weighed


class _Evaluation(NamedTuple):
    """One item of one conditioning of one request. control: what steers it at this noise level."""

    request: Denoise
    row: int
    item: Item
    control: Control | None

    @property
    def x(self) -> Tensor:
        """What is evaluated: the latent, or the item's box of it."""
        return self.request.x if self.item.box is None else self.item.box.of(self.request.x)

    @property
    def batch_key(self) -> Hashable:
        """What it must share with others to be one forward with them."""
        if self.control is None:
            return self.item.shapes
        return self.item.shapes, self.control, self.item.box, self.request.x.shape[-2:]


def _weighed(
    requests: Sequence[Denoise], prompts: Sequence[ReadyPrompts], denoiser: Denoiser, context: Context
) -> list[Sequence[Tensor]]:
    parts: dict[tuple[int, int], list[tuple[Tensor, Item]]] = {}
    for batch in _batches(_evaluations(requests, prompts, denoiser)):
        for evaluation, denoised in zip(batch, _forward(batch, denoiser, context), strict=True):
            parts.setdefault((evaluation.row, evaluation.item.column), []).append((denoised, evaluation.item))
    return [
        [_mean(parts.get((row, column), ()), request.x) for column in range(len(request.prompts.conditionings))]
        for row, request in enumerate(requests)
    ]


def _evaluations(
    requests: Sequence[Denoise], prompts: Sequence[ReadyPrompts], denoiser: Denoiser
) -> Iterator[_Evaluation]:
    """What must be evaluated; items that do not count at this noise level are left out."""
    for row, (request, ready) in enumerate(zip(requests, prompts, strict=True)):
        for item in ready.items:
            if item.strength != 0 and item.low <= request.sigma <= item.high:
                control = item.control and item.control.at(request.sigma, denoiser.sampling)
                yield _Evaluation(request, row, item, control)


def _batches(evaluations: Iterable[_Evaluation]) -> Iterable[list[_Evaluation]]:
    """Those that can be one forward."""
    batches: dict[Hashable, list[_Evaluation]] = {}
    for evaluation in evaluations:
        batches.setdefault(evaluation.batch_key, []).append(evaluation)
    return batches.values()


def _forward(batch: list[_Evaluation], denoiser: Denoiser, context: Context) -> Sequence[Tensor]:
    """One forward of the network; a prediction for each evaluation."""
    import torch

    counts = [evaluation.request.x.shape[0] for evaluation in batch]
    x = torch.cat([evaluation.x for evaluation in batch])
    tokens, inputs = joined([evaluation.item for evaluation in batch])
    sigmas = [e.request.sigma for e, count in zip(batch, counts, strict=True) for _ in range(count)]
    told = {"columns": _columns(batch, counts)} if batch[0].request.model.options and denoiser.is_changed else NOTHING
    if batch[0].control is None:
        return denoiser.predict(x, sigmas, tokens, inputs, **told).split_with_sizes(counts)
    config = getattr(getattr(denoiser, "network", None), "config", None)
    known: Mapping[str, Any] = config if isinstance(config, Mapping) else {}
    steering = _steering(batch[0], batch[0].control, counts, known, denoiser.sampling, context)
    return denoiser.predict(x, sigmas, tokens, inputs, steering=steering, **told).split_with_sizes(counts)


def _columns(batch: Sequence[_Evaluation], counts: Sequence[int]) -> tuple[int, ...]:
    """Which conditioning each evaluation is for; of each latent, where they are not as many in all evaluations."""
    if len(set(counts)) == 1:
        return tuple(evaluation.item.column for evaluation in batch)
    return tuple(e.item.column for e, count in zip(batch, counts, strict=True) for _ in range(count))


def _steering(
    evaluation: _Evaluation,
    control: Control,
    counts: Sequence[int],
    config: Mapping[str, Any],
    sampling: ModelSampling,
    context: Context,
) -> Steering:
    latents = [k for count in counts for k in range(count)]
    box, (height, width) = evaluation.item.box, evaluation.request.x.shape[-2:]

    def steer(x: Tensor, timestep: Tensor, tokens: Tensor, inputs: NamedTensors) -> Mapping[str, Any]:
        forward = ControlledForward(x, timestep, tokens, inputs, latents, box, (height, width), config, sampling)
        return control.options(forward, context)

    return steer


def _mean(parts: Sequence[tuple[Tensor, Item]], x: Tensor) -> Tensor:
    """The mean of predictions, weighed in each cell; zeros where none counts."""
    if any(item.box is not None or item.weight is not None for _, item in parts):
        return _mean_by_cell(parts, x)
    if len(parts) == 1:
        return parts[0][0]
    if not parts:
        return x.new_zeros(x.shape)
    total = sum(item.strength for _, item in parts)
    first, *others = (denoised * (item.strength / total) for denoised, item in parts)
    for other in others:
        first = first + other
    return first


def _mean_by_cell(parts: Sequence[tuple[Tensor, Item]], x: Tensor) -> Tensor:
    total, weights = x.new_zeros(x.shape), x.new_zeros(x.shape[0], 1, *x.shape[2:])
    for denoised, item in parts:
        weight = item.strength if item.weight is None else item.weight
        for sum_so_far, added in ((total, denoised * weight), (weights, weight)):
            place = sum_so_far if item.box is None else item.box.of(sum_so_far)
            place += added
    return total / weights.clamp(min=SMALLEST_WEIGHT)
