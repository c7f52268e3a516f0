"""How much one client may ask of the server, so that nobody can wear it out for the others."""

from __future__ import annotations

from dataclasses import dataclass

from .features import MAX_UPLOAD_NBYTES


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a server.

    Attributes:
        body_nbytes: of one body. bodies_nbytes: of all bodies that are being received.
        idle_seconds: how long a connection may take to send the head of a request, the first or a further one.
        body_seconds: how long a body may take, beside the time that it needs at `body_nbytes_per_second`.
        linger_seconds: how long the rest of a body is read that was refused, so that the client gets to the answer.
        unread_seconds: how long an answer, or what a websocket is told, may wait for the client to read on.
        connections: open at once; connections_per_address: from one address, this machine's own excepted.
        heartbeat_seconds: how often a websocket is asked whether it is still there; it has half of that to answer.
        message_nbytes: the largest message on a websocket; there is nothing to say that is longer.
        chatter_nbytes: what a websocket may send at once; chatter_nbytes_per_second: and from then on.
        outbox_nbytes: what may wait to be sent over one websocket.
    """

    body_nbytes: int = MAX_UPLOAD_NBYTES
    bodies_nbytes: int = 1 << 30
    idle_seconds: float = 75.0
    body_seconds: float = 20.0
    body_nbytes_per_second: float = 4096.0
    linger_seconds: float = 5.0
    unread_seconds: float = 60.0
    connections: int = 512
    connections_per_address: int = 128
    heartbeat_seconds: float = 30.0
    message_nbytes: int = 1 << 20
    chatter_nbytes: int = 8 << 20
    chatter_nbytes_per_second: float = float(64 << 10)
    outbox_nbytes: int = 64 << 20


DEFAULT_LIMITS = Limits()
