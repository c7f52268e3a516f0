"""Many clients at once on a real server: what they wait, whether anything is lost, and what memory it takes."""

from __future__ import annotations

import asyncio
import json
import re
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import psutil
import websockets

from .figure import Figure, figure
from .serving import serving

CLIENTS, PROMPTS = 50, 2_000
PATIENCE_S = 300.0
SETTLE_S = 0.5
"""How long is listened after the last end, for messages that should not come."""


@dataclass(slots=True)
class User:
    """One client: the jobs it submitted, the ends it was told, and how long each took, in seconds."""

    count: int
    submitted: dict[str, float] = field(default_factory=dict)
    ended: list[str] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    is_done: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True)
class Load:
    """What happened.

    Attributes:
        idle_nbytes, peak_nbytes: the server's resident memory before, and at its highest.
        most_unread_nbytes: the most that waited for one websocket: that of the client that never reads.
    """

    users: list[User]
    seconds: float
    idle_nbytes: int
    peak_nbytes: int
    most_unread_nbytes: int
    completed: int

    @property
    def waits(self) -> list[float]:
        return sorted(wait for user in self.users for wait in user.waits)


def prompt(text: str) -> dict[str, Any]:
    """A small graph that was not run before."""
    return {
        "1": {"class_type": "PrimitiveString", "inputs": {"value": text}},
        "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}},
    }


async def load(address: str, process_id: int, *, clients: int, prompts: int) -> Load:
    """Let clients submit prompts, each its share one after the other, beside a client that never reads.

    Args:
        address: the server's `host:port`.

    Raises:
        TimeoutError: not everybody heard the end of all.
    """
    process = psutil.Process(process_id)
    idle_nbytes = process.memory_info().rss
    peak = Peak(idle_nbytes)
    share = prompts // clients
    began = time.perf_counter()
    async with aiohttp.ClientSession(f"http://{address}", connector=aiohttp.TCPConnector(limit=0)) as session:
        watching = asyncio.create_task(_watch(process, session, peak))
        deaf = asyncio.create_task(_deaf(session, address, share))
        async with asyncio.timeout(PATIENCE_S):
            users = await asyncio.gather(*(_use(session, address, index, share) for index in range(clients)))
        seconds = time.perf_counter() - began
        async with asyncio.timeout(PATIENCE_S):
            completed = await _completed(session, (clients + 1) * share)
        deaf.cancel()
        watching.cancel()
        await asyncio.gather(deaf, watching, return_exceptions=True)
    return Load(users, seconds, idle_nbytes, peak.nbytes, peak.unread_nbytes, completed)


async def _use(session: aiohttp.ClientSession, address: str, index: int, count: int) -> User:
    user, client_id = User(count), f"load-{index}"
    async with websockets.connect(f"ws://{address}/ws?clientId={client_id}", max_size=None, proxy=None) as socket:
        hearing = asyncio.create_task(_hear(socket, user))
        for number in range(count):
            began = time.perf_counter()
            job_id = await _submit(session, prompt(f"{client_id} {number}"), client_id)
            user.submitted[job_id] = began
        await user.is_done.wait()
        await asyncio.sleep(SETTLE_S)
        hearing.cancel()
        await asyncio.gather(hearing, return_exceptions=True)
    return user


async def _hear(socket: websockets.ClientConnection, user: User) -> None:
    ends: dict[str, float] = {}
    async for received in socket:
        message = json.loads(received) if isinstance(received, str) else {}
        if message.get("type") == "executing" and message["data"].get("node") is None:
            job_id = message["data"]["prompt_id"]
            ends[job_id] = time.perf_counter()
            user.ended.append(job_id)
        for job_id in ends.keys() & user.submitted.keys():  # an end may come before the answer to the submit
            user.waits.append(ends.pop(job_id) - user.submitted[job_id])
        if len(user.ended) >= user.count:
            user.is_done.set()


async def _deaf(session: aiohttp.ClientSession, address: str, count: int) -> None:
    """A client that owns jobs and reads nothing of what it is told."""
    async with websockets.connect(f"ws://{address}/ws?clientId=deaf", max_queue=1, proxy=None, ping_interval=None):
        for number in range(count):
            await _submit(session, prompt(f"deaf {number}"), "deaf")
        await asyncio.sleep(PATIENCE_S)


async def _submit(session: aiohttp.ClientSession, graph: dict[str, Any], client_id: str) -> str:
    async with session.post("/prompt", json={"prompt": graph, "client_id": client_id}) as response:
        body = await response.json()
        assert response.status == 200, body
        return str(body["prompt_id"])


async def _completed(session: aiohttp.ClientSession, count: int) -> int:
    """How many jobs the server says are done, once none waits or runs."""
    while True:
        async with session.get("/api/jobs", params={"status": "completed", "limit": 1}) as response:
            total = int((await response.json())["pagination"]["total"])
        async with session.get("/api/queue/state") as response:
            state = await response.json()
        if total >= count or (state["pending"] == state["running"] == 0):
            return total
        await asyncio.sleep(0.1)


@dataclass(slots=True)
class Peak:
    """The most of what was seen."""

    nbytes: int
    unread_nbytes: int = 0


async def _watch(process: psutil.Process, session: aiohttp.ClientSession, peak: Peak) -> None:
    while True:
        peak.nbytes = max(peak.nbytes, process.memory_info().rss)
        async with session.get("/metrics") as response:
            found = re.search(r"^mezzotint_websocket_unread_bytes (\S+)", await response.text(), re.MULTILINE)
        assert found is not None
        peak.unread_nbytes = max(peak.unread_nbytes, int(float(found[1])))
        await asyncio.sleep(0.2)


def server_load() -> Iterator[Figure]:
    """The figures of a server with many clients."""
    with tempfile.TemporaryDirectory() as home, serving(home) as server:
        found = asyncio.run(load(*server, clients=CLIENTS, prompts=PROMPTS))
    lost = sum(len(user.submitted.keys() ^ {*user.ended}) for user in found.users)
    waits = found.waits
    yield figure(f"{CLIENTS} clients, {PROMPTS:,} prompts: ends lost or foreign", lost, "", at_most=0, digits=0)
    yield figure("prompts a second", PROMPTS / found.seconds, "", digits=0)
    yield figure("submit to end, all submitted at once, p50", statistics.median(waits), "s", digits=2)
    yield figure("submit to end, all submitted at once, p99", waits[int(len(waits) * 0.99)], "s", digits=2)
    yield figure("memory of the server at its highest", found.peak_nbytes / 1e6, "MB", digits=0)
    yield figure("most that waited for one websocket", found.most_unread_nbytes / 1e6, "MB", at_most=67.2)
    yield figure("more than when idle", (found.peak_nbytes - found.idle_nbytes) / 1e6, "MB", digits=0)
