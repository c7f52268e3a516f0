"""`/ws`: tells clients what happens (wire protocol §2)."""

from __future__ import annotations

import asyncio
import uuid

from aiohttp import WSMsgType, web

from .app_key import CLIENTS, LIMITS, QUEUE, WORKER
from .clients import Connection
from .frame import Frame, status

CLOSE_REPLY_SECONDS = 1.0


async def websocket(request: web.Request) -> web.StreamResponse:
    """Connect a client until it leaves. `clientId` names it; else it gets an id."""
    limits = request.app[LIMITS]
    socket = web.WebSocketResponse(
        max_msg_size=limits.message_nbytes,
        heartbeat=limits.heartbeat_seconds,
        timeout=CLOSE_REPLY_SECONDS,
        compress=False,
    )
    await socket.prepare(request)
    sid = request.query.get("clientId") or uuid.uuid4().hex
    connection = Connection(sid, socket, request.transport)
    connection.put(status(request.app[QUEUE].remaining, sid))
    node_id = request.app[WORKER].current_step_of(sid)
    if node_id is not None:
        connection.put(Frame("executing", {"node": node_id}))
    clients = request.app[CLIENTS]
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


ROUTES = (web.get("/ws", websocket, allow_head=False),)
