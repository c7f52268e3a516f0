"""`mezzotint plugin new` writes a whole package or nothing. That the package works, tests/packaging shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from mezzotint.cli import new_plugin

from .conftest import Command

FILES = {
    ".github/workflows/ci.yml",
    ".gitignore",
    "LICENSE",
    "README.md",
    "pyproject.toml",
    "src/film_grain/__init__.py",
    "src/film_grain/nodes.py",
    "src/film_grain/samplers.py",
    "tests/test_nodes.py",
    "tests/test_sampler.py",
}


def test_the_package_is_complete_and_filled_in(plain_mezzotint: Command, tmp_path: Path) -> None:
    made = plain_mezzotint("plugin", "new", "film-grain", "--folder", "work")
    assert (made.code, made.files) == (0, [tmp_path / "work" / "film-grain"])
    package = made.files[0]
    assert {path.relative_to(package).as_posix() for path in package.rglob("*") if path.is_file()} == FILES
    texts = [path.read_text(encoding="utf-8") for path in package.rglob("*") if path.is_file()]
    assert not any("$package" in text or "$name" in text or "$title" in text or "$prefix" in text for text in texts)
    assert "${{ matrix.python }}" in (package / ".github/workflows/ci.yml").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["Film", "film_grain", "2film", "film--grain", "film-", "../film", "fil m", "a" * 61])
def test_a_name_that_will_not_do_is_refused_with_one_that_will(name: str, plain_mezzotint: Command) -> None:
    refused = plain_mezzotint("plugin", "new", name)
    assert refused.code == 2
    assert "such as film-grain" in " ".join(refused.err.split())


@pytest.mark.parametrize("name", ["class", "json", "mezzotint"])
def test_a_name_that_python_has_already_is_refused(name: str, plain_mezzotint: Command, tmp_path: Path) -> None:
    refused = plain_mezzotint("plugin", "new", name)
    assert refused.code == 2
    assert "Python has something of that name already" in " ".join(refused.err.split())
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_is_left_as_it_is(plain_mezzotint: Command, tmp_path: Path) -> None:
    (tmp_path / "film-grain").mkdir()
    refused = plain_mezzotint("plugin", "new", "film-grain")
    assert refused.code == 2
    assert "is there already" in refused.err
    assert list((tmp_path / "film-grain").iterdir()) == []


def test_a_place_that_cannot_be_written_is_told_in_a_sentence(plain_mezzotint: Command, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused = plain_mezzotint("plugin", "new", "film-grain", "--folder", "file")
    assert refused.code == 2
    assert "cannot be written" in " ".join(refused.err.split())


def test_nothing_is_left_when_writing_fails_half_way(
    plain_mezzotint: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill_half(source: object, folder: Path, words: object) -> None:
        (folder / "half").touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(new_plugin, "_fill", fill_half)
    refused = plain_mezzotint("plugin", "new", "film-grain")
    assert refused.code == 2
    assert "No space left on device" in " ".join(refused.err.split())
    assert list(tmp_path.iterdir()) == []
