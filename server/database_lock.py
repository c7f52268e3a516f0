"""One server a database: two would both run its jobs."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Connection, Engine, text
from sqlalchemy.engine import URL

from mezzotint.engine.errors import MezzotintError

ADVISORY_KEY = 0x6D657A7A
"""PostgreSQL's number for our lock, the same for all servers."""


class DatabaseInUseError(MezzotintError):
    """Another server works with the database."""


def lock_file(url: URL) -> Callable[[], None]:
    """Hold an SQLite database until the returned function is called or the process dies.

    The lock is SQLite's own, on a second file: it works wherever SQLite does, and goes with its process.

    Raises:
        DatabaseInUseError: another process holds it. OSError: the folder cannot be made.
    """
    assert url.database is not None
    path = Path(f"{url.database}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        holder = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    except sqlite3.OperationalError as error:
        raise OSError(f"'{path}': {error}") from None
    try:
        holder.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        holder.close()
        if "locked" not in str(error):
            raise OSError(f"'{path}': {error}") from None
        raise _in_use(url) from None
    return holder.close


def lock_server(engine: Engine) -> Connection | None:
    """Hold a PostgreSQL database while the connection is open; of other databases nothing is held.

    Raises:
        DatabaseInUseError: another server holds it.
    """
    if engine.dialect.name != "postgresql":
        return None
    holder = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    if not holder.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": ADVISORY_KEY}).scalar():
        holder.close()
        raise _in_use(engine.url)
    return holder


def _in_use(url: URL) -> DatabaseInUseError:
    shown = url.render_as_string(hide_password=True)
    return DatabaseInUseError(
        f"another Mezzotint server works with the database {shown}; stop it, or name another with --database"
    )
