"""Whatever goes wrong is told in sentences, with exit code 2 before a run and 1 in it, and never as a traceback."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mezzotint.engine import atomic_file

if TYPE_CHECKING:
    from .conftest import Command, Outcome, Save

Graph = dict[str, Any]


def refuse(done: Outcome, *parts: str, code: int = 2) -> None:
    """The command ended with the code and a sentence of these parts, and no traceback."""
    assert done.code == code, done.err
    assert "Traceback" not in done.err
    assert "Error: " in done.err
    for part in parts:
        assert part in done.err


def assert_nothing_was_written(tmp_path: Path) -> None:
    assert not [path for path in (tmp_path / "home").rglob("*") if path.is_file()]


# documents that are no workflows


def test_malformed_json(mezzotint: Command, save: Save, tmp_path: Path) -> None:
    refuse(
        mezzotint("run", save('{"1": {"class_type": "Tell",}')), "flow.json is not valid JSON", "at line 1, column 29"
    )
    assert_nothing_was_written(tmp_path)


def test_a_file_that_is_not_there(mezzotint: Command) -> None:
    refuse(mezzotint("run", "nowhere.json"), "There is no file nowhere.json")


def test_a_file_that_is_no_workflow(mezzotint: Command, save: Save) -> None:
    refuse(mezzotint("run", save({"name": "package"})), "flow.json is no workflow", "It begins with 'name'")


def test_an_empty_standard_input(mezzotint: Command) -> None:
    refuse(mezzotint("run", "-", stdin=b""), "The standard input is not valid JSON")


# workflows that cannot run


def test_an_unknown_node(mezzotint: Command, save: Save, sampling: Graph) -> None:
    sampling["3"]["class_type"] = "Sampel"
    refuse(mezzotint("run", save(sampling)), "Node 3", "there is no node type 'Sampel'; did you mean 'Sample'?")


@pytest.mark.parametrize(
    ("name", "value", "parts"),
    [
        ("steps", "many", ("'many' is not allowed", "a whole number")),
        ("steps", 0, ("0 is not allowed; allowed is a whole number from 1 to 100",)),
        ("steps", 101, ("101 is not allowed; allowed is a whole number from 1 to 100",)),
        ("cfg", float("nan"), ("nan is not allowed", "a number")),
        ("sampler", "eulr", ("'eulr' is not allowed; allowed is one of 'euler', 'heun'; did you mean 'euler'?",)),
        ("positive", ["9", 0], ("it is linked to node '9', which is not there",)),
        ("positive", ["1", 3], ("it is linked to output 3 of node 1 (Encode)",)),
        ("positive", "text", ("'text' is not allowed; allowed is a link of type CONDITIONING",)),
    ],
)
def test_a_wrong_input(
    mezzotint: Command, save: Save, sampling: Graph, tmp_path: Path, name: str, value: Any, parts: tuple[str, ...]
) -> None:
    sampling["3"]["inputs"][name] = value
    refuse(mezzotint("run", save(sampling)), f"Node 3 (Sample), input '{name}': ", *parts)
    assert_nothing_was_written(tmp_path)


def test_a_missing_input(mezzotint: Command, save: Save, sampling: Graph) -> None:
    sampling["3"]["inputs"]["postive"] = sampling["3"]["inputs"].pop("positive")
    refuse(mezzotint("run", save(sampling)), "input 'positive': it is missing", "'postive' was given: was it meant?")


def test_a_cycle_is_named(mezzotint: Command, save: Save) -> None:
    graph = {
        "1": {"class_type": "Join", "inputs": {"first": ["2", 0], "second": "x"}},
        "2": {"class_type": "Join", "inputs": {"first": ["1", 0], "second": "y"}},
        "3": {"class_type": "Write", "inputs": {"text": ["2", 0]}},
    }
    refuse(mezzotint("run", save(graph)), "form a circle", "1 (Join)", "2 (Join)")


def test_a_graph_without_an_output_node(mezzotint: Command, save: Save, sampling: Graph) -> None:
    del sampling["4"]
    refuse(mezzotint("run", save(sampling)), "the workflow has no output node")


def test_every_problem_is_told_at_once(mezzotint: Command, save: Save, sampling: Graph) -> None:
    sampling["3"]["inputs"].update(steps=0, cfg=-1)
    del sampling["1"]["inputs"]["text"]
    refuse(mezzotint("run", save(sampling)), "The workflow has 3 problems", "'steps'", "'cfg'", "'text'")


def test_a_later_run_of_a_command_can_be_invalid_too(mezzotint: Command, save: Save, sampling: Graph) -> None:
    sampling["3"]["inputs"]["steps"] = 0
    refuse(mezzotint("run", save(sampling), "--count", 3), "Run 1 of 3", "'steps'")


# missing models


def test_a_missing_model_is_told_with_the_address_that_the_workflow_carries(
    mezzotint: Command, save: Save, tmp_path: Path
) -> None:
    models = [{"name": "big.safetensors", "url": "https://example.org/big.safetensors", "directory": "checkpoints"}]
    document = {
        "version": 0.4,
        "nodes": [
            {"id": 1, "type": "Load", "mode": 0, "inputs": [], "outputs": [],
             "widgets_values": ["big.safetensors"], "properties": {"models": models}},
            {"id": 2, "type": "Tell", "mode": 0, "inputs": [{"name": "value", "type": "*", "link": 1}], "outputs": []},
        ],
        "links": [[1, 1, 0, 2, 0, "STRING"]],
    }  # fmt: skip
    done = mezzotint("run", save(document))
    refuse(done, "Node 1 (Load", "'big.safetensors'", "get it from https://example.org/big.safetensors")
    assert f"put it into {tmp_path / 'home' / 'models' / 'checkpoints'}" in done.err


def test_a_missing_model_without_an_address_is_told_too(mezzotint: Command, save: Save) -> None:
    graph = {
        "1": {"class_type": "Load", "inputs": {"name": "lost.safetensors"}},
        "2": {"class_type": "Tell", "inputs": {"value": ["1", 0]}},
    }
    refuse(mezzotint("run", save(graph)), "lost.safetensors (checkpoints)", "does not say where to get it")


def test_models_are_found_in_a_folder_that_is_named(mezzotint: Command, save: Save, tmp_path: Path) -> None:
    (tmp_path / "mine" / "checkpoints").mkdir(parents=True)
    (tmp_path / "mine" / "checkpoints" / "lost.safetensors").touch()
    graph = {
        "1": {"class_type": "Load", "inputs": {"name": "lost.safetensors"}},
        "2": {"class_type": "Tell", "inputs": {"value": ["1", 0]}},
    }
    assert mezzotint("run", save(graph), "--models-dir", "mine").code == 0


# failures while running


def test_a_prefix_that_leaves_the_output_folder(
    mezzotint: Command, save: Save, sampling: Graph, tmp_path: Path
) -> None:
    for prefix in ("../../escaped", "/tmp/escaped", "C:\\escaped"):
        sampling["4"]["inputs"]["filename_prefix"] = prefix
        refuse(mezzotint("run", save(sampling)), "Node 4 (Write)", "leaves the output folder", code=1)
    assert not list(tmp_path.rglob("*escaped*"))


def test_a_full_disk(
    mezzotint: Command, save: Save, sampling: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "open", _full_disk(Path.open))
    refuse(mezzotint("run", save(sampling)), "Node 4 (Write)", "no space left on the disk", code=1)
    monkeypatch.undo()
    assert_nothing_was_written(tmp_path)


def _full_disk(open_file: Any) -> Any:
    """`Path.open` on a disk that takes the beginning of a file and no more."""

    def open_on_a_full_disk(path: Path, mode: str = "r", *args: Any, **options: Any) -> Any:
        file = open_file(path, mode, *args, **options)
        if atomic_file.TEMPORARY_SUFFIX in path.name and "x" in mode:
            file.write(b"half")
            file.close()
            raise OSError(errno.ENOSPC, "No space left on device")
        return file

    return open_on_a_full_disk


def test_a_node_that_raises_is_named_with_the_line_that_raised(mezzotint: Command, save: Save, toys: Path) -> None:
    graph = {
        "1": {"class_type": "Fail", "inputs": {"text": "no such luck"}},
        "2": {"class_type": "Write", "inputs": {"text": ["1", 0]}},
    }
    done = mezzotint("run", save(graph))
    refuse(done, "Node 1 (Fail): ValueError: no such luck", "Not run because of that: node 2", code=1)
    line = 1 + toys.read_text().splitlines().index("    raise ValueError(text)")
    assert f"raised at {toys}:{line} in fail" in done.err
    assert "--traceback" in done.err


def test_the_whole_traceback_is_shown_when_asked_for(
    mezzotint: Command, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = {"1": {"class_type": "Fail"}, "2": {"class_type": "Tell", "inputs": {"value": ["1", 0]}}}
    assert "Traceback (most recent call last)" in mezzotint("run", save(graph), "--traceback").err
    monkeypatch.setenv("MEZZOTINT_TRACEBACK", "1")
    assert "Traceback (most recent call last)" in mezzotint("run", save(graph)).err


def test_an_error_that_explains_itself_is_told_alone(mezzotint: Command, save: Save) -> None:
    graph = {"1": {"class_type": "Complain"}, "2": {"class_type": "Tell", "inputs": {"value": ["1", 0]}}}
    done = mezzotint("run", save(graph))
    refuse(done, "Node 1 (Complain): that cannot be; use another number.", code=1)
    assert "raised at" not in done.err


def test_an_independent_output_still_arrives(mezzotint: Command, save: Save, sampling: Graph) -> None:
    sampling["8"] = {"class_type": "Fail"}
    sampling["9"] = {"class_type": "Write", "inputs": {"text": ["8", 0]}}
    done = mezzotint("run", save(sampling))
    refuse(done, "Node 8 (Fail)", code=1)
    assert "positive=a cat" in done.text


def test_a_failed_run_is_the_last_one(mezzotint: Command, save: Save, sampling: Graph) -> None:
    sampling["4"] = {"class_type": "Write", "inputs": {"text": ["8", 0]}}
    sampling["8"] = {"class_type": "Fail"}
    assert "Run 2" not in mezzotint("run", save(sampling), "--count", 3).err


# options


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--seed", "many"], ("--seed: 'many' is not allowed; allowed is a whole number or 'random'",)),
        (["--seed", "-1"], ("--seed: -1 is not allowed",)),
        (["--device", "toaster"], ("--device: there is no device 'toaster'",)),
    ],
)
def test_an_option_that_cannot_be_followed(
    mezzotint: Command, save: Save, sampling: Graph, words: list[str], parts: tuple[str, ...]
) -> None:
    refuse(mezzotint("run", save(sampling), *words), *parts)


@pytest.mark.parametrize("words", [["--count", "0"], ["--models-dir", "nowhere"], ["--no-such-option"]])
def test_wrong_usage_has_the_same_code(mezzotint: Command, save: Save, sampling: Graph, words: list[str]) -> None:
    assert mezzotint("run", save(sampling), *words).code == 2


def test_a_plugin_that_is_named_must_load(mezzotint: Command, save: Save, sampling: Graph, tmp_path: Path) -> None:
    refuse(mezzotint("run", save(sampling), "--plugin", "gone.py"), "plugin 'gone'", "there is no Python file")
    (tmp_path / "torn.py").write_text("import")
    refuse(mezzotint("run", save(sampling), "--plugin", "torn.py"), "plugin 'torn'", "SyntaxError")


def test_a_bug_of_ours_is_a_sentence_too(
    mezzotint: Command, save: Save, sampling: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("wheels came off")

    monkeypatch.setattr("mezzotint.cli.run.read_workflow", broken)
    refuse(mezzotint("run", save(sampling)), "which is a bug: RuntimeError: wheels came off", code=1)
    monkeypatch.setenv("MEZZOTINT_TRACEBACK", "1")
    with pytest.raises(RuntimeError, match="wheels came off"):
        mezzotint("run", save(sampling))


def test_control_characters_of_a_workflow_do_not_reach_the_terminal(
    mezzotint: Command, save: Save, sampling: Graph
) -> None:
    sampling["3"]["_meta"] = {"title": "\x1b]0;gotcha\x07"}
    sampling["3"]["inputs"]["steps"] = 0
    done = mezzotint("run", save(sampling))
    refuse(done, "gotcha")
    assert "\x1b" not in done.err
