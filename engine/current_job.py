"""Which job the code that runs belongs to, for whoever writes logs."""

from __future__ import annotations

from contextvars import ContextVar

CURRENT_JOB: ContextVar[str] = ContextVar("mezzotint_job", default="")
"""The job's id while one of its bodies runs, on whatever thread; empty elsewhere."""
