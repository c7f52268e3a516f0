"""Hosts with plugins under test: tiny classes, and files in a folder of their own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mezzotint import Host, Settings
from mezzotint.plugins import manager

OpenHost = Callable[..., Host]
Write = Callable[..., Path]


@pytest.fixture
def open_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenHost]:
    """`open_host(Plugin(), path, built_in=True, **settings)`: a host with a home of its own and these plugins."""
    opened: list[Host] = []

    def make(*plugins: Any, built_in: bool = False, **settings: Any) -> Host:
        if not built_in:
            monkeypatch.setattr(manager, "BUILT_IN", ())
        opened.append(Host(Settings(**{"home": tmp_path / "home", **settings}, plugins=plugins)))
        return opened[-1]

    yield make
    for host in opened:
        host.close()


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """`write("name.py", text)`: a file below `tmp_path`; its time moves on when it is written again."""

    def write_file(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        before = path.stat().st_mtime_ns if path.exists() else 0
        path.write_text(text, encoding="utf-8")
        if before:
            os.utime(path, ns=(before + 10**9, before + 10**9))
        return path

    return write_file
