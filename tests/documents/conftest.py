"""Fixtures of the tests of workflow documents."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


def _sibling(name: str) -> ModuleType:
    """A module of this folder, which is no package."""
    full_name = f"mezzotint_tests_documents_{name}"
    if full_name not in sys.modules:
        spec = importlib.util.spec_from_file_location(full_name, Path(__file__).with_name(f"{name}.py"))
        assert spec is not None
        assert spec.loader is not None
        sys.modules[full_name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[full_name])
    return sys.modules[full_name]


@pytest.fixture(scope="session")
def ui() -> ModuleType:
    """`tests/documents/ui_definitions.py`: node definitions, and `Canvas` to draw an editor's document."""
    return _sibling("ui_definitions")


@pytest.fixture(scope="session")
def definitions(ui: ModuleType) -> dict[str, dict[str, Any]]:
    """Node definitions by class_type, as editors get them."""
    return dict(ui.DEFINITIONS)
