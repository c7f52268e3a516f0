"""Where the parts of the server lie in its `web.Application`, typed."""

from __future__ import annotations

from aiohttp import web

from mezzotint.plugins.host import Host

from .clients import Clients
from .history import History
from .job_queue import JobQueue
from .limits import Limits
from .log_book import LogBook
from .packs import Packs
from .users import Users
from .worker import Worker

HOST = web.AppKey("host", Host)
QUEUE = web.AppKey("queue", JobQueue)
HISTORY = web.AppKey("history", History)
CLIENTS = web.AppKey("clients", Clients)
WORKER = web.AppKey("worker", Worker)
USERS = web.AppKey("users", Users)
PACKS = web.AppKey("packs", Packs)
LIMITS = web.AppKey("limits", Limits)
LOG_BOOK = web.AppKey("log_book", LogBook)
