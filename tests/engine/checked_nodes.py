"""Small nodes for tests of validation, and how these ask and read what it says."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field

from mezzotint.engine.node import node
from mezzotint.engine.port import Lazy, Port
from mezzotint.engine.problem import Problem
from mezzotint.engine.request import Need, Requests
from mezzotint.engine.signature import read_node
from mezzotint.engine.validation import Validation
from mezzotint.engine.widget import Choices, model_files

Image = Annotated[Any, Port("IMAGE")]
Mask = Annotated[Any, Port("MASK")]


class Mode(enum.Enum):
    FAST = "fast"
    FINE = "fine"


class Parts(NamedTuple):
    image: Image
    mask: Mask


@node("Load")
def load(name: Annotated[str, model_files("checkpoints")] = "a.safetensors") -> Parts: ...


@node("Number")
def number(value: Annotated[int, Field(ge=0, le=100)] = 5) -> int: ...


@node("Blur")
def blur(
    image: Image,
    radius: Annotated[float, Field(gt=0)] = 1.0,
    steps: Annotated[int, Field(ge=1, le=10000, multiple_of=2)] = 20,
    mask: Mask | None = None,
) -> Image: ...


@node("Options")
def options(
    sampler: Literal["euler", "heun", "dpmpp_2m"] = "euler",
    mode: Mode = Mode.FAST,
    text: str = "",
    flag: bool = False,
    either: int | float = 1,
    anything: Any = None,
    numbers: list[int] = (1,),  # type: ignore[assignment]
    many: Annotated[str, Choices([f"choice{index}" for index in range(30)])] = "choice0",
) -> str: ...


@node("Pick")
def pick(which: Lazy[int] | None = None) -> Requests[int]:
    yield Need("which")
    return 0


@node("Show", sink=True)
def show(value: Any) -> None: ...


@node("Save", sink=True)
def save(images: Image, filename_prefix: str = "x") -> None: ...


SPECS = [read_node(function) for function in (load, number, blur, options, pick, show, save)]


Check = Callable[..., Validation]


def api(class_type: str, title: str | None = None, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs, "_meta": {"title": title} if title else {}}


def only(found: Validation) -> Problem:
    assert len(found.problems) == 1, [str(problem) for problem in found.problems]
    return found.problems[0]


def given_to(check: Check, node_type: str, **inputs: Any) -> Validation:
    """The check of one node, shown."""
    return check({"1": api(node_type, **inputs), "9": api("Show", value=["1", 0])})
