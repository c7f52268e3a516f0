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


async def test_X1_links_may_lead_to_nodes_that_were_there(client: Client, salt: int) -> None:
    prompt = graph(n1=("ExpandLinked", {"value": ["3", 0]}), n2=("OldShow", {"source": ["1", 0]}),
                   n3=("Nap", {"value": salt}), n4=("OldShow", {"source": ["1", 1]}))  # fmt: skip
    assert await texts(client, prompt) == await texts(client, prompt, "4") == [str(salt)]


async def test_X2_ids_begin_with_the_node_the_call_and_the_graph_and_are_the_same_again(
    client: Client, salt: int
) -> None:
    prompt = graph(n5=("OldList", {"start": salt, "count": 2}), n1=("ExpandParts", {"a": ["5", 0], "b": 1}),
                   n2=("OldShow", {"source": ["1", 0]}))  # fmt: skip
    wanted = {"1.0.0.first", "1.0.0.second", "1.1.0.first", "1.1.0.second"}
    for count in (2, 2):
        prompt["5"]["inputs"].update(start=prompt["5"]["inputs"]["start"] + 10, count=count)
        _, messages = await client.run(prompt)
        inner = {data["node"] for data in of_kind(messages, "executing") if data["node"] and "." in data["node"]}
        assert inner == wanted


async def test_X2_an_id_that_is_taken_is_an_error_of_the_node(client: Client, salt: int) -> None:
    error = await failure(client, shown("ExpandTaken", value=salt))
    assert (error["node_id"], "uses the id '2', which is taken" in error["exception_message"]) == ("1", True)


async def test_X3_a_node_may_be_shown_by_another_than_the_one_it_stems_from(client: Client, salt: int) -> None:
    _, messages = await client.run(shown("ExpandElsewhere", value=salt))
    (inner,) = [data for data in of_kind(messages, "executing") if data["node"] == "1.0.0.1"]
    assert inner["display_node"] == "2"


async def test_X4_output_nodes_inside_run_and_others_when_the_result_needs_them(client: Client, salt: int) -> None:
    job_id, messages = await client.run(shown("ExpandShown", value=salt))
    inner = {data["node"] for data in of_kind(messages, "executing") if data["node"] and "." in data["node"]}
    assert inner == {"1.0.0.needed", "1.0.0.shown"}
    outputs = (await client.finished(job_id))["outputs"]
    assert outputs == {"2": {"text": [str(salt)]}, "1.0.0.shown": {"text": [str(salt + 2)]}}


async def test_X5_a_rerun_shows_nothing_of_what_is_inside(client: Client, salt: int) -> None:
    prompt = shown("ExpandShown", value=salt)
    await client.run(prompt)
    job_id, messages = await client.run(prompt)
    assert (await client.finished(job_id))["outputs"] == {"2": {"text": [str(salt)]}}
    assert [data["node"] for data in of_kind(messages, "executed")] == ["2"]


async def test_X6_some_calls_may_expand_and_others_give_plain_values(client: Client, salt: int) -> None:
    prompt = graph(n1=("OldList", {"start": salt, "count": 3}), n2=("OldShow", {"source": ["3", 0]}),
                   n3=("ExpandSome", {"value": ["1", 0]}))  # fmt: skip
    assert await texts(client, prompt) == [str(salt + 100), str(salt + 1), str(salt + 102)]


async def test_X8_of_what_is_inside_only_the_changed_part_runs_again(client: Client, salt: int) -> None:
    prompt = shown("ExpandParts", a=salt, b=1)
    await client.run(prompt)
    prompt["1"]["inputs"]["b"] = 2
    job_id, messages = await client.run(prompt)
    assert [data["node"] for data in of_kind(messages, "executing")] == ["1", "1.0.0.second", "2", None]
    assert (await client.finished(job_id))["outputs"]["2"]["text"] == [str(salt + 2)]
