"""Jobs, events, settings."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the first tables."""
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("arrival", sa.BigInteger, nullable=False, unique=True),
        sa.Column("status", sa.String(16), nullable=False, index=True),
        sa.Column("number", sa.Float(53), nullable=False),
        sa.Column("is_fixed", sa.Boolean, nullable=False),
        sa.Column("client_id", sa.Text),
        sa.Column("prompt", sa.Text, nullable=False),
        sa.Column("extra_data", sa.Text, nullable=False),
        sa.Column("targets", sa.Text, nullable=False),
        sa.Column("secret_names", sa.Text, nullable=False),
        sa.Column("retry_of", sa.String(36)),
        sa.Column("workflow_id", sa.Text, index=True),
        sa.Column("create_time", sa.BigInteger, nullable=False),
        sa.Column("start_time", sa.BigInteger),
        sa.Column("end_time", sa.BigInteger),
        sa.Column("ending", sa.BigInteger, unique=True),
        sa.Column("has_run", sa.Boolean, nullable=False),
        sa.Column("is_cancelling", sa.Boolean, nullable=False),
        sa.Column("outputs", sa.Text),
        sa.Column("meta", sa.Text),
        sa.Column("messages", sa.Text),
        sa.Column("attempts", sa.Integer, nullable=False),
    )
    op.create_table(
        "events",
        sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("job_id", sa.String(36), nullable=False),
        sa.Column("client_id", sa.Text),
        sa.Column("type", sa.String(64), nullable=False),
        sa.Column("data", sa.Text, nullable=False),
    )
    op.create_index("events_of_job", "events", ["job_id", "sequence"])
    op.create_index("events_of_client", "events", ["client_id", "sequence"])
    op.create_table(
        "settings", sa.Column("name", sa.String(64), primary_key=True), sa.Column("value", sa.Text)
    )  # fmt: skip
