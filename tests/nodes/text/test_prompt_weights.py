from __future__ import annotations

import math
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mezzotint.nodes.text.prompt_weights import parse_weights


def parsed(prompt: str) -> list[tuple[str, float]]:
    """The pieces without the spaces around them, weights to nine digits; pieces of spaces only are left out."""
    pieces = [(text.strip(), round(weight, 9)) for text, weight in parse_weights(prompt)]
    return [piece for piece in pieces if piece[0]]


@pytest.mark.parametrize(
    ("prompt", "pieces"),
    [
        ("", []),
        ("a red apple", [("a red apple", 1.0)]),
        ("a (red) apple", [("a", 1.0), ("red", 1.1), ("apple", 1.0)]),
        ("((x))", [("x", 1.21)]),
        ("(((x)))", [("x", 1.331)]),
        ("(x:1.5)", [("x", 1.5)]),
        ("(x:-0.5)", [("x", -0.5)]),
        ("(x:0)", [("x", 0.0)]),
        ("(x: 1.3 )", [("x", 1.3)]),
        ("(a:b:1.4)", [("a:b", 1.4)]),
        ("(a (b:2) c:1.5)", [("a", 1.5), ("b", 2.0), ("c", 1.5)]),
        ("((b:2) c)", [("b", 2.0), ("c", 1.1)]),
        ("((x):1.5)", [("x", 1.65)]),
        ("(a, b:)", [("a, b:", 1.1)]),
        ("(:1.2)", [(":1.2", 1.1)]),
        ("(a (b:2))", [("a", 1.1), ("b", 2.0)]),
        ("(a:1.2 (b))", [("a:1.2", 1.1), ("b", 1.21)]),
        ("a:1.5", [("a:1.5", 1.0)]),
        (r"a \(b\)", [("a (b)", 1.0)]),
        (r"(a \(b\):1.3)", [("a (b)", 1.3)]),
        (r"\((x)\)", [("(", 1.0), ("x", 1.1), (")", 1.0)]),
        ("C:\\dir\\", [("C:\\dir\\", 1.0)]),
        (r"\\(x\\)", [(r"\(x\)", 1.0)]),
        ("[x] BREAK AND <lora:a:1>", [("[x] BREAK AND <lora:a:1>", 1.0)]),
        ("()", []),
        ("a () b", [("a", 1.0), ("b", 1.0)]),
        ("(()())", []),
        ("(a", [("(a", 1.0)]),
        ("a)", [("a)", 1.0)]),
        ("(a (d)", [("(a", 1.0), ("d", 1.1)]),
        ("a) (b)", [("a)", 1.0), ("b", 1.1)]),
        (")(", [(")(", 1.0)]),
        ("(x:nan)", [("x:nan", 1.1)]),
        ("(x:inf)", [("x:inf", 1.1)]),
        ("embedding:name (embedding:other:1.2)", [("embedding:name", 1.0), ("embedding:other", 1.2)]),
    ],
)
def test_weights_are_read_as_existing_prompts_mean_them(prompt: str, pieces: list[tuple[str, float]]) -> None:
    assert parsed(prompt) == pieces


def test_spaces_belong_to_the_piece_they_stand_in() -> None:
    assert [text for text, _ in parse_weights("a (b ) c")] == ["a ", "b ", " c"]


@given(st.text(st.sampled_from("ab:1.()\\ \n"), max_size=60))
def test_no_prompt_is_an_error_and_only_syntax_is_lost(prompt: str) -> None:
    pieces = parse_weights(prompt)
    assert all(math.isfinite(weight) and text for text, weight in pieces)
    assert "".join(text for text, _ in pieces).count("a") == prompt.count("a")


def test_nesting_deeper_than_the_stack_of_python_is_no_problem() -> None:
    depth = sys.getrecursionlimit() * 2
    (piece,) = parse_weights("(" * depth + "x" + ")" * depth)
    assert piece.text == "x"


def test_parsing_does_not_import_torch() -> None:
    import subprocess

    code = "import sys, mezzotint.nodes.text.prompt_weights; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
