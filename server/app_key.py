"""Where the parts of the server lie in its `web.Application`, typed."""

from __future__ import annotations

from aiohttp import web

from mezzotint.plugins.host import Host

from .clients import Clients
from .database import Database
from .event_log import EventLog
from .job_control import JobControl
from .job_listing import JobListing
from .job_queue import JobQueue
from .job_record import JobRecords
from .job_store import JobStore
from .limits import Limits
from .log_book import LogBook
from .metrics import Metrics
from .packs import Packs
from .stopping import Stopping
from .users import Users
from .worker import Worker

HOST = web.AppKey("host", Host)
DATABASE = web.AppKey("database", Database)
STORE = web.AppKey("store", JobStore)
LISTING = web.AppKey("listing", JobListing)
QUEUE = web.AppKey("queue", JobQueue)
RECORDS = web.AppKey("records", JobRecords)
CONTROL = web.AppKey("control", JobControl)
EVENTS = web.AppKey("events", EventLog)
CLIENTS = web.AppKey("clients", Clients)
WORKER = web.AppKey("worker", Worker)
USERS = web.AppKey("users", Users)
PACKS = web.AppKey("packs", Packs)
LIMITS = web.AppKey("limits", Limits)
METRICS = web.AppKey("metrics", Metrics)
STOPPING = web.AppKey("stopping", Stopping)
LOG_BOOK = web.AppKey("log_book", LogBook)
