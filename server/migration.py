"""Brings the schema of a database to that of the program."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, insert, inspect, select

from mezzotint.engine.errors import MezzotintError

from .schema import HEAD, metadata, version

if TYPE_CHECKING:
    from alembic.config import Config

FOLDER = Path(__file__).parent / "migrations"


class SchemaError(MezzotintError):
    """A database is of a newer program, or is no database of jobs."""


def migrate(connection: Connection, head: str = HEAD) -> None:
    """Make the tables, or bring older ones up to `head`. What they hold stays.

    Raises:
        SchemaError: the database was made by a newer program.
    """
    found = revision(connection)
    if found == head:
        return
    if found is None and head == HEAD:
        version.create(connection, checkfirst=True)
        metadata.create_all(connection)
        connection.execute(insert(version).values(version_num=HEAD))
        return
    from alembic import command

    config = _config(connection)
    if found is not None and found not in _known(config):
        raise SchemaError(
            f"the database was made by a newer Mezzotint (its schema is {found}, this program's is {HEAD}); "
            "use that one, or name another database with --database"
        )
    command.upgrade(config, head)


def revision(connection: Connection) -> str | None:
    """The schema's revision; None in an empty database."""
    if not inspect(connection).has_table(version.name):
        return None
    found = connection.execute(select(version.c.version_num)).scalar()
    return None if found is None else str(found)


def _config(connection: Connection) -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _known(config: Config) -> set[str]:
    from alembic.script import ScriptDirectory

    return {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
