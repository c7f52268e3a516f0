"""A package of somebody else's, built as a wheel and installed beside Mezzotint's into a fresh environment."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from .conftest import build_wheel, install, run

ROUTE = """

@hookimpl
def register_routes(register):
    from aiohttp import web

    async def hello(request):
        return web.json_response("hello")

    register(web.get("/film_grain/hello", hello))
"""
TEST_OF_ROUTE = """
import json
from urllib.request import urlopen


def test_the_route_answers(mezzotint_server):
    with urlopen(mezzotint_server.url + "/api/film_grain/hello") as answer:
        assert json.load(answer) == "hello"
"""


def test_it_adds_nodes_a_sampler_and_a_route_and_its_own_tests_pass(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEZZOTINT_HOME", str(tmp_path / "home"))
    package = Path(run(installed, "-m", "mezzotint", "plugin", "new", "film-grain", cwd=tmp_path).strip())
    module = package / "src" / "film_grain" / "__init__.py"
    module.write_text(module.read_text(encoding="utf-8") + ROUTE, encoding="utf-8")
    (package / "tests" / "test_route.py").write_text(TEST_OF_ROUTE, encoding="utf-8")
    install(installed, build_wheel(package, tmp_path / "wheels"))
    shutil.rmtree(package / "src")  # what is tested is what was installed

    # The 7 tests that the package comes with use its nodes, its sampler and the test kit; the 8th asks its route.
    assert "8 passed" in run(installed, "-m", "pytest", "-q", "-p", "no:asyncio", cwd=package)

    listed = " ".join(run(installed, "-m", "mezzotint", "plugins", cwd=tmp_path).split())
    assert "distribution film-grain 0.1.0" in listed
    assert "nodes FilmGrainFade, FilmGrainLater" in listed
    assert "sampler film_grain" in listed
