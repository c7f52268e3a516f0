"""The database of jobs: its transactions, its lock, its migrations, on SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, insert, inspect, select, text

from mezzotint.server.app import make_app
from mezzotint.server.database import Database, DatabaseError
from mezzotint.server.database_lock import DatabaseInUseError
from mezzotint.server.migration import SchemaError, migrate, revision
from mezzotint.server.schema import HEAD, jobs, metadata, settings

from .in_process import open_host


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'jobs.sqlite'}"


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    database = Database(url)
    yield database
    database.close()


def put(name: str, value: str = "") -> Any:
    return lambda connection: connection.execute(insert(settings).values(name=name, value=value))


def names(database: Database) -> list[str]:
    return database.read_now(lambda connection: [*connection.execute(select(settings.c.name)).scalars()])


def test_what_is_written_is_there_after_a_crash(url: str, database: Database, tmp_path: Path) -> None:
    database.write(put("a"), is_durable=True).result()
    with sqlite3.connect(tmp_path / "jobs.sqlite") as other:  # another process would see the same
        assert other.execute("SELECT name FROM settings").fetchall() == [("a",)]
    other.close()


def test_a_write_that_fails_takes_none_with_it(database: Database) -> None:
    futures = [database.write(put(name)) for name in ("a", "b", "a", "c")]
    assert isinstance(futures[2].exception(), DatabaseError)
    assert [future.exception() for index, future in enumerate(futures) if index != 2] == [None] * 3
    assert sorted(names(database)) == ["a", "b", "c"]


def test_writes_come_in_the_order_of_the_calls(database: Database) -> None:
    seen: list[int] = []
    for number in range(1000):
        last = database.write(lambda _, number=number: seen.append(number))
    last.result()
    assert seen == [*range(1000)]


def test_closing_writes_what_was_handed_over(url: str) -> None:
    database = Database(url)
    futures = [database.write(put(str(number))) for number in range(200)]
    database.close()
    assert all(future.done() for future in futures)
    again = Database(url)
    assert len(names(again)) == 200
    again.close()


def test_two_servers_do_not_share_a_database(url: str, database: Database) -> None:
    with pytest.raises(DatabaseInUseError, match="another Mezzotint server works with"):
        Database(url)
    database.close()
    Database(url).close()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("nonsense", "is no URL"),
        ("sqlite://", "jobs in memory would be lost"),
        ("nosuch://host/name", "knows no database 'nosuch'"),
        ("oracle+cx_oracle://host/name", "is not installed; install it with pip install cx_Oracle"),
        ("sqlite:////proc/nowhere/jobs.sqlite", "cannot be used"),
    ],
)
def test_a_database_that_cannot_be_is_refused_with_a_sentence(given: str, said: str) -> None:
    with pytest.raises(DatabaseError, match=said):
        Database(given)


def test_a_password_is_not_shown(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError) as raised:
        Database("nosuch://me:open-sesame@host/name")
    assert "open-sesame" not in str(raised.value)


def test_a_newer_database_is_refused(url: str) -> None:
    Database(url).close()
    change(url, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(SchemaError, match=r"made by a newer Mezzotint .*9999"):
        Database(url)
    change(url, f"UPDATE alembic_version SET version_num = '{HEAD}'")
    Database(url).close()  # the refused one held on to nothing


def test_an_application_that_cannot_be_made_holds_on_to_no_database(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no routes")

    monkeypatch.setattr("mezzotint.server.app._add_routes", fail)
    with open_host(tmp_path / "home") as host, pytest.raises(RuntimeError, match="no routes"):
        make_app(host, database_url=url)
    Database(url).close()


def change(url: str, statement: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text(statement))
    engine.dispose()


def tables(connection: Connection) -> dict[str, Any]:
    """What the schema is made of, as the database tells it."""
    found = inspect(connection)
    return {
        name: (
            sorted((column["name"], str(column["type"]), column["nullable"]) for column in found.get_columns(name)),
            sorted((index["name"], tuple(index["column_names"])) for index in found.get_indexes(name)),
            found.get_pk_constraint(name)["constrained_columns"],
        )
        for name in metadata.tables
    }


def test_migrations_make_what_a_new_database_has(tmp_path: Path) -> None:
    made = []
    for name in ("migrated", "new"):
        engine = create_engine(f"sqlite:///{tmp_path / name}")
        with engine.begin() as connection:
            if name == "migrated":
                migrate(connection, "0001")
            migrate(connection)
            made.append(tables(connection))
            assert revision(connection) == HEAD
        engine.dispose()
    assert made[0] == made[1]


def test_an_older_database_keeps_its_jobs(url: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        migrate(connection, "0001")
        old = {
            "id": "1", "arrival": 1, "status": "pending", "number": 3.5, "is_fixed": True, "client_id": "me",
            "prompt": '{"1": {}}', "extra_data": "{}", "targets": '["1"]', "secret_names": "[]", "retry_of": None,
            "workflow_id": None, "create_time": 5, "start_time": None, "end_time": None, "ending": None,
            "has_run": False, "is_cancelling": False, "outputs": None, "meta": None, "messages": None, "attempts": 0,
        }  # fmt: skip
        connection.execute(text(f"INSERT INTO jobs VALUES ({', '.join(':' + name for name in old)})"), old)
    engine.dispose()
    database = Database(url)
    row = database.read_now(lambda connection: connection.execute(select(jobs)).one())
    database.close()
    assert old.items() <= row._asdict().items()
    assert (row.steps_done, row.running_steps, row.deaths) == (0, "[]", 0)


def test_a_database_at_head_needs_no_alembic(url: str) -> None:
    import subprocess
    import sys

    code = f"from mezzotint.server.database import Database as D; D({url!r}).close(); D({url!r}).close()"
    script = f"{code}; import sys; print('alembic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "False"
