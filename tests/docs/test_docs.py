"""The documentation holds: its programs run, its commands parse, its links resolve, and nothing public is left out."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import importlib.util
import inspect
import json
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer

import mezzotint
from mezzotint import client
from mezzotint.cli import _QUIET_LIBRARIES, main
from mezzotint.cli.app import app
from mezzotint.client import Client
from mezzotint.client import errors as client_errors
from mezzotint.engine import errors
from mezzotint.plugins import hookspecs, host
from mezzotint.plugins.hook_check import hook_names

from ..server.serving import Server

ROOT = Path(__file__).parents[2]
README, CONTRIBUTING, CHANGELOG = (ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "CHANGELOG"))
NAMES = ("nodes", "architecture", "cli", "client", "hooks")
NODES, ARCHITECTURE, CLI, CLIENT, HOOKS = (ROOT / "docs" / f"{name}.md" for name in NAMES)
PAGES = [README, CONTRIBUTING, CHANGELOG, *sorted((ROOT / "docs").glob("*.md"))]

SAVED = {
    "1": {"class_type": "PrimitiveString", "inputs": {"value": "hello"}},
    "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}},
}
"""What `saved.json` holds where the pages' programs run."""


class Block(NamedTuple):
    """A fenced block of a page: its language, its text, and the line where the text begins."""

    page: Path
    line: int
    language: str
    text: str

    @property
    def file_name(self) -> str | None:
        """The file that the block is to be saved as, by its first line: `# posterise.py`."""
        named = re.match(r"# ([\w.]+\.py)\n", self.text)
        return named[1] if named else None

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path, *languages: str) -> list[Block]:
    """The fenced blocks in these languages."""
    text = text_of(page)
    found = re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [
        Block(page, text.count("\n", 0, match.start(2)) + 1, match[1], match[2])
        for match in found
        if match[1] in languages
    ]


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", text_of(page), flags=re.DOTALL | re.MULTILINE)


def code_spans(page: Path) -> list[str]:
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose(page))]


def mentioned(name: str, *pages: Path) -> bool:
    """Whether a name stands between backticks on one of the pages."""
    whole = re.compile(rf"(?<![\w-]){re.escape(name)}(?![\w-])")
    return any(whole.search(span) for page in pages for span in code_spans(page))


# programs

PROGRAMS = [block for page in PAGES for block in blocks(page, "python")]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a saved workflow in it, where the pages' programs run; hosts that they open are closed."""
    (tmp_path / "saved.json").write_text(json.dumps(SAVED), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    before, modules = dict(host._hosts), set(sys.modules)
    yield tmp_path
    for settings in host._hosts.keys() - before.keys():
        host._hosts.pop(settings).close()
    for name in sys.modules.keys() - modules:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def save_named_files(page: Path, folder: Path) -> list[Path]:
    named = [(folder / block.file_name, block.text) for block in blocks(page, "python") if block.file_name]
    for path, text in named:
        path.write_text(text, encoding="utf-8")
    return [path for path, _ in named]


SERVER = "127.0.0.1:8188"
"""Where programs of the pages expect a server."""


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server for the pages' programs; its address."""
    server = Server(tmp_path_factory.mktemp("docs"))
    yield server.address
    server.stop()


@pytest.mark.parametrize("block", PROGRAMS, ids=str)
def test_every_python_block_runs(block: Block, desk: Path, request: pytest.FixtureRequest) -> None:
    save_named_files(block.page, desk)
    source = "\n" * (block.line - 1) + block.text
    if SERVER in source:
        source = source.replace(SERVER, request.getfixturevalue("served"))
    exec(compile(source, str(block.page), "exec", dont_inherit=True), {"__name__": "__main__"})


@pytest.mark.parametrize("page", [page for page in PAGES if any(b.file_name for b in blocks(page, "python"))], ids=str)
def test_every_file_that_a_page_tells_to_save_is_a_plugin(page: Path, desk: Path) -> None:
    paths = save_named_files(page, desk)
    with host.Host(host.Settings(plugins=tuple(paths))) as opened:
        named = [plugin for plugin in opened.plugins.loaded if plugin.origin in map(str, paths)]
        assert len(named) == len(paths)
        assert all(plugin.nodes and plugin.problem is None for plugin in named)


def test_the_readme_s_own_node_runs_from_the_command_line(
    desk: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in _QUIET_LIBRARIES:  # the command sets them for its process
        monkeypatch.setenv(name, "1")
    save_named_files(README, desk)
    (graph,) = blocks(README, "json")
    (desk / "posterised.json").write_text(graph.text, encoding="utf-8")
    command = next(words for words in all_commands(README) if "posterised.json" in words)
    with pytest.raises(SystemExit) as left:
        main([*command[1:], "--output-dir", "pictures"])
    assert left.value.code == 0, capsys.readouterr().err
    assert len([*(desk / "pictures").glob("*.png")]) == 1


# commands

COMMAND_LINE: Any = typer.main.get_command(app)


def with_subcommands(commands: dict[str, Any], above: str = "") -> dict[str, Any]:
    """Commands and those below them, by their words: `plugins allow`."""
    found = {}
    for name, command in commands.items():
        found[above + name] = command
        found |= with_subcommands(getattr(command, "commands", {}), f"{above}{name} ")
    return found


COMMANDS = with_subcommands(COMMAND_LINE.commands)


def all_commands(page: Path) -> list[list[str]]:
    """Every `mezzotint ...` command of a page, in words."""
    lines = [line for block in blocks(page, "sh", "text") for line in block.text.replace("\\\n", " ").splitlines()]
    found = [*(line.strip() for line in lines), *code_spans(page)]
    return [shlex.split(line, comments=True) for line in found if re.match(r"mezzotint( |$)", line)]


@pytest.fixture
def parse(desk: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str]], None]:
    """Reads a command, in words, as the command line does, but runs nothing; folders that it names are made."""
    for command in COMMANDS.values():
        monkeypatch.setattr(command, "callback", lambda **_: None)

    def read(words: list[str]) -> None:
        if " ".join(words[1:]) in COMMANDS:
            return  # the command's name alone
        for option, value in pairwise(words):
            if option in ("--models-dir", "--input-dir", "--custom-nodes"):
                (desk / value).mkdir(parents=True, exist_ok=True)
            elif option == "--extra-model-paths":
                (desk / value).touch()
        if words[1:] and not {"--version", "--help", "-h"} & {*words}:
            COMMAND_LINE.main(args=words[1:], prog_name=words[0], standalone_mode=False)

    return read


