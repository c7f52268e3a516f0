"""§1: what a node's class may declare, be given and return."""

from __future__ import annotations

import pytest

from ..server.serving import Client, of_kind
from .prompts import graph, shown, texts


async def test_A1_absent_optional_inputs_are_not_passed(client: Client, salt: int) -> None:
    assert await texts(client, shown("OldSum", a=salt)) == [str(salt + 1000)]
    assert await texts(client, shown("OldSum", a=salt, b=1)) == [str(salt + 1)]


async def test_A2_none_is_no_outputs(client: Client, salt: int) -> None:
    _, messages = await client.run(graph(n1=("OldNone", {"value": salt})))
    assert of_kind(messages, "execution_success")


@pytest.mark.parametrize("kind", ["OldAsync", "NewAsync"])
async def test_A3_async_functions_are_awaited(client: Client, salt: int, kind: str) -> None:
    assert await texts(client, shown(kind, value=salt)) == [str(salt + 1)]
