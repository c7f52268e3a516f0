"""The marker for functions that implement a hook: `from mezzotint import hookimpl`."""

from __future__ import annotations

import pluggy

PROJECT = "mezzotint"

hookimpl = pluggy.HookimplMarker(PROJECT)
hookspec = pluggy.HookspecMarker(PROJECT)
