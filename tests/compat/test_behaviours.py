"""The numbered behaviours of the specification, for nodes of packs, through the server and its websocket.

A test is named for the behaviour it shows. A4, E7, the last sentence of E10 and C9 do not hold: our design rules there.
"""

from __future__ import annotations

from typing import Any

import pytest

from ..server.serving import Client, Server, labels, of_kind

Prompt = dict[str, Any]


def graph(**nodes: tuple[str, dict[str, Any]]) -> Prompt:
    """`n1=("OldSum", {"a": 1})` → a prompt with the node "1"."""
    return {name[1:]: {"class_type": kind, "inputs": inputs} for name, (kind, inputs) in nodes.items()}


def shown(kind: str, /, **inputs: Any) -> Prompt:
    """One node, and one that shows what it gives."""
    return graph(n1=(kind, inputs), n2=("OldShow", {"source": ["1", 0]}))


async def texts(client: Client, prompt: Prompt, node_id: str = "2", **more: Any) -> list[str]:
    """What a node shows in the end."""
    job_id, _ = await client.run(prompt, **more)
    entry = await client.finished(job_id)
    assert entry["status"]["status_str"] == "success", entry["status"]
    return list(entry["outputs"].get(node_id, {}).get("text", []))


async def failure(client: Client, prompt: Prompt) -> dict[str, Any]:
    """The error that ends a prompt."""
    _, messages = await client.run(prompt)
    (error,) = of_kind(messages, "execution_error")
    return error


async def refused(client: Client, prompt: Prompt) -> dict[str, list[dict[str, Any]]]:
    """What is wrong with each node of a prompt that is not taken."""
    status, body = await client.post("/prompt", {"prompt": prompt})
    assert status == 400, body
    return {node_id: entry["errors"] for node_id, entry in body["node_errors"].items()}


# class API


async def test_A1_absent_optional_inputs_are_not_passed(client: Client, salt: int) -> None:
    assert await texts(client, shown("OldSum", a=salt)) == [str(salt + 1000)]
    assert await texts(client, shown("OldSum", a=salt, b=1)) == [str(salt + 1)]


async def test_A2_none_is_no_outputs(client: Client, salt: int) -> None:
    _, messages = await client.run(graph(n1=("OldNone", {"value": salt})))
    assert of_kind(messages, "execution_success")


@pytest.mark.parametrize("kind", ["OldAsync", "NewAsync"])
async def test_A3_async_functions_are_awaited(client: Client, salt: int, kind: str) -> None:
    assert await texts(client, shown(kind, value=salt)) == [str(salt + 1)]


# validation


async def test_V1_an_unknown_class_anywhere_refuses_the_whole_prompt(client: Client, salt: int) -> None:
    status, body = await client.post("/prompt", {"prompt": {**shown("OldSum", a=salt), "9": {"class_type": "NoSuch"}}})
    assert (status, body["error"]["type"]) == (400, "missing_node_type")


async def test_V2_targets_that_are_no_output_nodes_are_ignored(client: Client, salt: int) -> None:
    status, body = await client.post("/prompt", {"prompt": shown("OldSum", a=salt), "partial_execution_targets": ["1"]})
    assert (status, body["error"]["type"]) == (400, "prompt_no_outputs")


async def test_V3_V4_valid_outputs_run_and_the_others_are_reported_once(client: Client, salt: int) -> None:
    prompt = {
        **shown("OldSum", a=salt),
        **graph(n3=("OldSum", {}), n4=("OldShow", {"source": ["3", 0]}), n5=("OldShow", {"source": ["3", 0]})),
    }
    status, body = await client.post("/prompt", {"prompt": prompt})
    assert status == 200
    assert [*body["node_errors"]] == ["3"]
    assert sorted(body["node_errors"]["3"]["dependent_outputs"]) == ["4", "5"]
    assert [*(await client.finished(body["prompt_id"]))["outputs"]] == ["2"]


async def test_V5_undeclared_inputs_are_no_errors(client: Client, salt: int) -> None:
    assert await texts(client, shown("OldSum", a=salt, b=0, upload="image")) == [str(salt)]


async def test_V6_required_inputs_must_be_given(client: Client) -> None:
    errors = await refused(client, shown("OldList"))
    assert {(error["type"], error["details"]) for error in errors["1"]} == {
        ("required_input_missing", "start"),
        ("required_input_missing", "count"),
    }


async def test_V7_a_list_that_is_no_link_is_a_bad_one(client: Client) -> None:
    errors = await refused(client, shown("OldSum", a=["1", 0, 2]))
    assert [error["type"] for error in errors["1"]] == ["bad_linked_input"]


