"""§1: what a node's class may declare, be given and return."""

from __future__ import annotations

import pytest

from ..server.serving import Client, of_kind
from .prompts import failure, graph, refused, shown, texts


async def test_A1_absent_optional_inputs_are_not_passed(client: Client, salt: int) -> None:
    assert await texts(client, shown("OldSum", a=salt)) == [str(salt + 1000)]
    assert await texts(client, shown("OldSum", a=salt, b=1)) == [str(salt + 1)]


async def test_A2_none_is_no_outputs(client: Client, salt: int) -> None:
    _, messages = await client.run(graph(n1=("OldNone", {"value": salt})))
    assert of_kind(messages, "execution_success")


@pytest.mark.parametrize("kind", ["OldAsync", "NewAsync"])
async def test_A3_async_functions_are_awaited(client: Client, salt: int, kind: str) -> None:
    assert await texts(client, shown(kind, value=salt)) == [str(salt + 1)]


@pytest.mark.parametrize(
    ("form", "given"),
    [("tuple", "8"), ("list", "8"), ("result", "8"), ("ui and result", "8"), ("nothing", "None"), ("blocker", None)],
)
async def test_A2_each_form_of_what_a_function_returns(client: Client, salt: int, form: str, given: str | None) -> None:
    prompt = graph(n1=("Returns", {"form": form, "value": 7, "salt": salt}), n2=("OldShow", {"source": ["1", 1]}))
    assert await texts(client, prompt) == ([] if given is None else [given])
    assert await texts(client, prompt, "1") == (["shown 7"] if form == "ui and result" else [])


async def test_A2_anything_else_is_a_type_error_of_the_node(client: Client) -> None:
    error = await failure(client, shown("Returns", form="number", value=7))
    assert (error["node_id"], error["exception_type"]) == ("1", "TypeError")
    assert "it must return a tuple (INT, INT), a dict" in error["exception_message"]


async def test_A3_all_hooks_may_be_async(client: Client, salt: int) -> None:
    prompt = graph(n1=("AsyncHooks", {"value": salt, "late": ["3", 0]}), n2=("OldShow", {"source": ["1", 0]}),
                   n3=("OldSum", {"a": 5, "b": 0}))  # fmt: skip
    assert await texts(client, prompt) == [str(salt + 5)]
    prompt["1"]["inputs"]["value"] = 0
    assert [error["details"] for error in (await refused(client, prompt))["1"]] == ["value - a zero"]
