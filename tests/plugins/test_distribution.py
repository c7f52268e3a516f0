"""A third-party package, built as a wheel and installed beside Mezzotint, adds a node, a sampler and a route."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from .conftest import Write

MODULE = """
from aiohttp import web

from mezzotint import hookimpl, node


@node("Shout")
def shout(text: str) -> str:
    return text.upper()


@hookimpl
def register_nodes(register):
    register(shout)


@hookimpl
def register_samplers(register):
    register("shouted", "mezzotint.nodes.samplers:euler")


@hookimpl
def register_routes(register, host):
    async def hello(request):
        return web.Response(text="HELLO")

    register(web.get("/hello", hello))
"""
PROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "mezzotint-shouting"
version = "1.5"

[project.entry-points.mezzotint]
shouting = "mezzotint_shouting"

[tool.setuptools]
py-modules = ["mezzotint_shouting"]
"""
PROGRAM = """
import asyncio
import mezzotint
from aiohttp.test_utils import TestClient, TestServer
from mezzotint.server.app import make_app

async def hello(host):
    async with TestClient(TestServer(make_app(host))) as client:
        return await (await client.get("/hello")).text()

with mezzotint.Host() as host:
    (plugin,) = [plugin for plugin in host.plugins.loaded if plugin.source == "distribution"]
    print(plugin.origin, plugin.version, plugin.problems)
    graph = {"1": {"class_type": "Shout", "inputs": {"text": "a"}}}
    print(asyncio.run(host.engine.run(host.load(graph), targets=["1"])).value("1"))
    print(host.definitions["KSampler"]["input"]["required"]["sampler_name"][0][-1])
    print(asyncio.run(hello(host)))
"""


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """The Python of an environment that borrows Mezzotint and all else from the one that runs the tests."""
    builder = venv.EnvBuilder(with_pip=False, symlinks=os.name != "nt")
    builder.create(tmp_path / "environment")
    made = Path(builder.ensure_directories(tmp_path / "environment").env_exe)
    site = Path(run(made, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    (site / "borrowed.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n", "utf-8")
    return made


def pip(*arguments: str) -> None:
    run(Path(sys.executable), "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments)


def run(python: Path, *arguments: str, cwd: Path | None = None) -> str:
    done = subprocess.run([python, *arguments], capture_output=True, text=True, check=False, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_an_installed_distribution_adds_a_node_a_sampler_and_a_route(
    python: Path, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEZZOTINT_HOME", str(tmp_path / "home"))
    source = write("source/mezzotint_shouting.py", MODULE).parent
    write("source/pyproject.toml", PROJECT)
    wheels = str(tmp_path / "wheels")
    pip("wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", wheels, str(source))
    (wheel,) = Path(wheels).glob("mezzotint_shouting-1.5-*.whl")
    pip("--python", str(python), "install", "--no-deps", "--no-index", "--no-compile", str(wheel))
    said = run(python, "-c", PROGRAM, cwd=tmp_path).splitlines()
    origin = "distribution mezzotint-shouting 1.5 mezzotint-shouting==1.5 []"
    assert said == [origin, "A", "shouted", "HELLO"]
    listed = run(python, "-m", "mezzotint", "plugins", cwd=tmp_path)
    assert "distribution mezzotint-shouting 1.5" in listed
    assert "nodes Shout" in listed
    monkeypatch.setenv("MEZZOTINT_BLOCK_PLUGINS", "mezzotint-shouting")
    assert "Shout" not in run(python, "-m", "mezzotint", "nodes", cwd=tmp_path)
