"""`server`: messages to clients, routes of packs, handlers of prompts."""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import IntEnum
from io import BytesIO
from typing import Any

from aiohttp import web

from mezzotint.plugins.compat import surroundings
from mezzotint.plugins.compat.refusal import refusal
from mezzotint.plugins.compat.server_link import ServerLink

log = logging.getLogger("mezzotint.plugins")

PICTURES = {"JPEG": 1, "PNG": 2}
"""The numbers of picture formats in binary messages."""
PromptHandler = Callable[[dict[str, Any]], dict[str, Any]]


class BinaryEventTypes(IntEnum):
    """Kinds of binary messages."""

    PREVIEW_IMAGE = 1
    UNENCODED_PREVIEW_IMAGE = 2
    TEXT = 3
    PREVIEW_IMAGE_WITH_METADATA = 4


class PromptQueue:
    """The queue of jobs, as far as packs look at it."""

    def __init__(self, server: PromptServer) -> None:
        self._server = server

    def get_tasks_remaining(self) -> int:
        """How many jobs wait or run."""
        return self._server.link.remaining if self._server.is_linked else 0

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(refusal(f"server.PromptServer.instance.prompt_queue.{name}"))


class PromptServer:
    """The one server that packs know. Where none runs, as in `mezzotint run`, nobody hears what is sent."""

    instance: PromptServer

    def __init__(self) -> None:
        self.routes = web.RouteTableDef()
        self.supports = ["custom_nodes_from_web"]
        self.prompt_queue = PromptQueue(self)
        self.on_prompt_handlers: list[PromptHandler] = []
        self._own_app = web.Application()
        self._link: ServerLink | None = None
        self._taken: dict[str, list[web.RouteDef]] = {}

    # the server

    @property
    def is_linked(self) -> bool:
        """Whether there is a server."""
        return self._link is not None

    @property
    def link(self) -> ServerLink:
        """The server.

        Raises:
            RuntimeError: there is none.
        """
        if self._link is None:
            raise RuntimeError("there is no server, or it does not run yet")
        return self._link

    def attach(self, link: ServerLink) -> None:
        """From now on this is the server. What packs added to `app` so far moves there."""
        given, self._own_app = self._own_app, web.Application()
        for resource in given.router.resources():
            link.app.router.register_resource(resource)
        link.app.middlewares.extend(given.middlewares)
        for signal in ("on_startup", "on_shutdown", "on_cleanup", "on_response_prepare"):
            getattr(link.app, signal).extend(getattr(given, signal))
        self._link = link

    def detach(self, link: ServerLink) -> None:
        """The server ended."""
        if self._link is link:
            self._link = None

    @property
    def app(self) -> web.Application:
        """The server's application; before there is one, one whose routes and middlewares it will take over."""
        return self._own_app if self._link is None else self._link.app

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        return self.link.loop

    @property
    def sockets(self) -> Mapping[str, web.WebSocketResponse]:
        return self._link.sockets if self._link is not None else {}

    @property
    def number(self) -> int:
        """The number that the next job would get."""
        return self._link.next_number if self._link is not None else 0

    # the running job

    @property
    def client_id(self) -> str | None:
        """The client of the running job."""
        found = surroundings.secret("client_id")
        return found if isinstance(found, str) else None

    @property
    def last_node_id(self) -> str | None:
        """The node that is running."""
        call = surroundings.running()
        return call.context.node_id if call is not None else None

    @property
    def last_prompt_id(self) -> str | None:
        """The job that is running."""
        call = surroundings.running()
        return call.run.job_id if call is not None else None

    # messages

    def send_sync(self, event: str | int, data: Any, sid: str | None = None) -> None:
        """Send a message to a client, to all when `sid` is None; a name makes it JSON, a number binary.

        Data are written down at once, so they may be changed afterwards. May be called on any thread.
        """
        if self._link is None:
            return
        if isinstance(event, str):
            self._link.send_json(event, data, sid)
        else:
            self._link.send_bytes(_binary(event, data), sid)

    async def send(self, event: str | int, data: Any, sid: str | None = None) -> None:
        """The same, from a coroutine."""
        self.send_sync(event, data, sid)

    def send_progress_text(self, text: str | bytes, node_id: str, sid: str | None = None) -> None:
        """Show a text on a node."""
        name, content = node_id.encode(), text.encode() if isinstance(text, str) else text
        self.send_sync(BinaryEventTypes.TEXT, struct.pack(">I", len(name)) + name + content, sid)

    # prompts

    def add_on_prompt_handler(self, handler: PromptHandler) -> None:
        """Have a function rewrite what is submitted, the whole body, before it is checked."""
        self.on_prompt_handlers.append(handler)

    def rewritten(self, body: dict[str, Any]) -> dict[str, Any]:
        """A body as the handlers leave it. One that fails, or returns something else, changes nothing."""
        for handler in self.on_prompt_handlers:
            try:
                given = handler(body)
                body = given if isinstance(given, dict) else body
            except Exception as error:
                log.warning("a pack's handler of prompts, %s, failed and is left out this time: %s", handler, error)
        return body

    # routes

    @contextmanager
    def routes_of(self, pack: str) -> Iterator[None]:
        """What is added to `routes` inside is this pack's."""
        before = len(self.routes)
        try:
            yield
        finally:
            added = [*self.routes][before:]
            self._taken[pack] = [route for route in added if isinstance(route, web.RouteDef)]
            for folder in added:
                if isinstance(folder, web.StaticDef):
                    folder.register(self.app.router)

    def take_routes(self, pack: str) -> list[web.RouteDef]:
        """The routes that a pack added while it was imported."""
        return self._taken.get(pack, [])

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(refusal(f"server.PromptServer.instance.{name}"))


def _binary(event: int, data: Any) -> bytes:
    """An event's number and its payload; a picture (format, picture, longest side) is encoded on the way."""
    if event == BinaryEventTypes.UNENCODED_PREVIEW_IMAGE:
        event, data = BinaryEventTypes.PREVIEW_IMAGE, _picture(*data)
    return struct.pack(">I", event) + bytes(data)


def _picture(kind: str, picture: Any, longest_side: int | None = None) -> bytes:
    if longest_side is not None:
        picture = picture.copy()
        picture.thumbnail((longest_side, longest_side))
    file = BytesIO()
    picture.save(
        file, "PNG" if kind == "PNG" else "JPEG", **({"compress_level": 1} if kind == "PNG" else {"quality": 95})
    )
    return struct.pack(">I", PICTURES.get(kind, 1)) + file.getvalue()


PromptServer.instance = PromptServer()
