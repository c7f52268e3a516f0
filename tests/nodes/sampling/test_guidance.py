"""How predictions are combined: guidance, and the mean over the items of a conditioning."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from mezzotint import Context
from mezzotint.engine.errors import OutOfMemoryError
from mezzotint.engine.request import drive
from mezzotint.engine.residency import Loaded, Residency
from mezzotint.engine.value_type import canonical, pack, unpack
from mezzotint.nodes.models.recipe import Recipe, Source
from mezzotint.nodes.samplers.schedules import DiscreteSigmas
from mezzotint.nodes.sampling.denoise import Denoise
from mezzotint.nodes.sampling.guidance import BasicGuider, CFGGuider, guided
from mezzotint.nodes.sampling.model_sampling import ModelSampling
from mezzotint.nodes.sampling.noise_value import NoNoise, SeededNoise
from mezzotint.nodes.sampling.prompts import ConditioningError, Prompts
from mezzotint.nodes.sampling.sampler_value import DiffusersSampler, NamedSampler

MODEL = Recipe("model", Source("checkpoints", "toy", "0"))
SIGMA = 2.0


class Sums:
    """A denoiser whose prediction is x plus the sum of the tokens, so that what was evaluated is seen in the answer."""

    def __init__(self, most: int = 100) -> None:
        self.sampling = ModelSampling(DiscreteSigmas.from_config(), "epsilon", 4, 8, 1.0, 0.0, {})
        self.device = torch.device("cpu")
        self.conditioning_width, self.dtype = None, torch.float32
        self.most = most
        self.batches: list[int] = []

    def estimate_nbytes(self, shape: Sequence[int]) -> int:
        return 1

    def inputs(self, options: Any, target: Any) -> dict[str, Tensor]:
        return {}

    def predict(self, x: Tensor, sigma: float | Sequence[float], tokens: Tensor, inputs: Any = None) -> Tensor:
        assert len(x) == len(tokens)
        assert isinstance(sigma, float) or len(sigma) == len(x)
        if len(x) > self.most:
            raise torch.OutOfMemoryError
        self.batches.append(len(x))
        return x + tokens.sum((1, 2)).view(-1, 1, 1, 1)


@pytest.fixture
def denoiser() -> Sums:
    return Sums()


@pytest.fixture
def context(denoiser: Sums) -> Context:
    models = Residency("cpu")
    models.register("model", lambda recipe, residency: Loaded(denoiser, 1))
    return Context(models=models)


def item(value: float, tokens: int = 1, **options: Any) -> list[Any]:
    return [torch.full((1, tokens, 1), value / tokens), options]


def x_of(batch: int = 1) -> Tensor:
    return torch.randn(batch, 4, 2, 2, generator=torch.Generator().manual_seed(1))


def predictions(context: Context, *conditionings: list[Any], sigma: float = SIGMA, batch: int = 1) -> list[float]:
    """What is predicted beyond x, for each conditioning."""
    x = x_of(batch)
    answer = Denoise.answer([Denoise(MODEL, x, sigma, conditionings)], context)[0]
    return [float((denoised - x).mean()) for denoised in answer]


def test_each_conditioning_gets_its_own_prediction(context: Context) -> None:
    assert predictions(context, [item(1.0)], [item(5.0)]) == pytest.approx([1.0, 5.0], abs=1e-6)


def test_conditionings_of_equal_length_are_one_forward(context: Context, denoiser: Sums) -> None:
    predictions(context, [item(1.0)], [item(5.0), item(2.0)], batch=2)
    assert denoiser.batches == [6]


def test_conditionings_of_different_length_are_a_forward_each(context: Context, denoiser: Sums) -> None:
    assert predictions(context, [item(1.0, tokens=3)], [item(5.0)]) == pytest.approx([1.0, 5.0], abs=1e-6)
    assert denoiser.batches == [1, 1]


def test_the_items_of_a_conditioning_are_averaged_by_their_strength(context: Context) -> None:
    both = [item(1.0), item(5.0)]
    weighed = [item(1.0, strength=3.0), item(5.0)]
    alone = [item(1.0, strength=0.3)]
    expected = [3.0, (3 * 1.0 + 5.0) / 4, 1.0]
    assert predictions(context, both, weighed, alone) == pytest.approx(expected, abs=1e-6)


def test_an_item_counts_only_within_its_range_of_timesteps(context: Context) -> None:
    levels = DiscreteSigmas.from_config()
    early, late = item(1.0, start_percent=0.0, end_percent=0.5), item(5.0, start_percent=0.5, end_percent=1.0)
    middle = levels.percent_to_sigma(0.5)
    for sigma, expected in ((middle * 2, 1.0), (middle / 2, 5.0), (middle, 3.0)):
        assert predictions(context, [early, late], sigma=sigma) == pytest.approx([expected], abs=1e-6)


def test_where_no_item_counts_the_prediction_is_zero(context: Context) -> None:
    x = x_of()
    nothing: list[list[Any]] = [[], [item(1.0, strength=0.0)], [item(1.0, end_percent=0.1)]]
    for conditioning in nothing:
        (answer,) = Denoise.answer([Denoise(MODEL, x, 0.1, (conditioning,))], context)
        assert torch.equal(answer[0], torch.zeros_like(x))


def test_one_text_serves_a_whole_batch_and_several_texts_take_turns(context: Context) -> None:
    x = x_of(4)
    two_texts = [[torch.tensor([1.0, 5.0]).view(2, 1, 1), {}]]
    (answer,) = Denoise.answer([Denoise(MODEL, x, SIGMA, ([item(2.0)], two_texts))], context)
    assert (answer[0] - x).mean((1, 2, 3)).tolist() == pytest.approx([2.0] * 4, abs=1e-6)
    assert (answer[1] - x).mean((1, 2, 3)).tolist() == pytest.approx([1.0, 5.0, 1.0, 5.0], abs=1e-6)


@pytest.mark.parametrize("option", ["attention_mask", "something_new"])
def test_an_option_that_is_not_done_is_refused_by_name(context: Context, option: str) -> None:
    with pytest.raises(ConditioningError, match=f"'{option}'"):
        predictions(context, [item(1.0, **{option: 1})])


def test_prompts_are_prepared_once_for_all_steps_of_a_batch(denoiser: Any) -> None:
    prompts = Prompts(([item(1.0)], [item(5.0)]))
    ready = prompts.ready((2, 4, 8, 8), denoiser, Residency("cpu"))
    assert prompts.ready((2, 4, 8, 8), denoiser, Residency("cpu")) is ready
    assert ready.joined is not None
    assert ready.joined.flatten().tolist() == [1.0, 1.0, 5.0, 5.0]
    assert prompts.ready((1, 4, 8, 8), denoiser, Residency("cpu")) is not ready


def test_options_of_other_families_of_models_change_nothing(context: Context) -> None:
    given = item(1.0, pooled_output=torch.ones(1, 4), width=512, guidance=3.5)
    assert predictions(context, [given]) == pytest.approx([1.0], abs=1e-6)


def test_what_is_too_much_together_is_done_one_by_one() -> None:
    denoiser = Sums(most=2)
    models = Residency("cpu")
    models.register("model", lambda recipe, residency: Loaded(denoiser, 1))
    requests = [Denoise(MODEL, x_of(), SIGMA, ([item(value)], [item(0.0)])) for value in (1.0, 2.0)]
    answers = Denoise.answer(requests, Context(models=models))
    assert [round(float((answer[0] - x_of()).mean()), 5) for answer in answers] == [1.0, 2.0]
    assert denoiser.batches == [2, 2]


def test_a_request_that_is_too_much_by_itself_is_refused_in_words() -> None:
    models = Residency("cpu")
    models.register("model", lambda recipe, residency: Loaded(Sums(most=1), 1))
    request = Denoise(MODEL, x_of(2), SIGMA, ([item(1.0)],))
    with pytest.raises(OutOfMemoryError, match="sampling 2 pictures of 16×16"):
        Denoise.answer([request], Context(models=models))


def predicted(guider: Any, context: Context) -> Tensor:
    result: Tensor = drive(guider.predict(x_of(), SIGMA), context)
    return result - x_of()


def test_guidance_goes_from_the_negative_past_the_positive(context: Context) -> None:
    guider = CFGGuider(MODEL, [item(3.0)], [item(1.0)], 4.0)
    assert float(predicted(guider, context).mean()) == pytest.approx(1.0 + (3.0 - 1.0) * 4.0, abs=1e-5)
    a, b = torch.randn(2, 1, 4, 2, 2).unbind()
    assert torch.equal(guided(a, b, 4.0), b + (a - b) * 4.0)


def test_a_guidance_scale_of_one_leaves_the_negative_out(context: Context, denoiser: Sums) -> None:
    guider = CFGGuider(MODEL, [item(3.0)], [item(1.0)], 1.0)
    assert float(predicted(guider, context).mean()) == pytest.approx(3.0, abs=1e-6)
    assert (denoiser.batches, guider.evaluations) == ([1], 1)


def test_a_basic_guider_gives_the_prediction_as_it_is(context: Context, denoiser: Sums) -> None:
    guider = BasicGuider(MODEL, [item(3.0)])
    assert float(predicted(guider, context).mean()) == pytest.approx(3.0, abs=1e-6)
    assert denoiser.batches == [1]


@pytest.mark.parametrize(
    "value",
    [
        NamedSampler("euler_ancestral", (("eta", 0.5),)),
        DiffusersSampler("DDIMScheduler", (("timestep_spacing", "leading"),)),
        SeededNoise(2**64 - 1),
        NoNoise(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_samplers_and_noise_can_be_compared_named_and_stored(value: Any) -> None:
    assert unpack(pack(value)) == value
    assert hash(unpack(pack(value))) == hash(value)
    assert b"".join(canonical(value))


def test_a_guider_can_be_named_and_stored() -> None:
    guider = CFGGuider(MODEL, [item(3.0)], [item(1.0)], 4.0)
    again = unpack(pack(guider))
    assert (again.model, again.cfg) == (MODEL, 4.0)
    assert torch.equal(again.positive[0][0], guider.positive[0][0])
    assert [*canonical(again)] == [*canonical(guider)]
    assert [*canonical(guider)] != [*canonical(CFGGuider(MODEL, [item(3.0)], [item(1.0)], 5.0))]


def test_requests_group_by_model_size_and_type_and_not_by_batch() -> None:
    request = Denoise(MODEL, x_of(1), SIGMA, ())
    assert request.group() == Denoise(MODEL, x_of(3), 9.0, ([item(1.0)],)).group()
    assert request.group() != Denoise(MODEL.with_option("a", 1), x_of(1), SIGMA, ()).group()
    assert request.group() != Denoise(MODEL, x_of(1).double(), SIGMA, ()).group()
    assert request.group() != Denoise(MODEL, torch.zeros(1, 4, 2, 3), SIGMA, ()).group()


def test_a_prediction_is_a_generator_and_asks_for_one_thing() -> None:
    body: Generator[Any, Any, Tensor] = CFGGuider(MODEL, [item(3.0)], [item(1.0)], 4.0).predict(x_of(), SIGMA)
    request = next(body)
    assert isinstance(request, Denoise)
    assert len(request.prompts.conditionings) == 2
    body.close()
