"""Starts the real server in a process of its own, and talks to it as editors and scripts do."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import aiohttp
import websockets

NODES = Path(__file__).with_name("small_nodes.py")
COMMAND = [sys.executable, "-m", "mezzotint", "serve"]
PATIENCE_S = 60.0


class Server:
    """A server process. Its folders lie below `home`."""

    def __init__(self, home: Path, *options: str) -> None:
        self.home = home
        for folder in ("input", "output", "temp"):
            (home / folder).mkdir(parents=True, exist_ok=True)
        self.process = subprocess.Popen(
            [*COMMAND, "--port", "0", "--plugin", str(NODES), *options],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "MEZZOTINT_HOME": str(home)},
        )
        self.said: list[str] = []
        self.address = self._address()
        # Nobody may leave the pipe to fill: who says more than it holds waits until somebody listens.
        self._listening = threading.Thread(target=lambda: [*self._lines()], daemon=True)
        self._listening.start()

    def _lines(self) -> Iterator[str]:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)
            yield line

    def _address(self) -> str:
        for line in self._lines():
            found = re.search(r"Listening on http://(\S+)", line)
            if found:
                return found[1]
        raise AssertionError("".join(self.said))

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it; returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.ended()

    def ended(self) -> int:
        """Wait until it ends by itself; returns its exit code."""
        code = self.process.wait(PATIENCE_S)
        self._listening.join(PATIENCE_S)
        assert self.process.stderr is not None
        self.process.stderr.close()
        return code


class Client:
    """Speaks HTTP and listens on a websocket."""

    def __init__(self, server: Server, session: aiohttp.ClientSession, sid: str | None = None) -> None:
        self.server, self.session, self.sid = server, session, sid
        self.socket: websockets.ClientConnection | None = None

    @classmethod
    @asynccontextmanager
    async def of(cls, server: Server, sid: str | None = None) -> AsyncIterator[Self]:
        """A client; with a `sid` it also listens."""
        async with aiohttp.ClientSession(server.url) as session:
            client = cls(server, session, sid)
            if sid is None:
                yield client
                return
            async with websockets.connect(
                f"ws://{server.address}/ws?clientId={sid}", max_size=None, max_queue=None, close_timeout=2
            ) as socket:
                client.socket = socket
                yield client

    async def get(self, path: str, **options: Any) -> Any:
        async with self.session.get(path, **options) as response:
            assert response.status == 200, await response.text()
            return await response.json()

    async def post(self, path: str, body: Any = None) -> tuple[int, Any]:
        """The status and the body, read as JSON if there is one."""
        async with self.session.post(path, json=body) as response:
            text = await response.text()
            is_json = response.content_type == "application/json"
            return response.status, json.loads(text) if is_json else text

    async def submit(self, prompt: dict[str, Any], **more: Any) -> str:
        """Queue a prompt of this client's; returns its id."""
        owner = {} if self.sid is None else {"client_id": self.sid}
        status, body = await self.post("/prompt", {"prompt": prompt, **owner, **more})
        assert status == 200, body
        return str(body["prompt_id"])

    async def next(self) -> Any:
        """The next message: a dict, or the bytes of a binary one."""
        assert self.socket is not None
        message = await asyncio.wait_for(self.socket.recv(), PATIENCE_S)
        return message if isinstance(message, bytes) else json.loads(message)

    async def until(self, kind: str, **facts: Any) -> list[Any]:
        """All messages up to the first of a kind whose data have these facts."""
        heard: list[Any] = []
        while True:
            message = await self.next()
            heard.append(message)
            if isinstance(message, dict) and message["type"] == kind and facts.items() <= message["data"].items():
                return heard

    async def run(self, prompt: dict[str, Any], **more: Any) -> tuple[str, list[Any]]:
        """Queue a prompt and listen to its end."""
        job_id = await self.submit(prompt, **more)
        return job_id, await self.until("executing", node=None, prompt_id=job_id)

    async def finished(self, job_id: str) -> dict[str, Any]:
        """Poll the history until the job is there."""
        for _ in range(int(PATIENCE_S / 0.02)):
            found = await self.get(f"/history/{job_id}")
            if found:
                return dict(found[job_id])
            await asyncio.sleep(0.02)
        raise AssertionError(f"job {job_id} never ended")


def label(message: Any) -> str:
    """A message in short: `executing 3`, `status 1`."""
    if isinstance(message, bytes):
        return f"binary {message[3]}"
    kind, data = message["type"], message["data"]
    if kind == "status":
        return f"status {data['status']['exec_info']['queue_remaining']}"
    if kind == "progress_state":
        states = {"running": "~", "finished": ""}
        return "ps " + " ".join(states[node["state"]] + node_id for node_id, node in data["nodes"].items())
    if kind == "execution_cached":
        return f"execution_cached {' '.join(sorted(data['nodes']))}".rstrip()
    return f"{kind} {data['node']}" if "node" in data else str(kind)


def labels(messages: list[Any], *, leaving_out: str = " ") -> list[str]:
    """Messages in short; those that begin with `leaving_out` not."""
    return [text for text in map(label, messages) if not text.startswith(leaving_out)]


def of_kind(messages: list[Any], kind: str) -> list[dict[str, Any]]:
    """The data of the messages of a kind."""
    return [message["data"] for message in messages if isinstance(message, dict) and message["type"] == kind]
