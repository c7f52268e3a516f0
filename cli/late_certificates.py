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
    context.set_default_verify_paths()
    context.__class__ = ssl.SSLContext
    return context


@contextmanager
def late_certificates() -> Iterator[None]:
    """Contexts that are made meanwhile read the certificates at their first use.

    aiohttp makes two when it is imported, of which one trusts anybody. Each would read the certificates, which takes
    35 ms, and every start of the server would wait for that although it connects to nobody.
    """
    ssl.SSLContext.set_default_verify_paths = _put_off  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        del ssl.SSLContext.set_default_verify_paths  # that of its base is there again


def _put_off(context: ssl.SSLContext) -> None:
    if type(context) is ssl.SSLContext:
        context.__class__ = _LateContext
    else:
        super(ssl.SSLContext, context).set_default_verify_paths()
