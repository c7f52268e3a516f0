"""Plugins come from folders, single files and distributions; what nobody allowed is not run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mezzotint.cli import _QUIET_LIBRARIES, main
from mezzotint.plugins.consent import Consents

from .conftest import OpenHost, Write

NODE = """
from pathlib import Path

from mezzotint import node

Path(__file__).with_suffix(".ran").touch()

@node("{0}")
def {0}(a: int) -> int:
    return a
"""
Command = Callable[..., tuple[int, str, str]]


def states(host: Any) -> dict[str, str]:
    return {plugin.name: plugin.state for plugin in host.plugins.found}


def test_a_plugins_folder_is_not_run_until_it_is_allowed(open_host: OpenHost, write: Write, tmp_path: Path) -> None:
    single, folder = write("home/plugins/single.py", NODE.format("Single")), tmp_path / "home/plugins/whole"
    write("home/plugins/whole/__init__.py", "from .inner import Inner\n")
    write("home/plugins/whole/inner.py", NODE.format("Inner"))
    assert states(open_host()) == {"single": "not allowed", "whole": "not allowed"}
    assert not single.with_suffix(".ran").exists()
    consents = Consents(tmp_path / "home")
    consents.allow(single)
    consents.allow(folder)
    host = open_host()
    assert states(host) == {"single": "loaded", "whole": "loaded"}
    assert "Single" in host.registry


def test_what_changed_must_be_allowed_again(open_host: OpenHost, write: Write, tmp_path: Path) -> None:
    consents = Consents(tmp_path / "home")
    single = write("home/plugins/single.py", NODE.format("Single"))
    consents.allow(single)
    write("home/plugins/single.py", NODE.format("Other"))
    assert states(open_host()) == {"single": "changed"}
    consents.allow(single)
    assert states(open_host()) == {"single": "loaded"}
    assert consents.deny(single)
    assert states(open_host()) == {"single": "not allowed"}
    assert not consents.deny(single)


def test_a_file_added_to_an_allowed_folder_must_be_allowed(write: Write, tmp_path: Path) -> None:
    consents = Consents(tmp_path / "home")
    folder = write("plugins/whole/__init__.py", "").parent
    consents.allow(folder)
    write("plugins/whole/__pycache__/x.pyc", "compiled")
    assert consents.verdict(folder) == "allowed"
    write("plugins/whole/more.py", "")
    assert consents.verdict(folder) == "changed"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": "x", "plugins": {}}'])
def test_a_torn_list_of_what_is_allowed_allows_nothing(text: str, write: Write, tmp_path: Path) -> None:
    single = write("single.py", "")
    write("home/allowed_plugins.json", text)
    consents = Consents(tmp_path / "home")
    assert consents.verdict(single) == "not allowed"
    consents.allow(single)
    assert consents.verdict(single) == "allowed"


def test_another_plugins_folder_can_be_named(
    open_host: OpenHost, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("by_variable", "by_setting"):
        write(f"{folder}/{folder}_plugin.py", "")
    monkeypatch.setenv("MEZZOTINT_PLUGINS", str(tmp_path / "by_variable"))
    assert states(open_host()) == {"by_variable_plugin": "not allowed"}
    assert states(open_host(plugins_dir=tmp_path / "by_setting")) == {"by_setting_plugin": "not allowed"}


def test_a_folder_that_is_named_is_run_with_its_relative_imports(open_host: OpenHost, write: Write) -> None:
    folder = write("whole/__init__.py", "from .inner import node_of\n").parent
    write("whole/inner.py", "from mezzotint import node as node_of\n")
    host = open_host(folder)
    assert states(host) == {"whole": "loaded"}


@pytest.fixture
def mezzotint(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    for name in _QUIET_LIBRARIES:
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("MEZZOTINT_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("mezzotint.plugins.manager.BUILT_IN", ())
    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main(words)
        written = capsys.readouterr()
        return int(str(left.value.code)), written.out, " ".join(written.err.split())

    return call


def test_plugins_are_allowed_and_denied_on_the_command_line(mezzotint: Command, write: Write) -> None:
    path = write("home/plugins/single.py", NODE.format("Single"))
    code, out, _ = mezzotint("plugins")
    assert code == 0
    assert "single  not allowed" in out
    assert f"mezzotint plugins allow {path}" in out
    assert mezzotint("plugins", "allow", "single")[0] == 0
    assert "single  1 node" in mezzotint("plugins")[1]
    assert mezzotint("plugins", "deny", str(path))[0] == 0
    code, _, err = mezzotint("plugins", "deny", "single")
    assert (code, "was not allowed, so there is nothing to deny" in err) == (2, True)
    code, _, err = mezzotint("plugins", "allow", "singel")
    assert (code, "did you mean 'single'?" in err) == (2, True)


def test_the_list_of_plugins_says_what_each_brings_and_what_failed(mezzotint: Command, write: Write) -> None:
    bad, good = write("bad.py", "1 / 0"), write("good.py", NODE.format("Good"))
    code, out, err = mezzotint("plugins", "--plugin", str(good), "--block-plugin", "x", "--json")
    assert code == 0, err
    assert '"nodes": [\n      "Good"\n    ]' in out
    code, out, err = mezzotint("plugins", "--plugin", str(bad), "--plugin", str(good))
    assert code == 1
    assert "bad   failed" in out
    assert "good  1 node" in out
    assert f"plugin 'bad' ({bad}) was skipped: ZeroDivisionError: division by zero" in err


INNER = """
from mezzotint import node

@node("Inner")
def inner(a: int) -> int:
    return a
"""


def test_the_nodes_that_a_folder_imports_from_its_own_modules_are_its_nodes(open_host: OpenHost, write: Write) -> None:
    folder = write(
        "whole/__init__.py", "from mezzotint.nodes.basics.maths import math_int\nfrom .parts import inner\n"
    ).parent
    write("whole/parts.py", INNER)
    host = open_host(folder)
    assert [plugin.nodes for plugin in host.plugins.loaded] == [["Inner"]]  # and not those of others
    assert host.plugins.problems() == []


def test_a_plugin_that_brings_nothing_is_told(open_host: OpenHost, write: Write) -> None:
    folder = write("empty/__init__.py", "").parent
    write("empty/parts.py", INNER)
    (problem,) = open_host(folder).plugins.problems()
    assert problem.startswith(f"plugin 'empty' ({folder}) brings nothing: ")
    assert problem.endswith("import the nodes of its other modules in __init__.py")
