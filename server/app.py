"""The server as an aiohttp application: routes, the database of jobs, the worker, and how they start and stop."""

from __future__ import annotations

from aiohttp import web

from mezzotint.plugins.host import Host

from . import (
    file_routes,
    job_routes,
    node_routes,
    prompt_routes,
    queue_routes,
    system_routes,
    upload_routes,
    websocket,
)
from .access import guard_access
from .app_key import CLIENTS, CONTROL, DATABASE, EVENTS, HOST, LISTING, QUEUE, STORE, WORKER
from .clients import Clients
from .database import Database
from .event_log import EventLog
from .features import MAX_UPLOAD_NBYTES
from .frame import status
from .job_control import JobControl
from .job_listing import JobListing
from .job_queue import JobQueue
from .job_store import JobStore
from .origin import guard_origin
from .recovery import Recovery
from .worker import Worker

PREFIXES = ("", "/api")
"""Every route is there under both."""
DATABASE_FILE = "jobs.sqlite"
_MODULES = (
    prompt_routes,
    job_routes,
    queue_routes,
    file_routes,
    upload_routes,
    node_routes,
    system_routes,
    websocket,
)


def make_app(
    host: Host,
    *,
    database_url: str | None = None,
    width: int = 2,
    grace: float = 2.0,
    is_public: bool = False,
    token: str | None = None,
) -> web.Application:
    """The server for a host. The host stays the caller's to close, after the application.

    Args:
        database_url: the database of jobs; None for a file in the home. width: how many jobs may run at once.
        grace: seconds that running jobs are given to finish when the server stops.
        is_public: whether requests under names that are not this machine's own are answered.
        token: what every request must carry; None when nobody is asked.

    Raises:
        DatabaseError, DatabaseInUseError, SchemaError: the database of jobs cannot be used.
    """
    guards = [guard_origin(is_public=is_public), guard_access(token)]
    app = web.Application(client_max_size=MAX_UPLOAD_NBYTES, middlewares=guards)
    database = Database(database_url or f"sqlite:///{host.folders.home / DATABASE_FILE}")
    clients, store = Clients(), JobStore(database)
    event_log = EventLog(database, clients)
    queue = JobQueue(on_change=lambda: event_log.tell_all(status(queue.remaining)))
    worker = Worker(host, queue, store, event_log, width)
    app[HOST], app[CLIENTS], app[DATABASE], app[STORE] = host, clients, database, store
    app[LISTING], app[EVENTS], app[QUEUE], app[WORKER] = JobListing(database), event_log, queue, worker
    app[CONTROL] = JobControl(host, queue, store, worker)
    for prefix in PREFIXES:
        for module in _MODULES:
            app.router.add_routes(_under(prefix, module.ROUTES))

    async def start(app: web.Application) -> None:
        await Recovery(store, queue, event_log).run()
        worker.start()

    async def stop(app: web.Application) -> None:
        await worker.stop(grace)
        await clients.close()

    async def close(app: web.Application) -> None:
        database.close()

    app.on_startup.append(start)
    app.on_shutdown.append(stop)
    app.on_cleanup.append(close)
    return app


def _under(prefix: str, routes: tuple[web.RouteDef, ...]) -> list[web.RouteDef]:
    return [web.RouteDef(route.method, prefix + route.path, route.handler, route.kwargs) for route in routes]
