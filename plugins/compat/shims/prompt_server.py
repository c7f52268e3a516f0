"""`server`: routes of packs, and messages to clients."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Any

from aiohttp import web

from mezzotint.plugins.compat import surroundings


class BinaryEventTypes(IntEnum):
    """Kinds of binary messages."""

    PREVIEW_IMAGE = 1
    UNENCODED_PREVIEW_IMAGE = 2
    TEXT = 3
    PREVIEW_IMAGE_WITH_METADATA = 4


class PromptServer:
    """The one server that packs know."""

    instance: PromptServer

    def __init__(self) -> None:
        self.routes = web.RouteTableDef()
        self.supports = ["custom_nodes_from_web"]
        self._taken: dict[str, list[web.RouteDef]] = {}

    @property
    def client_id(self) -> str | None:
        """The client of the running job."""
        found = surroundings.secret("client_id")
        return found if isinstance(found, str) else None

    @contextmanager
    def routes_of(self, pack: str) -> Iterator[None]:
        """What is added to `routes` inside is this pack's."""
        before = len(self.routes)
        try:
            yield
        finally:
            added = [route for route in [*self.routes][before:] if isinstance(route, web.RouteDef)]
            self._taken[pack] = added

    def take_routes(self, pack: str) -> list[web.RouteDef]:
        """The routes that a pack added while it was imported."""
        return self._taken.get(pack, [])

    def __getattr__(self, name: str) -> Callable[..., Any]:
        from mezzotint.plugins.compat.importing import refusal

        raise AttributeError(refusal(f"server.PromptServer.instance.{name}"))


PromptServer.instance = PromptServer()
