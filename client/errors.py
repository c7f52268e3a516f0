"""What can go wrong between a client and a server, as one tree.

ServerError                     a MezzotintError, something about the server or what it answered
├── ServerUnreachableError      nobody answers at the address
│   └── ConnectionLostError     the connection broke before the answer came
├── AccessDeniedError           the server wants a token, or another one
└── RequestRefusedError         the server understood, and says no; its sentence
    └── JobNotFoundError        no job has this id

NodeFailedError                 what a node raised on the server, where the client has only its text
"""

from __future__ import annotations

from mezzotint.engine.errors import MezzotintError


class ServerError(MezzotintError):
    """The server cannot be used, or answered what nobody expects of it."""


class ServerUnreachableError(ServerError):
    """Nobody answers at the address."""


class ConnectionLostError(ServerUnreachableError):
    """The connection broke before the answer came: whether the request took effect is not known."""


class AccessDeniedError(ServerError):
    """The server wants a token, or does not know the one it got."""


class RequestRefusedError(ServerError):
    """The server refuses what it was asked.

    Attributes:
        status: the HTTP status. body: the answer, read as JSON if it is some, else as text.
    """

    def __init__(self, sentence: str, status: int = 400, body: object = None) -> None:
        super().__init__(sentence)
        self.status, self.body = status, body


class JobNotFoundError(RequestRefusedError):
    """No job has this id: it never was there, or it was deleted."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"the server has no job '{job_id}'", 404)


class NodeFailedError(MezzotintError):
    """What a node raised on the server: its text alone came over the wire."""
