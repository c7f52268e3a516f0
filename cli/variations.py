"""The workflows that one command runs: `--count` of them, each with its own seed, texts and dates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from random import Random

from mezzotint.engine.prompt_text import prepare_texts
from mezzotint.engine.seed_control import MAX_RANDOM, advance_controls
from mezzotint.engine.workflow import Workflow
from mezzotint.engine.workflow_edit import with_values

from .places import Graph
from .prompt_target import changed_seeds, seed_places, with_seed
from .runner import KnownNodes
from .usage import UsageError

RANDOM = "random"
SEED_COUNT = 2**64


@dataclass(frozen=True, slots=True)
class Variation:
    """A workflow as it is to be run, and its seed where that is of interest."""

    workflow: Workflow
    seed: int | None


def read_seed(text: str | None) -> int | str | None:
    """The seed that `--seed` names: a number, or `"random"`.

    Raises:
        UsageError: it is neither, or out of range.
    """
    if text is None or text.strip().lower() == RANDOM:
        return text and RANDOM
    try:
        seed = int(text)
    except ValueError:
        raise UsageError(f"--seed: '{text}' is not allowed; allowed is a whole number or 'random'") from None
    if not 0 <= seed < SEED_COUNT:
        raise UsageError(f"--seed: {seed} is not allowed; allowed is a whole number from 0 to {SEED_COUNT - 1}")
    return seed


def variations(workflow: Workflow, nodes: KnownNodes, count: int, seed: int | str | None) -> Iterator[Variation]:
    """One workflow for each run.

    A seed that is given counts up from run to run; `"random"` draws one for each. Otherwise the values that the file
    says to change after a run change as it says, and seeds that it keeps or says nothing of count up. With a seed
    given, the choices of dynamic prompts follow from it, so that the same command makes the same picture.
    """
    rng = Random()
    for index in range(count):
        if seed is not None:
            number = rng.randrange(MAX_RANDOM) if isinstance(seed, str) else (seed + index) % SEED_COUNT
            workflow = with_values(workflow, with_seed(Graph(workflow, nodes.registry), number))
            rng_of_texts = Random(number)
        else:
            workflow = _advanced(workflow, nodes, rng) if index else workflow
            rng_of_texts = rng
        prepared = prepare_texts(workflow, nodes.definitions, rng_of_texts, datetime.now().astimezone())
        is_told = count > 1 or seed is not None
        yield Variation(prepared, _seed_of(workflow, nodes) if is_told else None)


def _advanced(workflow: Workflow, nodes: KnownNodes, rng: Random) -> Workflow:
    moved = advance_controls(workflow, nodes.definitions, rng)
    graph = Graph(moved, nodes.registry)
    changed = changed_seeds(graph, workflow)
    seeds = {place: graph.constant(place) for place in seed_places(graph) if place not in changed}
    counted = {(*place,): (seed + 1) % SEED_COUNT for place, seed in seeds.items() if isinstance(seed, int)}
    return with_values(moved, counted)


def _seed_of(workflow: Workflow, nodes: KnownNodes) -> int | None:
    """The seed of a workflow, if all that it has are the same."""
    graph = Graph(workflow, nodes.registry)
    seeds = {seed for place in seed_places(graph) if isinstance(seed := graph.constant(place), int)}
    return seeds.pop() if len(seeds) == 1 else None
