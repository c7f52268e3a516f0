"""Declaring a node: what a signature says, and the mistakes that are refused when it is registered."""

from __future__ import annotations

import enum
import inspect
import math
import typing
from collections import namedtuple
from collections.abc import AsyncIterator, Callable, Generator
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import annotated_types
import pytest
from pydantic import AfterValidator, Field

from mezzotint.engine import signature
from mezzotint.engine.blocked import Blocked
from mezzotint.engine.context import Context
from mezzotint.engine.errors import DeclarationError, RegistrationError
from mezzotint.engine.expansion import Expand
from mezzotint.engine.input_spec import MISSING, InputSpec
from mezzotint.engine.node import NodeSpec, node
from mezzotint.engine.port import Lazy, Port
from mezzotint.engine.registry import Registry
from mezzotint.engine.request import Need, Requests
from mezzotint.engine.signature import read_node
from mezzotint.engine.widget import Choices, Widget

if TYPE_CHECKING:
    from decimal import Decimal

Image = Annotated[Any, Port("IMAGE")]
Mask = Annotated[Any, Port("MASK")]
Conditioning = Annotated[list[Any], Port("CONDITIONING")]


class Mode(enum.Enum):
    FAST = "fast"
    FINE = "fine"


class Halves(NamedTuple):
    half: int
    rest: Annotated[int, Field(description="what is left")]


def spec_of(function: Callable[..., Any]) -> NodeSpec:
    return read_node(function, plugin="pack")


def input_of(function: Callable[..., Any]) -> InputSpec:
    return next(iter(spec_of(function).inputs.values()))


def refusal(function: Callable[..., Any]) -> str:
    """The sentence with which a declaration is refused, without its beginning, which names plugin and node."""
    with pytest.raises(DeclarationError) as caught:
        spec_of(function)
    place, _, sentence = str(caught.value).partition(": ")
    assert place == f"plugin 'pack', node '{function.__node__.name}'"  # type: ignore[attr-defined]
    return sentence


