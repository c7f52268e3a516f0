"""What several evaluations of the network come to: by areas, masks, further inputs, and what steers them."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mezzotint import Context
from mezzotint.engine.residency import Loaded, Residency
from mezzotint.nodes.latents.box import Box
from mezzotint.nodes.models.recipe import Recipe, Source
from mezzotint.nodes.samplers.schedules import DiscreteSigmas
from mezzotint.nodes.sampling.control import ControlledForward
from mezzotint.nodes.sampling.denoise import Denoise
from mezzotint.nodes.sampling.denoiser import Steering
from mezzotint.nodes.sampling.model_sampling import ModelSampling
from mezzotint.nodes.sampling.network_call import CONCAT, Target, for_each
from mezzotint.nodes.sampling.region import weight_map

MODEL = Recipe("model", Source("checkpoints", "toy", "0"))
SIGMA = 2.0
SIZE = 16


class Toy:
    """Predicts x, plus the sum of the tokens, plus ten times the mean of what it was shown: the crop can be told."""

    def __init__(self) -> None:
        self.reads: Callable[[Mapping[str, Any], Target], dict[str, Tensor]] = lambda options, target: {}
        self.sampling = ModelSampling(DiscreteSigmas.from_config(), "epsilon", 4, 8, 1.0, 0.0, {})
        self.device = torch.device("cpu")
        self.conditioning_width, self.dtype = None, torch.float32
        self.shapes: list[tuple[int, ...]] = []
        self.nbytes = 1

    def estimate_nbytes(self, shape: Sequence[int]) -> int:
        return shape[0] * self.nbytes

    def inputs(self, options: Mapping[str, Any], target: Target) -> dict[str, Tensor]:
        return self.reads(options, target)

    def predict(
        self,
        x: Tensor,
        sigma: float | Sequence[float],
        tokens: Tensor,
        inputs: Mapping[str, Tensor],
        steering: Steering | None = None,
    ) -> Tensor:
        self.shapes.append(tuple(x.shape))
        further = dict(inputs)
        if steering:
            further.update(steering(x, torch.zeros(1), tokens, further))
        assert all(len(tensor) == len(x) for tensor in further.values())
        added = sum((tensor.flatten(1).sum(1) for tensor in further.values()), tokens.sum((1, 2)))
        return x + added.view(-1, 1, 1, 1) + 10 * x.mean((1, 2, 3), keepdim=True)


@pytest.fixture
def toy() -> Toy:
    return Toy()


@pytest.fixture
def context(toy: Toy) -> Context:
    models = Residency("cpu")
    models.register("model", lambda recipe, residency: Loaded(toy, 1))
    return Context(models=models)


def item(value: float, tokens: int = 1, **options: Any) -> list[Any]:
    return [torch.full((1, tokens, 1), value / tokens), options]


def x_of(batch: int = 1) -> Tensor:
    return torch.randn(batch, 4, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


def answered(context: Context, *conditionings: list[Any], x: Tensor | None = None) -> Sequence[Tensor]:
    request = Denoise(MODEL, x_of() if x is None else x, SIGMA, conditionings)
    return Denoise.answer([request], context)[0]


def shown(x: Tensor, box: Box, value: float) -> Tensor:
    """What the toy predicts in a box."""
    return box.of(x) + value + 10 * box.of(x).mean()


WHOLE = Box(0, 0, SIZE, SIZE)
LEFT, RIGHT = Box(0, 0, SIZE, 10), Box(0, 6, SIZE, 10)


def area(box: Box) -> tuple[int, int, int, int]:
    return box.height, box.width, box.top, box.left


def test_areas_are_cut_out_evaluated_and_averaged_cell_by_cell(context: Context, toy: Toy) -> None:
    x = x_of()
    items = [item(1.0, area=area(LEFT)), item(5.0, area=area(RIGHT), strength=2.0), item(3.0, strength=0.5)]
    (answer,) = answered(context, items)
    total, weights = torch.zeros_like(x), torch.zeros(1, 1, SIZE, SIZE)
    for box, value, strength in ((LEFT, 1.0, 1.0), (RIGHT, 5.0, 2.0), (WHOLE, 3.0, 0.5)):
        fading = weight_map({}, None if box is WHOLE else box, x.shape)
        weight = (torch.ones(1, 1, SIZE, SIZE) if fading is None else fading) * strength
        box.of(total).add_(shown(x, box, value) * weight)
        box.of(weights).add_(weight)
    torch.testing.assert_close(answer, total / weights)
    assert sorted(toy.shapes) == [(1, 4, SIZE, SIZE), (2, 4, SIZE, 10)]


@st.composite
def items(draw: st.DrawFn) -> list[Any]:
    """An item with an area or none, a mask or none, and a strength."""
    options: dict[str, Any] = {"strength": draw(st.sampled_from([0.25, 1.0, 3.0]))}
    if draw(st.booleans()):
        top, left = draw(st.integers(0, SIZE - 1)), draw(st.integers(0, SIZE - 1))
        options["area"] = (draw(st.integers(1, SIZE)), draw(st.integers(1, SIZE)), top, left)
    if draw(st.booleans()):
        generator = torch.Generator().manual_seed(draw(st.integers(0, 9)))
        options["mask"] = torch.rand(draw(st.integers(1, 3)), SIZE, SIZE, generator=generator).round(decimals=1)
        options["mask_strength"] = draw(st.sampled_from([0.5, 1.0]))
    return item(draw(st.sampled_from([-1.0, 2.0, 5.0])), **options)


@settings(deadline=None, max_examples=60)
@given(st.lists(items(), min_size=1, max_size=4))
def test_every_cell_is_the_mean_of_what_counts_there(conditioning: list[Any]) -> None:
    toy, x = Toy(), x_of(2)
    models = Residency("cpu")
    models.register("model", lambda recipe, residency: Loaded(toy, 1))
    (answer,) = answered(Context(models=models), conditioning, x=x)
    for k in range(2):
        total, weights = torch.zeros(4, SIZE, SIZE), torch.zeros(SIZE, SIZE)
        for tokens, options in conditioning:
            height, width, top, left = options.get("area", (SIZE, SIZE, 0, 0))
            rows, columns = slice(top, min(top + height, SIZE)), slice(left, min(left + width, SIZE))
            crop = x[k, :, rows, columns]
            weight = torch.full(crop.shape[1:], options["strength"])
            if "mask" in options:
                masks = options["mask"]
                weight *= masks[k % len(masks), rows, columns] * options["mask_strength"]
            else:
                box = Box(top, left, *crop.shape[1:])
                fading = weight_map({}, None if box == WHOLE else box, x.shape)
                weight *= 1.0 if fading is None else fading[0, 0]
            total[:, rows, columns] += (crop + tokens.sum() + 10 * crop.mean()) * weight
            weights[rows, columns] += weight
        expected = torch.where(weights > 0, total / weights.clamp(min=1e-6), 0.0)
        torch.testing.assert_close(answer[k], expected, rtol=1e-4, atol=1e-4)


def test_where_no_area_lies_nothing_is_predicted(context: Context) -> None:
    box = Box(4, 4, 8, 8)
    (answer,) = answered(context, [item(1.0, area=area(box))])
    expected = torch.zeros(1, 4, SIZE, SIZE)
    box.of(expected).copy_(shown(x_of(), box, 1.0))
    torch.testing.assert_close(answer, expected)


def test_masks_divide_a_latent_between_items(context: Context) -> None:
    mask = torch.zeros(1, SIZE, SIZE)
    mask[..., :8] = 1
    x = x_of(2)
    first, second = item(1.0, mask=mask, strength=3.0), item(5.0, mask=1 - mask, mask_strength=0.25)
    (answer,) = answered(context, [first, second], x=x)
    values = torch.where(mask[:, None] == 1, 1.0, 5.0)
    torch.testing.assert_close(answer, x + values + 10 * x.mean((1, 2, 3), keepdim=True))


def test_the_bounds_of_a_mask_are_all_that_is_evaluated(context: Context, toy: Toy) -> None:
    mask = torch.zeros(1, SIZE, SIZE)
    box = Box(2, 3, 9, 10)
    box.of(mask).fill_(1.0)
    (answer,) = answered(context, [item(1.0, mask=mask, set_area_to_bounds=True), item(5.0, strength=1.0)])
    assert (1, 4, 9, 10) in toy.shapes
    expected = shown(x_of(), WHOLE, 5.0)
    box.of(expected).copy_((box.of(expected) + shown(x_of(), box, 1.0)) / 2)
    torch.testing.assert_close(answer, expected)


def test_an_area_is_guided_away_from_what_the_negative_says_of_that_area(context: Context) -> None:
    box = Box(0, 0, 8, 8)
    positive, negative = answered(context, [item(1.0, area=area(box)), item(2.0)], [item(-1.0)])
    fading = weight_map({}, box, x_of().shape)
    assert fading is not None
    expected = shown(x_of(), WHOLE, -1.0)
    mixed = (box.of(expected) + shown(x_of(), box, -1.0) * fading) / (1 + fading)
    box.of(expected).copy_(mixed)
    torch.testing.assert_close(negative, expected)
    assert not torch.equal(positive, negative)


def test_the_counterpart_of_an_area_is_the_smallest_that_holds_it(context: Context) -> None:
    small, large = Box(2, 2, 4, 4), Box(0, 0, 8, 8)
    negatives = [item(-1.0), item(-5.0, area=area(large)), item(-9.0, area=area(Box(8, 8, 8, 8)))]
    request = Denoise(MODEL, x_of(), SIGMA, ([item(1.0, area=area(small), strength=0.5)], negatives))
    ready = request.prompts.ready(request.x.shape, Toy(), Residency("cpu"))  # type: ignore[arg-type]
    found = {(i.box, float(i.tokens.sum())): i.strength for i in ready.items if i.column == 1}
    assert found[small, -5.0] == 0.5
    assert len(found) == 4
    positives = {(i.box, float(i.tokens.sum())) for i in ready.items if i.column == 0}
    assert positives == {(small, 1.0)}  # nothing of the positive lies around the negative's areas


def test_an_area_that_the_negative_has_too_is_evaluated_once(context: Context) -> None:
    box = Box(0, 0, 8, 8)
    request = Denoise(MODEL, x_of(), SIGMA, ([item(1.0, area=area(box))], [item(-1.0, area=area(box)), item(-2.0)]))
    assert len(request.prompts.ready(request.x.shape, Toy(), Residency("cpu")).items) == 3  # type: ignore[arg-type]


# memory


@pytest.mark.parametrize(("nbytes", "forwards"), [(10**8, [4]), (3 * 10**8, [2, 2])])
def test_what_is_too_much_at_once_is_evaluated_one_by_one(toy: Toy, nbytes: int, forwards: list[int]) -> None:
    toy.nbytes = nbytes  # for each latent
    models = Residency("cpu", 10**9)
    models.register("model", lambda recipe, residency: Loaded(toy, 1))
    x = x_of(2)
    answers = answered(Context(models=models), [item(1.0)], [item(5.0)], x=x)
    assert [shape[0] for shape in toy.shapes] == forwards
    for value, answer in zip((1.0, 5.0), answers, strict=True):
        torch.testing.assert_close(answer, x + value + 10 * x.mean((1, 2, 3), keepdim=True))


def test_where_the_device_runs_out_evaluations_stay_apart_for_the_steps_to_come(
    context: Context, toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict, held = toy.predict, []

    def limited(x: Tensor, *given: Any) -> Tensor:
        activation = torch.zeros(1)
        assert all(reference() is None for reference in held)  # what filled the memory is let go of
        if len(x) > 1:
            held.append(weakref.ref(activation))
            toy.shapes.append(tuple(x.shape))
            raise torch.OutOfMemoryError
        return predict(x, *given)

    monkeypatch.setattr(toy, "predict", limited)
    request = Denoise(MODEL, x_of(), SIGMA, ([item(1.0)], [item(5.0)]))
    first = Denoise.answer([request], context)[0]
    again = Denoise.answer([Denoise(MODEL, x_of(), SIGMA, request.prompts)], context)[0]
    assert all(torch.equal(*pair) for pair in zip(first, again, strict=True))
    assert [shape[0] for shape in toy.shapes] == [2, 1, 1, 1, 1]


# further inputs of the network


def sized(options: Mapping[str, Any], target: Target) -> dict[str, Tensor]:
    """Inputs from the size and a picture, as networks for inpainting have them."""
    picture = options.get("concat_latent_image", torch.zeros(1, 1, *target.shape[-2:]))
    width = torch.tensor([[float(options.get("width", target.size[1]))]])
    return {name: for_each(tensor, target.shape[0]) for name, tensor in (("width", width), (CONCAT, picture))}


def test_options_become_inputs_of_the_network_for_each_latent(context: Context, toy: Toy) -> None:
    toy.reads = sized
    x = x_of(2)
    first, second = answered(context, [item(1.0, width=1000)], [item(1.0)], x=x)
    common = x + 1 + 10 * x.mean((1, 2, 3), keepdim=True)
    torch.testing.assert_close(first, common + 1000)
    torch.testing.assert_close(second, common + SIZE * 8)
    assert toy.shapes == [(4, 4, SIZE, SIZE)]


def test_a_picture_beside_the_latent_is_cut_with_it(context: Context, toy: Toy) -> None:
    toy.reads = sized
    hint = torch.rand(1, 1, SIZE, SIZE)
    box = Box(0, 4, 8, 8)
    (answer,) = answered(context, [item(1.0, width=0, concat_latent_image=hint, area=area(box))])
    torch.testing.assert_close(box.of(answer), shown(x_of(), box, 1.0 + float(box.of(hint).sum())))


def test_requests_with_inputs_are_merged_as_they_are_alone(context: Context, toy: Toy) -> None:
    toy.reads = sized
    requests = [Denoise(MODEL, x_of(batch), SIGMA, ([item(1.0, width=batch)],)) for batch in (1, 2)]
    together = Denoise.answer(requests, context)
    assert toy.shapes == [(3, 4, SIZE, SIZE)]
    for request, merged in zip(requests, together, strict=True):
        torch.testing.assert_close(merged[0], Denoise.answer([request], context)[0][0])


# what steers it


class Hint:
    """Adds a number for each latent of a batch, above a noise level."""

    def __init__(self, value: float, above: float = 0.0) -> None:
        self.value, self.above = value, above
        self.calls: list[ControlledForward] = []

    def at(self, sigma: float, sampling: ModelSampling) -> Hint | None:
        return self if sigma > self.above else None

    def options(self, call: ControlledForward, context: Context) -> Mapping[str, Any]:
        self.calls.append(call)
        return {"residual": torch.tensor([[self.value + k] for k in call.latents])}


def test_what_steers_the_network_is_asked_at_each_forward(context: Context, toy: Toy) -> None:
    hint, x = Hint(100.0), x_of(2)
    first, second = answered(context, [item(1.0, control=hint)], [item(1.0, control=hint)], x=x)
    expected = x + 1 + 10 * x.mean((1, 2, 3), keepdim=True) + torch.tensor([100.0, 101.0]).view(2, 1, 1, 1)
    torch.testing.assert_close(first, expected)
    torch.testing.assert_close(second, expected)
    (call,) = hint.calls
    assert (call.box, call.size, list(call.latents)) == (None, (SIZE, SIZE), [0, 1, 0, 1])


def test_what_is_steered_and_what_is_not_are_forwards_apart(context: Context, toy: Toy) -> None:
    first, second = answered(context, [item(1.0, control=Hint(100.0))], [item(1.0)])
    torch.testing.assert_close(first - 100, second)
    assert len(toy.shapes) == 2


def test_what_does_nothing_at_a_noise_level_is_not_asked(context: Context, toy: Toy) -> None:
    hint = Hint(100.0, above=SIGMA)
    first, second = answered(context, [item(1.0, control=hint)], [item(1.0)])
    assert torch.equal(first, second)
    assert (hint.calls, len(toy.shapes)) == ([], 1)


def test_what_steers_the_positive_steers_a_negative_that_has_nothing_where_it_says_so(context: Context) -> None:
    hint = Hint(100.0)
    positive = [item(1.0, control=hint, control_apply_to_uncond=True)]
    first, second = answered(context, positive, [item(1.0)])
    assert torch.equal(first, second)
    _, own = answered(context, positive, [item(1.0, control=Hint(7.0))])
    torch.testing.assert_close(own, second - 93)


def test_what_steers_an_area_is_told_which(context: Context) -> None:
    hint, box = Hint(100.0), Box(4, 0, 8, 8)
    answered(context, [item(1.0, control=hint, area=area(box))])
    (call,) = hint.calls
    assert (call.box, call.size, tuple(call.x.shape)) == (box, (SIZE, SIZE), (1, 4, 8, 8))
