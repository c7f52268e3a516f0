"""Nodes of packs and native ones in one graph, and what the specification only mentions beside its statements."""

from __future__ import annotations

from ..server.serving import Client, of_kind
from .prompts import failure, graph, shown, texts


async def test_old_new_and_native_nodes_run_in_one_graph(client: Client, salt: int) -> None:
    prompt = graph(
        n1=("OldList", {"start": salt, "count": 2}), n2=("NewSum", {"a": ["1", 0], "b": 1}),
        n3=("NewAsync", {"value": ["2", 0]}), n4=("OldExpand", {"value": ["3", 0]}),
        n5=("NewExpand", {"value": ["4", 0]}), n6=("SmallSum", {"a": ["5", 0], "b": 0}),
        n7=("NewLazy", {"first": True, "yes": ["6", 0], "no": ["6", 0]}), n8=("NewBlock", {"value": ["7", 0]}),
        n9=("OldNative", {"value": ["8", 0]}), n10=("NewShow", {"source": ["9", 0]}),
    )  # fmt: skip
    job_id, messages = await client.run(prompt)
    entry = await client.finished(job_id)
    assert entry["outputs"]["10"]["text"] == [str(salt + 1 + 5 + 5)]  # the other item is odd, and blocked
    assert [error["exception_type"] for error in of_kind(messages, "execution_error")] == ["ExecutionBlocked"]


async def test_optional_inputs_may_have_any_name(client: Client, salt: int) -> None:
    assert await texts(client, shown("OldFlexible", x=salt, y=1)) == [str(salt + 1)]


async def test_nothing_can_be_kept_on_a_schema_class(client: Client, salt: int) -> None:
    assert (await failure(client, shown("NewSets", value=salt)))["exception_type"] == "AttributeError"
