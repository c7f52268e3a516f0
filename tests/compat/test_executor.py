"""§4: which nodes run, in which order, with what, and how they end."""

from __future__ import annotations

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