@pytest.mark.parametrize("page", [*filter(all_commands, PAGES)], ids=lambda page: page.name)
def test_every_command_parses(page: Path, parse: Callable[[list[str]], None]) -> None:
    for words in all_commands(page):
        try:
            parse(words)
        except Exception as error:
            pytest.fail(f"{shlex.join(words)}: {error}")


@pytest.mark.parametrize("line", ["mezzotint draw a", "mezzotint run a --promt x", "mezzotint run a --count many"])
def test_a_command_with_a_mistake_is_found(line: str, parse: Callable[[list[str]], None]) -> None:
    with pytest.raises(Exception, match=r"draw|promt|integer"):
        parse(line.split())


def make_targets(page: Path) -> set[str]:
    """What a page tells to make."""
    text = [*code_spans(page), *(line for block in blocks(page, "sh") for line in block.text.splitlines())]
    return {match[1] for line in text if (match := re.match(r"make (\w+)", line))}


@pytest.mark.parametrize("page", [*filter(make_targets, PAGES)], ids=lambda page: page.name)
def test_every_make_target_exists(page: Path) -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert make_targets(page) <= targets


def sections(page: Path) -> dict[str, str]:
    """Heading of the second level → what stands below it, blocks included."""
    parts = re.split(r"^## (.+)$", text_of(page), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def option_names(command: Any) -> set[str]:
    names = (name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts))
    return {name for name in names if name.startswith("-")}


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_is_described_with_all_its_options_and_no_others(name: str) -> None:
    text = sections(CLI)[f"mezzotint {name}"]
    command = COMMANDS[name]
    table = set(re.findall(r"`(--?[\w-]+)[^`]*`", "\n".join(line for line in text.splitlines() if line[:1] == "|")))
    assert table == option_names(command)
    for parameter in command.params:
        if not parameter.opts[0].startswith("-"):
            assert (parameter.metavar or parameter.name.upper()).strip("[]") in text


def test_the_options_of_the_command_line_itself_are_described() -> None:
    for name in option_names(COMMAND_LINE) | {"--help", "-h"}:
        assert mentioned(name, CLI), name


def test_no_command_is_described_that_is_not_there() -> None:
    described = {heading.removeprefix("mezzotint ") for heading in sections(CLI) if heading.startswith("mezzotint ")}
    assert described == set(COMMANDS)


# links and paths

TOP = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")} | {".types", ".ci"}
GENERATED = {"output", "input", "temp", "build", "dist"}


