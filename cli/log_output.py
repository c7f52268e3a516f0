"""How a server's log is written: lines for people, or JSON for programs; each with the id of the job it belongs to."""

from __future__ import annotations

import logging
import sys
from enum import StrEnum

from mezzotint.engine.current_job import CURRENT_JOB

from .log_writer import LogWriter

OURS = "mezzotint"


class LogFormat(StrEnum):
    """How a line of the log is written."""

    TEXT = "text"
    JSON = "json"


class LogLevel(StrEnum):
    """What is written: this and all that is worse."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def set_up_logging(form: LogFormat, level: LogLevel) -> LogWriter:
    """Write the log of the process to the standard error. Of other packages, only what is a warning or worse."""
    handler = LogWriter(sys.stderr)
    handler.addFilter(add_job)
    handler.setFormatter(_json_formatter() if form is LogFormat.JSON else _TextFormatter())
    number = logging.getLevelNamesMapping()[level.upper()]
    logging.basicConfig(level=max(number, logging.WARNING), handlers=[handler], force=True)
    logging.getLogger(OURS).setLevel(number)
    return handler


def add_job(record: logging.LogRecord) -> bool:
    """A filter that lets everything pass, and adds the id of the job that runs where a record lacks one."""
    if not hasattr(record, "job_id") and (job_id := CURRENT_JOB.get()):
        record.job_id = job_id
    return True


class _TextFormatter(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        text = super().formatMessage(record)
        job_id = getattr(record, "job_id", "")
        return f"{text} [job {job_id}]" if job_id and job_id not in text else text


def _json_formatter() -> logging.Formatter:
    from pythonjsonlogger.json import JsonFormatter

    return JsonFormatter(
        ["levelname", "name", "message"], rename_fields={"levelname": "level", "name": "logger"}, timestamp=True
    )
