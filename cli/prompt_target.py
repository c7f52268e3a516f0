"""The obvious nodes: those that hold the prompt, the negative prompt and the seed of a workflow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mezzotint.engine.input_spec import InputSpec
from mezzotint.engine.node import NodeSpec
from mezzotint.engine.workflow import Link, Workflow

from .places import Graph, InputPlace
from .usage import UsageError

CONDITIONING, ANY = "CONDITIONING", "*"
NEGATIVE = "negative"
SEED_NAMES = ("seed", "noise_seed")
_SOURCES_OF_SEEDS = (*SEED_NAMES, "value")
_SOURCES_OF_TEXTS = ("text", "value", "string")

Values = dict[tuple[str, str], Any]
Texts = list[tuple[str, str, list[InputPlace]]]
"""The node that encodes a text, its input, and the constants behind that."""


def with_prompt(graph: Graph, text: str, *, is_negative: bool = False) -> Values:
    """The values that `--prompt` or `--negative` set.

    Followed back from what samples (a sampler or a guider) to the nodes that make conditioning from text. Several are
    set only when they hold the same text now.

    Raises:
        UsageError: there is no such node, or no telling which of several is meant.
    """
    option = "--negative" if is_negative else "--prompt"
    texts = _texts(graph, is_negative)
    places = _all_places(texts)
    if not places:
        side = "negative side" if is_negative else "conditioning"
        cure = "set one with --set NODE.INPUT=TEXT"
        raise UsageError(f"{option}: no text is encoded for the {side} of this workflow; {cure}")
    if is_negative and set(places) & set(_all_places(_texts(graph, is_negative=False))):
        raise UsageError(f"{option}: the negative side of this workflow has no text of its own; it shares the prompt's")
    if not _are_one(graph, texts):
        named = ", ".join(f"{graph.label(place.node_id)} input '{place.input_name}'" for place in places)
        example = f"--set {places[0].node_id}.{places[0].input_name}=TEXT"
        raise UsageError(f"{option}: it could be any of {named}; say which, as in {example}")
    return dict.fromkeys(places, text)


def _are_one(graph: Graph, texts: Texts) -> bool:
    """Whether all texts are one prompt: those of one encoder (it may take several), or the same text throughout."""
    if len({encoder for encoder, _, _ in texts}) == 1 and all(len(places) == 1 for _, _, places in texts):
        return True
    return len({str(graph.constant(place)) for place in _all_places(texts)}) == 1


def _all_places(texts: Texts) -> list[InputPlace]:
    return list(dict.fromkeys(place for _, _, places in texts for place in places))


def seed_places(graph: Graph) -> list[InputPlace]:
    """Where the seeds of a workflow are: inputs named `seed` or `noise_seed`, or the numbers they are linked to."""
    found: dict[InputPlace, None] = {}
    for node_id in graph.needed():
        spec = graph.spec(node_id)
        for name in SEED_NAMES:
            if spec is not None and name in spec.inputs and spec.inputs[name].port == "INT":
                found.update(dict.fromkeys(graph.sources(InputPlace(node_id, name), "INT", _SOURCES_OF_SEEDS)))
    return list(found)


def with_seed(graph: Graph, seed: int) -> Values:
    """The values that `--seed` sets.

    Raises:
        UsageError: nothing in the workflow takes a seed.
    """
    places = seed_places(graph)
    if not places:
        raise UsageError("--seed: no node that this workflow's outputs need has an input 'seed' or 'noise_seed'")
    return dict.fromkeys(places, seed)


def _texts(graph: Graph, is_negative: bool) -> Texts:
    encoders = dict.fromkeys(encoder for link in _sampled(graph, is_negative) for encoder in _encoders(graph, link))
    return [
        (encoder, name, graph.sources(InputPlace(encoder, name), "STRING", _SOURCES_OF_TEXTS))
        for encoder in encoders
        for name in _text_inputs(graph.spec(encoder))
    ]


def _sampled(graph: Graph, is_negative: bool) -> Iterator[Link]:
    """The links that bring conditioning to where it is used up."""
    for node_id in graph.needed():
        spec = graph.spec(node_id)
        if spec is None or any(output.port == CONDITIONING for output in spec.outputs):
            continue
        for name, given in spec.inputs.items():
            if given.port == CONDITIONING and (NEGATIVE in name) == is_negative:
                link = graph.link(InputPlace(node_id, name))
                if link is not None:
                    yield link


def _encoders(graph: Graph, link: Link) -> Iterator[str]:
    """The nodes that make, from nothing but text and models, the conditioning that comes along a link."""
    pending, seen = [link], {link}
    while pending:
        here = pending.pop()
        spec = graph.spec(here.node_id)
        if spec is None or here.slot >= len(spec.outputs) or spec.outputs[here.slot].port not in (CONDITIONING, ANY):
            continue
        carrying = [InputPlace(here.node_id, given.name) for given in _carrying(spec, spec.outputs[here.slot].name)]
        behind = [new for place in carrying if (new := graph.link(place)) is not None]
        if not carrying:
            yield here.node_id
        pending.extend(new for new in reversed(behind) if new not in seen)
        seen.update(behind)


def _carrying(spec: NodeSpec, output_name: str) -> list[InputSpec]:
    """The inputs that an output's conditioning comes from: the one of the same name, if there is one, or all."""
    inputs = [given for given in spec.inputs.values() if given.port in (CONDITIONING, ANY)]
    return [given for given in inputs if given.name == output_name] or inputs


def _text_inputs(spec: NodeSpec | None) -> list[str]:
    texts = [given for given in spec.inputs.values() if given.port == "STRING"] if spec else []
    prompts = [given for given in texts if given.widget.dynamic_prompts or given.widget.multiline]
    return [given.name for given in prompts or texts]


def changed_seeds(graph: Graph, before: Workflow) -> set[InputPlace]:
    """The seeds that differ from those of the workflow as it was."""
    old = Graph(before, graph.registry)
    return {place for place in seed_places(graph) if graph.constant(place) != old.constant(place)}
