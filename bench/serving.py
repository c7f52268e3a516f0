"""Starts the real server in a process of its own, and other commands as an installation runs them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

COMMAND = (sys.executable, "-m", "mezzotint")
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
"""With compiled modules, as pip leaves them: without, most of a short start would be spent on compiling ours."""


class Serving(NamedTuple):
    """Where a server listens, as `host:port`, and its process."""

    address: str
    process_id: int


@contextmanager
def serving(home: str, *options: str) -> Iterator[Serving]:
    """A server until the block ends. Its folders lie below `home`."""
    command = [*COMMAND, "serve", "--port", "0", "--no-editor", "--log-level", "warning", *options]
    environment = {**ENVIRONMENT, "MEZZOTINT_HOME": home}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        found = next(filter(None, (re.search(r"Listening on http://(\S+)", line) for line in process.stderr)))
        try:
            yield Serving(found[1], process.pid)
        finally:
            process.terminate()
            process.stderr.read()
