"""What a body logs can be told apart by its job, on whatever thread it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import Any

import pytest

from mezzotint.engine.current_job import CURRENT_JOB
from mezzotint.engine.engine import Engine
from mezzotint.engine.node import node
from mezzotint.engine.registry import Registry
from mezzotint.engine.request import Request
from mezzotint.engine.workflow import Workflow

heard: list[tuple[str, str]] = []


@node("PlainJob", sink=True)
def plain_job(who: str) -> None:
    """Notes its job."""
    heard.append((who, CURRENT_JOB.get()))


@node("AsyncJob", sink=True)
async def async_job(who: str) -> None:
    """Notes its job, after others had their turn."""
    await asyncio.sleep(0.01)
    heard.append((who, CURRENT_JOB.get()))


@node("GeneratorJob", sink=True)
def generator_job(who: str) -> Generator[Request, Any, int]:
    """Notes its job."""
    heard.append((who, CURRENT_JOB.get()))
    return 1
    yield


@pytest.mark.parametrize("kind", ["PlainJob", "AsyncJob", "GeneratorJob"])
async def test_a_body_knows_its_job_also_beside_another(kind: str) -> None:
    registry = Registry()
    for function in (plain_job, async_job, generator_job):
        registry.register(function, __name__)
    engine = Engine(registry)
    heard.clear()
    try:
        graphs = {
            who: Workflow.from_api({str(n): {"class_type": kind, "inputs": {"who": f"{who} {n}"}} for n in range(5)})
            for who in ("one", "two")
        }
        await asyncio.gather(*[engine.run(graph, job_id=f"job {who}") for who, graph in graphs.items()])
    finally:
        engine.close()
    assert len(heard) == 10
    assert all(job_id == f"job {who.split()[0]}" for who, job_id in heard)
    assert CURRENT_JOB.get() == ""