async def test_V8_a_text_that_differs_from_none_is_a_wildcard(client: Client, salt: int) -> None:
    assert await texts(client, shown("OldHidden", salt=salt)) != []
    prompt = graph(
        n1=("OldHidden", {"salt": salt}), n2=("OldSum", {"a": ["1", 0]}), n3=("OldShow", {"source": ["2", 0]})
    )
    errors = await refused(client, prompt)
    assert [error["type"] for error in errors["2"]] == ["return_type_mismatch"]


async def test_V9_V13_a_node_checks_its_inputs_itself(client: Client) -> None:
    prompt = graph(n1=("OldHidden", {"salt": 1}), n2=("OldChecked", {"even": 3, "free": ["1", 0]}),
                   n3=("OldShow", {"source": ["2", 0]}))  # fmt: skip
    errors = await refused(client, prompt)
    assert [(error["type"], error["extra_info"]["input_name"]) for error in errors["2"]] == [
        ("custom_validation_failed", "even")
    ]
    assert errors["2"][0]["details"] == "even - 3 is odd {'free': 'STRING'}"


async def test_V10_constants_are_coerced(client: Client, salt: int) -> None:
    assert await texts(client, shown("OldSum", a=str(salt), b={"__value__": "2"})) == [str(salt + 2)]
    errors = await refused(client, shown("OldSum", a="many"))
    assert [error["type"] for error in errors["1"]] == ["invalid_input_type"]


async def test_V11_limits_hold_for_constants_but_not_where_the_node_checks_itself(client: Client) -> None:
    errors = await refused(client, shown("OldSum", a=-1))
    assert [error["type"] for error in errors["1"]] == ["value_smaller_than_min"]
    errors = await refused(client, shown("OldChecked", even=100, free=100))
    assert [(error["type"], error["details"]) for error in errors["1"]] == [("value_bigger_than_max", "free")]


async def test_V12_a_combo_allows_what_it_lists(client: Client, salt: int) -> None:
    errors = await refused(client, shown("OldChanged", kind="other", salt=salt))
    assert [error["type"] for error in errors["1"]] == ["value_not_in_list"]


async def test_V14_a_circle_is_refused(client: Client) -> None:
    prompt = graph(n1=("OldSum", {"a": ["2", 0]}), n2=("OldSum", {"a": ["1", 0]}), n3=("OldShow", {"source": ["2", 0]}))
    errors = await refused(client, prompt)
    assert "dependency_cycle" in {error["type"] for entry in errors.values() for error in entry}


async def test_V16_is_changed_inside_a_node_is_accepted(client: Client, salt: int) -> None:
    prompt = shown("OldSum", a=salt, b=0)
    prompt["1"]["is_changed"] = ["x"]
    assert await texts(client, prompt) == [str(salt)]


# executor


async def test_E1_unneeded_nodes_never_run(client: Client, salt: int) -> None:
    _, messages = await client.run({**shown("OldSum", a=salt), **graph(n9=("OldSum", {"a": salt + 1}))})
    assert "executing 9" not in labels(messages)


async def test_E4_an_undeclared_link_is_passed_and_an_undeclared_constant_is_not(client: Client, salt: int) -> None:
    prompt = graph(n1=("OldSum", {"a": salt, "c": 3}), n2=("OldSum", {"a": 1, "b": 0, "c": ["1", 0]}),
                   n3=("OldShow", {"source": ["2", 0]}))  # fmt: skip
    assert "unexpected keyword argument 'c'" in (await failure(client, prompt))["exception_message"]


async def test_E4_a_raw_link_brings_itself(client: Client, salt: int) -> None:
    prompt = graph(n7=("OldSum", {"a": salt}), n1=("OldRaw", {"link": ["7", 0]}), n2=("OldShow", {"source": ["1", 0]}))
    assert await texts(client, prompt) == ["['7', 0]"]


async def test_E5_hidden_inputs_are_filled(client: Client, salt: int) -> None:
    extra = {"extra_pnginfo": {"workflow": {"v": 1}}, "auth_token_comfy_org": "secret"}
    prompt = shown("OldHidden", salt=salt, id="forged")
    job_id, _ = await client.run(prompt, extra_data=extra)
    entry = await client.finished(job_id)
    assert entry["outputs"]["2"]["text"] == ["['1', '2'] {'workflow': {'v': 1}} 1 1 False secret"]
    assert "secret" not in str(entry["prompt"])


