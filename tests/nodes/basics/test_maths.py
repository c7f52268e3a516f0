"""Arithmetic gives numbers or a sentence, never an infinity, a NaN or a traceback."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from mezzotint.nodes.basics.maths import (
    MathsError,
    compare,
    float_to_int,
    int_to_float,
    math_float,
    math_int,
    math_unary,
    number_to_text,
    text_to_number,
)

FLOATS = [
    ("add", 9.5), ("subtract", 5.5), ("multiply", 15.0), ("divide", 3.75), ("floor divide", 3.0), ("modulo", 1.5),
    ("power", 56.25), ("min", 2.0), ("max", 7.5),
]  # fmt: skip
INTS = [
    ("add", -5), ("subtract", -9), ("multiply", -14), ("floor divide", -4), ("modulo", 1), ("power", 49), ("min", -7),
    ("max", 2),
]  # fmt: skip


@pytest.mark.parametrize(("operation", "expected"), FLOATS)
def test_floats(operation: Any, expected: float) -> None:
    assert math_float(7.5, 2.0, operation) == expected


@pytest.mark.parametrize(("operation", "expected"), INTS)
def test_whole_numbers(operation: Any, expected: int) -> None:
    result = math_int(-7, 2, operation)
    assert result == expected
    assert type(result) is int


@pytest.mark.parametrize("operation", ["divide", "floor divide", "modulo"])
def test_dividing_by_zero_is_a_sentence(operation: Any) -> None:
    with pytest.raises(MathsError, match=rf"1 {operation} 0 divides by zero; give a number other than 0"):
        math_float(1.0, 0.0, operation)


@pytest.mark.parametrize("operation", ["floor divide", "modulo"])
def test_dividing_whole_numbers_by_zero_is_a_sentence(operation: Any) -> None:
    with pytest.raises(MathsError, match=rf"1 {operation} 0 divides by zero"):
        math_int(1, 0, operation)


@pytest.mark.parametrize(
    ("a", "b", "operation", "message"),
    [
        (10.0, 400.0, "power", "too large"),
        (1e308, 1e308, "add", "is inf, which is no finite number"),
        (-8.0, 0.5, "power", "is no real number"),
        (0.0, -1.0, "power", "divides by zero"),
        (math.inf, math.inf, "subtract", "is nan"),
    ],
)
def test_what_is_no_finite_number_is_a_sentence(a: float, b: float, operation: Any, message: str) -> None:
    with pytest.raises(MathsError, match=message):
        math_float(a, b, operation)


def test_whole_numbers_reach_as_far_as_seeds() -> None:
    assert math_int(2**63, 2**63 - 1, "add") == 2**64 - 1
    assert math_int(2, 63, "power") == 2**63
    with pytest.raises(MathsError, match="more than 64 bits"):
        math_int(2**63, 2, "multiply")


def test_a_huge_power_is_refused_without_computing_it() -> None:
    with pytest.raises(MathsError, match="more than 64 bits"):
        math_int(10, 10**12, "power")
    assert math_int(-1, 10**12 + 1, "power") == -1


def test_a_negative_power_of_a_whole_number_is_a_sentence() -> None:
    with pytest.raises(MathsError, match="2 power -1 is no whole number; use MathFloat"):
        math_int(2, -1, "power")


@pytest.mark.parametrize(
    ("function", "value", "expected"),
    [
        ("absolute", -2.0, 2.0), ("negate", -2.0, 2.0), ("square root", 9.0, 3.0), ("exponential", 0.0, 1.0),
        ("logarithm", math.e, 1.0), ("sine", math.pi / 2, 1.0), ("cosine", math.pi, -1.0), ("tangent", 0.0, 0.0),
    ],
)  # fmt: skip
def test_functions_of_one_number(function: Any, value: float, expected: float) -> None:
    assert math_unary(value, function) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("function", "value"), [("square root", -1.0), ("logarithm", 0.0), ("exponential", 1e4), ("sine", math.inf)]
)
def test_a_function_without_value_there_is_a_sentence(function: Any, value: float) -> None:
    with pytest.raises(MathsError, match=f"the {function} of"):
        math_unary(value, function)


@pytest.mark.parametrize(
    ("rounding", "expected"),
    [("nearest", [-2, 2, 2]), ("down", [-3, 1, 2]), ("up", [-2, 2, 3]), ("toward zero", [-2, 1, 2])],
)
def test_rounding(rounding: Any, expected: list[int]) -> None:
    assert [float_to_int(value, rounding) for value in (-2.5, 1.75, 2.5)] == expected


def test_an_infinite_number_is_not_rounded() -> None:
    with pytest.raises(MathsError, match="no finite number"):
        float_to_int(math.nan)


def test_whole_numbers_become_floats() -> None:
    assert type(int_to_float(3)) is float
    with pytest.raises(MathsError, match="too large"):
        int_to_float(10**400)


@pytest.mark.parametrize(
    ("a", "operation", "b", "expected"),
    [
        (1, "==", 1.0, True), (1, "!=", 2, True), (1, "<", 2.5, True), (2, "<=", 2, True), (1, ">", 2, False),
        (1, ">=", 2, False), ("a", "<", "b", True), ("1", "==", 1, False), (None, "==", None, True),
        ([1, 2], "==", [1, 2], True),
    ],
)  # fmt: skip
def test_comparisons(a: object, operation: Any, b: object, expected: bool) -> None:
    assert compare(a, b, operation) is expected


@pytest.mark.parametrize(("a", "b"), [(1, "2"), (None, 1), ([1], [2])])
def test_what_has_no_order_is_a_sentence(a: object, b: object) -> None:
    with pytest.raises(MathsError, match="has no answer; compare two numbers or two texts"):
        compare(a, b, "<")


def test_tensors_are_not_compared_as_one_value() -> None:
    with pytest.raises(MathsError, match="Tensor and Tensor are not compared as one value"):
        compare(torch.zeros(2), torch.zeros(2))


@pytest.mark.parametrize(
    ("number", "decimals", "text"), [(3, -1, "3"), (0.1, -1, "0.1"), (1 / 3, 2, "0.33"), (3, 2, "3.00"), (2.5, 0, "2")]
)
def test_numbers_as_text(number: int | float, decimals: int, text: str) -> None:
    assert number_to_text(number, decimals) == text


@pytest.mark.parametrize(
    ("text", "number", "whole"),
    [(" 12\n", 12.0, 12), ("-0.5", -0.5, 0), ("1e3", 1000.0, 1000), ("18446744073709551615", 2.0**64, 2**64 - 1)],
)
def test_text_as_numbers(text: str, number: float, whole: int) -> None:
    assert text_to_number(text) == (number, whole)


@pytest.mark.parametrize("text", ["", "twelve", "1,5", "--1", "inf", "nan"])
def test_text_that_is_no_number_is_a_sentence(text: str) -> None:
    with pytest.raises(MathsError, match=r"is (inf|nan|no number)"):
        text_to_number(text)
