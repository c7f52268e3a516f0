"""The log of a server: lines for people or JSON for programs, with the job that each belongs to."""

from __future__ import annotations

import datetime
import json
import logging
from collections.abc import Iterator

import pytest

from mezzotint.cli.log_output import OURS, LogFormat, LogLevel, set_up_logging
from mezzotint.engine.current_job import CURRENT_JOB
from mezzotint.engine.event import RunFinished, RunStarted
from mezzotint.server.job_log import log_event


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger(OURS)
    handlers, levels = [*root.handlers], (root.level, ours.level)
    yield
    root.handlers = handlers
    root.setLevel(levels[0])
    ours.setLevel(levels[1])


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    logging.getLogger().handlers[0].flush()
    return capsys.readouterr().err.splitlines()


def test_text_has_the_time_the_level_and_the_job(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging(LogFormat.TEXT, LogLevel.INFO)
    logging.getLogger("mezzotint.a").info("hello %s", "you", extra={"job_id": "j-1"})
    logging.getLogger("mezzotint.a").warning("Job j-1 failed", extra={"job_id": "j-1"})
    first, second = lines(capsys)
    assert first.endswith(" INFO hello you [job j-1]")
    assert second.endswith(" WARNING Job j-1 failed")
    datetime.datetime.strptime(first[:19], "%Y-%m-%d %H:%M:%S")  # noqa: DTZ007 - only whether it is one


def test_json_is_an_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging(LogFormat.JSON, LogLevel.INFO)
    log_event(RunStarted(job_id="j-1", sequence=1, time=0.0, step_count=3, reused=("1",)))
    log_event(RunFinished(job_id="j-1", sequence=2, time=0.0, status="done", seconds=1.5, skipped=()))
    try:
        raise ValueError("no\nway")
    except ValueError:
        logging.getLogger("mezzotint.a").exception("it went wrong")
    began, ended, wrong = map(json.loads, lines(capsys))
    assert (began["job_id"], began["level"], began["logger"]) == ("j-1", "INFO", "mezzotint.jobs")
    assert began["message"] == "began: 3 steps, 1 of them done before"
    assert (ended["status"], ended["message"]) == ("done", "done after 1.500 s")
    assert "ValueError: no\nway" in wrong["exc_info"]
    assert "job_id" not in wrong
    assert datetime.datetime.fromisoformat(began["timestamp"]).tzinfo is not None


def test_what_a_node_logs_belongs_to_its_job(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging(LogFormat.JSON, LogLevel.INFO)
    token = CURRENT_JOB.set("j-2")
    logging.getLogger("some.plugin").warning("careful")
    CURRENT_JOB.reset(token)
    (line,) = map(json.loads, lines(capsys))
    assert (line["job_id"], line["logger"]) == ("j-2", "some.plugin")


@pytest.mark.parametrize(
    ("level", "ours", "others"),
    [("debug", "dwe", "we"), ("info", "we", "we"), ("warning", "we", "we"), ("error", "e", "e")],
)
def test_the_level_is_ours_and_other_packages_are_quieter(
    capsys: pytest.CaptureFixture[str], level: str, ours: str, others: str
) -> None:
    set_up_logging(LogFormat.JSON, LogLevel(level))
    for name in ("mezzotint.a", "alembic"):
        logger = logging.getLogger(name)
        logger.debug("d")
        logger.warning("w")
        logger.error("e")
    written = [json.loads(line) for line in lines(capsys)]
    for name, wanted in (("mezzotint.a", ours), ("alembic", others)):
        assert "".join(line["message"] for line in written if line["logger"] == name) == wanted
