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
