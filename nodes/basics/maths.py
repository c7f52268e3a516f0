"""Arithmetic on numbers, comparison, and the way between numbers and text."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field

from mezzotint.engine.errors import MezzotintError
from mezzotint.engine.node import node

WholeOperation = Literal["add", "subtract", "multiply", "floor divide", "modulo", "power", "min", "max"]
Operation = Literal["add", "subtract", "multiply", "divide", "floor divide", "modulo", "power", "min", "max"]
Function = Literal["absolute", "negate", "square root", "exponential", "logarithm", "sine", "cosine", "tangent"]
Rounding = Literal["nearest", "down", "up", "toward zero"]
Comparison = Literal["==", "!=", "<", "<=", ">", ">="]

MAX_BITS = 64
"""Whole numbers of more bits are refused; seeds have 64."""

_OPERATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": operator.truediv,
    "floor divide": operator.floordiv,
    "modulo": operator.mod,
    "power": operator.pow,
    "min": min,
    "max": max,
}
_FUNCTIONS: dict[str, Callable[[float], float]] = {
    "absolute": abs,
    "negate": operator.neg,
    "square root": math.sqrt,
    "exponential": math.exp,
    "logarithm": math.log,
    "sine": math.sin,
    "cosine": math.cos,
    "tangent": math.tan,
}
_ROUNDINGS: dict[str, Callable[[float], int]] = {
    "nearest": round,
    "down": math.floor,
    "up": math.ceil,
    "toward zero": math.trunc,
}
_COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_ORDERED = (int, float, str)


class MathsError(MezzotintError):
    """There is no such number: a division by zero, a root of a negative number, text that is no number."""


class ParsedNumber(NamedTuple):
    """A number read from text, as it is and rounded to a whole one."""

    number: float
    whole: int


@node("MathFloat", title="Math (Float)", category="utils/maths", aliases=("calculator", "arithmetic"))
def math_float(a: float = 0.0, b: float = 0.0, operation: Operation = "add") -> float:
    """Calculate with two numbers. Modulo takes the sign of b.

    Raises:
        MathsError: the result is no finite number, as in a division by zero.
    """
    try:
        result = _OPERATIONS[operation](a, b)
    except (ZeroDivisionError, OverflowError) as error:
        raise MathsError(_no_result(f"{a:g} {operation} {b:g}", error)) from None
    if isinstance(result, complex):
        raise MathsError(f"{a:g} power {b:g} is no real number; raise only positive numbers to fractions")
    return _finite(f"{a:g} {operation} {b:g}", float(result))


@node("MathInt", title="Math (Int)", category="utils/maths", aliases=("calculator", "arithmetic"))
def math_int(a: int = 0, b: int = 0, operation: WholeOperation = "add") -> int:
    """Calculate with two whole numbers. Floor divide rounds down, modulo takes the sign of b.

    Raises:
        MathsError: there is no such whole number, or it has more than 64 bits.
    """
    if operation == "power" and b < 0:
        raise MathsError(f"{a} power {b} is no whole number; use MathFloat")
    is_huge = operation == "power" and abs(a) > 1 and b > MAX_BITS
    try:
        result = 1 << (MAX_BITS + 1) if is_huge else int(_OPERATIONS[operation](a, b))
    except ZeroDivisionError as error:
        raise MathsError(_no_result(f"{a} {operation} {b}", error)) from None
    if result.bit_length() > MAX_BITS:
        raise MathsError(f"{a} {operation} {b} has more than {MAX_BITS} bits; use MathFloat for large numbers")
    return result


@node("MathUnary", title="Math (One Number)", category="utils/maths")
def math_unary(value: float = 0.0, function: Function = "absolute") -> float:
    """A function of one number. Angles are in radians, the logarithm is the natural one.

    Raises:
        MathsError: the function has no finite value there.
    """
    try:
        return _finite(f"the {function} of {value:g}", _FUNCTIONS[function](value))
    except (ValueError, OverflowError) as error:
        raise MathsError(_no_result(f"the {function} of {value:g}", error)) from None


@node("FloatToInt", title="Float to Int", category="utils/maths")
def float_to_int(value: float = 0.0, rounding: Rounding = "nearest") -> int:
    """Round a number to a whole one. Nearest takes the even neighbour of a half: 0.5 is 0, 1.5 is 2.

    Raises:
        MathsError: the number is infinite or none at all.
    """
    return _ROUNDINGS[rounding](_finite("the value", value))


@node("IntToFloat", title="Int to Float", category="utils/maths")
def int_to_float(value: int = 0) -> float:
    """A whole number for inputs that take any number.

    Raises:
        MathsError: it is too large for a float.
    """
    try:
        return float(value)
    except OverflowError as error:
        raise MathsError(_no_result("the value", error)) from None


@node("Compare", title="Compare", category="utils/maths", aliases=("equal", "greater", "less"))
def compare(a: Any, b: Any, operation: Comparison = "==") -> bool:
    """Compare two numbers or two texts. Texts are ordered letter by letter, capitals first.

    Raises:
        MathsError: the two have no order, or are no single values.
    """
    is_ordering = operation not in ("==", "!=")
    if is_ordering and not (isinstance(a, _ORDERED) and isinstance(b, _ORDERED)):
        raise _no_order(a, operation, b)
    try:
        result = _COMPARISONS[operation](a, b)
    except TypeError:
        raise _no_order(a, operation, b) from None
    if not isinstance(result, bool):
        raise MathsError(
            f"{type(a).__name__} and {type(b).__name__} are not compared as one value; "
            "link numbers or texts to 'a' and 'b'"
        )
    return result


@node("NumberToText", title="Number to Text", category="utils/string")
def number_to_text(
    number: int | float,
    decimals: Annotated[int, Field(ge=-1, le=17, description="Digits after the point; -1: as many as it takes.")] = -1,
) -> str:
    """A number as text."""
    return str(number) if decimals < 0 else f"{number:.{decimals}f}"


@node("TextToNumber", title="Text to Number", category="utils/string")
def text_to_number(text: str) -> ParsedNumber:
    """Read a number, such as 12, -0.5 or 1e3, out of a text that holds nothing else.

    Raises:
        MathsError: the text is no finite number.
    """
    try:
        number = _finite(f"the text {text!r}", float(text))
        return ParsedNumber(number, round(number) if not text.strip().lstrip("+-").isdecimal() else int(text))
    except ValueError:
        raise MathsError(f"{text!r} is no number; give one such as 12, -0.5 or 1e3") from None


def _finite(what: str, number: float) -> float:
    if not math.isfinite(number):
        raise MathsError(f"{what} is {number}, which is no finite number; use smaller numbers")
    return number


def _no_result(what: str, error: Exception) -> str:
    if isinstance(error, ZeroDivisionError):
        return f"{what} divides by zero; give a number other than 0"
    if isinstance(error, OverflowError):
        return f"{what} is too large for a number; use smaller numbers"
    return f"{what} is no real number; give another value"


def _no_order(a: Any, operation: str, b: Any) -> MathsError:
    kinds = f"{type(a).__name__} {operation} {type(b).__name__}"
    return MathsError(f"{kinds} has no answer; compare two numbers or two texts")
