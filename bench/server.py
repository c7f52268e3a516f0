"""What the server adds to a job: until it answers, until the first node runs, and on the wire."""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp

from .figure import Figure, figure, median
from .serving import serving

SOCKET = "/ws?clientId=bench"
NODES = ("--plugin", str(Path(__file__).with_name("clock_node.py")))
STARTS, SUBMISSIONS, STEPS = 7, 300, 300
Prompt = dict[str, Any]


def _seconds_to_answer(home: str) -> float:
    """Process start to the first answer that comes from the queue."""
    began = time.perf_counter()
    with serving(home, *NODES) as server:
        asyncio.run(_get(f"http://{server.address}/prompt"))
        return time.perf_counter() - began


async def _get(url: str) -> Any:
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return await response.json()


async def _milliseconds_to_first_node(address: str) -> float:
    """Submission to the call of the first body: the median on an idle queue."""
    taken: list[float] = []
    async with (
        aiohttp.ClientSession(f"http://{address}") as session,
        session.ws_connect(SOCKET) as socket,
    ):
        for number in range(SUBMISSIONS):
            prompt = {
                "1": {"class_type": "BenchClock", "inputs": {"salt": str(number)}},
                "2": {"class_type": "BenchShow", "inputs": {"source": ["1", 0]}},
            }
            began = time.time()
            shown, _ = await _run(session, socket, prompt)
            taken.append(1000 * (shown[0] - began))
    return statistics.median(taken)


async def _bytes_on_the_wire(address: str) -> int:
    """All that a client is sent over the websocket of a prompt of instant steps."""
    prompt: Prompt = {"0": {"class_type": "BenchAdd", "inputs": {"a": 1}}}
    for number in range(1, STEPS - 1):
        prompt[str(number)] = {"class_type": "BenchAdd", "inputs": {"a": [str(number - 1), 0], "b": 1}}
    prompt[str(STEPS - 1)] = {"class_type": "BenchShow", "inputs": {"source": [str(STEPS - 2), 0]}}
    async with (
        aiohttp.ClientSession(f"http://{address}") as session,
        session.ws_connect(SOCKET) as socket,
    ):
        _, nbytes = await _run(session, socket, prompt)
    return nbytes


async def _run(
    session: aiohttp.ClientSession, socket: aiohttp.ClientWebSocketResponse, prompt: Prompt
) -> tuple[Any, int]:
    """Run a prompt to its end; what it showed, and the bytes that came."""
    shown: Any = None
    nbytes = 0
    async with session.post("/prompt", json={"prompt": prompt, "client_id": "bench"}) as response:
        job_id = (await response.json())["prompt_id"]
    async for message in socket:
        nbytes += len(message.data)
        frame = json.loads(message.data)
        if frame["type"] == "executed":
            shown = frame["data"]["output"]["values"]
        if frame["type"] == "executing" and frame["data"] == {"node": None, "prompt_id": job_id}:
            break
    return shown, nbytes


def server_costs() -> Iterator[Figure]:
    """The figures of the server."""
    with tempfile.TemporaryDirectory() as home:
        _seconds_to_answer(home)  # makes the database, as the first start does
        start = median(lambda _: _seconds_to_answer(home), STARTS)
        yield figure("`mezzotint serve`, process start to first answer", start, "s", at_most=1.0, digits=2)
        with serving(home, *NODES) as server:
            first = asyncio.run(_milliseconds_to_first_node(server.address))
            yield figure("durable submit over HTTP to the first node, idle queue", first, "ms", at_most=3, digits=2)
            nbytes = asyncio.run(_bytes_on_the_wire(server.address))
            yield figure(f"websocket bytes of a prompt of {STEPS} instant steps", nbytes / 1000, "kB", at_most=150)