@pytest.mark.parametrize("kind", ["OldLazy", "NewLazy"])
@pytest.mark.parametrize(("first", "taken", "left"), [(True, "1", "2"), (False, "2", "1")])
async def test_E6_lazy_inputs_are_computed_when_asked_for(
    client: Client, salt: int, kind: str, first: bool, taken: str, left: str
) -> None:
    prompt = graph(n1=("OldSum", {"a": salt, "b": 1}), n2=("OldSum", {"a": salt, "b": 2}),
                   n3=(kind, {"first": first, "yes": ["1", 0], "no": ["2", 0]}),
                   n4=("OldShow", {"source": ["3", 0]}))  # fmt: skip
    job_id, messages = await client.run(prompt)
    assert (await client.finished(job_id))["outputs"]["4"]["text"] == [str(salt + (1 if first else 2))]
    assert f"executing {taken}" in labels(messages)
    assert f"executing {left}" not in labels(messages)


async def test_E6_a_lazy_constant_is_there_at_once(client: Client, salt: int) -> None:
    assert await texts(client, shown("OldLazy", first=True, yes=salt, no=0)) == [str(salt)]


async def test_E6_asking_for_what_is_no_input_is_an_error_of_the_node(client: Client, salt: int) -> None:
    error = await failure(client, shown("OldLazyWrong", first=True, yes=salt, no=0))
    assert (error["node_id"], "nothing" in error["exception_message"]) == ("1", True)


async def test_E6_without_check_lazy_status_lazy_inputs_stay_none(client: Client, salt: int) -> None:
    prompt = graph(n1=("OldSum", {"a": salt}), n2=("OldShow", {"source": ["3", 0]}),
                   n3=("OldLazyNever", {"yes": ["1", 0]}))  # fmt: skip
    assert await texts(client, prompt) == ["0"]


async def test_E8_an_error_names_the_node_the_exception_and_its_inputs(client: Client, salt: int) -> None:
    error = await failure(client, shown("OldFail", value=salt))
    assert error["exception_message"] == f"not {salt}\n"
    assert (error["exception_type"], error["node_id"], error["node_type"]) == ("ValueError", "1", "OldFail")
    assert error["current_inputs"] == {"value": [salt]}
    assert any("old_nodes.py" in line for line in error["traceback"])


async def test_E9_an_interrupt_reaches_a_node_that_reports_progress(client: Client) -> None:
    job_id = await client.submit(shown("OldSlow", ticks=2000))
    await client.until("progress")
    await client.post("/interrupt")
    messages = await client.until("executing", node=None, prompt_id=job_id)
    (stopped,) = of_kind(messages, "execution_interrupted")
    assert stopped["node_id"] == "1"


async def test_E10_async_nodes_run_at_the_same_time(client: Client, salt: int) -> None:
    prompt = graph(n1=("OldAsync", {"value": salt}), n2=("OldAsync", {"value": salt + 1}),
                   n3=("OldShow", {"source": ["1", 0]}), n4=("OldShow", {"source": ["2", 0]}))  # fmt: skip
    _, messages = await client.run(prompt)
    order = [text for text in labels(messages) if text in ("executing 1", "executing 2", "executing 3", "executing 4")]
    assert sorted(order[:2]) == ["executing 1", "executing 2"]


async def test_E11_progress_is_told_for_the_running_node(client: Client) -> None:
    _, messages = await client.run(shown("OldSlow", ticks=3))
    last = of_kind(messages, "progress")[-1]
    assert (last["node"], last["value"], last["max"]) == ("1", 3, 3)


async def test_E12_the_end_is_success_then_history_then_the_last_message(client: Client, salt: int) -> None:
    job_id, messages = await client.run(shown("OldSum", a=salt))
    assert labels(messages)[-3:] == ["execution_success", "status 0", "executing None"]
    assert job_id in await client.get(f"/history/{job_id}")


async def test_E13_what_calls_over_a_list_show_is_joined(client: Client, salt: int) -> None:
    assert await texts(client, shown("OldList", start=salt, count=3)) == [str(salt), str(salt + 1), str(salt + 2)]


# lists and blockers


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


# expansion


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


# caching


async def test_C1_equal_nodes_share_a_result_whatever_their_ids(client: Client, salt: int) -> None:
    await client.run(shown("OldSum", a=salt))
    _, messages = await client.run(graph(n8=("OldSum", {"a": salt}), n9=("OldShow", {"source": ["8", 0]})))
    assert "executing 8" not in labels(messages)


async def test_C2_nodes_that_are_not_idempotent_share_nothing(client: Client, salt: int) -> None:
    prompt = graph(n1=("OldUnlike", {"salt": salt}), n2=("OldShow", {"source": ["1", 0]}),
                   n3=("OldUnlike", {"salt": salt}), n4=("OldShow", {"source": ["3", 0]}))  # fmt: skip
    job_id, _ = await client.run(prompt)
    outputs = (await client.finished(job_id))["outputs"]
    assert outputs["2"]["text"] != outputs["4"]["text"]


