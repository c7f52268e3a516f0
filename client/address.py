"""Where a server is: what a person writes, as the addresses that HTTP and the websocket take."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

from mezzotint.engine.errors import MezzotintError

DEFAULT_PORT = 8188
_SOCKET_SCHEMES = {"http": "ws", "https": "wss"}


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """A server's address.

    Attributes:
        scheme: "http" or "https". place: host and port. path: of a server behind a proxy; empty or with "/" in front.
    """

    scheme: str
    place: str
    path: str = ""

    @classmethod
    def parse(cls, text: str) -> ServerAddress:
        """Read an address: `http://host:8188`, or `host:8188`, or `host` alone for its port 8188.

        Raises:
            MezzotintError: it is none.
        """
        whole = text.strip() if "://" in text else f"http://{text.strip()}"
        try:
            parts = urlsplit(whole)
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        if parts.scheme not in _SOCKET_SCHEMES or not parts.hostname or parts.username or parts.query:
            raise MezzotintError(
                f"the server's address '{text}' cannot be read; write it as in http://127.0.0.1:{DEFAULT_PORT}"
            )
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        if port is None and (parts.scheme == "http" and "://" not in text):
            port = DEFAULT_PORT
        return cls(parts.scheme, host if port is None else f"{host}:{port}", parts.path.rstrip("/"))

    def __str__(self) -> str:
        return f"{self.scheme}://{self.place}{self.path}"

    def socket(self, **query: str | int) -> str:
        """The websocket's address."""
        return f"{_SOCKET_SCHEMES[self.scheme]}://{self.place}{self.path}/ws?{urlencode(query)}"
