"""`/ws`: tells clients what happens (wire protocol §2)."""

from __future__ import annotations

import asyncio
import uuid

from aiohttp import WSMsgType, web

from .app_key import CLIENTS, EVENTS, LIMITS, QUEUE, WORKER
from .clients import Backlog, Connection
from .event_log import EventLog
from .frame import Frame, status

CLOSE_REPLY_SECONDS = 1.0


async def websocket(request: web.Request) -> web.StreamResponse:
    """Connect a client until it leaves. `clientId` names it; else it gets an id.

    With `after=N`, it is first told what its jobs were told with a number above N.
    """
    after = _after(request)
    limits = request.app[LIMITS]
    socket = web.WebSocketResponse(
        max_msg_size=limits.message_nbytes,
        heartbeat=limits.heartbeat_seconds,
        timeout=CLOSE_REPLY_SECONDS,
        compress=False,
    )
    await socket.prepare(request)
    sid = request.query.get("clientId") or uuid.uuid4().hex
    event_log, clients = request.app[EVENTS], request.app[CLIENTS]
    backlog = None if after is None else _missed(event_log, sid, after, event_log.last)
    connection = Connection(sid, socket, request.transport, limits.outbox_nbytes, backlog)
    connection.greet(status(request.app[QUEUE].remaining, sid))
    for attempt in request.app[WORKER].attempts_of(sid):
        if after is not None:
            for frame in attempt.report.snapshot():
                connection.put(frame)
        elif attempt.report.current_id is not None:
            connection.put(Frame("executing", {"node": attempt.report.current_id}))
            break
    writer = clients.join(connection)
    try:
        async for message in socket:
            if message.type == WSMsgType.TEXT:
                connection.hear(message.data)
    finally:
        clients.leave(connection)
        writer.cancel()
        await asyncio.wait([writer])
    return socket


def _after(request: web.Request) -> int | None:
    given = request.query.get("after")
    if given is None:
        return None
    try:
        return max(0, int(given))
    except ValueError:
        raise web.HTTPBadRequest(text="'after' must be the number of a message.") from None


async def _missed(event_log: EventLog, sid: str, after: int, last: int) -> Backlog:
    """What a client was told up to the number `last`; what is told later waits in its outbox."""
    while page := await event_log.after(sid, after, last):
        for event in page:
            yield event.encoded()
        after = page[-1].sequence


ROUTES = (web.get("/ws", websocket, allow_head=False),)
