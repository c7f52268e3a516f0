"""`/health` and `/metrics`: what those ask who run the server."""

from __future__ import annotations

from collections.abc import Iterator

from aiohttp import web

from mezzotint.engine.free_memory import PROCESS

from .app_key import CLIENTS, HOST, METRICS, QUEUE, STOPPING
from .json_body import json_answer
from .metrics import Reading


async def get_health(request: web.Request) -> web.Response:
    """Whether new jobs are taken: 200, or 503 while the server stops."""
    if request.app[STOPPING].has_begun:
        return json_answer({"status": "stopping"}, status=503)
    return json_answer({"status": "ok"})


async def get_metrics(request: web.Request) -> web.Response:
    """Everything that is counted, for Prometheus."""
    metrics = request.app[METRICS]
    return web.Response(body=metrics.text(), headers={"Content-Type": metrics.content_type})


def readings(app: web.Application) -> Iterator[Reading]:
    """What is read off the server's parts at the moment."""
    queue, engine, clients = app[QUEUE], app[HOST].engine, app[CLIENTS]
    running = len(queue.running)
    jobs = "Jobs in the queue."
    yield Reading("queue_jobs", jobs, queue.remaining - running, ("state", "pending"))
    yield Reading("queue_jobs", jobs, running, ("state", "running"))
    yield Reading("queue_paused", "1 while the queue is paused.", queue.is_paused)
    yield Reading("websocket_clients", "Websockets that are connected.", len(clients))
    yield Reading("previews_dropped", "Previews that were not sent, since a client was slow.", clients.dropped_previews)
    yield Reading("websocket_unread_bytes", "What waits for the slowest websocket.", clients.most_unread_nbytes)
    yield Reading("memory_cache_bytes", "Values kept in memory.", engine.memory.total_nbytes)
    yield Reading("memory_cache_limit_bytes", "How much may be kept there.", engine.memory.budget_nbytes)
    yield Reading("models_bytes", "Models that are loaded, on whatever device.", engine.models.total_nbytes)
    yield Reading("process_resident_bytes", "Main memory that the process holds.", PROCESS.resident_nbytes)


ROUTES = (web.get("/health", get_health), web.get("/metrics", get_metrics))
