"""Puts off reading the system's certificates until something is connected to by TLS."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class _LateContext(ssl.SSLContext):
    """Becomes an ordinary context, with certificates, when the first connection is made with it."""

    def wrap_socket(self, *args: Any, **options: Any) -> ssl.SSLSocket:
        return _loaded(self).wrap_socket(*args, **options)

    def wrap_bio(self, *args: Any, **options: Any) -> ssl.SSLObject:
        return _loaded(self).wrap_bio(*args, **options)


def _loaded(context: ssl.SSLContext) -> ssl.SSLContext:
    context.load_default_certs()
    context.__class__ = ssl.SSLContext
    return context


@contextmanager
def late_certificates() -> Iterator[None]:
    """Contexts that are made meanwhile read the certificates at their first use.

    aiohttp makes one when it is imported. To read the certificates takes 50 ms, which every start of the server would
    wait for although it connects to nobody.
    """
    load = ssl.SSLContext.load_default_certs

    def put_off(context: ssl.SSLContext, purpose: ssl.Purpose = ssl.Purpose.SERVER_AUTH) -> None:
        if purpose is ssl.Purpose.SERVER_AUTH and type(context) is ssl.SSLContext:
            context.__class__ = _LateContext
        else:
            load(context, purpose)

    ssl.SSLContext.load_default_certs = put_off  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        ssl.SSLContext.load_default_certs = load  # type: ignore[method-assign]