class TestWhatASignatureSays:
    def test_basic_types_are_widgets_and_their_defaults_are_kept(self) -> None:
        def body(a: int, b: float = 0.5, c: str = "x", d: bool = True) -> None: ...

        inputs = spec_of(node(body)).inputs
        assert {name: (given.port, given.default) for name, given in inputs.items()} == {
            "a": ("INT", MISSING), "b": ("FLOAT", 0.5), "c": ("STRING", "x"), "d": ("BOOLEAN", True),
        }  # fmt: skip
        assert [name for name, given in inputs.items() if given.is_required] == ["a"]

    def test_the_order_of_the_inputs_is_that_of_the_parameters(self) -> None:
        def body(z: int, a: int, *, m: int, ctx: Context) -> None: ...

        assert [*spec_of(node(body)).inputs] == ["z", "a", "m"]

    def test_limits_hints_and_help_come_from_the_annotation(self) -> None:
        def body(
            seed: Annotated[
                int, Field(ge=0, le=9, description="where it begins"), Widget(control_after_generate=True)
            ] = 3,
        ) -> None: ...

        given = input_of(node(body))
        assert given.limits == {"ge": 0, "le": 9}
        assert given.tooltip == "where it begins"
        assert given.widget.control_after_generate is True

    def test_the_outermost_of_two_descriptions_and_limits_counts(self) -> None:
        seed = Annotated[int, Field(ge=0, description="inner"), Widget(step=2)]

        def body(a: Annotated[seed, Field(ge=5, description="outer")] = 6) -> None: ...

        given = input_of(node(body))
        assert (given.tooltip, given.limits, given.widget.step) == ("outer", {"ge": 5}, 2)

    @pytest.mark.parametrize("constraint", [annotated_types.Ge(2), annotated_types.Interval(ge=2)])
    def test_limits_may_be_given_without_a_field(self, constraint: Any) -> None:
        def body(a: Annotated[int, constraint] = 2) -> None: ...

        assert input_of(node(body)).limits == {"ge": 2}

    @pytest.mark.parametrize(
        ("annotation", "port"),
        [
            (Any, "*"), (object, "*"), (Image, "IMAGE"), (int | float, "INT,FLOAT"), (Image | Mask, "IMAGE,MASK"),
            (Mode, "COMBO"), (Literal["a", "b"], "COMBO"), (dict[str, int], "DICT"), (Halves, "HALVES"),
            (Annotated[Image, Port("SKETCH")], "SKETCH"), (Conditioning, "CONDITIONING"),
        ],
    )  # fmt: skip
    def test_an_annotation_names_a_port(self, annotation: Any, port: str) -> None:
        def body(a: annotation) -> None: ...

        assert input_of(node(body)).port == port

    @pytest.mark.parametrize(
        "annotation",
        [Image | None, Annotated[Image | None, Field(description="d")], Lazy[Image] | None, Lazy[Image | None], Any],
    )
    def test_what_may_be_none_is_optional(self, annotation: Any) -> None:
        def body(a: annotation = None) -> Requests[None]:
            yield Need("a")

        given = input_of(node(body))
        assert given.is_optional
        assert not given.is_required
        assert given.port in ("IMAGE", "*")

    @pytest.mark.parametrize(
        "annotation", [list[Image], Annotated[list[Image], Field(description="d")], list[Image] | None]
    )
    def test_a_list_takes_all_values_of_its_port(self, annotation: Any) -> None:
        def body(a: annotation = None if annotation == list[Image] | None else MISSING) -> None: ...

        if annotation != list[Image] | None:
            body.__defaults__ = None
        given = input_of(node(body))
        assert given.is_list
        assert given.port == "IMAGE"

    def test_a_port_whose_values_are_lists_is_no_list_of_values(self) -> None:
        def body(a: Conditioning, b: list[Conditioning]) -> Conditioning: ...

        spec = spec_of(node(body))
        assert [(given.port, given.is_list) for given in spec.inputs.values()] == [
            ("CONDITIONING", False),
            ("CONDITIONING", True),
        ]
        assert (spec.outputs[0].port, spec.outputs[0].is_list) == ("CONDITIONING", False)

    def test_limits_of_a_lazy_list_are_those_of_its_items(self) -> None:
        async def body(a: Lazy[list[Annotated[int, Field(ge=1)]]]) -> None: ...

        given = input_of(node(body))
        assert (given.is_lazy, given.is_list, given.port, given.limits) == (True, True, "INT", {"ge": 1})

    def test_choices_come_from_a_literal_an_enum_or_a_list(self) -> None:
        def body(
            a: Literal["x", "y"] = "y",
            b: Mode = Mode.FINE,
            c: Literal[8, 16] = 16,
            d: Annotated[str, Choices(lambda: ["p", "q"])] = "later",
        ) -> None: ...

        inputs = spec_of(node(body)).inputs
        listed = {name: given.choices.list(None) for name, given in inputs.items() if given.choices}
        assert listed == {"a": ["x", "y"], "b": ["fast", "fine"], "c": ["8", "16"], "d": ["p", "q"]}
        assert {name: given.default for name, given in inputs.items()} == {
            "a": "y", "b": Mode.FINE, "c": 16, "d": "later",
        }  # fmt: skip

    def test_the_body_gets_the_member_of_an_enum_and_the_value_of_a_literal(self) -> None:
        def body(a: Mode, b: Literal[8, 16]) -> None: ...

        mode, size = spec_of(node(body)).inputs.values()
        assert mode.choose("fast", ["fast", "fine"]) is Mode.FAST
        assert mode.choose(Mode.FAST, ["fast", "fine"]) is Mode.FAST
        assert size.choose("8", ["8", "16"]) == 8
        assert size.choose(16, ["8", "16"]) == 16

    def test_a_default_is_what_a_workflow_would_give(self) -> None:
        def body(scale: float = 8, sizes: list[int] = (1, 2)) -> None: ...  # type: ignore[assignment]

        scale, sizes = spec_of(node(body)).inputs.values()
        assert type(scale.default) is float
        assert sizes.default == [1, 2]

    def test_one_output_is_named_by_its_port_or_the_declaration(self) -> None:
        @node("A")
        def plain() -> Image: ...

        @node("B", output_names=("picture",))
        def named() -> Image: ...

        assert [output.name for function in (plain, named) for output in spec_of(function).outputs] == [
            "IMAGE",
            "picture",
        ]

    def test_several_outputs_are_the_fields_of_a_named_tuple(self) -> None:
        def body() -> Halves: ...

        half, rest = spec_of(node(body)).outputs
        assert (half.name, half.port, rest.name, rest.tooltip) == ("half", "INT", "rest", "what is left")

    def test_some_fields_of_a_named_tuple_may_be_renamed(self) -> None:
        @node(output_names=("HALF",))
        def body() -> Halves: ...

        assert [output.name for output in spec_of(body).outputs] == ["HALF", "rest"]

    def test_blocked_and_expand_are_no_ports(self) -> None:
        def one() -> int | Blocked: ...
        def two() -> Halves | Expand: ...
        def nothing() -> Expand | None: ...
        def listed() -> list[int] | Blocked | Expand: ...

        assert [output.port for output in spec_of(node(one)).outputs] == ["INT"]
        assert [output.name for output in spec_of(node(two)).outputs] == ["half", "rest"]
        assert spec_of(node(nothing)).outputs == ()
        assert spec_of(node(listed)).outputs[0].is_list

    def test_the_kind_of_body_is_seen(self) -> None:
        def plain() -> int: ...
        async def awaited() -> int: ...
        def generator() -> Requests[int]:
            yield Need("a")

        assert [spec_of(node(function)).kind for function in (plain, awaited, generator)] == [
            "plain",
            "async",
            "generator",
        ]
        assert spec_of(node(generator)).outputs[0].port == "INT"

    def test_the_context_is_no_input_whatever_its_name(self) -> None:
        def body(a: int, context: Context | None = None) -> None: ...

        spec = spec_of(node(body))
        assert spec.context_parameter == "context"
        assert [*spec.inputs] == ["a"]

    def test_the_docstrings_first_paragraph_is_the_description(self) -> None:
        def body() -> None:
            """Does one thing,
            and does it well.

            More about it.
            """

        assert spec_of(node(body)).description == "Does one thing, and does it well."

    def test_a_node_remains_a_function(self) -> None:
        @node("Sum", title="Sum of two")
        def add(a: int, b: int = 2) -> int:
            return a + b

        assert add(1) == 3
        assert (spec_of(add).name, spec_of(add).title) == ("Sum", "Sum of two")

    def test_names_local_to_a_function_are_found(self) -> None:
        Local = Annotated[Any, Port("LOCAL")]

        class Pair(NamedTuple):
            first: Local

        @node
        def body(a: Local) -> Pair: ...

        assert spec_of(body).outputs[0].port == spec_of(body).inputs["a"].port == "LOCAL"

    def test_a_named_tuple_may_be_written_in_place(self) -> None:
        def body() -> NamedTuple("Two", [("a", int), ("b", float)]): ...  # type: ignore[valid-type]

        assert [output.port for output in spec_of(node(body)).outputs] == ["INT", "FLOAT"]

    def test_a_fingerprint_names_its_inputs(self) -> None:
        @node(fingerprint=lambda path, folders: path)
        def body(path: str, other: int = 0) -> int: ...

        assert spec_of(body).fingerprint_inputs == ("path", "folders")

    def test_constraints_of_text_are_checked_by_pydantic(self) -> None:
        def body(
            name: Annotated[str, Field(min_length=2)], even: Annotated[int, AfterValidator(lambda n: n // 2)]
        ) -> None: ...

        name, even = spec_of(node(body)).inputs.values()
        assert name.read("ab") == "ab"
        assert even.read(10) == 5
        with pytest.raises(ValueError, match="text") as caught:
            name.read("a")
        assert "at least 2 characters" in caught.value.reason  # type: ignore[attr-defined]


class TestRefusedParameters:
    def test_one_without_an_annotation(self) -> None:
        def body(a) -> None: ...  # type: ignore[no-untyped-def]

        assert refusal(node(body)) == "parameter 'a' has no annotation; annotate it with a port, such as int or Image"

    @pytest.mark.parametrize("parameters", ["*a: int", "**a: int", "a: int, /"])
    def test_a_varying_or_positional_one(self, parameters: str) -> None:
        scope: dict[str, Any] = {"__name__": "pack"}
        exec(f"def body({parameters}) -> None: ...", scope)
        assert refusal(node(scope["body"])).startswith(
            "parameter 'a' takes a varying or unnamed argument; declare each"
        )

    def test_a_name_that_only_type_checkers_know(self) -> None:
        def body(a: int, b: Decimal) -> None: ...

        assert refusal(node(body)) == (
            "parameter 'b' is annotated with 'Decimal', which is not known; "
            "import 'Decimal' where the node is defined, outside 'if TYPE_CHECKING'"
        )

    def test_the_parameter_with_the_unknown_name_is_blamed_and_not_one_with_a_longer_name(self) -> None:
        def body(a: Halves, b: Half) -> None: ...  # type: ignore[name-defined]  # noqa: F821

        assert refusal(node(body)).startswith("parameter 'b' is annotated with 'Half'")

    def test_an_unknown_name_in_the_return_annotation(self) -> None:
        def body(a: int) -> Half: ...  # type: ignore[name-defined]  # noqa: F821

        assert refusal(node(body)).startswith("its return annotation is annotated with 'Half'")

    def test_an_unknown_name_in_an_outputs_annotation(self) -> None:
        class Pair(NamedTuple):
            first: int
            second: Half  # type: ignore[name-defined]  # noqa: F821

        @node
        def body() -> Pair: ...

        assert refusal(body).startswith("output 'second' is annotated with 'Half', which is not known; import 'Half'")

    @pytest.mark.parametrize("text", ["not a type", "math.nothing", "5 + 'x'"])
    def test_an_annotation_that_is_no_type(self, text: str) -> None:
        def body(a: int) -> None: ...

        body.__annotations__["a"] = text
        assert "an annotation cannot be read" in refusal(node(body))

    def test_one_whose_annotation_names_no_port(self) -> None:
        def body(a: Callable[[], int] | 5) -> None: ...  # type: ignore[valid-type]

        assert "cannot" in refusal(node(body))

    def test_a_lazy_one_in_a_plain_function(self) -> None:
        def body(a: Lazy[int]) -> None: ...

        assert refusal(node(body)) == (
            "parameter 'a' is Lazy in a plain function; await it in an 'async def' body, or yield Need"
        )

    @pytest.mark.parametrize("annotation", [Lazy, list[Lazy[int]], Lazy[int] | int])
    def test_lazy_in_the_wrong_place(self, annotation: Any) -> None:
        async def body(a: annotation) -> None: ...

        assert "Lazy" in refusal(node(body))

    @pytest.mark.parametrize("annotation", [list, typing.List])  # noqa: UP006
    def test_a_list_of_what(self, annotation: Any) -> None:
        def body(a: annotation) -> None: ...

        assert (
            refusal(node(body))
            == "parameter 'a' does not say what the list holds; write list[int], list[Image] or the like"
        )

    def test_none_alone(self) -> None:
        def body(a: None) -> None: ...

        assert refusal(node(body)).startswith("parameter 'a' is no port; annotate it")

    def test_two_contexts(self) -> None:
        def body(a: Context, b: Context) -> None: ...

        assert refusal(node(body)) == "parameter 'b' is a Context, and 'a' is one too; take the Context once"

    @pytest.mark.parametrize(
        ("annotation", "told"),
        [
            (Annotated[str, Field(ge=0)], "has limits, which STRING cannot have; give them to an int or a float"),
            (Annotated[Image, Field(le=0)], "has limits, which IMAGE cannot have"),
            (Annotated[bool, Field(strict=True)], "has constraints, which BOOLEAN cannot have"),
            (Annotated[int, Field(default=5)], "has a default inside Field; write it behind the annotation: '= 5'"),
            (Annotated[int, Choices(["a"])], "has Choices that are no list of text"),
            (Annotated[str, Choices("abc")], "has Choices that are no list of text"),
            (Literal["a", None], "has choices that are neither text nor numbers; give each choice a text"),
            (enum.Enum("Odd", {"A": [1]}), "has choices that are neither text nor numbers"),
        ],
    )
    def test_limits_and_choices_that_do_not_fit_the_type(self, annotation: Any, told: str) -> None:
        def body(a: annotation) -> None: ...

        assert refusal(node(body)).startswith(f"parameter 'a' {told}")


class TestRefusedDefaults:
    @pytest.mark.parametrize(
        ("annotation", "default", "told"),
        [
            (Annotated[int, Field(ge=1, le=10)], 0, "use a whole number from 1 to 10"),
            (Annotated[int, Field(ge=1, le=10)], 11, "use a whole number from 1 to 10"),
            (Annotated[float, Field(gt=0)], 0.0, "use a number above 0"),
            (Annotated[int, Field(multiple_of=8)], 9, "use a whole number in multiples of 8"),
            (Annotated[str, Field(pattern="^a")], "b", "use text"),
            (float, math.nan, "use a number"),
            (float, math.inf, "use a number"),
            (int, 2.5, "use a whole number"),
            (int, "5", "use a whole number"),
            (int, True, "use a whole number"),
            (str, 5, "use text"),
            (bool, 1, "use true or false"),
            (int | float, "5", "use a whole number or a number"),
            (Image, 5, "use a link of type IMAGE"),
            (Literal["a", "b"], "c", "use one of 'a', 'b'"),
            (Literal[8, 16], 9, "use one of '8', '16'"),
            (Mode, "slow", "use one of 'fast', 'fine'"),
            (Annotated[str, Choices(["x"])], "y", "use one of 'x'"),
            (list[int], (1, "2"), "use a whole number"),
        ],
    )
    def test_one_that_the_input_does_not_allow(self, annotation: Any, default: Any, told: str) -> None:
        def body(a: annotation = default) -> None: ...

        sentence = refusal(node(body))
        assert sentence.startswith("parameter 'a' has the default ")
        assert sentence.endswith(f"which it does not allow; {told}")

    @pytest.mark.parametrize("default", [[], {}, set()])
    def test_one_that_can_change(self, default: Any) -> None:
        def body(a: Any = default) -> None: ...

        assert refusal(node(body)).startswith("parameter 'a' has a default that can change; use None or an immutable")

    def test_none_where_the_annotation_leaves_it_out(self) -> None:
        def body(a: int = None) -> None: ...  # type: ignore[assignment]  # noqa: RUF013

        assert (
            refusal(node(body))
            == "parameter 'a' has the default None, which its annotation leaves out; add '| None' to it"
        )

    def test_none_allowed_but_no_default(self) -> None:
        def body(a: Image | None) -> None: ...

        assert (
            refusal(node(body))
            == "parameter 'a' may be None but has no default; write '= None' behind it, or leave '| None' out"
        )

    @pytest.mark.parametrize("default", [Field(5, ge=0), Widget(), Choices(["a"])])
    def test_a_marker_in_place_of_a_default(self, default: Any) -> None:
        def body(a: str = default) -> None: ...

        assert "for a default; write Annotated[int, Field(...)] = 5" in refusal(node(body))


class TestRefusedOutputs:
    def test_a_missing_return_annotation(self) -> None:
        def body(a: int): ...  # type: ignore[no-untyped-def]

        assert refusal(node(body)).startswith(
            "its return annotation is missing; write '-> Image', '-> None' or a NamedTuple"
        )

    @pytest.mark.parametrize("annotation", [tuple, tuple[int, int]])
    def test_a_plain_tuple(self, annotation: Any) -> None:
        def body() -> annotation: ...

        assert (
            refusal(node(body))
            == "its return annotation is a plain tuple; declare a NamedTuple, whose fields name the outputs"
        )

    def test_a_named_tuple_without_types(self) -> None:
        Pair = namedtuple("Pair", ["x", "y"])

        @node
        def body() -> Pair: ...

        assert refusal(body).startswith("output 'x' has no annotation; declare a typing.NamedTuple")

    def test_a_lazy_output(self) -> None:
        def body() -> Lazy[int]: ...

        assert refusal(node(body)).startswith("its return annotation has Lazy in the wrong place")

    def test_a_generator_that_does_not_say_so(self) -> None:
        def body() -> int:  # type: ignore[misc]
            yield Need("a")

        assert (
            refusal(node(body))
            == "its return annotation is not a generator's; annotate a body that yields as '-> Requests[...]'"
        )

    def test_a_body_that_says_it_yields_and_does_not(self) -> None:
        def body() -> Generator[Any, Any, int]: ...

        assert refusal(node(body)).startswith("its return annotation is a generator's, but the body never yields")

    def test_an_async_generator(self) -> None:
        async def body() -> AsyncIterator[int]:
            yield 1

        assert (
            refusal(node(body))
            == "its body is an async generator; make it 'async def' with a return, or a plain generator"
        )

    def test_more_names_than_outputs(self) -> None:
        @node(output_names=("a", "b"))
        def body() -> int: ...

        assert refusal(body) == "option 'output_names' is ('a', 'b') for 1 outputs; give one for each output"

    def test_two_outputs_of_one_name(self) -> None:
        @node(output_names=("rest",))
        def body() -> Halves: ...

        assert refusal(body).startswith("option 'output_names' gives two outputs the name 'rest'")


class TestRefusedOptions:
    @pytest.mark.parametrize(
        ("options", "told"),
        [
            ({"colour": "red"}, "option 'colour' is not known; use some of title, category, version"),
            ({"lane": "gpu"}, "option 'lane' is 'gpu'; use one of 'cpu', 'device'"),
            ({"version": "2"}, "option 'version' is '2'; give a int"),
            ({"version": True}, "option 'version' is True; give a int"),
            ({"sink": 1}, "option 'sink' is 1; give a bool"),
            ({"aliases": "abc"}, "option 'aliases' is 'abc'; give a tuple"),
            ({"output_names": "abc"}, "option 'output_names' is 'abc'; give a tuple"),
            ({"fingerprint": 5}, "option 'fingerprint' is 5; give a function of some of the inputs"),
            ({"fingerprint": lambda b: 0}, "parameter 'b' of the fingerprint is no input; use some of a, folders"),
            ({"fingerprint": lambda **all: 0}, "parameter 'all' of the fingerprint is no input"),
        ],
    )
    def test_one_that_is_unknown_or_of_another_type(self, options: dict[str, Any], told: str) -> None:
        @node(**options)
        def body(a: int) -> int: ...

        assert refusal(body).startswith(told)

    def test_all_that_the_decorator_shows_to_editors_are_known(self) -> None:
        shown = inspect.signature(typing.get_overloads(node)[1]).parameters.values()
        defaults = {given.name: given.default for given in shown if given.kind is given.KEYWORD_ONLY}

        @node(**defaults)
        def body() -> int: ...

        assert [*defaults] == [*signature._OPTIONS]
        assert spec_of(body).lane == "cpu"

    @pytest.mark.parametrize("given", [Mode, len, 5])
    def test_a_node_that_is_no_function(self, given: Any) -> None:
        with pytest.raises(DeclarationError, match="no function; put it above a function's 'def'"):
            node("X")(given)

    @pytest.mark.parametrize("name", ["", 5])
    def test_a_name_that_is_no_text(self, name: Any) -> None:
        def body() -> None: ...

        with pytest.raises(DeclarationError, match="give @node the name as text"):
            node(name)(body)

    def test_a_function_without_the_marker(self) -> None:
        def body() -> None: ...

        with pytest.raises(
            DeclarationError, match="plugin 'pack': 'body' is not a node; put @node above its definition"
        ):
            read_node(body, "pack")

    def test_a_name_claimed_twice_names_both_plugins(self) -> None:
        def body() -> None: ...

        registry = Registry()
        registry.register(node("Blur")(body), "first")
        with pytest.raises(RegistrationError) as caught:
            registry.register(node("Blur")(body), "second")
        assert "plugin 'second' registers a node 'Blur', but plugin 'first' has it" in str(caught.value)
        assert len(registry) == 1

    def test_a_spec_made_by_hand_gets_the_plugin_and_version_that_it_does_not_name(self) -> None:
        spec = Registry().register(NodeSpec("Hand", print, {}, ()), "pack", "7")
        assert (spec.plugin, spec.code_version) == ("pack", "7")
        spec = Registry().register(NodeSpec("Hand", print, {}, (), plugin="own", code_version="1"), "pack", "7")
        assert (spec.plugin, spec.code_version) == ("own", "1")
