"""docs/errors.md has each error there is, what it says in a real run, and each type that the wire knows."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest

from mezzotint.cli import exit_code
from mezzotint.engine.problem import ProblemCode
from mezzotint.server.error_shape import InputRefusal, Refusal
from mezzotint.server.job_report import BLOCKED, NOT_RUN, WIRE_TYPES

from .error_examples import EXAMPLES, provoked

ROOT = Path(__file__).parents[2]
FOLDERS = ("engine", "nodes", "plugins", "server", "client", "cli", "testing")
PAGE = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^### (\w+)\n(.*?)(?=^##)", PAGE, re.DOTALL | re.MULTILINE))


@cache
def error_classes() -> set[str]:
    """The classes below `MezzotintError` that the sources define; to import or parse all of them would take seconds."""
    files = (path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
    found = {
        name: {*re.findall(r"\w+", bases)}
        for path in files
        for name, bases in re.findall(r"^ *class (\w+)\(([^)]*)\):", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    known = {"MezzotintError"}
    while more := {name for name, bases in found.items() if bases & known} - known:
        known |= more
    return known - {"MezzotintError"}


def test_every_error_has_a_section_and_an_example_and_there_are_no_others() -> None:
    """Whoever adds a class writes what it means into docs/errors.md, and how it comes about into error_examples.py."""
    assert {*SECTIONS} == error_classes()
    assert {*EXAMPLES} == error_classes()


@pytest.mark.parametrize("name", SECTIONS)
async def test_the_sentence_is_the_one_that_a_real_run_says(name: str, tmp_path: Path) -> None:
    error = await provoked(name, tmp_path)
    assert type(error).__name__ == name
    said = str(error).replace(f"{tmp_path}/", "").replace("tests.docs.error_examples", "shades")
    said = re.sub(r"http://127\.0\.0\.1:\d+", "ADDRESS", said)
    (shown,) = re.findall(r"^```text\n(.*?)\n```", SECTIONS[name], re.DOTALL | re.MULTILINE)
    assert said.startswith(shown[:-1]) if shown.endswith("…") else said == shown


@pytest.mark.parametrize("name", SECTIONS)
def test_a_section_says_what_it_means(name: str) -> None:
    meaning, _, _ = SECTIONS[name].partition("```text")
    assert len(meaning.split()) > 3


def types_in_table(heading: str) -> set[str]:
    """The first column of the table with this heading."""
    table = PAGE.partition(f"| {heading} |")[2].partition("\n\n")[0]
    return {name for row in table.splitlines()[2:] for name in re.findall(r"`([\w.]+)`", row.split("|")[1])}


def literals(alias: Any) -> set[str]:
    """The texts that a type allows, which mypy sees to it are the only ones in use."""
    return {text for part in get_args(alias) for text in (literals(part) if get_args(part) else {part})}


def test_every_type_of_the_wire_is_listed_and_no_other() -> None:
    assert types_in_table("type of the whole") == literals(Refusal)
    assert types_in_table("type at a node") == literals(InputRefusal) - literals(Refusal)
    assert literals(ProblemCode) <= literals(InputRefusal)
    assert types_in_table("`exception_type`") == {*WIRE_TYPES.values(), BLOCKED, NOT_RUN}


def test_every_exit_code_is_listed_and_no_other() -> None:
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8").partition("## Exit codes")[2].partition("\n## ")[0]
    codes = {value for name, value in vars(exit_code).items() if name.isupper()}
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)} == codes
