"""§7: which results are used again."""

from __future__ import annotations

import json
import math

import pytest
from PIL import Image

from ..server.serving import Client, Server, labels, of_kind
from .prompts import graph, shown, texts


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


async def test_C1_two_identical_nodes_of_one_prompt_share_a_result(client: Client, salt: int) -> None:
    prompt = graph(n1=("Nap", {"value": salt}), n2=("Nap", {"value": salt}),
                   n3=("NapShow", {"value": ["1", 0]}), n4=("NapShow", {"value": ["2", 0]}))  # fmt: skip
    job_id, messages = await client.run(prompt)
    begun = [data["node"] for data in of_kind(messages, "executing")]
    assert len({"1", "2"} & {*begun}) == 1
    assert [*(await client.finished(job_id))["outputs"].values()] == [{"text": [str(salt)]}] * 2


async def test_C2_nodes_that_ask_for_their_id_share_nothing(client: Client, salt: int) -> None:
    prompt = graph(n1=("HasId", {"value": salt}), n2=("OldShow", {"source": ["1", 0]}),
                   n3=("HasId", {"value": salt}), n4=("OldShow", {"source": ["3", 0]}))  # fmt: skip
    job_id, _ = await client.run(prompt)
    outputs = (await client.finished(job_id))["outputs"]
    assert (outputs["2"]["text"], outputs["4"]["text"]) == ([f"{salt} 1"], [f"{salt} 3"])


async def test_C3_C13_titles_and_the_order_of_keys_do_not_count(client: Client, salt: int) -> None:
    prompt = graph(n1=("OldShow", {"source": {"a": salt, "b": [1]}}))
    await client.run(prompt)
    prompt["1"] = {"class_type": "OldShow", "inputs": {"source": {"b": [1], "a": salt}}, "_meta": {"title": "new"}}
    _, messages = await client.run(prompt)
    assert "executing 1" not in labels(messages)
    prompt["1"]["inputs"]["source"]["b"] = [2]
    _, messages = await client.run(prompt)
    assert "executing 1" in labels(messages)


async def test_C4_each_node_is_asked_once_whether_or_not_an_output_needs_it(client: Client, salt: int) -> None:
    prompt = graph(n1=("Asked", {"salt": salt, "linked": ["3", 0]}), n3=("OldSum", {"a": 1}),
                   n4=("OldShow", {"source": ["3", 0]}))  # fmt: skip
    asked = "linked None, prompt {}, id 1"
    for times in (1, 2):
        await client.run(prompt)
        about = graph(n1=("AskedBefore", {"about": salt, "time": times}))
        assert await texts(client, about, "1") == [asked] * times


@pytest.mark.parametrize(("how", "written"), [("same", "['same']"), ("nan", "[nan]"), ("object", '["<class ')])
async def test_C6_what_it_answers_is_in_the_graph_that_nodes_see(
    client: Client, salt: int, how: str, written: str
) -> None:
    prompt = graph(n1=("ShowsItself", {"salt": salt, "how": how, "scale": 1.0, "on": True}))
    prompt["1"]["is_changed"] = ["forged"]
    (text,) = await texts(client, prompt, "1")
    assert f"'is_changed': {written}" in text
    assert "forged" not in text


async def test_C6_what_it_answers_is_in_the_pictures_that_are_saved(client: Client, salt: int, server: Server) -> None:
    prompt = graph(n1=("EmptyImage", {"width": 8, "height": 8, "batch_size": 1, "color": salt}),
                   n2=("SaveImage", {"images": ["1", 0], "filename_prefix": f"asked-{salt}"}),
                   n3=("OldChanged", {"kind": "nan", "salt": salt}))  # fmt: skip
    await client.run(prompt)
    (path,) = (server.home / "output").glob(f"asked-{salt}*.png")
    with Image.open(path) as picture:
        graph_inside = json.loads(picture.info["prompt"])
    assert math.isnan(graph_inside["3"]["is_changed"][0])
    status, _ = await client.post("/prompt", {"prompt": graph_inside})  # and can be submitted as it is
    assert status == 200


async def test_C7_a_cached_node_that_nothing_needs_is_not_mentioned(client: Client, salt: int) -> None:
    await client.run(shown("OldSum", a=salt))
    _, messages = await client.run({**shown("OldSum", a=salt + 1), **graph(n7=("OldSum", {"a": salt}))})
    assert not any(text.endswith(" 7") for text in labels(messages))


async def test_C8_an_interrupt_keeps_what_was_finished(client: Client, salt: int) -> None:
    prompt = graph(n1=("Nap", {"value": salt}), n2=("OldFlexible", {"a": ["1", 0], "b": ["3", 0]}),
                   n3=("OldSlow", {"ticks": ["4", 0]}), n4=("OldTotal", {"values": ["1", 0], "factor": 1}),
                   n5=("OldShow", {"source": ["2", 0]}))  # fmt: skip
    job_id = await client.submit(prompt)
    await client.until("progress")
    await client.post("/interrupt")
    await client.until("executing", node=None, prompt_id=job_id)
    job_id = await client.submit(prompt)
    heard = await client.until("progress")
    assert {"1", "4"} <= {*of_kind(heard, "execution_cached")[0]["nodes"]}
    await client.post("/interrupt")
    await client.until("executing", node=None, prompt_id=job_id)


async def test_C10_values_are_handed_on_as_they_are_and_not_copied(client: Client, salt: int) -> None:
    prompt = graph(n1=("Box", {"value": salt}), n2=("BoxChange", {"box": ["1", 0], "wait": salt}))
    (first, where) = await texts(client, prompt)
    prompt["2"]["inputs"]["wait"] = salt + 1
    assert await texts(client, prompt) == [str(int(first) + 1), where]


async def test_C11_free_empties_the_caches(client: Client, salt: int) -> None:
    prompt = graph(n1=("Nap", {"value": salt}), n2=("NapShow", {"value": ["1", 0]}))
    await client.run(prompt)
    assert (await client.post("/free", {"free_memory": True}))[0] == 200
    _, messages = await client.run(prompt)
    assert [data["node"] for data in of_kind(messages, "executing")] == ["1", "2", None]


async def test_C14_a_node_that_shows_something_on_the_way_shows_it_again(client: Client, salt: int) -> None:
    prompt = graph(n1=("ShowsOnTheWay", {"value": salt}), n2=("OldShow", {"source": ["1", 0]}))
    for _ in range(2):
        job_id, messages = await client.run(prompt)
        assert {data["node"] for data in of_kind(messages, "executed")} == {"1", "2"}
        assert (await client.finished(job_id))["outputs"]["1"] == {"text": [f"on the way {salt}"]}
    assert "executing 1" not in labels(messages)
    assert (await client.get("/object_info/ShowsOnTheWay"))["ShowsOnTheWay"]["has_intermediate_output"] is True
