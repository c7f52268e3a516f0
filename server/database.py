"""The database of jobs: one thread writes, many writes in one transaction, and one reads.

The event loop never waits for the medium: it hands over functions that take a connection and awaits what they return.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, OperationalError, SQLAlchemyError

from mezzotint.engine.errors import MezzotintError

from .database_lock import lock_file, lock_server
from .migration import migrate

T = TypeVar("T")
Work = Callable[[Connection], T]

MAX_GROUP = 500
"""How many writes one transaction takes at most."""
RETRY_SECONDS = 1.0
"""How long to wait before a vital write is tried again."""

log = logging.getLogger("mezzotint.server")


class DatabaseError(MezzotintError):
    """The database of jobs cannot be opened, read or written."""


@dataclass(slots=True)
class Write:
    """Something to write.

    Attributes:
        is_durable: it must outlast a power cut, not only the process. is_vital: it is tried again until it succeeds.
    """

    work: Work[Any]
    is_durable: bool
    is_vital: bool
    future: Future[Any] = field(default_factory=Future)


class Database:
    """An open database. Close it.

    Args:
        url: an SQLAlchemy URL.

    Raises:
        DatabaseError: it cannot be opened, or another server works with it.
        SchemaError: a newer program made it.
    """

    def __init__(self, url: str) -> None:
        self.url = _url(url)
        self._is_sqlite = self.url.get_backend_name() == "sqlite"
        with _as_sentences(self.url), ExitStack() as undo:
            if self._is_sqlite:
                undo.callback(lock_file(self.url))
            self._engine = _engine(self.url)
            undo.callback(self._engine.dispose)
            holder = None if self._is_sqlite else lock_server(self._engine)
            if holder is not None:
                undo.callback(holder.close)
            with self._engine.begin() as connection:
                migrate(connection)
            self._held = undo.pop_all()
        self._is_durable: bool | None = None
        self._is_closing = threading.Event()
        self._writes: SimpleQueue[Write | None] = SimpleQueue()
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="mezzotint-database-reader")
        self._writer = threading.Thread(target=self._serve, name="mezzotint-database", daemon=True)
        self._writer.start()

    def write(self, work: Work[T], *, is_durable: bool = False, is_vital: bool = False) -> Future[T]:
        """Have something written, in the order of the calls. Done when it is committed; any thread may call.

        The work may be called twice: again, alone, when another of its transaction failed. What is vital is tried until
        the medium takes it, and all that comes later waits.
        """
        write = Write(work, is_durable, is_vital)
        self._writes.put(write)
        return write.future

    async def written(self, work: Work[T], *, is_durable: bool = False, is_vital: bool = False) -> T:
        """Write and wait for the commit.

        Raises:
            DatabaseError: it could not be written.
        """
        return await asyncio.wrap_future(self.write(work, is_durable=is_durable, is_vital=is_vital))

    async def read(self, work: Work[T]) -> T:
        """Read what is committed.

        Raises:
            DatabaseError: it could not be read.
        """
        return await asyncio.get_running_loop().run_in_executor(self._reader, self.read_now, work)

    def read_now(self, work: Work[T]) -> T:
        """As `read`, on this thread."""
        with _as_sentences(self.url), self._engine.begin() as connection:
            return work(connection)

    def close(self) -> None:
        """Write what is handed over and let go of the database."""
        self._is_closing.set()
        self._writes.put(None)
        self._writer.join()
        self._reader.shutdown()
        self._held.close()

    def _serve(self) -> None:
        with self._engine.connect() as connection:
            while group := self._next_group():
                self._commit(connection, group)

    def _next_group(self) -> list[Write]:
        """All that waits; empty at the end."""
        first = self._writes.get()
        group = [] if first is None else [first]
        while group and len(group) < MAX_GROUP:
            try:
                write = self._writes.get_nowait()
            except Empty:
                break
            if write is None:
                self._writes.put(None)
                break
            group.append(write)
        return group

    def _commit(self, connection: Connection, group: list[Write]) -> None:
        try:
            results = self._try(connection, group)
        except Exception as error:
            for write in group:
                if len(group) > 1:
                    self._commit(connection, [write])
                else:
                    write.future.set_exception(error)
            return
        for write, result in zip(group, results, strict=True):
            write.future.set_result(result)

    def _try(self, connection: Connection, group: list[Write]) -> list[Any]:
        """Do the work of a group in one transaction; once more and again what is vital and alone."""
        while True:
            try:
                self._set_durability(connection, any(write.is_durable for write in group))
                with _as_sentences(self.url), connection.begin():
                    return [write.work(connection) for write in group]
            except DatabaseError as error:
                if len(group) > 1 or not group[0].is_vital or not self._may_recover(error):
                    raise

    def _may_recover(self, error: DatabaseError) -> bool:
        """Wait a while, when another try may succeed."""
        if not isinstance(error.__cause__, OperationalError) or self._is_closing.is_set():
            return False
        log.error("%s; trying again", error)
        self._is_closing.wait(RETRY_SECONDS)
        return True

    def _set_durability(self, connection: Connection, is_durable: bool) -> None:
        """In WAL mode SQLite need not wait for the medium at each commit to survive the death of the process."""
        if self._is_sqlite and is_durable is not self._is_durable:
            self._is_durable = is_durable
            driver: Any = connection.connection.driver_connection
            driver.execute(f"PRAGMA synchronous={'FULL' if is_durable else 'NORMAL'}")


def _url(text_given: str) -> URL:
    try:
        url = make_url(text_given)
    except ArgumentError:
        raise DatabaseError(
            f"--database: {text_given!r} is no URL of a database; it should look like sqlite:///jobs.sqlite "
            "or postgresql+psycopg://user@host/name"
        ) from None
    if url.get_backend_name() == "sqlite" and (url.database or ":memory:") == ":memory:":
        raise DatabaseError("--database: jobs in memory would be lost; name a file, as in sqlite:///jobs.sqlite")
    return url


def _engine(url: URL) -> Engine:
    if url.get_backend_name() != "sqlite":
        return create_engine(url, pool_pre_ping=True)
    assert url.database is not None
    Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={"timeout": 30})
    event.listen(engine, "connect", _set_up_sqlite)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    return engine


def _set_up_sqlite(driver: Any, record: Any) -> None:
    driver.isolation_level = None  # transactions begin where SQLAlchemy says, not where the driver thinks
    driver.execute("PRAGMA journal_mode=WAL")
    driver.execute("PRAGMA synchronous=NORMAL")


@contextmanager
def _as_sentences(url: URL) -> Iterator[None]:
    """What goes wrong with the database, as a `DatabaseError`."""
    try:
        yield
    except NoSuchModuleError:
        raise DatabaseError(f"--database: SQLAlchemy knows no database '{url.drivername}'") from None
    except ModuleNotFoundError as error:
        raise DatabaseError(
            f"--database: {url.drivername} needs the package {error.name}, which is not installed; "
            f"install it with pip install {error.name}"
        ) from None
    except (SQLAlchemyError, OSError) as error:
        reason = error.orig if isinstance(error, DBAPIError) else error
        shown = url.render_as_string(hide_password=True)
        raise DatabaseError(f"the database of jobs {shown} cannot be used: {reason}") from error
