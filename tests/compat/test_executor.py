"""§4: which nodes run, in which order, with what, and how they end."""

from __future__ import annotations

from typing import Any

import pytest

from ..server.serving import Client, labels, of_kind
from .prompts import failure, graph, shown, texts


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


async def test_E1_a_lazy_link_makes_nothing_needed(client: Client, salt: int) -> None:
    prompt = graph(n1=("OldSum", {"a": salt}), n2=("OldShow", {"source": ["3", 0]}),
                   n3=("OldLazyNever", {"yes": ["1", 0]}))  # fmt: skip
    _, messages = await client.run(prompt)
    assert "executing 1" not in labels(messages)


def order_of(messages: list[Any]) -> list[str]:
    """The nodes in the order in which they began."""
    return [data["node"] for data in of_kind(messages, "executing") if data["node"]]


async def test_E2_a_node_runs_when_all_that_it_is_linked_to_is_done_or_cached(client: Client, salt: int) -> None:
    prompt = graph(n1=("Nap", {"value": salt}), n2=("NapAsync", {"value": salt}),
                   n3=("Nap", {"value": ["1", 0], "also": ["2", 0]}), n4=("NapShow", {"value": ["3", 0]}))  # fmt: skip
    _, messages = await client.run(prompt)
    order = order_of(messages)
    assert (sorted(order[:2]), order[2:]) == (["1", "2"], ["3", "4"])
    done = [{node for node, state in data["nodes"].items() if state["state"] == "finished"}
            for data in of_kind(messages, "progress_state") if "3" in data["nodes"]]  # fmt: skip
    assert {"1", "2"} <= done[0]
    prompt["2"]["inputs"]["value"] = salt + 1
    _, messages = await client.run(prompt)
    assert order_of(messages) == ["2", "3", "4"]


async def test_E3_of_ready_nodes_those_near_an_output_go_first(client: Client, salt: int) -> None:
    prompt = graph(
        n1=("Nap", {"value": salt}), n2=("Nap", {"value": ["1", 0]}), n3=("Nap", {"value": ["2", 0]}),
        n4=("NapShow", {"value": ["3", 0]}), n5=("Nap", {"value": salt + 1}), n6=("Nap", {"value": ["5", 0]}),
        n7=("NapShow", {"value": ["6", 0]}), n8=("Nap", {"value": salt + 2}), n9=("NapShow", {"value": ["8", 0]}),
    )  # fmt: skip
    _, messages = await client.run(prompt)
    assert order_of(messages) == ["8", "9", "5", "6", "7", "1", "2", "3", "4"]


async def test_E3_an_async_node_that_is_ready_goes_first(client: Client, salt: int) -> None:
    prompt = graph(n1=("Nap", {"value": salt}), n2=("NapShow", {"value": ["1", 0]}), n3=("NapAsync", {"value": salt}),
                   n4=("Nap", {"value": ["3", 0]}), n5=("Nap", {"value": ["4", 0]}),
                   n6=("NapShow", {"value": ["5", 0]}))  # fmt: skip
    _, messages = await client.run(prompt)
    assert order_of(messages)[:3] == ["3", "1", "2"]


async def test_E4_an_output_that_is_not_there_brings_none(client: Client, salt: int) -> None:
    assert await texts(client, shown("ExpandShort", value=salt)) == ["-1"]


async def test_E6_it_is_asked_again_until_it_asks_for_nothing_that_is_missing(client: Client, salt: int) -> None:
    prompt = graph(n1=("LazySteps", {"value": salt, "one": ["3", 0], "two": ["4", 0], "three": ["5", 0]}),
                   n2=("OldShow", {"source": ["1", 0]}), n3=("Nap", {"value": 1}), n4=("Nap", {"value": 2}),
                   n5=("Nap", {"value": salt + 3}))  # fmt: skip
    job_id, messages = await client.run(prompt)
    assert (await client.finished(job_id))["outputs"]["2"]["text"] == [f"{salt} 1 2 None"]
    assert "5" not in order_of(messages)


