"""Checking a workflow: every problem at once, each a sentence with its place, what was given and what is allowed."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import pytest

from mezzotint.engine import validation
from mezzotint.engine.node import NodeSpec, OutputSpec
from mezzotint.engine.registry import Registry
from mezzotint.engine.validation import check_inputs, validate
from mezzotint.engine.workflow import Workflow

from .checked_nodes import Check, Mode, api, given_to, only


class TestWhatIsFine:
    def test_a_valid_workflow_has_its_nodes_sorted_and_its_literals_read(self, check: Check) -> None:
        found = check(
            {
                "save": api("Save", images=["blur", 0]),
                "blur": api("Blur", image=["load", 0], radius=2, steps="4"),
                "load": api("Load"),
            }
        )
        assert not found.problems
        assert found.outputs == ["save"]
        assert [*found.nodes] == ["load", "blur", "save"]
        assert found.nodes["blur"].literals == {"radius": 2.0, "steps": 4, "mask": None}
        assert found.nodes["blur"].links == {"image": ("load", 0)}

    def test_nodes_that_no_output_needs_are_not_looked_at(self, check: Check) -> None:
        found = check({"1": api("Number", value=-1), "2": api("Blur"), "3": api("Show", value=1)})
        assert not found.problems
        assert [*found.nodes] == ["3"]

    def test_inputs_that_are_not_declared_are_left_out(self, check: Check) -> None:
        found = check({"1": api("Number", other=[1], more=["7", 0]), "2": api("Show", value=["1", 0], speed=math.nan)})
        assert not found.problems
        assert found.nodes["1"].literals == {"value": 5}
        assert found.nodes["1"].links == {}

    def test_a_link_takes_the_place_of_a_default(self, check: Check) -> None:
        found = check({"1": api("Number"), "2": api("Options", either=["1", 0]), "3": api("Show", value=["2", 0])})
        assert "either" not in found.nodes["2"].literals
        assert found.nodes["2"].links == {"either": ("1", 0)}

    def test_linked_values_are_not_held_to_limits(self, check: Check) -> None:
        assert not check(
            {"1": api("Number"), "2": api("Number", value=["1", 0]), "3": api("Show", value=["2", 0])}
        ).problems

    @pytest.mark.parametrize(
        ("name", "given", "read"),
        [
            ("text", 5, "5"), ("text", None, None), ("flag", "false", True), ("flag", 0, False), ("flag", "", False),
            ("either", 2.5, 2.5), ("either", 2, 2), ("anything", None, None), ("anything", {"a": [1]}, {"a": [1]}),
            ("anything", {"__value__": [1, 2]}, [1, 2]), ("text", {"__value__": "a"}, "a"),
            ("numbers", {"__value__": [1, "2"]}, [1, 2]), ("numbers", 7, 7), ("mode", "fine", Mode.FINE),
            ("sampler", "heun", "heun"), ("many", "choice29", "choice29"),
        ],
    )  # fmt: skip
    def test_constants_are_coerced_as_editors_expect(self, check: Check, name: str, given: Any, read: Any) -> None:
        found = given_to(check, "Options", **{name: given})
        if given is None and name == "text":
            assert only(found).code == "invalid_input_type"
            return
        assert not found.problems
        value = found.nodes["1"].literals[name]
        assert value == read
        assert type(value) is type(read)

    @pytest.mark.parametrize(("given", "read"), [("7", 7), (7.9, 7), (True, 1)])
    def test_whole_numbers_are_read_as_int_does(self, check: Check, given: Any, read: int) -> None:
        assert given_to(check, "Number", value=given).nodes["1"].literals["value"] == read

    def test_null_for_an_optional_input_is_its_default(self, check: Check) -> None:
        found = check(
            {"1": api("Load"), "2": api("Blur", image=["1", 0], mask=None), "3": api("Save", images=["2", 0])}
        )
        assert not found.problems
        assert found.nodes["2"].literals["mask"] is None

    def test_defaults_stand_for_what_is_left_out(self, check: Check) -> None:
        literals = given_to(check, "Options").nodes["1"].literals
        assert (literals["mode"], literals["numbers"], literals["sampler"]) == (Mode.FAST, [1], "euler")

    def test_a_node_made_by_hand_may_take_what_it_does_not_declare(self, registry: Registry) -> None:
        spec = NodeSpec("Open", print, {}, (OutputSpec("a", "INT"),), takes_extra=True)
        registry.register(spec)
        graph = {"1": api("Number"), "2": api("Open", x=["1", 0], y=5), "3": api("Show", value=["2", 0])}
        found = validate(Workflow.from_api(graph), registry)
        assert found.nodes["2"].links == {"x": ("1", 0)}
        assert found.nodes["2"].literals == {}


class TestTargets:
    def test_any_node_may_be_wanted(self, check: Check) -> None:
        found = check({"1": api("Number"), "2": api("Show", value=["1", 0])}, targets=["1"])
        assert found.outputs == ["1"]
        assert [*found.nodes] == ["1"]

    def test_only_what_the_targets_need_is_checked(self, check: Check) -> None:
        found = check({"1": api("Show", value=1), "2": api("Show"), "3": api("Blur")}, targets=["1", "1"])
        assert not found.problems
        assert found.outputs == ["1"]

    def test_a_target_that_is_not_there_is_named_with_what_was_meant(self, check: Check) -> None:
        found = check({"show1": api("Show", value=1)}, targets=["shwo1"])
        assert str(only(found)) == "there is no node 'shwo1' to run; did you mean 'show1'?"
        assert found.is_rejected
        assert found.outputs == []

    def test_no_targets_at_all(self, check: Check) -> None:
        problem = only(check({"1": api("Show", value=1)}, targets=[]))
        assert problem.code == "prompt_no_outputs"
        assert "no output node" not in str(problem)

    def test_a_workflow_without_an_output_node(self, check: Check) -> None:
        found = check({"1": api("Number")})
        assert found.is_rejected
        assert only(found).code == "prompt_no_outputs"
        assert "no output node, so there is nothing to run; add one, such as SaveImage" in str(only(found))

    def test_an_empty_workflow(self, check: Check) -> None:
        assert only(check({})).code == "prompt_no_outputs"


class TestUnknownTypes:
    def test_they_reject_the_whole_wherever_they_are(self, check: Check) -> None:
        found = check({"1": api("Blurr", "my blur"), "2": api("Show", value=1)})
        problem = only(found)
        assert str(problem) == "Node 1 (Blurr “my blur”): there is no node type 'Blurr'; did you mean 'Blur'?"
        assert (problem.code, problem.given, found.is_rejected, found.outputs) == (
            "missing_node_type",
            "Blurr",
            True,
            [],
        )

    def test_case_makes_no_difference_to_what_was_meant(self, check: Check) -> None:
        assert "did you mean 'Options'?" in str(check({"1": api("OPTIONS")}).problems[0])

    def test_nothing_like_it(self, check: Check) -> None:
        assert "install the plugin that provides it." in str(check({"1": api("Zzyzx")}).problems[0])

    def test_a_node_behind_one_is_checked_all_the_same(self, check: Check) -> None:
        found = check({"1": api("Nope"), "2": api("Blur", image=["1", 0], steps=0), "3": api("Save", images=["2", 0])})
        assert [(problem.node_id, problem.code) for problem in found.problems] == [
            ("1", "missing_node_type"),
            ("2", "value_smaller_than_min"),
        ]
        assert found.problems[0].dependent_outputs == ("3",)

    def test_what_could_not_be_converted_rejects_the_whole(self, registry: Registry) -> None:
        workflow = Workflow.from_api({"1": api("Show", value=1)})
        workflow.problems.append("node 7 is of a type that is not known.")
        found = validate(workflow, registry)
        assert str(only(found)) == "node 7 is of a type that is not known."
        assert found.is_rejected


class TestLinks:
    @pytest.mark.parametrize("raw", [["1"], ["1", 0, 0], [1, 0], ["1", True], ["1", "0"], ["1", 0.0], [], [["1", 0]]])
    def test_a_list_that_is_no_link(self, check: Check, raw: list[Any]) -> None:
        found = check({"1": api("Number"), "2": api("Show", value=raw)})
        problem = only(found)
        assert (problem.code, problem.input_name, problem.given) == ("bad_linked_input", "value", raw)
        assert f'the list {raw!r} is no link; a link is ["node id", output number]' in str(problem)
        assert '{"__value__": [...]}' in str(problem)

    def test_a_missing_node_is_named_with_what_was_meant(self, check: Check) -> None:
        problem = only(check({"loader": api("Number"), "2": api("Show", value=["laoder", 0])}))
        assert "it is linked to node 'laoder', which is not there; did you mean 'loader'?" in str(problem)
        assert (problem.code, problem.given) == ("bad_linked_input", ["laoder", 0])

    @pytest.mark.parametrize("slot", [2, -1, 10**30])
    def test_a_slot_that_is_not_there(self, check: Check, slot: int) -> None:
        problem = only(check({"1": api("Load"), "2": api("Show", value=["1", slot])}))
        assert f"output {slot} of node 1 (Load), which has 0 (image), 1 (mask)" in str(problem)

    def test_a_node_without_outputs(self, check: Check) -> None:
        found = check({"1": api("Show", value=1), "2": api("Show", value=["1", 0])})
        assert "which has no outputs" in str(only(found))
        assert found.outputs == ["1"]

    def test_a_type_that_does_not_fit(self, check: Check) -> None:
        problem = only(check({"1": api("Load"), "2": api("Save", images=["1", 1])}))
        assert str(problem) == (
            "Node 2 (Save), input 'images': it takes IMAGE, but output 1 of node 1 (Load) gives MASK; "
            "link an output of type IMAGE."
        )
        assert problem.code == "return_type_mismatch"
        assert problem.details == {"received_type": "MASK", "linked_node": ["1", 1]}

    def test_what_a_wrong_link_leads_to_is_checked_too(self, check: Check) -> None:
        found = check(
            {"1": api("Number", value=-1), "2": api("Save", images=["1", 0]), "3": api("Show", value=["1", 5])}
        )
        assert [(problem.node_id, problem.code, problem.dependent_outputs) for problem in found.problems] == [
            ("1", "value_smaller_than_min", ("2", "3")),
            ("2", "return_type_mismatch", ("2",)),
            ("3", "bad_linked_input", ("3",)),
        ]

    def test_links_to_lazy_inputs_are_checked(self, check: Check) -> None:
        found = check({"1": api("Load"), "2": api("Pick", which=["1", 0]), "3": api("Show", value=["2", 0])})
        assert only(found).code == "return_type_mismatch"


class TestCircles:
    def test_a_circle_is_named(self, check: Check) -> None:
        graph = {
            "1": api("Number", value=["2", 0]),
            "2": api("Number", value=["1", 0]),
            "3": api("Show", value=["2", 0]),
        }
        found = check(graph)
        problem = only(found)
        assert problem.code == "dependency_cycle"
        assert "the links form a circle, 1 (Number) → 2 (Number) → 1 (Number); remove one of them" in str(problem)
        assert problem.details == {"cycle_nodes": ["1", "2"]}
        assert problem.dependent_outputs == ("3",)
        assert found.outputs == []

    def test_a_node_linked_to_itself(self, check: Check) -> None:
        problem = only(check({"1": api("Number", value=["1", 0]), "3": api("Show", value=["1", 0])}))
        assert problem.details == {"cycle_nodes": ["1"]}

    def test_circles_through_lazy_inputs_count(self, check: Check) -> None:
        graph = {"1": api("Pick", which=["2", 0]), "2": api("Number", value=["1", 0]), "3": api("Show", value=["1", 0])}
        assert only(check(graph)).code == "dependency_cycle"

    def test_circles_that_no_output_needs_are_ignored(self, check: Check) -> None:
        graph = {
            "1": api("Number", value=["2", 0]),
            "2": api("Number", value=["1", 0]),
            "3": api("Show", value=1),
        }
        found = check(graph)
        assert not found.problems
        assert found.outputs == ["3"]

    def test_every_knot_is_told_of_and_other_outputs_can_run(self, check: Check) -> None:
        graph = {
            "a": api("Number", value=["a", 0]),
            "b": api("Number", value=["c", 0]),
            "c": api("Number", value=["b", 0]),
            "good": api("Number"),
            "s1": api("Show", value=["a", 0]),
            "s2": api("Show", value=["c", 0]),
            "s3": api("Show", value=["good", 0]),
        }
        found = check(graph)
        assert sorted(problem.details["cycle_nodes"] for problem in found.problems) == [["a"], ["b", "c"]]
        assert [problem.dependent_outputs for problem in found.problems] == [("s1",), ("s2",)]
        assert found.outputs == ["s3"]
        assert [*found.nodes] == ["good", "s3"]

    def test_a_long_circle_is_told_of_in_a_short_sentence(self, check: Check) -> None:
        graph = {str(i): api("Number", value=[str((i + 1) % 5000), 0]) for i in range(5000)}
        problem = only(check({**graph, "s": api("Show", value=["0", 0])}))
        assert len(str(problem)) < 400
        assert "… →" in str(problem)
        assert len(problem.details["cycle_nodes"]) == 5000


class TestEverythingAtOnce:
    GRAPH: ClassVar[dict[str, Any]] = {
        "1": api("Load", "the model", name=None),
        "2": api("Blur", image=["1", 1], radius=0, steps=-2, mask=["7", 0]),
        "3": api("Save", images=["2", 0], filename_prefix="p"),
        "4": api("Number", value=5),
        "5": api("Show", value=["4", 3]),
        "6": api("Show", value=["4", 0]),
        "8": api("Show"),
    }  # fmt: skip

    def test_every_problem_is_found_in_the_order_of_the_document(self, check: Check) -> None:
        found = check(self.GRAPH)
        assert [(p.node_id, p.input_name, p.code) for p in found.problems] == [
            ("1", "name", "invalid_input_type"),
            ("2", "image", "return_type_mismatch"),
            ("2", "radius", "value_smaller_than_min"),
            ("2", "steps", "value_smaller_than_min"),
            ("2", "mask", "bad_linked_input"),
            ("5", "value", "bad_linked_input"),
            ("8", "value", "required_input_missing"),
        ]

    def test_outputs_that_are_not_concerned_can_run(self, check: Check) -> None:
        found = check(self.GRAPH)
        assert found.outputs == ["6"]
        assert [*found.nodes] == ["4", "6"]
        assert not found.is_rejected
        assert {p.node_id: p.dependent_outputs for p in found.problems} == {
            "1": ("3",), "2": ("3",), "5": ("5",), "8": ("8",),
        }  # fmt: skip

    def test_every_problem_is_a_sentence_that_names_its_place(self, check: Check) -> None:
        problems = check(self.GRAPH).problems
        assert problems
        for problem in problems:
            assert str(problem).startswith(f"Node {problem.node_id} ({problem.node_type}")
            assert f"input '{problem.input_name}': " in str(problem)
            assert str(problem)[-1] in ".?"
            assert not str(problem).endswith(("..", "?."))

    def test_a_problem_is_told_once_with_every_output_it_concerns(self, check: Check) -> None:
        graph = {
            "1": api("Number", value=-1),
            "2": api("Show", value=["1", 0]),
            "3": api("Show", value=["1", 0]),
            "4": api("Show", value=1),
        }
        found = check(graph)
        assert only(found).dependent_outputs == ("2", "3")
        assert found.outputs == ["4"]

    def test_the_title_of_a_node_is_in_its_problems(self, check: Check) -> None:
        assert str(check(self.GRAPH).problems[0]).startswith("Node 1 (Load “the model”), input 'name': ")


class TestTheWorkGrowsWithTheGraphOnly:
    def chain(self, count: int) -> dict[str, Any]:
        graph = {str(i): api("Number", value=[str(i - 1), 0] if i else 1) for i in range(count)}
        return {**graph, "s": api("Show", value=[str(count - 1), 0]), "t": api("Show", value=[str(count - 1), 0])}

    def test_each_node_is_checked_once(self, check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
        checked: list[str] = []
        original = validation._Validator.check

        def counted(self: Any, node_id: str) -> Any:
            checked.append(node_id)
            return original(self, node_id)

        monkeypatch.setattr(validation._Validator, "check", counted)
        graph = self.chain(2000)
        assert not check(graph).problems
        assert sorted(checked) == sorted(graph)

    def test_a_problem_in_each_of_many_nodes_is_told_with_its_outputs(self, registry: Registry, check: Check) -> None:
        graph = self.chain(5000)
        for given in graph.values():
            if given["class_type"] == "Number":
                given["class_type"], given["inputs"] = "Blur", {"image": given["inputs"]["value"], "steps": -2}
        found = check(graph)
        assert len(found.problems) > 5000
        assert {p.dependent_outputs for p in found.problems} == {("s", "t")}

    def test_misspelt_names_are_looked_up_a_bounded_number_of_times(
        self, check: Check, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sought: list[str] = []
        monkeypatch.setattr(validation, "closest", lambda given, names: sought.append(given))
        graph = {str(i): api("Show", value=[f"gone{i}", 0]) for i in range(1000)}
        graph |= {f"u{i}": api(f"Unknown{i}") for i in range(1000)}
        assert len(check(graph).problems) == 2000
        assert len(sought) <= validation.MAX_SUGGESTIONS

    def test_a_deep_graph_needs_no_deep_stack(self, check: Check) -> None:
        found = check(self.chain(8_000))
        assert not found.problems
        assert len(found.nodes) == 8_002


class TestExpansions:
    def test_links_may_lead_to_steps_that_are_known(self, registry: Registry) -> None:
        nodes = Workflow.from_api({"a": api("Blur", image=["outside", 0])}).nodes
        found = check_inputs(nodes, registry, lambda node_id: registry["Load"] if node_id == "outside" else None)
        assert not found.problems
        assert found.nodes["a"].links == {"image": ("outside", 0)}

    def test_every_node_is_checked_needed_or_not(self, registry: Registry) -> None:
        nodes = Workflow.from_api(
            {"a": api("Number", value=-1), "b": api("Blur", image=["nowhere", 0]), "c": api("No")}
        ).nodes
        found = check_inputs(nodes, registry, lambda node_id: None)
        assert sorted((p.node_id, p.code) for p in found.problems) == [
            ("a", "value_smaller_than_min"), ("b", "bad_linked_input"), ("c", "missing_node_type"),
        ]  # fmt: skip

    def test_outputs_of_known_steps_are_checked_by_type(self, registry: Registry) -> None:
        nodes = Workflow.from_api({"a": api("Blur", image=["outside", 1])}).nodes
        found = check_inputs(nodes, registry, lambda node_id: registry["Load"])
        assert only(found).code == "return_type_mismatch"
