"""The server as an aiohttp application: routes, the database of jobs, the worker, and how they start and stop."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from aiohttp import web

from mezzotint.plugins.host import Host

from . import (
    convert_routes,
    file_routes,
    internal_routes,
    job_routes,
    model_routes,
    node_routes,
    operation_routes,
    pack_routes,
    prompt_routes,
    queue_routes,
    system_routes,
    template_routes,
    upload_routes,
    user_routes,
    userdata_routes,
    websocket,
)
from .access import guard_access
from .app_key import (
    CLIENTS,
    CONTROL,
    DATABASE,
    EVENTS,
    HOST,
    LIMITS,
    LISTING,
    LOG_BOOK,
    METRICS,
    PACKS,
    QUEUE,
    RECORDS,
    STOPPING,
    STORE,
    USERS,
    WORKER,
)
from .body_limit import guard_bodies
from .clients import Clients
from .database import Database
from .event_log import EventLog
from .frame import Frame, status
from .job_control import JobControl
from .job_listing import JobListing
from .job_log import log_event
from .job_queue import JobQueue
from .job_record import JobRecords
from .job_store import JobStore
from .limits import DEFAULT_LIMITS, Limits
from .log_book import LogBook
from .metrics import Metrics
from .origin import guard_origin
from .packs import Packs
from .page_routes import page_routes
from .plugin_routes import add_packs, plugin_routes
from .recovery import Recovery
from .request_log import log_requests
from .response_headers import allow_origin, set_cache_control
from .stopping import Stopping, guard_stopping
from .users import Users
from .worker import Worker

PREFIXES = ("", "/api")
"""Every route is there under both, but for static files and what is internal."""
DATABASE_FILE = "jobs.sqlite"
_MODULES = (
    prompt_routes,
    job_routes,
    queue_routes,
    file_routes,
    upload_routes,
    node_routes,
    operation_routes,
    model_routes,
    pack_routes,
    system_routes,
    convert_routes,
    user_routes,
    userdata_routes,
    websocket,
)
_BARE_MODULES = (pack_routes, internal_routes, template_routes)


def make_app(
    host: Host,
    *,
    database_url: str | None = None,
    width: int = 2,
    grace: float = 2.0,
    has_previews: bool = True,
    is_public: bool = False,
    token: str | None = None,
    is_multi_user: bool = False,
    allowed_origin: str | None = None,
    limits: Limits = DEFAULT_LIMITS,
    editor: Path | None = None,
) -> web.Application:
    """The server for a host. The host stays the caller's to close, after the application.

    Args:
        database_url: the database of jobs; None for a file in the home. width: how many jobs may run at once.
        grace: seconds that running jobs are given to finish when the server stops.
        has_previews: whether previews are made for jobs that do not say.
        is_public: whether requests under names that are not this machine's own are answered.
        token: what every request must carry; None when nobody is asked.
        is_multi_user: whether clients can make users, who have settings and files of their own.
        allowed_origin: whose pages may ask beside the server's own; `*` for all.
        limits: how much one client may ask.
        editor: the folder of the editor's files, see `editor_folder`; None leaves `/` to our own page.

    Raises:
        DatabaseError, DatabaseInUseError, SchemaError: the database of jobs cannot be used.
    """
    stopping = Stopping()
    guards = [
        log_requests,
        guard_origin(is_public=is_public, allowed_origin=allowed_origin),
        guard_access(token),
        guard_bodies(limits),
        guard_stopping(stopping),
    ]
    app = web.Application(client_max_size=limits.body_nbytes, middlewares=guards)
    app[LIMITS], app[HOST], app[STOPPING] = limits, host, stopping
    app[DATABASE] = Database(database_url or f"sqlite:///{host.folders.home / DATABASE_FILE}")
    try:
        _add_jobs(app, width, has_previews)
        app[USERS] = Users(host.folders.home / "user", is_multi=is_multi_user)
        _add_routes(app, editor)
    except BaseException:  # nobody gets the application, to close it with
        app[DATABASE].close()
        raise
    app.on_response_prepare.append(set_cache_control)
    if allowed_origin is not None:
        app.on_response_prepare.append(allow_origin(allowed_origin))
    app.on_startup.append(_start)
    app.on_shutdown.append(partial(_stop, grace))
    app.on_cleanup.append(_close)
    return app


def _add_jobs(app: web.Application, width: int, has_previews: bool) -> None:
    """All that has to do with jobs."""
    database, clients = app[DATABASE], Clients()
    store, event_log = JobStore(database), EventLog(database, clients)
    queue = JobQueue(on_change=lambda: event_log.tell_all(status(queue.remaining)))
    records = JobRecords(database)
    worker = Worker(app[HOST], queue, store, records, event_log, width, has_previews=has_previews)
    app[RECORDS] = records
    app[CLIENTS], app[STORE], app[LISTING] = clients, store, JobListing(database)
    app[EVENTS], app[QUEUE], app[WORKER] = event_log, queue, worker
    app[CONTROL] = JobControl(app[HOST], queue, store, worker)
    app[METRICS] = Metrics(app[HOST].registry.names, partial(operation_routes.readings, app))
    worker.observers += [app[METRICS].hear, log_event]
    app[LOG_BOOK] = LogBook(lambda sid, data: clients.tell(sid, Frame("logs", data)))


def _add_routes(app: web.Application, editor: Path | None) -> None:
    """All that is answered."""
    app[PACKS] = Packs()
    add_packs(app[PACKS], app[HOST])
    bare = (
        *pack_routes.BARE_ROUTES,
        *internal_routes.BARE_ROUTES,
        *template_routes.BARE_ROUTES,
        *page_routes(editor),
    )
    built_in = [route for module in _MODULES for route in module.ROUTES]
    taken = {(route.method, route.path) for route in (*built_in, *bare) if isinstance(route, web.RouteDef)}
    routes = (*built_in, *plugin_routes(app[HOST], taken))
    for prefix in PREFIXES:
        app.router.add_routes(_under(prefix, routes))
    app.router.add_routes(bare)
    if app[HOST].settings.custom_nodes:
        from .pack_link import link_packs

        link_packs(app)


def _under(prefix: str, routes: tuple[web.RouteDef, ...]) -> list[web.RouteDef]:
    return [web.RouteDef(route.method, prefix + route.path, route.handler, route.kwargs) for route in routes]


async def _start(app: web.Application) -> None:
    app[LOG_BOOK].open()
    await Recovery(app[STORE], app[QUEUE], app[RECORDS], app[EVENTS]).run()
    app[WORKER].start()


async def _stop(grace: float, app: web.Application) -> None:
    await app[WORKER].stop(grace)
    app[LOG_BOOK].close()
    await app[CLIENTS].close()


async def _close(app: web.Application) -> None:
    app[DATABASE].close()
