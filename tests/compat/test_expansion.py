"""§6: nodes that replace themselves by a graph."""

from __future__ import annotations

from ..server.serving import Client, of_kind
from .prompts import failure, graph, shown, texts


async def test_X1_X3_a_node_replaces_itself_by_a_graph(client: Client, salt: int) -> None:
    job_id, messages = await client.run(shown("OldExpand", value=salt))
    assert (await client.finished(job_id))["outputs"]["2"]["text"] == [str(salt + 2)]
    inner = [data for data in of_kind(messages, "executing") if data["node"] not in (None, "1", "2")]
    assert {data["node"] for data in inner} == {"1.0.0.1", "1.0.0.2"}
    assert {data["display_node"] for data in inner} == {"1"}


async def test_X3_an_unknown_class_inside_is_an_error_of_the_node(client: Client, salt: int) -> None:
    error = await failure(client, shown("OldExpandUnknown", value=salt))
    assert (error["node_id"], "NoSuchNode" in error["exception_message"]) == ("1", True)


async def test_X5_a_rerun_runs_nothing_inside(client: Client, salt: int) -> None:
    assert await texts(client, shown("OldExpand", value=salt)) == [str(salt + 2)]
    _, messages = await client.run(shown("OldExpand", value=salt))
    assert [data["node"] for data in of_kind(messages, "executing")] == [None]


async def test_X6_calls_over_a_list_expand_each(client: Client, salt: int) -> None:
    prompt = graph(n1=("OldList", {"start": salt, "count": 2}), n2=("OldShow", {"source": ["3", 0]}),
                   n3=("OldExpand", {"value": ["1", 0]}))  # fmt: skip
    assert await texts(client, prompt) == [str(salt + 2), str(salt + 3)]


async def test_X7_an_expansion_may_expand_again(client: Client) -> None:
    assert await texts(client, shown("OldCountdown", value=5)) == ["0"]


async def test_X9_errors_inside_are_those_of_the_submitted_node(client: Client, salt: int) -> None:
    error = await failure(client, shown("OldExpandFail", value=salt))
    assert (error["node_id"], error["node_type"]) == ("1", "OldExpandFail")
    assert error["exception_type"] == "ValueError"
