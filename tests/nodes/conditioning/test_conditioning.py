from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from mezzotint import Context
from mezzotint.engine.signature import read_node
from mezzotint.nodes.conditioning.conditioning import (
    ConditioningMismatchError,
    average,
    combine,
    concat,
    encode_text,
    flux_guidance,
    set_last_layer,
    zero_out,
)
from mezzotint.nodes.models.checkpoints import Checkpoint


def conditioning(*lengths: int, width: int = 4, pooled: bool = True, seed: int = 0) -> list[Any]:
    generator = torch.Generator().manual_seed(seed)
    items = []
    for length in lengths:
        options = {"pooled_output": torch.randn(1, width, generator=generator)} if pooled else {}
        items.append([torch.randn(1, length, width, generator=generator), {**options, "strength": 0.5}])
    return items


def copied(items: list[Any]) -> list[Any]:
    return [
        [tokens.clone(), {k: v.clone() if isinstance(v, Tensor) else v for k, v in options.items()}]
        for tokens, options in items
    ]


def assert_same(items: list[Any], others: list[Any]) -> None:
    for (tokens, options), (other_tokens, other_options) in zip(items, others, strict=True):
        assert torch.equal(tokens, other_tokens)
        assert options.keys() == other_options.keys()
        assert all(torch.equal(torch.as_tensor(options[k]), torch.as_tensor(other_options[k])) for k in options)


def test_combining_keeps_every_item_as_it_is() -> None:
    first, second = conditioning(3), conditioning(5, 2)
    assert combine(first, second) == [*first, *second]


def test_concat_appends_the_tokens_of_the_first_item_to_each() -> None:
    to, source = conditioning(3, 4), conditioning(2, 9, seed=1)
    joined = concat(to, source)
    assert [tokens.shape[1] for tokens, _ in joined] == [5, 6]
    for (tokens, options), (before, before_options) in zip(joined, to, strict=True):
        assert torch.equal(tokens[:, : before.shape[1]], before)
        assert torch.equal(tokens[:, before.shape[1] :], source[0][0])
        assert options == before_options


@pytest.mark.parametrize(("from_length", "label"), [(3, "equal"), (5, "cut"), (2, "padded")])
def test_average_mixes_tokens_and_pooled_outputs(from_length: int, label: str) -> None:
    to, source = conditioning(3), conditioning(from_length, seed=1)
    ((tokens, options),) = average(to, source, 0.25)
    other = torch.zeros(1, 3, 4)
    other[:, : min(3, from_length)] = source[0][0][:, :3]
    torch.testing.assert_close(tokens, to[0][0] * 0.25 + other * 0.75)
    pooled = to[0][1]["pooled_output"] * 0.25 + source[0][1]["pooled_output"] * 0.75
    torch.testing.assert_close(options["pooled_output"], pooled)
    assert options["strength"] == 0.5


def test_average_takes_a_pooled_output_that_only_one_side_has() -> None:
    bare, full = conditioning(3, pooled=False), conditioning(3, seed=1)
    torch.testing.assert_close(average(bare, full, 0.3)[0][1]["pooled_output"], full[0][1]["pooled_output"])
    assert average(full, bare, 0.3)[0][1]["pooled_output"] is full[0][1]["pooled_output"]


def test_zeroing_out_keeps_shapes_and_other_options() -> None:
    (tokens, options), (_, bare) = zero_out([*conditioning(3), *conditioning(2, pooled=False)])
    assert tokens.shape == (1, 3, 4)
    assert not tokens.any()
    assert not options["pooled_output"].any()
    assert bare == {"strength": 0.5}


@pytest.mark.parametrize("join", [concat, average])
def test_conditionings_of_different_encoders_are_refused(join: Any) -> None:
    with pytest.raises(ConditioningMismatchError, match=r"conditioning_to has 4 numbers a token and .* 8; encode"):
        join(conditioning(3), conditioning(3, width=8))


@pytest.mark.parametrize("join", [concat, average])
def test_nothing_to_join_is_refused(join: Any) -> None:
    with pytest.raises(ConditioningMismatchError, match="conditioning_from is empty"):
        join(conditioning(3), [])


def test_the_guidance_of_models_that_guide_themselves_is_an_option() -> None:
    ((_, options),) = flux_guidance(conditioning(3), 2.5)
    assert (options["guidance"], options["strength"]) == (2.5, 0.5)


def test_no_node_changes_its_inputs() -> None:
    to, source = conditioning(3, 4), conditioning(5, seed=1)
    before = copied(to), copied(source)
    combine(to, source)
    concat(to, source)
    average(to, source, 0.5)
    zero_out(to)
    assert_same(to, before[0])
    assert_same(source, before[1])


def test_encoding_a_prompt_is_what_the_borrowed_encoder_does(embedded: Checkpoint, model_context: Context) -> None:
    encoded = encode_text("a (red:1.2) apple", embedded.CLIP, ctx=model_context)
    with model_context.models.borrow(embedded.CLIP) as encoder:
        assert_same(encoded, encoder.encode("a (red:1.2) apple"))


def test_the_last_layer_is_an_option_of_the_recipe(embedded: Checkpoint) -> None:
    assert set_last_layer(embedded.CLIP, -2).options == (("stop_at_clip_layer", -2),)
    assert set_last_layer(set_last_layer(embedded.CLIP, -2), -1).options == (("stop_at_clip_layer", -1),)


def test_inputs_are_in_the_order_that_saved_workflows_have() -> None:
    specs = [read_node(function) for function in (encode_text, set_last_layer, combine, concat, average, zero_out)]
    assert {spec.name: list(spec.inputs) for spec in specs} == {
        "CLIPTextEncode": ["text", "clip"],
        "CLIPSetLastLayer": ["clip", "stop_at_clip_layer"],
        "ConditioningCombine": ["conditioning_1", "conditioning_2"],
        "ConditioningConcat": ["conditioning_to", "conditioning_from"],
        "ConditioningAverage": ["conditioning_to", "conditioning_from", "conditioning_to_strength"],
        "ConditioningZeroOut": ["conditioning"],
    }
