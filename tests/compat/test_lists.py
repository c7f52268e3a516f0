"""§5: lists of values, and values that stop what follows."""

from __future__ import annotations

from ..server.serving import Client, labels, of_kind
from .prompts import graph, shown, texts


async def test_L1_L2_a_list_maps_the_call_and_the_last_of_a_shorter_one_is_repeated(client: Client, salt: int) -> None:
    prompt = graph(n1=("OldList", {"start": salt, "count": 3}), n2=("OldShow", {"source": ["4", 0]}),
                   n3=("OldList", {"start": 0, "count": 2}), n4=("OldSum", {"a": ["1", 0], "b": ["3", 0]}))  # fmt: skip
    assert await texts(client, prompt) == [str(salt), str(salt + 2), str(salt + 3)]


async def test_L3_a_node_may_take_whole_lists(client: Client, salt: int) -> None:
    prompt = graph(n1=("OldList", {"start": salt, "count": 3}), n2=("OldShow", {"source": ["3", 0]}),
                   n3=("OldTotal", {"values": ["1", 0], "factor": 2}))  # fmt: skip
    assert await texts(client, prompt) == [str((3 * salt + 3) * 2)]


async def test_L4_an_empty_list_makes_no_calls(client: Client, salt: int) -> None:
    assert await texts(client, shown("OldList", start=salt, count=0)) == []


async def test_L6_L8_a_silent_blocker_stops_its_branch_alone(client: Client, salt: int) -> None:
    prompt = {**shown("OldBlock", value=salt + 1, message=""),
              **graph(n3=("OldSum", {"a": salt, "b": 0}), n4=("OldShow", {"source": ["3", 0]}))}  # fmt: skip
    job_id, messages = await client.run(prompt)
    assert [*(await client.finished(job_id))["outputs"]] == ["4"]
    assert of_kind(messages, "execution_error") == []
    assert "executed 2" not in labels(messages)


async def test_L7_a_blocker_with_a_message_is_told_once_and_the_prompt_succeeds(client: Client, salt: int) -> None:
    job_id, messages = await client.run(shown("OldBlock", value=salt + 1, message="no more"))
    (error,) = of_kind(messages, "execution_error")
    assert (error["exception_type"], "no more" in error["exception_message"]) == ("ExecutionBlocked", True)
    assert (await client.finished(job_id))["status"]["status_str"] == "success"


async def test_L9_a_blocked_item_blocks_its_own_call(client: Client, salt: int) -> None:
    prompt = graph(n1=("OldList", {"start": salt, "count": 3}), n2=("OldShow", {"source": ["3", 0]}),
                   n3=("OldBlock", {"value": ["1", 0], "message": ""}))  # fmt: skip
    assert await texts(client, prompt) == [str(salt), str(salt + 2)]


async def test_L5_the_items_of_a_tensor_are_no_list(client: Client, salt: int) -> None:
    assert await texts(client, graph(n1=("Batch", {"value": salt}), n2=("Shape", {"value": ["1", 0]}))) == ["(3, 2)"]


async def test_L6_one_output_may_be_blocked_or_one_item_of_a_list(client: Client, salt: int) -> None:
    prompt = graph(n1=("BlockOne", {"value": salt}), n2=("Count", {"value": ["1", 0]}),
                   n3=("Count", {"value": ["1", 1]}), n4=("Count", {"value": ["1", 2]}),
                   n5=("Total", {"value": ["1", 2]}), n6=("Count", {"value": ["5", 0]}))  # fmt: skip
    job_id, messages = await client.run(prompt)
    outputs = (await client.finished(job_id))["outputs"]
    # The node that takes the whole list is blocked by one item; the one that maps over it is not.
    assert outputs == {"3": {"text": [str(salt)]}, "4": {"text": [str(salt)]}}
    assert of_kind(messages, "execution_error") == []


async def test_L7_the_message_of_a_blocker_is_not_in_the_history(client: Client, salt: int) -> None:
    prompt = graph(n1=("OldBlock", {"value": salt + 1, "message": "no more"}), n2=("OldSum", {"a": ["1", 0]}),
                   n3=("OldSum", {"a": ["2", 0]}), n4=("OldShow", {"source": ["3", 0]}))  # fmt: skip
    job_id, messages = await client.run(prompt)
    assert [error["node_id"] for error in of_kind(messages, "execution_error")] == ["2"]  # the first that it reached
    kinds = [kind for kind, _ in (await client.finished(job_id))["status"]["messages"]]
    assert "execution_error" not in kinds


async def test_L8_what_is_blocked_is_cached(client: Client, salt: int) -> None:
    prompt = shown("OldBlock", value=salt + 1, message="")
    await client.run(prompt)
    _, messages = await client.run(prompt)
    assert [data["node"] for data in of_kind(messages, "executing")] == [None]
