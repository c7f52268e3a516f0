"""The nodes that are known, by name. A second claim to a name is refused, naming both plugins."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Any

from .errors import RegistrationError
from .node import NodeSpec
from .signature import read_node


class Registry:
    """Node type name → `NodeSpec`."""

    def __init__(self) -> None:
        self._specs: dict[str, NodeSpec] = {}
        self._written = self._specs
        self.providers: dict[str, str] = {}
        """Plugin → what a workflow notes of who provides its nodes; those that come with Mezzotint are not noted."""
        self.find_provider: Callable[[str], str | None] = lambda name: None
        """Says where a node type that is missing could come from, in words: what to do."""

    def register(self, given: NodeSpec | Callable[..., Any], plugin: str = "", code_version: str = "") -> NodeSpec:
        """Add a node: a function marked by `@node`, or a spec made by hand, which may name plugin and version itself.

        Raises:
            DeclarationError: the function cannot be a node. RegistrationError: the name is taken.
        """
        if isinstance(given, NodeSpec):
            spec = given.replace(plugin=given.plugin or plugin, code_version=given.code_version or code_version)
        else:
            spec = read_node(given, plugin, code_version)
        taken = self._written.get(spec.name)
        if taken is not None:
            raise RegistrationError(
                f"plugin '{spec.plugin}' registers a node '{spec.name}', but plugin '{taken.plugin}' has it already; "
                f'give it another name with @node("...")'
            )
        self._written[spec.name] = spec
        return spec

    def unregister(self, spec: NodeSpec) -> None:
        """Take a node out again, if it is still this one that has the name. Snapshots keep it."""
        if self._written.get(spec.name) is spec:
            self._write({name: other for name, other in self._written.items() if other is not spec})

    def snapshot(self) -> Registry:
        """The nodes there are now, for who must not see that some are taken out or exchanged."""
        made = Registry()
        made._specs = made._written = self._specs
        return made

    @contextmanager
    def held(self) -> Iterator[None]:
        """What is registered and unregistered inside is seen all at once, at the end."""
        self._written = dict(self._specs)
        try:
            yield
        finally:
            self._specs = self._written

    def _write(self, specs: dict[str, NodeSpec]) -> None:
        if self._written is self._specs:
            self._specs = specs
        self._written = specs

    def get(self, name: str) -> NodeSpec | None:
        return self._specs.get(name)

    def current(self, name: str) -> NodeSpec | None:
        """As `get`, as the node declares itself now: inputs that it computes are computed anew.

        Raises whatever the node's own code does.
        """
        spec = self._specs.get(name)
        return spec.renew() if spec is not None and spec.renew is not None else spec

    def __getitem__(self, name: str) -> NodeSpec:
        return self._specs[name]

    def __contains__(self, name: object) -> bool:
        return name in self._specs

    def __iter__(self) -> Iterator[NodeSpec]:
        return iter(self._specs.values())

    def __len__(self) -> int:
        return len(self._specs)

    @property
    def names(self) -> Collection[str]:
        return self._specs.keys()

    def renamed(self, name: str) -> NodeSpec | None:
        """The node that had this name before."""
        return next((spec for spec in self._specs.values() if name in spec.was), None)

    def similar(self, name: str) -> str | None:
        """The known name that is closest to a misspelt one."""
        return closest(name, self._specs)


def closest(given: str, names: Iterable[str]) -> str | None:
    """The name most like `given`, ignoring case, or None when nothing is near. Looks at all names, which takes time.

    A file's extension that both have makes them no more alike.
    """
    extension = PurePosixPath(given.lower()).suffix
    by_folded = {name.lower().removesuffix(extension): name for name in names}
    found = difflib.get_close_matches(given.lower().removesuffix(extension), by_folded, n=1, cutoff=0.6)
    return by_folded[found[0]] if found else None
