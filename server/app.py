"""The server as an aiohttp application: routes, the worker, and how they start and stop.

Queue and history are kept in memory: jobs that wait, and what became of those that ended, are gone when the process
ends. Jobs that survive it come with a later release.
"""

from __future__ import annotations

from aiohttp import web

from mezzotint.plugins.host import Host

from . import (
    file_routes,
    internal_routes,
    model_routes,
    node_routes,
    pack_routes,
    prompt_routes,
    queue_routes,
    system_routes,
    upload_routes,
    user_routes,
    userdata_routes,
    websocket,
)
from .access import guard_access
from .app_key import CLIENTS, HISTORY, HOST, LIMITS, LOG_BOOK, PACKS, QUEUE, USERS, WORKER
from .body_limit import guard_bodies
from .clients import Clients
from .frame import Frame, status
from .history import History
from .job_queue import JobQueue
from .limits import DEFAULT_LIMITS, Limits
from .log_book import LogBook
from .origin import guard_origin
from .packs import Packs
from .plugin_routes import add_packs, plugin_routes
from .response_headers import allow_origin, set_cache_control
from .users import Users
from .worker import Worker

PREFIXES = ("", "/api")
"""Every route is there under both, but for static files and what is internal."""
_MODULES = (
    prompt_routes,
    queue_routes,
    file_routes,
    upload_routes,
    node_routes,
    model_routes,
    pack_routes,
    system_routes,
    user_routes,
    userdata_routes,
    websocket,
)


def make_app(
    host: Host,
    *,
    is_public: bool = False,
    token: str | None = None,
    is_multi_user: bool = False,
    allowed_origin: str | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> web.Application:
    """The server for a host. The host stays the caller's to close, after the application.

    Args:
        is_public: whether requests under names that are not this machine's own are answered.
        token: what every request must carry; None when nobody is asked.
        is_multi_user: whether clients can make users, who have settings and files of their own.
        allowed_origin: whose pages may ask beside the server's own; `*` for all.
        limits: how much one client may ask.
    """
    guards = [
        guard_origin(is_public=is_public, allowed_origin=allowed_origin),
        guard_access(token),
        guard_bodies(limits),
    ]
    app = web.Application(client_max_size=limits.body_nbytes, middlewares=guards)
    app[LIMITS] = limits
    clients, history = Clients(), History()
    queue = JobQueue(on_change=lambda: clients.tell_all(status(queue.remaining)))
    app[HOST], app[QUEUE], app[HISTORY], app[CLIENTS] = host, queue, history, clients
    app[WORKER] = Worker(host.engine, queue, history, clients)
    app[USERS], app[PACKS] = Users(host.folders.home / "user", is_multi=is_multi_user), Packs()
    app[LOG_BOOK] = LogBook(lambda sid, data: clients.tell(sid, Frame("logs", data)))
    built_in = [route for module in _MODULES for route in module.ROUTES]
    of_plugins = plugin_routes(host, {(route.method, route.path) for route in built_in})
    all_routes = (*built_in, *of_plugins)
    add_packs(app[PACKS], host)
    for prefix in PREFIXES:
        app.router.add_routes(_under(prefix, all_routes))
    for routes in (pack_routes.BARE_ROUTES, internal_routes.BARE_ROUTES):
        app.router.add_routes(routes)
    app.on_response_prepare.append(set_cache_control)
    if allowed_origin is not None:
        app.on_response_prepare.append(allow_origin(allowed_origin))
    app.on_startup.append(_start)
    app.on_shutdown.append(_stop)
    return app


def _under(prefix: str, routes: tuple[web.RouteDef, ...]) -> list[web.RouteDef]:
    return [web.RouteDef(route.method, prefix + route.path, route.handler, route.kwargs) for route in routes]


async def _start(app: web.Application) -> None:
    app[LOG_BOOK].open()
    app[WORKER].start()


async def _stop(app: web.Application) -> None:
    await app[WORKER].stop()
    app[LOG_BOOK].close()
    await app[CLIENTS].close()
