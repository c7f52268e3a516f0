"""A plugin whose file changes is loaded again; a broken edit keeps the version before."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from mezzotint import Host
from mezzotint.engine.workflow import Workflow
from mezzotint.server.app import make_app

from .conftest import OpenHost, Write

SOURCE = """
from mezzotint import Expand, GraphBuilder, hookimpl, node

@node("Grow")
def grow(a: int) -> int:
    return a + {by}

@node("Twice")
def twice(a: int) -> int | Expand:
    return a

@hookimpl
def register_samplers(register):
    register("grown", lambda *args: {by})
"""
GRAPH = {"1": {"class_type": "Grow", "inputs": {"a": 1}}}


def value(host: Host) -> Any:
    return asyncio.run(host.engine.run(Workflow.from_api(GRAPH), targets=["1"])).value("1")


def sampler(name: str) -> Any:
    from mezzotint.nodes.samplers.sampler_names import SAMPLERS

    return SAMPLERS[name]()


def test_a_changed_plugin_takes_the_place_of_the_one_before(open_host: OpenHost, write: Write) -> None:
    path = write("growing.py", SOURCE.format(by=1))
    host = open_host(path)
    assert (value(host), sampler("grown")) == (2, 1)
    write("growing.py", SOURCE.format(by=5))
    assert host.plugins.reload(host.plugins.loaded[0])
    assert (value(host), sampler("grown")) == (6, 5)  # not the value that was kept
    assert [plugin.nodes for plugin in host.plugins.found] == [["Grow", "Twice"]]


@pytest.mark.parametrize("broken", ["def :", "1 / 0", SOURCE.format(by=1).replace("register_samplers", "register_x")])
def test_a_broken_edit_keeps_the_version_before_and_says_so(
    broken: str, open_host: OpenHost, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    host = open_host(write("growing.py", SOURCE.format(by=1)))
    write("growing.py", broken)
    assert not host.plugins.reload(host.plugins.loaded[0])
    assert (value(host), sampler("grown")) == (2, 1)
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith("the version before stays: plugin 'growing' (")
    write("growing.py", SOURCE.format(by=3))
    assert host.plugins.reload(host.plugins.loaded[0])
    assert value(host) == 4


def test_the_nodes_are_exchanged_all_at_once_and_a_snapshot_keeps_the_old_ones(
    open_host: OpenHost, write: Write
) -> None:
    host = open_host(write("growing.py", SOURCE.format(by=1)))
    before = host.registry.snapshot()
    old = before["Grow"]
    seen: list[bool] = []
    write("growing.py", "import time\ntime.sleep(0.2)\n" + SOURCE.format(by=2))
    reload = threading.Thread(target=lambda: host.plugins.reload(host.plugins.loaded[0]))
    reload.start()
    while reload.is_alive():
        seen.append("Grow" in host.registry)
        time.sleep(0.001)
    assert len(seen) > 10
    assert all(seen)
    assert before["Grow"] is old is not host.registry["Grow"]


def test_files_are_watched_and_the_plugins_folder_is_trusted(open_host: OpenHost, write: Write) -> None:
    path = write("home/plugins/growing.py", SOURCE.format(by=1))
    host = open_host(reload=True)
    assert value(host) == 2
    time.sleep(0.3)  # the watcher begins on a thread of its own
    write(str(path), SOURCE.format(by=7))
    for _ in range(100):
        if value(host) == 8:
            return
        time.sleep(0.1)
    pytest.fail("the change was not seen")


ROUTE = """
from aiohttp import web

from mezzotint import hookimpl

async def answer(request):
    return web.Response(text={text!r})

@hookimpl
def register_routes(register):
    register(web.get({path!r}, answer))
"""


async def test_a_route_is_answered_by_the_changed_code(open_host: OpenHost, write: Write) -> None:
    host = open_host(write("routed.py", ROUTE.format(text="old", path="/greet")), reload=True)
    assert host._reloader is not None
    host._reloader.close()  # here the test says when
    async with TestClient(TestServer(make_app(host))) as client:

        async def get() -> tuple[int, str]:
            answer = await client.get("/api/greet")
            return answer.status, await answer.text()

        assert await get() == (200, "old")
        write("routed.py", ROUTE.format(text="new", path="/greet"))
        assert host.plugins.reload(host.plugins.loaded[0])
        assert await get() == await get() == (200, "new")
        write("routed.py", ROUTE.format(text="new", path="/elsewhere"))
        assert host.plugins.reload(host.plugins.loaded[0])
        assert await get() == (404, "The plugin 'routed' has this route no more.")
