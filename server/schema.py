"""The tables that hold jobs, their events and the state of the queue.

Documents (graphs, outputs, event data) are kept as JSON text, as clients are sent them.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Float, Index, Integer, MetaData, String, Table, Text

HEAD = "0002"
"""The newest migration. Known here, so that Alembic is imported only when there is something to migrate."""

metadata = MetaData()

version = Table("alembic_version", MetaData(), Column("version_num", String(32), primary_key=True))
"""Alembic's own table."""

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("arrival", BigInteger, nullable=False, unique=True),  # counts up with each submission
    Column("status", String(16), nullable=False, index=True),
    Column("number", Float(53), nullable=False),
    Column("is_fixed", Boolean, nullable=False),  # somebody chose its place
    Column("client_id", Text),
    Column("prompt", Text, nullable=False),
    Column("extra_data", Text, nullable=False),
    Column("targets", Text, nullable=False),
    Column("secret_names", Text, nullable=False),  # the names only: secrets are never written
    Column("retry_of", String(36)),
    Column("workflow_id", Text, index=True),
    Column("create_time", BigInteger, nullable=False),  # times in milliseconds since the epoch
    Column("start_time", BigInteger),
    Column("end_time", BigInteger),
    Column("ending", BigInteger, unique=True),  # counts up with each job that ends
    Column("has_run", Boolean, nullable=False),  # the history lists it
    Column("is_cancelling", Boolean, nullable=False),  # somebody asked for it, and it still runs
    Column("outputs", Text),
    Column("meta", Text),
    Column("messages", Text),
    Column("attempts", Integer, nullable=False),
    # How far attempts came, and whether the process dies of the job: see recovery.py.
    Column("steps_done", Integer, nullable=False, server_default="0"),
    Column("steps_before", Integer, nullable=False, server_default="0"),
    Column("running_steps", Text, nullable=False, server_default="[]"),
    Column("deaths", Integer, nullable=False, server_default="0"),
    Column("suspects", Text, nullable=False, server_default="[]"),
)

finished_outputs = Table(
    "finished_outputs",  # output nodes of jobs that have not ended: they are not run again
    metadata,
    Column("job_id", String(36), primary_key=True),
    Column("step_id", String(255), primary_key=True),
    Column("shown", Text, nullable=False),
)

file_claims = Table(
    "file_claims",  # files that jobs write which have not ended: each is written once
    metadata,
    Column("job_id", String(36), primary_key=True),
    Column("step_id", String(255), primary_key=True),
    Column("ordinal", String(64), primary_key=True),
    Column("path", Text, nullable=False),
    Column("digest", String(64), nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("job_id", String(36), nullable=False),
    Column("client_id", Text),
    Column("type", String(64), nullable=False),
    Column("data", Text, nullable=False),
    Index("events_of_job", "job_id", "sequence"),
    Index("events_of_client", "client_id", "sequence"),
)

settings = Table("settings", metadata, Column("name", String(64), primary_key=True), Column("value", Text))
"""What is said of the queue as a whole: whether it is paused, the last numbers used."""
