"""The demanded graph: list, lazy, expanding, async, blocking and output nodes of both class APIs, with native ones."""

from __future__ import annotations

from typing import Any

from ..server.serving import Client, labels, of_kind
from .prompts import Prompt, graph


def prompt_of(salt: int) -> Prompt:
    """Each kind of both APIs in a row of its own that begins and ends with native nodes, and both rows joined."""
    rows: dict[str, tuple[str, dict[str, Any]]] = {"nfirst": ("SmallSum", {"a": salt})}
    for api, label in (("Old", "o"), ("New", "n")):
        count = {"count": 2} if api == "Old" else {}
        message = {"message": "odd"} if api == "Old" else {}

        def node(kind: str, api: str = api, **inputs: Any) -> tuple[str, dict[str, Any]]:
            return api + kind, inputs

        rows |= {
            f"n{label}list": node("List", start=["first", 0], **count),  # salt, salt + 1
            f"n{label}plus": ("SmallSum", {"a": [f"{label}list", 0], "b": 1}),  # salt + 1, salt + 2
            f"n{label}left": node("Sum", a=salt, b=99),
            f"n{label}lazy": node("Lazy", first=True, yes=[f"{label}plus", 0], no=[f"{label}left", 0]),
            f"n{label}expand": node("Expand", value=[f"{label}lazy", 0]),  # + 2 (old) or + 1 (new)
            f"n{label}async": node("Async", value=[f"{label}expand", 0]),  # + 1
            f"n{label}block": node("Block", value=[f"{label}async", 0], **message),  # odd ones are blocked
            f"n{label}output": node("Show", source=[f"{label}block", 0]),
            f"n{label}native": ("SmallShow", {"source": [f"{label}block", 0]}),
        }
    rows["njoined"] = ("SmallSum", {"a": ["oasync", 0], "b": ["nasync", 0]})
    rows["nend"] = ("NewShow", {"source": ["joined", 0]})
    return graph(**rows)


async def test_six_kinds_of_nodes_of_both_apis_run_in_one_graph_with_native_ones(client: Client, salt: int) -> None:
    job_id, messages = await client.run(prompt_of(salt))
    entry = await client.finished(job_id)
    assert entry["status"]["status_str"] == "success"
    outputs = {node_id: shown["text"] for node_id, shown in entry["outputs"].items() if "text" in shown}
    old, new = [salt + 4, salt + 5], [salt + 3, salt + 4]  # what the async nodes give
    assert outputs["end"] == [str(a + b) for a, b in zip(old, new, strict=True)]  # lists, mapped and joined
    assert outputs["ooutput"] == [str(salt + 4)]  # the even one of each; the other is blocked
    assert outputs["noutput"] == [str(salt + 4)]
    order = labels(messages)
    assert {"executing oleft", "executing nleft"}.isdisjoint(order)  # lazy
    assert {"executing oexpand.0.0.1", "executing nexpand.0.0.1"} <= {*order}  # expanding
    assert {"executed ooutput", "executed noutput", "executed onative", "executed nnative"} <= {*order}
    blocked = of_kind(messages, "execution_error")
    assert {error["exception_type"] for error in blocked} == {"ExecutionBlocked"}
    assert {error["node_id"] for error in blocked} <= {"ooutput", "onative", "noutput", "nnative"}


async def test_async_nodes_of_both_apis_are_under_way_together(client: Client, salt: int) -> None:
    rows = {
        name: (kind, {"value": salt + index})
        for index, (name, kind) in enumerate({"na": "OldAsync", "nb": "NewAsync", "nc": "OldAsync"}.items())
    }
    shows = {f"n{name[1:]}s": ("OldShow", {"source": [name[1:], 0]}) for name in rows}
    _, messages = await client.run(graph(**rows, **shows))
    begun = [text for text in labels(messages) if text.startswith("executing ")]
    assert {*begun[:3]} == {"executing a", "executing b", "executing c"}


async def test_a_rerun_of_the_six_kinds_runs_nothing_and_shows_the_same(client: Client, salt: int) -> None:
    first, _ = await client.run(prompt_of(salt))
    second, messages = await client.run(prompt_of(salt))
    assert [data["node"] for data in of_kind(messages, "executing")] == [None]
    before, after = [(await client.finished(job_id))["outputs"] for job_id in (first, second)]
    assert before == after
