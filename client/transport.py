"""Requests to a server over HTTP, with what goes wrong as sentences."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from .address import ServerAddress
from .errors import AccessDeniedError, ConnectionLostError, RequestRefusedError, ServerError, ServerUnreachableError

Query = Mapping[str, str | int]
Form = aiohttp.FormData | None

CONNECT_SECONDS, READ_SECONDS = 10.0, 60.0
"""How long a connection may take, and how long the server may be silent in the middle of an answer."""


class Transport:
    """Speaks HTTP with one server. Made on an event loop; close it."""

    def __init__(self, address: ServerAddress, token: str | None) -> None:
        self.address, self._has_token = address, token is not None
        self.headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=READ_SECONDS)
        self._session = aiohttp.ClientSession(headers=self.headers, timeout=timeout)

    async def close(self) -> None:
        await self._session.close()

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        data: aiohttp.FormData | None = None,
        query: Query | None = None,
    ) -> Any:
        """Send a request and return what the server answers: JSON, text, or None if it is empty.

        Raises:
            ServerUnreachableError, AccessDeniedError, RequestRefusedError, ServerError: see `errors`.
        """
        async with self.answer(method, path, body, data=data, query=query) as response:
            return _read(await response.text(), response.content_type)

    @asynccontextmanager
    async def answer(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        data: aiohttp.FormData | None = None,
        query: Query | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A request's answer, not read yet. Raises as `ask`, also for what breaks off while it is read."""
        url = f"{self.address}{path}"
        try:
            async with self._session.request(method, url, json=body, data=data, params=query) as response:
                await self._check(response)
                yield response
        except aiohttp.ClientConnectorError as error:
            raise ServerUnreachableError(self._unreachable(_reason(error))) from None
        except aiohttp.InvalidURL:
            raise ServerError(f"the server's address '{self.address}' is none") from None
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            if isinstance(error, aiohttp.ServerTimeoutError) and "connect" in str(error).lower():
                raise ServerUnreachableError(self._unreachable("it does not answer")) from None
            reason = str(error) or type(error).__name__
            raise ConnectionLostError(f"the connection to the server at {self.address} broke: {reason}") from None

    async def _check(self, response: aiohttp.ClientResponse) -> None:
        if response.status < 400:
            return
        body = _read(await response.text(errors="replace"), response.content_type)
        if response.status == 401:
            raise denied(self.address, has_token=self._has_token)
        sentence = _sentence(body) or f"{response.status} {response.reason}"
        if response.status >= 500:
            raise ServerError(f"the server at {self.address} failed: {sentence}")
        raise RequestRefusedError(sentence, response.status, body)

    def _unreachable(self, reason: str) -> str:
        return f"there is no server at {self.address}: {reason}; start one with 'mezzotint serve', or name another"


def denied(address: ServerAddress, *, has_token: bool) -> AccessDeniedError:
    """The error of a server that lets nobody in without its token."""
    if has_token:
        return AccessDeniedError(
            f"the server at {address} does not take this token; give the one that it was started with"
        )
    return AccessDeniedError(f"the server at {address} wants a token; give it with --token or MEZZOTINT_TOKEN")


def _reason(error: aiohttp.ClientConnectorError) -> str:
    inner = error.os_error
    if isinstance(inner, ConnectionRefusedError):
        return "nothing listens there"
    return inner.strerror or str(inner) or "it cannot be reached"


def _read(text: str, content_type: str) -> Any:
    if not text:
        return None
    if content_type != "application/json":
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _sentence(body: Any) -> str:
    """What a refusal says: `{"error": "..."}`, `{"error": {"message": "..."}}`, or plain text."""
    error = body.get("error", "") if isinstance(body, Mapping) else body
    if isinstance(error, Mapping):
        error = error.get("message", "")
    return " ".join(str(error or "").split())[:500]


async def backing_off(patience_s: float) -> AsyncIterator[None]:
    """Comes again after 0.1, 0.2, ... 5 seconds, until the patience is used up."""
    loop = asyncio.get_running_loop()
    end, pause = loop.time() + patience_s, 0.1
    while loop.time() < end:
        yield
        await asyncio.sleep(pause)
        pause = min(pause * 2, 5.0)
