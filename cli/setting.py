"""`--set NODE.INPUT=VALUE`: finds the input and reads the value as its type."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from mezzotint.engine.input_spec import InputSpec
from mezzotint.engine.port import ANY, COMBO, WIDGET_PORTS
from mezzotint.engine.registry import closest

from .places import Graph, InputPlace
from .usage import UsageError

_YES = frozenset({"true", "yes", "on", "1"})
_NO = frozenset({"false", "no", "off", "0"})
_TEXT = frozenset({"STRING", COMBO})
_CONSTANTS = frozenset({*WIDGET_PORTS.values(), COMBO, ANY})


def read_settings(texts: Iterable[str], graph: Graph) -> dict[tuple[str, str], Any]:
    """The values that `--set` options give, by node id and input name.

    Raises:
        UsageError: one is not of the form, or names a node or an input that is not there.
    """
    return dict(_read(text, graph) for text in texts)


def _read(text: str, graph: Graph) -> tuple[InputPlace, Any]:
    target, equals, value = text.partition("=")
    if not equals or "." not in target:
        raise UsageError(f"--set {text}: write NODE.INPUT=VALUE, as in --set KSampler.steps=30")
    place = _place(target, text, graph)
    spec = graph.spec(place.node_id)
    return place, read_value(value, spec.inputs.get(place.input_name) if spec else None, f"--set {text}")


def _place(target: str, text: str, graph: Graph) -> InputPlace:
    # Titles and input names may hold dots themselves: the last dot that has a node before it parts them.
    dots = [index for index, letter in enumerate(target) if letter == "."]
    dot = next((dot for dot in reversed(dots) if graph.matches(target[:dot])), dots[-1])
    node_id = graph.find(target[:dot], f"--set {text}")
    return InputPlace(node_id, _input_name(target[dot + 1 :], node_id, text, graph))


def _input_name(name: str, node_id: str, text: str, graph: Graph) -> str:
    spec = graph.spec(node_id)
    known = [*(spec.inputs if spec else ()), *graph.workflow.nodes[node_id].inputs]
    if name in known or spec is None:
        return name
    near = closest(name, known)
    hint = f"did you mean '{near}'?" if near else f"it has {', '.join(dict.fromkeys(known)) or 'none'}"
    raise UsageError(f"--set {text}: node {graph.label(node_id)} has no input '{name}'; {hint}")


def read_value(text: str, given: InputSpec | None, option: str) -> Any:
    """A value from the command line. Whether it is allowed is for validation to say.

    Text inputs and choices take the text as it stands; other inputs read JSON where it is some.

    Raises:
        UsageError: the input takes links only, or is true or false and the text says neither.
    """
    if given is not None and not _takes_constants(given):
        raise UsageError(f"{option}: the input takes a link of type {given.port}, and --set gives plain values only")
    if given is not None and given.port in _TEXT and not given.is_list:
        return text
    if given is not None and given.port == "BOOLEAN" and not given.is_list:
        return _truth(text, option)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    # The engine cuts 20.5 to 20 where a whole number is wanted, as editors expect; a person is told instead.
    is_cut = given is not None and given.port == "INT" and isinstance(value, float) and not value.is_integer()
    return text if is_cut else value


def _takes_constants(given: InputSpec) -> bool:
    return not _CONSTANTS.isdisjoint(given.port.split(","))


def _truth(text: str, option: str) -> bool:
    if text.strip().lower() in _YES | _NO:
        return text.strip().lower() in _YES
    raise UsageError(f"{option}: '{text}' is not allowed; allowed is true or false")
