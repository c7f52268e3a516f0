"""Plain values pass through, and any value can be shown as text."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from mezzotint.engine.context import Context
from mezzotint.engine.input_spec import InputError
from mezzotint.engine.registry import Registry
from mezzotint.nodes.basics.primitive import (
    preview_any,
    primitive_boolean,
    primitive_float,
    primitive_int,
    primitive_string,
    primitive_string_multiline,
    reroute,
    string_concatenate,
)


def shown(value: Any) -> str:
    ctx = Context()
    preview_any(value, ctx=ctx)
    (text,) = ctx.shown["text"]
    assert isinstance(text, str)
    return text


def test_values_pass_through() -> None:
    assert primitive_int(-3) == -3
    assert primitive_float(0.5) == 0.5
    assert primitive_string("a") == "a"
    assert primitive_string_multiline("a\nb") == "a\nb"
    assert primitive_boolean(True) is True


def test_a_reroute_gives_the_very_value() -> None:
    value = object()
    assert reroute(value) is value


def test_texts_are_joined_by_the_delimiter() -> None:
    assert string_concatenate("a", "b", ", ") == "a, b"
    assert string_concatenate("", "b", "-") == "-b"


def test_a_whole_number_has_63_bits() -> None:
    number = Registry().register(primitive_int).inputs["value"]
    assert number.read(2**63 - 1) == 2**63 - 1
    with pytest.raises(InputError):
        number.read(2**63)


@pytest.mark.parametrize(
    ("value", "text"), [("as it is", "as it is"), (3, "3"), (0.5, "0.5"), (True, "True"), (None, "None")]
)
def test_plain_values_are_shown_as_they_are(value: object, text: str) -> None:
    assert shown(value) == text


def test_containers_are_shown_as_json() -> None:
    value = {"size": [1, 2.5, None], "name": "Größe"}
    assert json.loads(shown(value)) == value
    assert "Größe" in shown(value)


def test_what_is_in_a_container_and_not_in_json_is_shown_as_text() -> None:
    assert json.loads(shown([torch.zeros(2), {1}])) == ["float32 [2], 0 to 0, mean 0", "{1}"]


def test_containers_that_json_cannot_hold_are_shown_anyhow() -> None:
    assert shown({(1, 2): "pair"}) == "{(1, 2): 'pair'}"
    circle: list[Any] = [1]
    circle.append(circle)
    assert shown(circle) == "[1, [...]]"


@pytest.mark.parametrize(
    ("tensor", "text"),
    [
        (torch.tensor([[0.0, 1.0]]), "float32 [1, 2], 0 to 1, mean 0.5"),
        (torch.tensor([1, 4], dtype=torch.int64), "int64 [2], 1 to 4, mean 2.5"),
        (torch.tensor([1.0, 2.0], dtype=torch.bfloat16), "bfloat16 [2], 1 to 2, mean 1.5"),
        (torch.zeros(0, 4), "float32 [0, 4]"),
        (torch.tensor([True]), "bool [1]"),
        (np.array([1.0, 3.0]), "float64 [2], 1 to 3, mean 2"),
    ],
)
def test_tensors_are_summed_up(tensor: object, text: str) -> None:
    assert shown(tensor) == text
