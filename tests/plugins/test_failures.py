"""A plugin that cannot be used is reported with its name, its place and the cure; everything else works."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from aiohttp.test_utils import TestClient, TestServer

from mezzotint.plugins import plugin_import
from mezzotint.server.app import make_app

from .conftest import OpenHost, Write

GOOD = """
from mezzotint import node

@node("Good")
def good(a: int) -> int:
    return a
"""
HOOK = "\nfrom mezzotint import hookimpl\n\n@hookimpl\n"
FAILURES = {
    "raises at import": (
        "import nosuch\n",
        r"ModuleNotFoundError: .*nosuch.* \(at {path}:1\); mend or block it",
    ),
    "leaves at import": ("raise SystemExit(3)\n", r"SystemExit: 3 \(at {path}:1\); mend or block it"),
    "is no Python": ("def :\n", r"SyntaxError: invalid syntax \(bad.py, line 1\); mend or block it"),
    "never returns": (
        "import time\ntime.sleep(600)\n",
        r"it did not return from its import within 0.5 s \(it is at {path}:2\); do slow work when a node runs, or",
    ),
    "misspells a hook": (
        "import mezzotint\n\n@mezzotint.hookimpl\ndef register_node(register):\n    pass\n",
        r"{path}:3: there is no hook 'register_node'; did you mean 'register_nodes'\?",
    ),
    "misspells an argument": (
        "import mezzotint\n\n@mezzotint.hookimpl\ndef register_nodes(registre):\n    pass\n",
        r"{path}:3: the hook 'register_nodes' has no argument 'registre'; it has register",
    ),
    "forgets the mark": (
        "def register_nodes(register):\n    pass\n",
        r"{path}:1: 'register_nodes' has the name of a hook; put @hookimpl above it",
    ),
    "wraps others": (
        "import mezzotint\n\n@mezzotint.hookimpl(wrapper=True)\ndef register_nodes():\n    yield\n",
        r"{path}:3: 'register_nodes' is a wrapper .* use surround_run or surround_step",
    ),
    "wants later hooks": ("hook_version = 99\n", r"it needs version 99 of the hooks, .* install a later Mezzotint"),
    "fails in a hook": (
        "import mezzotint\n\n@mezzotint.hookimpl\ndef register_nodes(register):\n    1 / 0\n",
        r"its hook 'register_nodes' failed: ZeroDivisionError: division by zero \(at {path}:5\); mend or block it",
    ),
}


@pytest.mark.parametrize("kind", FAILURES)
def test_a_plugin_that(kind: str, open_host: OpenHost, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugin_import, "IMPORT_SECONDS", 0.5)
    source, wanted = FAILURES[kind]
    bad, good = write("bad.py", source), write("good.py", GOOD)
    host = open_host(bad, good)
    (problem,) = host.plugins.problems()
    assert problem.startswith(f"plugin 'bad' ({bad}) was skipped: ")
    assert re.search(wanted.format(path=re.escape(str(bad))), problem), problem
    assert [*host.registry.names] == ["Good"]
    assert [plugin.name for plugin in host.plugins.loaded] == ["good"]


def test_an_import_has_ten_seconds() -> None:
    assert plugin_import.IMPORT_SECONDS == 10.0


async def test_all_of_them_at_once_are_reported_and_all_else_works(
    open_host: OpenHost, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugin_import, "IMPORT_SECONDS", 0.5)
    bad = [write(f"bad_{number}.py", source) for number, (source, _) in enumerate(FAILURES.values())]
    taken = write("taken.py", GOOD)
    host = open_host(*bad, write("good.py", GOOD), taken)
    told = host.plugins.problems()
    assert [problem.split("(")[1].partition(")")[0] for problem in told] == [*map(str, bad), str(taken)]
    async with TestClient(TestServer(make_app(host))) as client:
        assert [*await (await client.get("/object_info")).json()] == ["Good"]
        assert (await client.get("/queue")).status == 200
    result = await host.engine.run(host.load({"1": {"class_type": "Good", "inputs": {"a": 3}}}), targets=["1"])
    assert result.value("1") == 3


@pytest.mark.parametrize(
    ("kind", "claim", "cure"),
    [
        ("a node", "from mezzotint import node\n\n@node('Good')\ndef other(a: int) -> int:\n    return a\n", "@node("),
        (
            "a sampler",
            HOOK + "def register_samplers(register):\n    register('euler', print)\n",
            "give it another name",
        ),
    ],
)
def test_a_plugin_that_claims_a_taken_name_keeps_what_else_it_brings(
    kind: str, claim: str, cure: str, open_host: OpenHost, write: Write
) -> None:
    more = "\n\nfrom mezzotint import node as n\n\n@n('More')\ndef more(a: int) -> int:\n    return a\n"
    good, bad = write("good.py", GOOD), write("bad.py", claim + more)
    host = open_host(good, bad, built_in=True)
    (problem,) = host.plugins.problems()
    assert problem.startswith(f"plugin 'bad' ({bad}): {kind} was skipped: plugin 'bad' registers ")
    assert "has it already; give it another name" in problem
    assert cure in problem
    assert host.registry["Good"].plugin == "good"
    assert "More" in host.registry


def test_two_plugins_of_one_name_are_told_apart(open_host: OpenHost, write: Write) -> None:
    host = open_host(write("a/same.py", GOOD), write("b/same.py", GOOD.replace("Good", "Better")))
    assert "another plugin has this name; rename its file" in host.plugins.problems()[0]
    assert [*host.registry.names] == ["Good"]


def test_a_plugin_that_fails_leaves_nothing_behind(open_host: OpenHost, write: Write) -> None:
    text = GOOD + HOOK + "def register_nodes(register):\n    register(good)\n    1 / 0\n"
    host = open_host(write("half.py", text))
    assert [*host.registry.names] == []


def test_a_file_that_is_not_there_is_told(open_host: OpenHost, tmp_path: Path) -> None:
    host = open_host(tmp_path / "gone.py", tmp_path)
    assert "there is no Python file" in host.plugins.problems()[0]
    assert "has no __init__.py" in host.plugins.problems()[1]


def test_blocked_plugins_are_found_and_not_run(
    open_host: OpenHost, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEZZOTINT_BLOCK_PLUGINS", "one, two")
    paths = [write(f"{name}.py", "raise RuntimeError") for name in ("one", "two", "three")]
    host = open_host(*paths, blocked_plugins=("three",))
    assert [plugin.state for plugin in host.plugins.found] == ["blocked"] * 3
    assert host.plugins.problems() == []
