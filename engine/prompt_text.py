"""What editors do to texts when they queue a workflow: dynamic prompts, and placeholders in file names.

None of it is part of a saved workflow, so whoever runs a saved one does it in the editor's stead.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from random import Random
from typing import Any

from .ui_widgets import declared_inputs, input_options
from .workflow import Workflow, as_link
from .workflow_edit import with_inputs, with_values

Definitions = Mapping[str, Mapping[str, Any]]

PREFIX_INPUT = "filename_prefix"

_COMMENT = re.compile(r"/\*|//[^\n]*")
_TOKEN = re.compile(r"\\.|[{}|]|[^\\{}|]+|\\", re.DOTALL)
_PLACEHOLDER = re.compile(r"%([^%]+)%")
_NOT_IN_FILE_NAMES = re.compile(r'[/?<>\\:*|"\x00-\x1f\x7f]')


def prepare_texts(workflow: Workflow, definitions: Definitions, rng: Random, now: datetime) -> Workflow:
    """A copy of a workflow as it is to be run: dynamic prompts chosen, placeholders in file name prefixes replaced.

    Dynamic prompts are the STRING inputs that their definition marks with `dynamicPrompts`. The choices are written
    into the editor's document too, so that a picture's own file draws the same picture; prefixes keep their
    placeholders there. `now` is the time for `%date:...%`, in the zone it is to be read in.
    """
    chosen = with_values(workflow, dict(_dynamic_texts(workflow, definitions, rng)))
    return with_inputs(chosen, dict(_prefixes(chosen, now)))


def expand_dynamic_prompt(text: str, rng: Random) -> str:
    r"""A text without comments and with each `{a|b|c}` replaced by one of its choices.

    `/* ... */` and `// ...` to the end of the line are comments. Choices may be empty and may hold choices of their
    own; `\{`, `\|` and `\}` stand for the characters. A brace without its partner stays as it is.
    """
    # The choices of each open brace; the outermost entry is the text itself.
    levels: list[list[list[str]]] = [[[]]]
    for token in _TOKEN.findall(strip_comments(text)):
        if token == "{":
            levels.append([[]])
        elif token == "|" and len(levels) > 1:
            levels[-1].append([])
        elif token == "}" and len(levels) > 1:
            choices = levels.pop()
            levels[-1][-1].append("".join(choices[rng.randrange(len(choices))]))
        else:
            levels[-1][-1].append(token[1] if token in (r"\{", r"\|", r"\}") else token)
    return "{".join("|".join(map("".join, choices)) for choices in levels)


def strip_comments(text: str) -> str:
    """A text without `/* ... */` and without `// ...` to the end of a line."""
    kept: list[str] = []
    start = at = 0
    last_close = text.rfind("*/")  # known beforehand, so that a text full of open comments is not searched for each
    while match := _COMMENT.search(text, at):
        at = match.end()
        if match.group() == "/*":
            if at > last_close:
                continue
            at = text.index("*/", at) + 2
        kept.append(text[start : match.start()])
        start = at
    return "".join([*kept, text[start:]])


def replace_placeholders(text: str, workflow: Workflow, now: datetime) -> str:
    """Replace `%Node.widget%` by a node's value and `%date:yyyy-MM-dd hh:mm:ss%` by the time.

    A node is named by its "Node name for S&R", its title or its type, in this order; the first of several is taken.
    Characters that no file name may have become `_`. What names nothing, or a linked input, stays as it is.
    """
    if "%" not in text:
        return text
    names = _node_names(workflow)
    return _PLACEHOLDER.sub(lambda match: _replacement(match, workflow, names, now), text)


def format_date(pattern: str, moment: datetime) -> str:
    """A moment written by a pattern: `yyyy yy MM M dd d hh h mm m ss s`, hours from 0 to 23; all else is kept."""
    parts = {"y": moment.year, "M": moment.month, "d": moment.day, "h": moment.hour, "m": moment.minute}
    parts["s"] = moment.second

    def written(match: re.Match[str]) -> str:
        digits = match.group()
        number = parts[digits[0]]
        return f"{number % 100:02}" if digits == "yy" else f"{number:0{len(digits)}}"

    return re.sub(r"yyyy|yy|MM?|dd?|hh?|mm?|ss?", written, pattern)


def _dynamic_texts(workflow: Workflow, definitions: Definitions, rng: Random) -> Iterator[tuple[tuple[str, str], str]]:
    dynamic: dict[str, list[str]] = {}
    for node_id, node in workflow.nodes.items():
        if node.class_type not in dynamic:
            dynamic[node.class_type] = _dynamic_inputs(definitions.get(node.class_type, {}))
        for name in dynamic[node.class_type]:
            text = node.inputs.get(name)
            if isinstance(text, str) and (expanded := expand_dynamic_prompt(text, rng)) != text:
                yield (node_id, name), expanded


def _dynamic_inputs(definition: Mapping[str, Any]) -> list[str]:
    return [
        name
        for name, spec in declared_inputs(definition)
        if spec[0] == "STRING" and input_options(spec).get("dynamicPrompts")
    ]


def _prefixes(workflow: Workflow, now: datetime) -> Iterator[tuple[tuple[str, str], str]]:
    for node_id, node in workflow.nodes.items():
        text = node.inputs.get(PREFIX_INPUT)
        if isinstance(text, str) and (replaced := replace_placeholders(text, workflow, now)) != text:
            yield (node_id, PREFIX_INPUT), replaced


def _replacement(match: re.Match[str], workflow: Workflow, names: Mapping[str, str], now: datetime) -> str:
    asked = match.group(1)
    if asked.startswith("date:"):
        return format_date(asked.removeprefix("date:"), now)
    name, _, widget = asked.rpartition(".")
    node = workflow.nodes.get(names.get(name, ""))
    value = node.inputs.get(widget) if node is not None else None
    if value is None or as_link(value) is not None or isinstance(value, (list, dict)):
        return match.group()
    return _NOT_IN_FILE_NAMES.sub("_", _written(value))


def _written(value: Any) -> str:
    """A value as editors print it."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _node_names(workflow: Workflow) -> dict[str, str]:
    """Node name -> id of the node that it means."""
    names: dict[str, str] = {}
    for node_id, name in _search_names(workflow):
        names.setdefault(name, node_id)
    by_title = ((node_id, node.title) for node_id, node in workflow.nodes.items())
    by_type = ((node_id, node.class_type) for node_id, node in workflow.nodes.items())
    for node_id, name in (*by_title, *by_type):
        names.setdefault(name, node_id)
    return names


def _search_names(workflow: Workflow) -> Iterator[tuple[str, str]]:
    for raw in (workflow.ui or {}).get("nodes", []):
        properties = raw.get("properties") if isinstance(raw, dict) else None
        name = properties.get("Node name for S&R") if isinstance(properties, dict) else None
        if isinstance(name, str) and str(raw.get("id")) in workflow.nodes:
            yield str(raw["id"]), name
