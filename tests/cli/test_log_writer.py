"""The log is written by a thread of its own: a pipe that nobody reads costs lines, and holds nobody up."""

from __future__ import annotations

import io
import logging
import os
import time
from collections.abc import Iterator

import pytest

from mezzotint.cli.log_writer import LogWriter


def record(text: str) -> logging.LogRecord:
    return logging.LogRecord("mezzotint.a", logging.INFO, "", 0, text, (), None)


@pytest.fixture
def pipe() -> Iterator[tuple[io.TextIOWrapper, io.TextIOWrapper]]:
    """The end that is read, and the end that is written to."""
    reading, writing = os.pipe()
    with os.fdopen(reading, encoding="utf-8") as read, os.fdopen(writing, "w", encoding="utf-8") as write:
        yield read, write


def test_lines_come_in_order() -> None:
    stream = io.StringIO()
    writer = LogWriter(stream)
    for number in range(100):
        writer.handle(record(f"line {number}"))
    writer.close()
    assert stream.getvalue() == "".join(f"line {number}\n" for number in range(100))


def test_a_pipe_that_nobody_reads_holds_up_nobody_and_the_rest_is_counted(
    pipe: tuple[io.TextIOWrapper, io.TextIOWrapper],
) -> None:
    read, write = pipe
    writer = LogWriter(write, max_lines=50)
    began = time.monotonic()
    for _ in range(5):
        for number in range(100):
            writer.handle(record(f"{number} {'x' * 2000}"))
        time.sleep(0.01)
    assert time.monotonic() - began < 1.0
    written = left_out = 0
    while written + left_out < 500:
        line = read.readline()
        if "left out" in line:
            left_out += int(line.split()[0].replace(",", ""))
        else:
            assert line.endswith("x\n")
            written += 1
    assert written + left_out == 500
    assert left_out > 0


def test_closing_does_not_wait_for_who_never_reads(pipe: tuple[io.TextIOWrapper, io.TextIOWrapper]) -> None:
    read, write = pipe
    writer = LogWriter(write)
    writer.put("x" * (1 << 20))
    began = time.monotonic()
    writer.close()
    assert time.monotonic() - began < 3.0
    assert len(read.readline()) == (1 << 20) + 1  # and its thread ends
