"""How texts are laid out for people, and left alone for pipes."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.table import Table

from mezzotint.cli.terminal import Terminal, plain, sentence, wrapped

ADDRESS = "https://example.org/" + "long-name/" * 5


def console(*, is_terminal: bool) -> Console:
    return Console(file=io.StringIO(), width=40, force_terminal=is_terminal)


def test_lines_are_as_wide_as_the_terminal_and_addresses_stay_whole() -> None:
    text = f"Some words that are too many for one line.\n  get it from {ADDRESS}"
    lines = wrapped(text, console(is_terminal=True)).split("\n")
    assert lines == ["Some words that are too many for one", "line.", "  get it from", f"  {ADDRESS}"]


def test_in_a_pipe_a_text_stays_as_it_is() -> None:
    assert wrapped("word " * 30, console(is_terminal=False)) == "word " * 30


def test_a_table_in_a_pipe_is_not_cut(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table.grid(padding=(0, 2))
    table.add_row("name", "x" * 500)
    Terminal().show(table)
    assert capsys.readouterr().out == f"name  {'x' * 500}\n"


def test_markup_in_a_text_is_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal().fail("the input [red]x[/red]")
    assert capsys.readouterr().err == "Error: the input [red]x[/red].\n"


@pytest.mark.parametrize(("text", "expected"), [("a\x1b[2Jb", "a�[2Jb"), ("a\tb\nc", "a\tb\nc"), ("“é”", "“é”")])
def test_control_characters_are_replaced(text: str, expected: str) -> None:
    assert plain(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("broken", "broken."), ("meant?", "meant?"), ("as follows:\n", "as follows:")]
)
def test_a_sentence_ends_as_one(text: str, expected: str) -> None:
    assert sentence(text) == expected
