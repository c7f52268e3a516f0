"""The server as an aiohttp application: routes, the worker, and how they start and stop.

Queue and history are kept in memory: jobs that wait, and what became of those that ended, are gone when the process
ends. Jobs that survive it come with a later release.
"""

from __future__ import annotations

from aiohttp import web

from mezzotint.plugins.host import Host

from . import file_routes, node_routes, prompt_routes, queue_routes, system_routes, upload_routes, websocket
from .access import guard_access
from .app_key import CLIENTS, HISTORY, HOST, QUEUE, WORKER
from .clients import Clients
from .features import MAX_UPLOAD_NBYTES
from .frame import status
from .history import History
from .job_queue import JobQueue
from .origin import guard_origin
from .worker import Worker

PREFIXES = ("", "/api")
"""Every route is there under both."""
_MODULES = (prompt_routes, queue_routes, file_routes, upload_routes, node_routes, system_routes, websocket)


def make_app(host: Host, *, is_public: bool = False, token: str | None = None) -> web.Application:
    """The server for a host. The host stays the caller's to close, after the application.

    Args:
        is_public: whether requests under names that are not this machine's own are answered.
        token: what every request must carry; None when nobody is asked.
    """
    app = web.Application(
        client_max_size=MAX_UPLOAD_NBYTES, middlewares=[guard_origin(is_public=is_public), guard_access(token)]
    )
    clients, history = Clients(), History()
    queue = JobQueue(on_change=lambda: clients.tell_all(status(queue.remaining)))
    app[HOST], app[QUEUE], app[HISTORY], app[CLIENTS] = host, queue, history, clients
    app[WORKER] = Worker(host.engine, queue, history, clients)
    for prefix in PREFIXES:
        for module in _MODULES:
            app.router.add_routes(_under(prefix, module.ROUTES))
    app.on_startup.append(_start)
    app.on_shutdown.append(_stop)
    return app


def _under(prefix: str, routes: tuple[web.RouteDef, ...]) -> list[web.RouteDef]:
    return [web.RouteDef(route.method, prefix + route.path, route.handler, route.kwargs) for route in routes]


async def _start(app: web.Application) -> None:
    app[WORKER].start()


async def _stop(app: web.Application) -> None:
    await app[WORKER].stop()
    await app[CLIENTS].close()
