"""Fixtures of the engine's tests."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _nothing_bundled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine alone brings no models, whatever other tests of the same process have loaded."""
    monkeypatch.setattr("mezzotint.engine.folders._bundled", {})
