"""`mezzotint run` with good workflows: what it writes, where, and how often."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .conftest import Command, Save

Graph = dict[str, Any]


def test_a_run_writes_the_paths_of_its_files_and_nothing_else_to_the_output(
    mezzotint: Command, save: Save, sampling: Graph, tmp_path: Path
) -> None:
    done = mezzotint("run", save(sampling), "--output-dir", "made")
    assert done.code == 0
    assert done.files == [tmp_path / "made" / "toy_00001_.txt"]
    assert done.text.startswith("seed=5 steps=3")
    assert "Done in" in done.err
    assert "4 nodes ran" in done.err


def test_files_go_below_the_home_by_default_and_are_never_overwritten(
    mezzotint: Command, save: Save, sampling: Graph, tmp_path: Path
) -> None:
    names = [mezzotint("run", save(sampling)).files[0] for _ in range(2)]
    assert names == [tmp_path / "home" / "output" / f"toy_0000{number}_.txt" for number in (1, 2)]


def test_the_workflow_can_come_from_the_standard_input(mezzotint: Command, sampling: Graph) -> None:
    done = mezzotint("run", "-", stdin=json.dumps(sampling).encode())
    assert done.code == 0
    assert "positive=a cat" in done.text


def test_a_bundled_workflow_is_found_by_its_name_unless_a_file_has_it(
    mezzotint: Command, save: Save, sampling: Graph
) -> None:
    missing = mezzotint("run", "text_to_image")
    assert missing.code == 2
    assert "CheckpointLoaderSimple" in missing.err  # it was found, but these are the toy nodes
    save(sampling, "text_to_image")
    assert mezzotint("run", "text_to_image").code == 0


def test_a_misspelt_name_of_a_bundled_workflow_gets_a_hint(mezzotint: Command) -> None:
    done = mezzotint("run", "text_to_imag")
    assert done.code == 2
    assert "did you mean 'text_to_image'?" in done.err


def test_quiet_leaves_only_the_files(mezzotint: Command, save: Save, sampling: Graph) -> None:
    done = mezzotint("run", save(sampling), "--quiet")
    assert len(done.files) == 1
    assert done.err == ""


def test_json_writes_events_and_people_read_the_other_stream(mezzotint: Command, save: Save, sampling: Graph) -> None:
    done = mezzotint("run", save(sampling), "--json")
    kinds = [event["event"] for event in done.events]
    assert kinds[0] == "run_started"
    assert kinds[-1] == "run_finished"
    assert {"step_started", "step_progressed", "step_shown", "step_finished"} <= set(kinds)
    assert [event["sequence"] for event in done.events] == list(range(1, len(kinds) + 1))
    assert "toy_00001_.txt" in done.err


def test_what_a_node_prints_stays_out_of_the_output(mezzotint: Command, save: Save) -> None:
    graph = {
        "1": {"class_type": "Print", "inputs": {"text": "chatter"}},
        "2": {"class_type": "Write", "inputs": {"text": ["1", 0]}},
    }
    done = mezzotint("run", save(graph), "--json")
    assert done.events[-1]["event"] == "run_finished"
    assert all(isinstance(event, dict) for event in done.events)
    assert "chatter" in done.err


def test_texts_that_a_node_shows_are_told(mezzotint: Command, save: Save) -> None:
    done = mezzotint("run", save({"1": {"class_type": "Tell", "inputs": {"value": 42}}}))
    assert done.out == ""
    assert "Tell: 42" in done.err


def test_a_second_process_computes_nothing_again_with_the_same_cache(
    mezzotint: Command, save: Save, sampling: Graph
) -> None:
    mezzotint("run", save(sampling), "--cache-dir", "cache")
    again = mezzotint("run", save(sampling), "--cache-dir", "cache", "--json")
    ran = [event["node_id"] for event in again.events if event.get("source") == "ran"]
    assert ran == ["4"]


def test_only_what_depends_on_a_change_runs_again(mezzotint: Command, save: Save, sampling: Graph) -> None:
    mezzotint("run", save(sampling), "--cache-dir", "cache")
    again = mezzotint("run", save(sampling), "--cache-dir", "cache", "--json", "--negative", "dull")
    ran = [event["node_id"] for event in again.events if event.get("source") == "ran"]
    assert ran == ["2", "3", "4"]


# the seed and the count


def seeds(done_files: list[Path]) -> list[int]:
    return [int(file.read_text().split()[0].removeprefix("seed=")) for file in done_files]


def test_a_seed_that_is_given_counts_up(mezzotint: Command, save: Save, sampling: Graph) -> None:
    done = mezzotint("run", save(sampling), "--seed", 41, "--count", 3)
    assert seeds(done.files) == [41, 42, 43]
    assert "Run 2 of 3, seed 42" in done.err


def test_the_highest_seed_counts_on_to_zero(mezzotint: Command, save: Save, sampling: Graph) -> None:
    done = mezzotint("run", save(sampling), "--seed", 2**64 - 1, "--count", 2)
    assert seeds(done.files) == [2**64 - 1, 0]


def test_a_random_seed_is_told_so_that_it_can_be_used_again(mezzotint: Command, save: Save, sampling: Graph) -> None:
    done = mezzotint("run", save(sampling), "--seed", "random")
    (seed,) = seeds(done.files)
    assert f"Seed {seed}" in done.err


def test_each_run_draws_its_own_random_seed(mezzotint: Command, save: Save, sampling: Graph) -> None:
    done = mezzotint("run", save(sampling), "--seed", "random", "--count", 3)
    assert len(set(seeds(done.files))) == 3


def test_a_seed_in_a_file_that_says_nothing_of_it_counts_up(mezzotint: Command, save: Save, sampling: Graph) -> None:
    assert seeds(mezzotint("run", save(sampling), "--count", 3).files) == [5, 6, 7]


@pytest.mark.parametrize(("control", "expected"), [("increment", [5, 6]), ("decrement", [5, 4]), ("fixed", [5, 6])])
def test_an_editors_file_says_how_its_seed_changes(
    mezzotint: Command, save: Save, control: str, expected: list[int]
) -> None:
    done = mezzotint("run", save(editors_document(control)), "--count", 2)
    assert seeds(done.files) == expected


def test_an_editors_random_seed_is_drawn_after_the_first_run(mezzotint: Command, save: Save) -> None:
    first, second = seeds(mezzotint("run", save(editors_document("randomize")), "--count", 2).files)
    assert first == 5
    assert second not in (5, 6)


def test_a_seed_that_is_given_goes_before_what_the_file_says(mezzotint: Command, save: Save) -> None:
    done = mezzotint("run", save(editors_document("randomize")), "--count", 2, "--seed", 8)
    assert seeds(done.files) == [8, 9]


def test_runs_that_do_not_differ_say_so(mezzotint: Command, save: Save) -> None:
    done = mezzotint("run", save({"1": {"class_type": "Write", "inputs": {"text": "same"}}}), "--count", 2)
    assert done.code == 0
    assert len(set(done.files)) == 1
    assert "nothing differs from the run before" in done.err


def editors_document(control: str) -> Graph:
    """Encode → Sample → Write as an editor saves it."""
    links = [[1, 1, 0, 2, 0, "CONDITIONING"], [2, 1, 0, 2, 1, "CONDITIONING"], [3, 2, 0, 3, 0, "STRING"]]
    sample_inputs = [
        {"name": "positive", "type": "CONDITIONING", "link": 1},
        {"name": "negative", "type": "CONDITIONING", "link": 2},
    ]
    return {
        "version": 0.4,
        "nodes": [
            {"id": 1, "type": "Encode", "mode": 0, "inputs": [], "outputs": [], "widgets_values": ["a {cat|cat}"]},
            {
                "id": 2,
                "type": "Sample",
                "mode": 0,
                "inputs": sample_inputs,
                "outputs": [],
                "widgets_values": [5, control, 3, 8.0, "euler", False],
            },
            {
                "id": 3,
                "type": "Write",
                "mode": 0,
                "inputs": [{"name": "text", "type": "STRING", "link": 3, "widget": {"name": "text"}}],
                "outputs": [],
                "widgets_values": ["", "toy"],
            },
        ],
        "links": links,
    }


# texts


def test_dynamic_prompts_are_chosen(mezzotint: Command, save: Save, sampling: Graph) -> None:
    sampling["1"]["inputs"]["text"] = "a {red|blue} car // fast"
    done = mezzotint("run", save(sampling))
    assert done.text.split("positive=")[1].split(" negative=")[0].strip() in ("a red car", "a blue car")


def test_the_same_seed_makes_the_same_choices(mezzotint: Command, save: Save, sampling: Graph) -> None:
    sampling["1"]["inputs"]["text"] = "{1|2|3|4|5|6|7|8}" * 8
    texts = {mezzotint("run", save(sampling), "--seed", 3).text for _ in range(2)}
    assert len(texts) == 1


def test_dates_in_prefixes_are_filled_in(mezzotint: Command, save: Save, sampling: Graph) -> None:
    sampling["4"]["inputs"]["filename_prefix"] = "%date:yyyy%/%Sample.seed%"
    (file,) = mezzotint("run", save(sampling)).files
    assert file.name == "5_00001_.txt"
    assert file.parent.name.isdecimal()


def test_the_prompt_on_the_command_line_may_be_dynamic_too(mezzotint: Command, save: Save, sampling: Graph) -> None:
    assert "positive=dog " in mezzotint("run", save(sampling), "--prompt", "{dog|dog}").text
