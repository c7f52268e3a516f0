"""What is needed to take up a job again: finished output nodes, claimed files, how often the process died of it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the columns and tables."""
    for column in (
        sa.Column("steps_done", sa.Integer, nullable=False, server_default="0"),
        sa.Column("steps_before", sa.Integer, nullable=False, server_default="0"),
        sa.Column("running_steps", sa.Text, nullable=False, server_default="[]"),
        sa.Column("deaths", sa.Integer, nullable=False, server_default="0"),
        sa.Column("suspects", sa.Text, nullable=False, server_default="[]"),
    ):
        op.add_column("jobs", column)
    op.create_table(
        "finished_outputs",
        sa.Column("job_id", sa.String(36), primary_key=True),
        sa.Column("step_id", sa.String(255), primary_key=True),
        sa.Column("shown", sa.Text, nullable=False),
    )
    op.create_table(
        "file_claims",
        sa.Column("job_id", sa.String(36), primary_key=True),
        sa.Column("step_id", sa.String(255), primary_key=True),
        sa.Column("ordinal", sa.String(64), primary_key=True),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
    )
