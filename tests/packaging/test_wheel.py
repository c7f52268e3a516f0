"""The built wheel holds all that the package needs and nothing else, and works with no checkout beside it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODEL = "mezzotint/nodes/embedded/mezzotint-emoji"
NOT_SOURCE = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "output", "input", "temp")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree as somebody has it who has used it: byte code everywhere, a picture drawn."""
    copy = tmp_path_factory.mktemp("checkout") / "mezzotint"
    shutil.copytree(ROOT, copy, ignore=NOT_SOURCE)
    for folder in ("engine", "nodes", "nodes/embedded"):
        (copy / folder / "__pycache__").mkdir(exist_ok=True)
        (copy / folder / "__pycache__" / "left_over.cpython-311.pyc").write_bytes(b"")
    (copy / "engine" / "left_over.pyc").write_bytes(b"")
    return copy


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder), str(checkout))
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that holds the wheel, and borrows all else from the one that runs the tests."""
    folder = tmp_path_factory.mktemp("environment")
    builder = venv.EnvBuilder(with_pip=False, symlinks=os.name != "nt")
    builder.create(folder)
    python = Path(builder.ensure_directories(folder).env_exe)
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    # A plain path, whose own .pth files are not read: the editable install of this checkout stays out of sight.
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    pip("--python", str(python), "install", "--no-deps", "--no-index", "--no-compile", str(wheel))
    return python


def pip(*arguments: str) -> None:
    run(Path(sys.executable), "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments)


def run(python: Path, *arguments: str, cwd: Path | None = None) -> str:
    done = subprocess.run([python, *arguments], capture_output=True, text=True, check=False, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


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
    run(installed, "-m", "mezzotint", "run", workflow, "--output-dir", "drawn", cwd=tmp_path)
    assert [path.read_bytes()[:8] for path in (tmp_path / "drawn").glob("*.png")] == [b"\x89PNG\r\n\x1a\n"]
