"""Constants in a workflow: how they are read, what is allowed, and how a refusal says so."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from mezzotint.engine.folders import Folders
from mezzotint.engine.input_spec import InputSpec
from mezzotint.engine.node import NodeSpec, node
from mezzotint.engine.port import Lazy
from mezzotint.engine.registry import Registry
from mezzotint.engine.validation import validate
from mezzotint.engine.widget import Choices, Widget
from mezzotint.engine.workflow import Workflow

from .checked_nodes import Check, Image, api, given_to, only


class TestConstants:
    @pytest.mark.parametrize(
        ("given", "code", "told"),
        [
            (-1, "value_smaller_than_min", "-1 is not allowed; allowed is a whole number from 0 to 100"),
            (101, "value_bigger_than_max", "101 is not allowed; allowed is a whole number from 0 to 100"),
            (10**400, "value_bigger_than_max", "is not allowed; allowed is a whole number from 0 to 100"),
            ("a", "invalid_input_type", "'a' is not allowed; allowed is a whole number"),
            ("1.5", "invalid_input_type", "allowed is a whole number"),
            (math.nan, "invalid_input_type", "nan is not allowed; allowed is a whole number"),
            (math.inf, "invalid_input_type", "inf is not allowed; allowed is a whole number"),
            (None, "invalid_input_type", "None is not allowed (null is no value); allowed is a whole number from 0"),
            ({}, "invalid_input_type", "{} is not allowed"),
            ({"__value__": [1]}, "invalid_input_type", "[1] is not allowed"),
            ("x" * 500, "invalid_input_type", "xxx..."),
        ],
    )
    def test_a_whole_number(self, check: Check, given: Any, code: str, told: str) -> None:
        problem = only(given_to(check, "Number", value=given))
        assert (problem.code, problem.node_id, problem.input_name) == (code, "1", "value")
        assert told in str(problem)
        assert len(str(problem)) < 400

    @pytest.mark.parametrize(
        ("given", "told"),
        [
            (0, "0 is not allowed; allowed is a number above 0"),
            (math.nan, "nan is not allowed (nan is not finite); allowed is a number"),
            (-math.inf, "-inf is not finite"),
            ("nan", "nan is not finite"),
            ("inf", "inf is not finite"),
            (10**400, "is not allowed; allowed is a number"),
            ([1.0], "the list [1.0] is no link"),
            ("1,5", "'1,5' is not allowed; allowed is a number"),
        ],
    )
    def test_a_number(self, check: Check, given: Any, told: str) -> None:
        graph = {"1": api("Load"), "2": api("Blur", image=["1", 0], radius=given), "3": api("Save", images=["2", 0])}
        assert told in str(only(check(graph)))

    def test_a_multiple(self, check: Check) -> None:
        graph = {"1": api("Load"), "2": api("Blur", image=["1", 0], steps=3), "3": api("Save", images=["2", 0])}
        assert str(only(check(graph))) == (
            "Node 2 (Blur), input 'steps': 3 is not allowed; "
            "allowed is a whole number from 1 to 10000 in multiples of 2."
        )

    @pytest.mark.parametrize(
        ("name", "given", "told"),
        [
            ("either", "5", "'5' is not allowed; allowed is a whole number or a number"),
            ("either", math.nan, "nan is not finite"),
            ("either", True, "True is not allowed"),
            ("sampler", "eular", "allowed is one of 'euler', 'heun', 'dpmpp_2m'; did you mean 'euler'?"),
            ("sampler", 1, "1 is not allowed; allowed is one of 'euler', 'heun', 'dpmpp_2m'"),
            ("sampler", {"a": 1}, "{'a': 1} is not allowed; allowed is one of"),
            ("mode", "FAST", "'FAST' is not allowed; allowed is one of 'fast', 'fine'; did you mean 'fast'?"),
            ("many", "choice", "'choice' is not allowed; allowed is one of 30 choices; did you mean 'choice"),
            ("numbers", {"__value__": [1, "b"]}, "[1, 'b'] is not allowed"),
            ("text", "a\nb", None),
        ],
    )  # fmt: skip
    def test_other_types(self, check: Check, name: str, given: Any, told: str | None) -> None:
        found = given_to(check, "Options", **{name: given})
        if told is None:
            assert not found.problems
        else:
            assert told in str(only(found))
            assert "\n" not in str(only(found))

    def test_a_choice_is_of_the_type_it_says(self, registry: Registry, check: Check) -> None:
        @node("Size")
        def size(side: Literal[8, 16] = 8) -> int: ...

        registry.register(size)
        assert given_to(check, "Size", side="16").nodes["1"].literals["side"] == 16
        assert given_to(check, "Size", side=16).nodes["1"].literals["side"] == 16
        assert only(given_to(check, "Size", side=16.0)).code == "value_not_in_list"
        assert only(given_to(check, "Size", side=True)).code == "value_not_in_list"

    @pytest.mark.parametrize("given", ["a cat", 5, 0.5, True])
    def test_text_or_a_number_where_a_link_is_wanted(self, check: Check, given: Any) -> None:
        problem = only(check({"1": api("Save", images=given)}))
        assert (
            str(problem) == f"Node 1 (Save), input 'images': {given!r} is not allowed; allowed is a link of type IMAGE."
        )

    @pytest.mark.parametrize("annotation", [list[Image], Lazy[Image]])
    def test_text_where_a_list_or_a_lazy_link_is_wanted(
        self, registry: Registry, check: Check, annotation: Any
    ) -> None:
        @node("Need", sink=True)
        async def need(images: annotation) -> None: ...

        registry.register(need)
        assert "allowed is a link of type IMAGE" in str(only(check({"1": api("Need", images="a")})))

    def test_items_of_a_constant_list_are_held_to_their_limits(self, registry: Registry, check: Check) -> None:
        @node("Sum", sink=True)
        def total(numbers: list[Annotated[int, Field(ge=1)]]) -> None: ...

        registry.register(total)
        assert only(check({"1": api("Sum", numbers={"__value__": [1, 0]})})).code == "value_smaller_than_min"

    def test_python_objects_may_stand_for_links_in_an_expansion(self, check: Check) -> None:
        picture = object()
        assert check({"1": api("Save", images=picture)}).nodes["1"].literals["images"] is picture

    def test_a_value_that_cannot_be_shown_is_a_problem_and_no_crash(self, check: Check) -> None:
        class Odd:
            def __repr__(self) -> str:
                raise RuntimeError("no")

        assert "a value of type Odd" in str(only(given_to(check, "Number", value=Odd())))

    @pytest.mark.parametrize("sign", [1, -1])
    def test_numbers_too_long_to_write(self, check: Check, sign: int) -> None:
        given = sign * 10**5000
        assert "a value of type int" in str(only(given_to(check, "Number", value=given)))
        assert only(given_to(check, "Options", text=given)).code == "invalid_input_type"

    def test_large_limits_are_shown_in_full(self, registry: Registry, check: Check) -> None:
        @node("Seed")
        def seed(seed: Annotated[int, Field(ge=-1234567, le=2**64 - 1)] = 0) -> int: ...

        registry.register(seed)
        told = str(only(given_to(check, "Seed", seed=2**64)))
        assert told.endswith("allowed is a whole number from -1234567 to 18446744073709551615.")

    def test_a_missing_input_says_what_is_needed_and_what_was_perhaps_meant(self, check: Check) -> None:
        problem = only(check({"1": api("Load"), "2": api("Save", "to disk", image=["1", 0])}))
        assert str(problem) == (
            "Node 2 (Save “to disk”), input 'images': it is missing; needed is a link of type IMAGE; "
            "'image' was given: was it meant?"
        )
        assert problem.code == "required_input_missing"

    def test_a_missing_input_with_nothing_like_it(self, check: Check) -> None:
        assert str(only(check({"1": api("Save")}))).endswith("needed is a link of type IMAGE; give it.")


class TestFiles:
    @pytest.fixture
    def folders(self, tmp_path: Path) -> Folders:
        (tmp_path / "models" / "checkpoints").mkdir(parents=True)
        (tmp_path / "models" / "checkpoints" / "a.safetensors").write_bytes(b"")
        return Folders(tmp_path, models=[tmp_path / "models"])

    def test_a_missing_model_says_in_which_folder(self, check: Check, folders: Folders) -> None:
        assert not given_to(check, "Load", name="a.safetensors").problems
        found = check({"1": api("Load", name="b.safetensors"), "2": api("Show", value=["1", 0])}, folders=folders)
        problem = only(found)
        assert (problem.code, problem.models, problem.given) == ("value_not_in_list", "checkpoints", "b.safetensors")
        assert "'b.safetensors' is in no models folder (checkpoints); allowed is one of 'a.safetensors'" in str(problem)

    def test_an_empty_folder_allows_nothing_yet(self, check: Check, tmp_path: Path) -> None:
        found = check({"1": api("Load"), "2": api("Show", value=["1", 0])}, folders=Folders(tmp_path))
        assert not found.problems, "defaults are not checked: the file may come"
        found = check(
            {"1": api("Load", name="x"), "2": api("Show", value=["1", 0])}, folders=Folders(tmp_path, models=[tmp_path])
        )
        assert "allowed is nothing yet, because the list is empty" in str(only(found))

    def test_without_folders_a_file_is_taken_on_trust(self, check: Check) -> None:
        assert not given_to(check, "Load", name="anything.safetensors").problems

    def test_a_list_that_needs_no_folders_is_checked_without_them(self, registry: Registry, check: Check) -> None:
        @node("Sample")
        def sample(name: Annotated[str, Choices(lambda: ["euler"])] = "euler") -> int: ...

        registry.register(sample)
        assert only(given_to(check, "Sample", name="heun")).code == "value_not_in_list"

    def test_a_list_is_made_once_for_each_workflow(self, registry: Registry, check: Check) -> None:
        asked: list[str] = []

        def source() -> list[str]:
            asked.append("once")
            return ["euler"]

        @node("Sample")
        def sample(name: Annotated[str, Choices(source)] = "euler") -> int: ...

        registry.register(sample)
        check(
            {str(i): api("Sample", name="euler") for i in range(5)} | {"s": api("Show", value=1)}, targets=list("01234")
        )
        assert asked == ["once"]

    def test_a_list_that_cannot_be_made_is_a_problem_of_the_input(self, registry: Registry, check: Check) -> None:
        def broken() -> list[str]:
            raise OSError("no such folder")

        @node("Sample")
        def sample(name: Annotated[str, Choices(broken)] = "euler") -> int: ...

        registry.register(sample)
        assert "the list of choices cannot be made: no such folder" in str(only(given_to(check, "Sample", name="x")))

    def test_a_value_that_is_not_listed_may_be_accepted_all_the_same(
        self, registry: Registry, check: Check, folders: Folders
    ) -> None:
        choices = Choices(lambda folders: ["a.png"], accepts=lambda value, folders: value.endswith("[output]"))

        @node("Picture")
        def picture(name: Annotated[str, choices, Widget(image_upload=True)]) -> Image: ...

        registry.register(picture)
        graph = {"1": api("Picture", name="b.png [output]"), "2": api("Picture", name="b.png")}
        assert not check(graph, targets=["1"], folders=folders).problems
        assert only(check(graph, targets=["2"], folders=folders)).code == "value_not_in_list"


def test_a_hand_made_socket_takes_any_constant() -> None:
    registry = Registry()
    registry.register(NodeSpec("Curve", print, {"curve": InputSpec("curve", "CURVE")}, (), is_sink=True))
    found = validate(Workflow.from_api({"1": api("Curve", curve="0,0 1,1")}), registry)
    assert not found.problems


def test_limits_of_a_hand_made_input_are_checked() -> None:
    registry = Registry()
    inputs = {"a": InputSpec("a", "INT", limits={"ge": 0, "le": 5})}
    registry.register(NodeSpec("Hand", print, inputs, (), is_sink=True))
    found = validate(Workflow.from_api({"1": api("Hand", a=6)}), registry)
    assert only(found).code == "value_bigger_than_max"


def test_what_a_document_from_a_file_gives_is_checked(check: Check) -> None:
    document = '{"1": {"class_type": "Number", "inputs": {"value": NaN}}'
    graph = json.loads(document + ', "2": {"class_type": "Show", "inputs": {"value": ["1", 0]}}}')
    assert "nan is not allowed; allowed is a whole number" in str(only(check(graph)))
