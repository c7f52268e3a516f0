"""What packs of custom nodes get of the server: messages to clients, routes, a say in what is submitted."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

from aiohttp import web

from mezzotint.plugins.compat.shims.prompt_server import PromptServer
from mezzotint.plugins.compat.surroundings import context

from .app_key import CLIENTS, EVENTS, QUEUE
from .frame import Message, encoded
from .json_body import to_json


class PackLink:
    """The `plugins.compat.server_link.ServerLink` of a server."""

    def __init__(self, app: web.Application) -> None:
        self.app = app
        self._loop: asyncio.AbstractEventLoop | None = None

    async def open(self, app: web.Application) -> None:
        """The server runs, on the loop that runs now."""
        self._loop = asyncio.get_running_loop()

    async def close(self, app: web.Application) -> None:
        """The server ends."""
        PromptServer.instance.detach(self)
        self._loop = None

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            raise RuntimeError("the server does not run yet, so it has no loop; ask when it does, as in app.on_startup")
        return self._loop

    @property
    def sockets(self) -> Mapping[str, web.WebSocketResponse]:
        return MappingProxyType(self.app[CLIENTS].sockets)

    @property
    def remaining(self) -> int:
        return self.app[QUEUE].remaining

    @property
    def next_number(self) -> int:
        return self.app[QUEUE].upcoming_number

    def send_json(self, kind: str, data: Any, sid: str | None) -> None:
        self._send(encoded(kind, to_json(data), None), sid)

    def send_bytes(self, content: bytes, sid: str | None) -> None:
        self._send(content, sid)

    def _send(self, payload: str | bytes, sid: str | None) -> None:
        loop, here = self._loop, context()
        if loop is None:
            return
        pass_on = partial(self.app[EVENTS].pass_on, Message(payload), sid)
        if here is None or not here.in_order(pass_on):
            loop.call_soon_threadsafe(pass_on)


def link_packs(app: web.Application) -> None:
    """Let packs find the server, until it ends. What they added to it while they were imported is taken up."""
    link = PackLink(app)
    PromptServer.instance.attach(link)
    app.on_startup.insert(0, link.open)
    app.on_cleanup.append(link.close)