async def test_C3_an_undeclared_constant_counts(client: Client, salt: int) -> None:
    await client.run(shown("OldSum", a=salt, extra=1))
    _, messages = await client.run(shown("OldSum", a=salt, extra=2))
    assert "executing 1" in labels(messages)


@pytest.mark.parametrize(("kind", "second"), [("same", "1"), ("nan", "2"), ("raises", "2")])
async def test_C4_is_changed_decides_on_reuse(client: Client, salt: int, kind: str, second: str) -> None:
    await client.run(shown("OldChanged", kind=kind, salt=salt))
    assert await texts(client, shown("OldChanged", kind=kind, salt=salt)) == [second]


async def test_C5_what_follows_a_changed_node_runs_again(client: Client, salt: int) -> None:
    await client.run(shown("OldChanged", kind="nan", salt=salt))
    _, messages = await client.run(shown("OldChanged", kind="nan", salt=salt))
    assert "executing 2" in labels(messages)


async def test_C7_a_cached_output_is_sent_again(client: Client, salt: int) -> None:
    await client.run(shown("OldSum", a=salt))
    _, messages = await client.run(shown("OldSum", a=salt))
    assert "executed 2" in labels(messages)
    assert "executing 2" not in labels(messages)


async def test_C8_a_failure_keeps_what_was_finished(client: Client, salt: int) -> None:
    prompt = graph(
        n1=("OldSum", {"a": salt}), n2=("OldFail", {"value": ["1", 0]}), n3=("OldShow", {"source": ["2", 0]})
    )
    await client.run(prompt)
    _, messages = await client.run(prompt)
    assert "1" in of_kind(messages, "execution_cached")[0]["nodes"]


async def test_C12_a_node_s_object_lives_while_consecutive_prompts_have_it(client: Client, salt: int) -> None:
    keeps = {**graph(n50=("OldKeeps", {"salt": salt}), n51=("OldShow", {"source": ["50", 0]}))}
    assert await texts(client, keeps, "51") == ["1"]
    keeps["50"]["inputs"]["salt"] = salt + 1
    assert await texts(client, keeps, "51") == ["2"]
    await client.run(shown("OldSum", a=salt))
    keeps["50"]["inputs"]["salt"] = salt + 2
    assert await texts(client, keeps, "51") == ["1"]


async def test_C13_a_change_runs_the_node_and_what_follows_alone(client: Client, salt: int) -> None:
    prompt = graph(
        n1=("OldSum", {"a": salt}), n2=("OldSum", {"a": ["1", 0], "b": 1}), n3=("OldShow", {"source": ["2", 0]})
    )
    await client.run(prompt)
    prompt["2"]["inputs"]["b"] = 2
    prompt["1"]["_meta"] = {"title": "renamed"}
    _, messages = await client.run(prompt)
    assert [data["node"] for data in of_kind(messages, "executing")] == ["2", "3", None]


# packs


async def test_P1_P7_packs_that_cannot_be_loaded_are_reported_and_skipped(server: Server, client: Client) -> None:
    said = "".join(server.said)
    assert "'comfy.model_patcher' belongs to the model internals" in said
    assert "neither NODE_CLASS_MAPPINGS nor comfy_entrypoint" in said
    assert "disabled packs" not in said


async def test_P4_P5_titles_and_modules_are_told_and_built_in_names_stay(client: Client) -> None:
    told = await client.get("/object_info/OldSum")
    assert (told["OldSum"]["display_name"], told["OldSum"]["python_module"]) == ("Sum (old)", "custom_nodes.old_api")
    assert "value" in (await client.get("/object_info/SmallNumber"))["SmallNumber"]["input"]["required"]


async def test_P6_scripts_for_editors_are_served(client: Client) -> None:
    assert "/extensions/old_api/old.js" in await client.get("/extensions")


@pytest.mark.parametrize("prefix", ["", "/api"])
async def test_P8_routes_of_packs_are_served(client: Client, prefix: str) -> None:
    assert await client.get(f"{prefix}/old_api/folders") == []


# one graph


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


async def test_a_sync_node_of_a_pack_does_not_hold_up_native_ones(client: Client, salt: int) -> None:
    prompt = {
        **shown("OldSlow", ticks=30),
        **graph(n3=("SmallSum", {"a": salt}), n4=("SmallShow", {"source": ["3", 0]})),
    }
    _, messages = await client.run(prompt)
    told = [data["node"] for data in of_kind(messages, "executed")]
    assert told == ["4", "2"]