def anchors(page: Path) -> set[str]:
    """What links may point to in a page: its headings, as sites that show Markdown name them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_resolves(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        if not path.exists() or (anchor and anchor not in anchors(path)):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_named_is_there(page: Path) -> None:
    named = [span for span in code_spans(page) if re.fullmatch(r"[\w./-]+", span)]
    ours = [span for span in named if span.split("/")[0] in TOP - GENERATED and ("/" in span or "." in span)]
    assert [name for name in ours if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_names_a_machine_or_a_registry(page: Path) -> None:
    assert re.findall(r"/work/|/home/\w|/tmp/|/Users/|pypi|https?://", text_of(page)) == []


# nothing public is left out


@pytest.mark.parametrize("name", sorted(mezzotint._HOMES))
def test_every_public_name_is_documented(name: str) -> None:
    assert mentioned(name, NODES, ARCHITECTURE)


@pytest.mark.parametrize("name", sorted(mezzotint._HOMES))
def test_every_public_name_has_a_docstring(name: str) -> None:
    value, home = getattr(mezzotint, name), importlib.import_module(mezzotint._HOMES[name])
    if inspect.isclass(value) or inspect.isfunction(value):
        assert inspect.getdoc(value)
    else:  # an alias: its module, or the line below it, says what it is
        assert re.search(rf"\b{name}\b", home.__doc__ or "") or name in documented_constants(home)


def documented_constants(module: Any) -> set[str]:
    body = ast.parse(inspect.getsource(module)).body
    return {
        str(target.id)
        for statement, following in pairwise(body)
        if isinstance(statement, ast.Assign) and isinstance(following, ast.Expr)
        for target in statement.targets
        if isinstance(target, ast.Name)
    }


def members(kind: type) -> list[str]:
    """What a class offers: its methods and properties, and what it says of its attributes."""
    return sorted(name for name in {*dir(kind), *vars(kind())} if not name.startswith("_"))


@pytest.mark.parametrize("name", members(mezzotint.Context))
def test_every_part_of_the_context_is_documented(name: str) -> None:
    assert mentioned(f"ctx.{name}", NODES)


def test_every_option_of_node_is_documented() -> None:
    documented = "\n".join(line for line in sections(NODES)["Options of `@node`"].splitlines() if line[:1] == "|")
    assert set(re.findall(r"`(\w+)`", documented)) == set(node_options())


def node_options() -> Iterator[str]:
    source = inspect.getsource(importlib.import_module("mezzotint.engine.node"))
    for statement in ast.walk(ast.parse(source)):
        if isinstance(statement, ast.FunctionDef) and statement.name == "node":
            yield from (argument.arg for argument in statement.args.kwonlyargs)


def test_every_widget_hint_is_documented() -> None:
    assert [f.name for f in dataclasses.fields(mezzotint.Widget) if not mentioned(f.name, NODES)] == []


def test_every_setting_is_documented() -> None:
    assert [f.name for f in dataclasses.fields(mezzotint.Settings) if not mentioned(f.name, ARCHITECTURE)] == []


def test_every_hook_is_documented() -> None:
    arguments = {name: inspect.signature(getattr(hookspecs, name)).parameters for name in hook_names()}
    signatures = [f"{name}({', '.join(given)})" for name, given in arguments.items()]
    assert [heading for heading in sections(HOOKS) if "(" in heading] == signatures
    assert [heading for heading in signatures if "```python" not in sections(HOOKS)[heading]] == []


def test_the_version_of_the_hooks_is_documented() -> None:
    assert f"The version of this contract is {hookspecs.HOOK_VERSION}" in text_of(HOOKS)


def test_every_event_is_documented() -> None:
    from mezzotint.engine import event

    kinds = [kind for kind in vars(event).values() if inspect.isclass(kind) and issubclass(kind, event.Event)]
    made = [kind.__name__ for kind in kinds if kind not in (event.Event, event.StepEvent)]
    assert [name for name in made if not mentioned(name, ARCHITECTURE)] == []


@pytest.mark.parametrize("module", [errors, client_errors], ids=lambda module: module.__name__)
def test_every_error_is_in_the_tree_at_the_top_of_its_module(module: Any) -> None:
    kinds = [value for value in vars(module).values() if inspect.isclass(value) and issubclass(value, BaseException)]
    assert [kind.__name__ for kind in kinds if kind.__name__ not in (module.__doc__ or "")] == []


def test_everything_that_a_client_offers_is_documented() -> None:
    offered = [name for name, value in vars(Client).items() if inspect.isfunction(value) and not name.startswith("_")]
    exported = [name for name in vars(client) if name[0].isupper()]
    assert offered
    assert exported
    assert [name for name in offered if not mentioned(f"client.{name}", CLIENT)] == []
    assert [name for name in exported if not mentioned(name, CLIENT)] == []


def test_every_option_of_a_conditioning_is_documented() -> None:
    from mezzotint.nodes.sampling.prompts import FOR_NETWORKS, WEIGHING

    page = text_of(NODES)
    assert [name for name in sorted(FOR_NETWORKS | WEIGHING) if f"`{name}`" not in page] == []


def test_the_list_of_built_in_nodes_is_fresh() -> None:
    spec = importlib.util.spec_from_file_location("list_nodes", ROOT / "tools" / "list_nodes.py")
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    page = text_of(NODES)
    assert page == tool.with_list(page), "run .venv/bin/python tools/list_nodes.py"


def test_the_version_has_its_entry_in_the_changelog() -> None:
    assert f"## {mezzotint.__version__}" in text_of(CHANGELOG)


def test_the_readme_stays_short() -> None:
    assert len(text_of(README).splitlines()) < 150
