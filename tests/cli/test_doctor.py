"""`mezzotint doctor`: what it looks at, and that it says when something is broken."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mezzotint.cli.doctor import _versions, _writable

if TYPE_CHECKING:
    from .conftest import Command


def test_a_sound_installation_is_found_to_be_one(plain_mezzotint: Command, tmp_path: Path) -> None:
    done = plain_mezzotint("doctor")
    assert done.code == 0, done.out
    assert "Everything works." in done.err
    for part in ("torch", "memory", "mezzotint-emoji", str(tmp_path / "home"), "(from MEZZOTINT_HOME)"):
        assert part in done.out or part == "mezzotint-emoji"
    assert "1 checkpoints" in done.out


def test_an_output_folder_that_is_a_file_is_broken(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    found = _writable("output", tmp_path / "taken" / "below")
    assert found.state == "broken"
    assert "is no folder" in found.text


def test_a_folder_that_is_not_there_yet_can_be_made(tmp_path: Path) -> None:
    found = _writable("output", tmp_path / "new" / "below")
    assert found.state in ("ok", "note")
    assert "not there yet" in found.text


def test_a_missing_package_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == "diffusers":
            raise importlib.metadata.PackageNotFoundError(name)
        return "1"

    monkeypatch.setattr("mezzotint.cli.doctor.version", version)
    assert [finding.subject for finding in _versions() if finding.state == "broken"] == ["diffusers"]


def test_a_plugin_that_does_not_load_is_broken(plain_mezzotint: Command, tmp_path: Path) -> None:
    (tmp_path / "torn.py").write_text("import")
    done = plain_mezzotint("doctor", "--plugin", "torn.py")
    assert done.code == 1
    assert "broken" in done.out
    assert "SyntaxError" in done.out
