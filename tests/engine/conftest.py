"""Fixtures of the engine's tests."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from unittest.mock import patch

import pytest
from _pytest.assertion.rewrite import AssertionRewritingHook

from mezzotint.engine.engine import Engine
from mezzotint.engine.registry import Registry
from mezzotint.engine.residency import Residency
from mezzotint.engine.validation import Validation, validate
from mezzotint.engine.workflow import Workflow

from .checked_nodes import SPECS, Check

# hypothesis counts as a plugin of pytest, which would rewrite the assertions of all its modules: that takes seconds.
with patch.object(sys, "meta_path", [find for find in sys.meta_path if not isinstance(find, AssertionRewritingHook)]):
    import hypothesis  # noqa: F401


@pytest.fixture(autouse=True)
def _no_torch() -> Iterator[None]:
    """The engine does without torch, which takes longer to load than most of these tests together."""
    was_there = "torch" in sys.modules
    yield
    assert was_there or "torch" not in sys.modules


@pytest.fixture
def make_engine(make_engine: Callable[..., Engine]) -> Callable[..., Engine]:
    """As everywhere, on the CPU: to look for another device torch would be loaded."""
    return partial(make_engine, models=Residency("cpu"))


@pytest.fixture(autouse=True)
def _nothing_bundled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine alone brings no models, whatever other tests of the same process have loaded."""
    monkeypatch.setattr("mezzotint.engine.folders._bundled", {})


@pytest.fixture
def registry() -> Registry:
    """The nodes of `checked_nodes`."""
    registry = Registry()
    for spec in SPECS:
        registry.register(spec)
    return registry


@pytest.fixture
def check(registry: Registry) -> Check:
    """`check(graph)`: what validation says of a graph of these nodes."""

    def run(graph: dict[str, Any], **given: Any) -> Validation:
        return validate(Workflow.from_api(graph), registry, **given)

    return run
