"""One plugin: where it comes from, what it brings, and what is wrong with it."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Source = Literal["built in", "distribution", "folder", "named", "inline", "object"]
"""How a plugin came in: with Mezzotint, installed, from the plugins folder, by `--plugin`, beside a workflow, or as an
object of a program."""
State = Literal["loaded", "failed", "blocked", "not allowed", "changed"]


@dataclass(slots=True, eq=False)
class Plugin:
    """A plugin that was found.

    Attributes:
        name: what messages call it. origin: where it comes from, in words: a distribution, a file. path: its file.
        sources: where its code lies, for who must not import it.
        distribution: the name of its distribution. implementation: the module or object that implements hooks.
        version: stands for its code in cache keys. nodes, hooks: what it registered and implements, by name.
        seconds: how long its import took. problems: a sentence for each thing of it that is not there.
        undo: takes back what it registered.
    """

    name: str
    source: Source
    origin: str
    path: Path | None = None
    sources: Path | None = None
    distribution: str | None = None
    implementation: Any = None
    version: str = ""
    state: State = "loaded"
    nodes: list[str] = field(default_factory=list)
    hooks: list[str] = field(default_factory=list)
    brings: list[str] = field(default_factory=list)
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)
    undo: ExitStack = field(default_factory=ExitStack, repr=False)

    def __post_init__(self) -> None:
        self.sources = self.sources or self.path

    @property
    def is_loaded(self) -> bool:
        return self.state == "loaded" and self.implementation is not None

    @property
    def is_ours(self) -> bool:
        """Whether it comes with Mezzotint: what it does wrong is a bug and raised."""
        return self.source == "built in"

    @property
    def problem(self) -> str | None:
        """All that is wrong with it, in one text."""
        return "\n".join(self.problems) or None

    def skip(self, why: str) -> None:
        """Note that it is not there, and why."""
        self.state = "failed"
        self.problems.append(f"plugin '{self.name}' ({self.origin}) was skipped: {why}")
        self.undo.close()
        self.nodes.clear()
        self.brings.clear()
