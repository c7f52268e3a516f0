"""§7: which results are used again."""

from __future__ import annotations

import pytest

from ..server.serving import Client, labels, of_kind
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
