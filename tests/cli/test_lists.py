"""`mezzotint nodes`, `models`, `plugins`, `--version` and help."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Command


def test_nodes_are_listed_by_category_one_a_line(mezzotint: Command) -> None:
    lines = mezzotint("nodes").out.splitlines()
    assert lines.index("toys") < lines.index("toys/text")
    (encode,) = [line for line in lines if line.startswith("  Encode ")]
    assert encode.split(maxsplit=1)[1] == "Makes conditioning of a text."


def test_a_node_is_shown_with_inputs_limits_and_outputs(mezzotint: Command) -> None:
    out = mezzotint("nodes", "Sample").out
    for part in (
        "Stands for a sampler",
        "positive  CONDITIONING  required",
        "a whole number from 1 to 100. How many.",
        "euler, heun",
        "= 8.0",
        "Outputs\n  0  STRING",
    ):
        assert part in out


def test_a_wrong_name_gets_the_nearest(mezzotint: Command) -> None:
    done = mezzotint("nodes", "Sampel")
    assert done.code == 2
    assert "there is no node type 'Sampel'; did you mean 'Sample'?" in done.err


def test_a_title_leads_to_its_node(mezzotint: Command) -> None:
    assert "did you mean 'Encode'?" in mezzotint("nodes", "Encode Text").err


def test_json_gives_definitions_as_editors_know_them(mezzotint: Command) -> None:
    every = json.loads(mezzotint("nodes", "--json").out)
    assert every["Sample"]["input"]["required"]["steps"][1]["max"] == 100
    assert json.loads(mezzotint("nodes", "Sample", "--json").out) == every["Sample"]


def test_models_are_listed_with_their_paths(mezzotint: Command, tmp_path: Path) -> None:
    model = tmp_path / "mine" / "loras" / "deep" / "style.safetensors"
    model.parent.mkdir(parents=True)
    model.touch()
    done = mezzotint("models", "--models-dir", "mine")
    lora = done.out.splitlines().index("loras")
    assert done.out.splitlines()[lora + 1].split() == ["deep/style.safetensors", str(model)]
    found = json.loads(mezzotint("models", "--models-dir", "mine", "--json").out)
    assert {"kind": "loras", "name": "deep/style.safetensors", "path": str(model)} in found


def test_models_of_another_installation_are_listed(mezzotint: Command, tmp_path: Path) -> None:
    (tmp_path / "theirs" / "vaes").mkdir(parents=True)
    (tmp_path / "theirs" / "vaes" / "soft.safetensors").touch()
    (tmp_path / "paths.yaml").write_text(f"theirs:\n  base_path: {tmp_path / 'theirs'}\n  vae: vaes\n")
    assert "soft.safetensors" in mezzotint("models", "--extra-model-paths", "paths.yaml").out


def test_a_paths_file_that_is_not_understood_is_a_sentence(mezzotint: Command, tmp_path: Path) -> None:
    (tmp_path / "paths.yaml").write_text("a: [")
    done = mezzotint("models", "--extra-model-paths", "paths.yaml")
    assert done.code == 2
    assert "paths.yaml" in done.err


def test_plugins_are_listed(mezzotint: Command, toys: Path) -> None:
    done = mezzotint("plugins")
    assert done.code == 0
    assert "toy_nodes" in done.out
    assert str(toys) in done.out


def test_the_version_is_told(plain_mezzotint: Command) -> None:
    done = plain_mezzotint("--version")
    assert (done.code, done.out.split()[0]) == (0, "mezzotint")


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["nodes", "-h"]])
def test_help_is_there(plain_mezzotint: Command, words: list[str]) -> None:
    done = plain_mezzotint(*words)
    assert done.code == 0
    assert "Usage: mezzotint" in done.out


def test_a_misspelt_command_gets_a_hint(plain_mezzotint: Command) -> None:
    done = plain_mezzotint("ruhn")
    assert done.code == 2
    assert "ruhn" in done.err
