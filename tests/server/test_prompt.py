"""Submitting: `/prompt`, its refusals, `node_errors` (wire protocol §1.1)."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from .serving import Client, Server


async def refused(client: Client, prompt: Any, **more: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The `error` and the `node_errors` of a refusal."""
    status, body = await client.post("/prompt", {"prompt": prompt, **more})
    assert status == 400, body
    assert body.keys() == {"error", "node_errors"}
    assert body["error"].keys() == {"type", "message", "details", "extra_info"}
    return body["error"], body["node_errors"]


def shown(**nodes: Any) -> dict[str, Any]:
    """Node `1` as given, and an output that shows it as node `9`."""
    return {
        "1": {"class_type": "SmallNumber", "inputs": nodes},
        "8": {"class_type": "SmallNumber", "inputs": {"value": 1}},
        "9": {"class_type": "SmallShow", "inputs": {"source": ["1", 0]}},
    }


async def only_error(client: Client, **inputs: Any) -> dict[str, Any]:
    """The one error of node `1`, which is upstream of the output."""
    error, nodes = await refused(client, shown(**inputs))
    assert (error["type"], error["details"]) == ("prompt_outputs_failed_validation", "")
    assert nodes.keys() == {"1"}
    assert (nodes["1"]["dependent_outputs"], nodes["1"]["class_type"]) == (["9"], "SmallNumber")
    (only,) = nodes["1"]["errors"]
    assert only.keys() == {"type", "message", "details", "extra_info"}
    return dict(only)


VALUE = ["INT", {"min": 0, "max": 1000}]


async def test_a_value_that_is_too_small(client: Client) -> None:
    error = await only_error(client, value=-1)
    assert (error["type"], error["details"]) == ("value_smaller_than_min", "value")
    assert error["extra_info"] == {"input_name": "value", "input_config": VALUE, "received_value": -1}


async def test_a_value_that_is_too_big(client: Client) -> None:
    error = await only_error(client, value=1001)
    assert error["type"] == "value_bigger_than_max"


async def test_a_value_that_is_missing(client: Client) -> None:
    error = await only_error(client)
    assert (error["type"], error["details"]) == ("required_input_missing", "value")
    assert error["extra_info"] == {"input_name": "value"}


async def test_a_value_of_another_type(client: Client) -> None:
    error = await only_error(client, value="many")
    assert error["type"] == "invalid_input_type"
    assert error["details"].startswith("value, many, invalid literal for int()")
    assert error["extra_info"]["received_value"] == "many"
    assert error["extra_info"]["exception_message"] in error["details"]


async def test_a_choice_that_there_is_not(client: Client) -> None:
    error = await only_error(client, value=1, kind="strange")
    assert error["type"] == "value_not_in_list"
    assert error["details"] == "kind: 'strange' not in ['plain', 'odd']"
    assert error["extra_info"]["input_config"][0] == ["plain", "odd"]


async def test_a_list_that_is_no_link(client: Client) -> None:
    error = await only_error(client, value=["1", 0, 0])
    assert (error["type"], error["details"]) == ("bad_linked_input", "value")
    assert error["extra_info"] == {"input_name": "value", "input_config": VALUE, "received_value": ["1", 0, 0]}


@pytest.mark.parametrize("link", [["nowhere", 0], ["8", 5], [8, 0]])
async def test_a_link_that_leads_nowhere(client: Client, link: list[Any]) -> None:
    error = await only_error(client, value=link)
    assert error["type"] == "exception_during_inner_validation"
    assert error["extra_info"]["linked_node"] == link
    assert {"input_name", "input_config", "exception_message", "exception_type", "traceback"} <= {*error["extra_info"]}


async def test_a_link_of_an_output_node_that_leads_nowhere_is_told_on_top(client: Client) -> None:
    error, nodes = await refused(client, {"9": {"class_type": "SmallShow", "inputs": {"source": ["1", 0]}}})
    (only,) = nodes["9"]["errors"]
    assert only["type"] == "exception_during_validation"
    assert only["extra_info"].keys() == {"exception_type", "traceback"}
    assert error["details"] == f"{only['message']}: {only['details']}"


async def test_a_link_of_another_type(client: Client) -> None:
    prompt = {
        "1": {"class_type": "EmptyImage", "inputs": {}},
        "2": {"class_type": "SmallSum", "inputs": {"a": ["1", 0]}},
        "9": {"class_type": "SmallShow", "inputs": {"source": ["2", 0]}},
    }
    _, nodes = await refused(client, prompt)
    (error,) = nodes["2"]["errors"]
    assert error["type"] == "return_type_mismatch"
    assert error["details"] == "a, received_type(IMAGE) mismatch input_type(INT)"
    assert error["extra_info"]["linked_node"] == ["1", 0]
    assert error["extra_info"]["received_type"] == "IMAGE"


