"""Prompts of packs' nodes, and what becomes of them on the server."""

from __future__ import annotations

from typing import Any

from ..server.serving import Client, of_kind

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
