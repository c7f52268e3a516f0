"""A run's events as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TextIO

from mezzotint.engine.event import Event


class EventLines:
    """Writes each event as one line of JSON.

    Args:
        on_broken: called once when nobody reads any more.
    """

    def __init__(self, stream: TextIO, on_broken: Callable[[], None]) -> None:
        self.is_broken = False
        self._stream, self._on_broken = stream, on_broken

    def __call__(self, event: Event) -> None:
        if self.is_broken:
            return
        try:
            # Not ASCII alone could be more than the stream's encoding can hold.
            self._stream.write(json.dumps(event.to_json(), default=str) + "\n")
            self._stream.flush()
        except BrokenPipeError:
            self.is_broken = True
            self._on_broken()