async def test_a_circle(client: Client) -> None:
    prompt = {
        "1": {"class_type": "SmallSum", "inputs": {"a": ["2", 0]}},
        "2": {"class_type": "SmallSum", "inputs": {"a": ["1", 0]}},
        "9": {"class_type": "SmallShow", "inputs": {"source": ["2", 0]}},
    }
    _, nodes = await refused(client, prompt)
    (error,) = [error for node in nodes.values() for error in node["errors"]]
    assert error["type"] == "dependency_cycle"
    assert error["details"].count(" -> ") == 2
    assert sorted(error["extra_info"]["cycle_nodes"]) == ["1", "2"]


async def test_what_can_run_is_queued_and_the_rest_reported(client: Client, salt: int) -> None:
    prompt = {**shown(value=-1), "7": {"class_type": "SmallShow", "inputs": {"source": {"__value__": str(salt)}}}}
    status, body = await client.post("/prompt", {"prompt": prompt, "client_id": client.sid})
    assert status == 200
    assert body["node_errors"].keys() == {"1"}
    heard = await client.until("executing", node=None, prompt_id=body["prompt_id"])
    assert [message["data"]["node"] for message in heard if message["type"] == "executed"] == ["7"]


async def test_an_unknown_type_rejects_everything(client: Client, chain: dict[str, Any]) -> None:
    chain["7"] = {"class_type": "SmallNumbre", "inputs": {}, "_meta": {"title": "Mine"}}
    error, nodes = await refused(client, chain)
    assert error["type"] == "missing_node_type"
    assert error["extra_info"] == {"node_id": "7", "class_type": "SmallNumbre", "node_title": "Mine"}
    assert "'SmallNumber'" in error["message"]
    assert nodes == {}


@pytest.mark.parametrize("node", [{"inputs": {}}, {"class_type": 7}, "node", None, []])
async def test_a_node_without_a_type(client: Client, chain: dict[str, Any], node: Any) -> None:
    error, _ = await refused(client, {**chain, "7": node})
    assert (error["type"], error["details"]) == ("invalid_prompt", "Node ID '#7'")


async def test_nothing_to_run(client: Client, chain: dict[str, Any]) -> None:
    for prompt, more in (
        ({}, {}),
        ({"1": chain["1"]}, {}),
        (chain, {"partial_execution_targets": []}),
        (chain, {"partial_execution_targets": ["1"]}),
    ):
        error, _ = await refused(client, prompt, **more)
        assert error["type"] == "prompt_no_outputs"


async def test_targets_choose_among_the_outputs(client: Client, chain: dict[str, Any], salt: int) -> None:
    chain["4"] = {"class_type": "SmallShow", "inputs": {"source": {"__value__": f"other {salt}"}}}
    job_id = await client.submit(chain, partial_execution_targets=["4", "1", "nowhere"])
    entry = await client.finished(job_id)
    assert entry["outputs"].keys() == {"4"}
    assert entry["prompt"][4] == ["4"]


async def test_a_body_without_a_prompt(client: Client) -> None:
    status, body = await client.post("/prompt", {"workflow": {}})
    assert (status, body["error"]["type"], body["node_errors"]) == (400, "no_prompt", {})


@pytest.mark.parametrize("prompt", [[], "text", 7, None, True])
async def test_a_prompt_that_is_no_graph(client: Client, prompt: Any) -> None:
    error, _ = await refused(client, prompt)
    assert error["type"] == "invalid_prompt"


@pytest.mark.parametrize(
    "body", [b"{", b"\xff\xfe\xfa", b'"text"', b"[" * 100_000, b"[]", b'{"prompt": 1' + b"0" * 9999]
)
async def test_a_body_that_is_no_object(client: Client, body: bytes) -> None:
    async with client.session.post("/prompt", data=body) as response:
        assert response.status == 400
        assert await response.text()


@pytest.mark.parametrize("number", ["1", True, [], float("nan"), float("inf")])
async def test_a_number_that_is_none(client: Client, chain: dict[str, Any], number: Any) -> None:
    error, _ = await refused(client, chain, number=number)
    assert error["type"] == "invalid_prompt"


async def test_an_id_of_the_clients_own_is_taken_once(client: Client, chain: dict[str, Any], salt: int) -> None:
    error, _ = await refused(client, chain, prompt_id="mine")
    assert error["type"] == "invalid_prompt_id"
    job_id = str(uuid.uuid4())
    slow = {"1": {"class_type": "SmallStubborn", "inputs": {"seconds": 0.2 + salt / 1e9}}}
    assert await client.submit(slow, prompt_id=job_id.upper()) == job_id
    error, _ = await refused(client, chain, prompt_id=job_id)
    assert error["type"] == "invalid_prompt_id"
    await client.finished(job_id)


async def test_numbers_count_up_and_negative_ones_go_to_the_front(client: Client, chain: dict[str, Any]) -> None:
    answers = [
        (await client.post("/prompt", {"prompt": chain, **more}))[1] for more in ({}, {"front": True}, {"number": 2.5})
    ]
    first = answers[0]["number"]
    assert [answer["number"] for answer in answers] == [first, -(first + 1), 2.5]
    for answer in answers:
        await client.finished(answer["prompt_id"])


async def test_the_queue_is_counted(server: Server, client: Client) -> None:
    assert await client.get("/prompt") == {"exec_info": {"queue_remaining": 0}}