async def test_E6_it_is_asked_for_each_value_of_a_list_and_gets_lists_if_it_takes_them(
    client: Client, salt: int
) -> None:
    prompt = graph(n1=("OldList", {"start": salt, "count": 2}), n2=("OldShow", {"source": ["3", 0]}),
                   n3=("LazyEach", {"value": ["1", 0], "odd": ["4", 0], "even": ["5", 0]}),
                   n4=("Nap", {"value": 7}), n5=("Nap", {"value": 8}))  # fmt: skip
    assert await texts(client, prompt) == ["8", "7"]
    prompt["3"]["class_type"] = "LazyLists"
    assert await texts(client, prompt) == ["[7] [None]"]


async def test_E8_running_out_of_memory_comes_with_advice_and_unloads_models(client: Client, salt: int) -> None:
    loaded = graph(n1=("SmallLoad", {"salt": salt}), n2=("SmallShow", {"source": ["1", 0]}))
    assert await texts(client, loaded) == ["1"]
    loaded["1"]["inputs"]["salt"] = salt + 1
    assert await texts(client, loaded) == ["1"]
    error = await failure(client, shown("FailMemory", value=salt))
    assert "use a smaller width, height or batch" in error["exception_message"]
    loaded["1"]["inputs"]["salt"] = salt + 2
    assert await texts(client, loaded) == ["2"]  # loaded a second time


async def test_E9_an_interrupt_while_nothing_runs_stops_nothing(client: Client, salt: int) -> None:
    await client.post("/interrupt")
    assert await texts(client, shown("OldSum", a=salt, b=0)) == [str(salt)]


async def test_E10_calls_over_a_list_run_at_the_same_time_and_what_follows_waits(client: Client, salt: int) -> None:
    prompt = graph(n1=("OldList", {"start": salt, "count": 3}), n2=("OldShow", {"source": ["3", 0]}),
                   n3=("Meet", {"value": ["1", 0], "count": 3, "salt": salt}))  # fmt: skip
    assert await texts(client, prompt) == [str(salt), str(salt + 1), str(salt + 2)]


async def test_E10_an_exception_of_an_async_node_fails_the_prompt(client: Client, salt: int) -> None:
    error = await failure(client, shown("AsyncFail", value=salt))
    assert (error["exception_message"], error["exception_type"]) == (f"async {salt}\n", "RuntimeError")


async def test_E11_a_node_begins_at_nothing_and_ends_at_all_and_threads_tell_for_it(client: Client, salt: int) -> None:
    _, messages = await client.run(shown("ThreadProgress", value=salt))
    told = [(data["node"], data["value"], data["max"]) for data in of_kind(messages, "progress")]
    assert told == [("1", 3, 4)]
    states = [data["nodes"]["1"] for data in of_kind(messages, "progress_state") if "1" in data["nodes"]]
    assert (states[0]["state"], states[0]["value"], states[0]["max"]) in (("running", 0, 1), ("running", 3, 4))
    assert (states[-1]["state"], states[-1]["value"], states[-1]["max"]) == ("finished", 4, 4)


async def test_E13_the_keys_are_those_of_the_first_call(client: Client, salt: int) -> None:
    prompt = graph(n1=("OldList", {"start": salt, "count": 2}), n2=("TwoKeys", {"value": ["1", 0]}))
    job_id, _ = await client.run(prompt)
    entry = await client.finished(job_id)
    assert entry["outputs"]["2"] == {"text": [salt, salt + 1], "first": [salt]}


@pytest.mark.parametrize("kind", ["ExpandCircle", "ExpandAhead"])
async def test_E14_a_circle_made_while_running_is_an_error_of_the_node_that_shows_it(
    client: Client, salt: int, kind: str
) -> None:
    prompt = graph(n1=(kind, {"value": salt}), n2=("Nap", {"value": ["1", 0]}), n3=("OldShow", {"source": ["2", 0]}))
    job_id, messages = await client.run(prompt)
    (error,) = of_kind(messages, "execution_error")
    assert (error["exception_type"], error["node_id"]) == ("graph.DependencyCycleError", "1")
    assert (await client.finished(job_id))["status"]["status_str"] == "error"
