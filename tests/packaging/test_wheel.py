"""The built wheel holds all that the package needs and nothing else, and works with no checkout beside it."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from .conftest import run

MODEL = "mezzotint/nodes/embedded/mezzotint-emoji"


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_every_source_file_of_the_checkout_travels(checkout: Path, names: set[str]) -> None:
    folders = ("engine", "nodes", "plugins", "server", "client", "cli", "workflows", "testing")
    files = [path for folder in folders for path in (checkout / folder).rglob("*") if path.is_file()]
    expected = {f"mezzotint/{path.relative_to(checkout).as_posix()}" for path in files if path.suffix != ".pyc"}
    assert expected - names == set()


def test_nothing_else_travels(names: set[str]) -> None:
    assert {name.split("/")[0].removesuffix(".dist-info").split("-")[0] for name in names} == {"mezzotint"}
    tests = [name for name in names if "tests/" in name and name.endswith(".py")]
    assert [name for name in names if "__pycache__" in name or name.endswith(".pyc")] + tests == []


@pytest.mark.parametrize(
    "name",
    [
        f"{MODEL}/unet/diffusion_pytorch_model.safetensors",
        f"{MODEL}/tokenizer/merges.txt",
        f"{MODEL}/LICENSE",
        "mezzotint/nodes/embedded/clip-vocabulary/bpe_simple_vocab_16e6.txt.gz",
        "mezzotint/nodes/embedded/clip-vocabulary/LICENSE",
        "mezzotint/workflows/text_to_image.json",
        "mezzotint/workflows/denoise_loop.json",
        "mezzotint/py.typed",
    ],
)
def test_weights_workflows_and_notices_are_inside(names: set[str], name: str) -> None:
    assert name in names


def test_licences_and_the_command_are_in_the_metadata(wheel: Path, names: set[str]) -> None:
    (metadata,) = {name.split("/")[0] for name in names if ".dist-info/" in name}
    assert {f"{metadata}/licenses/LICENSE", f"{metadata}/licenses/NOTICE"} <= names
    with zipfile.ZipFile(wheel) as archive:
        entry_points = archive.read(f"{metadata}/entry_points.txt").decode()
        assert "mezzotint = mezzotint.cli:main" in entry_points
        assert "[pytest11]\nmezzotint = mezzotint.testing.plugin" in entry_points
        assert "License-Expression: Apache-2.0" in archive.read(f"{metadata}/METADATA").decode()


def test_the_installed_package_finds_its_model_with_no_checkout_beside_it(installed: Path, tmp_path: Path) -> None:
    script = (
        "import importlib.resources as r, mezzotint; "
        "print(mezzotint.__file__, mezzotint.__version__); "
        "print((r.files('mezzotint.nodes') / 'embedded/mezzotint-emoji/model_index.json').is_file())"
    )
    where, found = run(installed, "-c", script, cwd=tmp_path).splitlines()
    assert Path(where.split()[0]).is_relative_to(installed.parents[1])
    assert found == "True"


def test_the_installed_command_lists_its_nodes(installed: Path, tmp_path: Path) -> None:
    listed = run(installed, "-m", "mezzotint", "nodes", cwd=tmp_path)
    assert "KSampler" in listed
    assert list(tmp_path.iterdir()) == []


def test_the_installed_command_draws_a_picture(installed: Path, tmp_path: Path) -> None:
    script = "import importlib.resources as r; print(r.files('mezzotint.workflows') / 'text_to_image.json')"
    workflow = run(installed, "-c", script, cwd=tmp_path).strip()
    run(
        installed,
        "-m",
        "mezzotint",
        "run",
        workflow,
        "--set",
        "KSampler.steps=1",
        "--output-dir",
        "drawn",
        cwd=tmp_path,
    )
    assert [path.read_bytes()[:8] for path in (tmp_path / "drawn").glob("*.png")] == [b"\x89PNG\r\n\x1a\n"]
