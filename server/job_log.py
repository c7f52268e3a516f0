"""Writes the beginnings and ends of runs to the log, each with its job's id."""

from __future__ import annotations

import logging

from mezzotint.engine.event import Event, RunFinished, RunStarted

log = logging.getLogger("mezzotint.jobs")


def log_event(event: Event) -> None:
    """Hear an event of a run."""
    extra = {"job_id": event.job_id}
    match event:
        case RunStarted():
            log.info("began: %d steps, %d of them done before", event.step_count, len(event.reused), extra=extra)
        case RunFinished():
            log.info("%s after %.3f s", event.status, event.seconds, extra={**extra, "status": event.status})
