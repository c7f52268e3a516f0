"""Each numbered statement of the specification that concerns nodes and the executor has a test that is named for it.

Those that are not to hold have one that shows what holds instead.
"""

from __future__ import annotations

import re
from pathlib import Path

from ..server.serving import Client, labels, of_kind
from .prompts import graph, shown

COUNTS = {"A": 4, "V": 16, "E": 14, "L": 9, "X": 9, "C": 14, "P": 10}
"""How many statements a section has: nodes' classes, validation, executor, lists, expansion, caching, packs."""
STATEMENTS = [f"{section}{number}" for section, count in COUNTS.items() for number in range(1, count + 1)]
EXCEPTIONS = {
    "A4": "several prompts run at once, and nodes that need gradients get them",
    "E7": "branches that do not depend on what failed finish first",
    "E10": "its last sentence: plain functions of packs hold up one another, and no other nodes",
    "C9": "one cache keeps values between prompts, the least recently used go first",
}
"""Statements that do not hold, or of which a part does not, and what does."""


def named_tests() -> set[str]:
    """The statements that the tests of this folder are named for."""
    sources = (path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    names = (name for source in sources for name in re.findall(r"^async def test_(\w+)", source, re.MULTILINE))
    return {part for name in names for part in name.split("_") if part in STATEMENTS}


def test_each_statement_has_a_test_that_is_named_for_it() -> None:
    assert [statement for statement in STATEMENTS if statement not in named_tests()] == []


def test_each_exception_has_a_test_that_shows_what_holds_instead() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    shown_here = {*re.findall(r"^async def test_instead_of_([A-Z]\d+)_", source, re.MULTILINE)}
    assert shown_here == {*EXCEPTIONS}


async def test_instead_of_A4_two_prompts_run_at_once(client: Client, salt: int) -> None:
    prompts = [shown("Meet", value=value, count=2, salt=salt) for value in (1, 2)]
    jobs = [await client.submit(prompt) for prompt in prompts]  # neither ends before the other is under way
    assert [(await client.finished(job_id))["outputs"]["2"]["text"] for job_id in jobs] == [["1"], ["2"]]


async def test_instead_of_E7_what_does_not_depend_on_the_failed_node_finishes(client: Client, salt: int) -> None:
    prompt = {**shown("OldFail", value=salt), **graph(n3=("Nap", {"value": salt}), n4=("NapShow", {"value": ["3", 0]}))}
    job_id, messages = await client.run(prompt)
    entry = await client.finished(job_id)
    assert (entry["status"]["status_str"], entry["outputs"]) == ("error", {"4": {"text": [str(salt)]}})
    order = labels(messages)
    assert order.index("executed 4") < order.index("execution_error")


async def test_instead_of_E10_a_plain_node_of_a_pack_does_not_hold_up_native_ones(client: Client, salt: int) -> None:
    native = graph(n3=("SmallSum", {"a": salt}), n4=("SmallShow", {"source": ["3", 0]}))
    _, messages = await client.run({**shown("OldSlow", ticks=30), **native})
    assert [data["node"] for data in of_kind(messages, "executed")] == ["4", "2"]


async def test_instead_of_C9_values_outlive_a_prompt_that_does_not_have_them(client: Client, salt: int) -> None:
    await client.run(shown("OldSum", a=salt))
    await client.run(shown("OldSum", a=salt + 1))
    _, messages = await client.run(shown("OldSum", a=salt))
    assert [data["node"] for data in of_kind(messages, "executing")] == [None]
