"""Things that plugins bring and workflows name: samplers, schedules and whatever else is chosen by its name.

A catalogue knows names without importing what is behind them: a thing may be given as the text
`"package.module:attribute"`, which is imported when it is used for the first time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from importlib import import_module
from typing import Any, Protocol

from .errors import RegistrationError

Undo = Callable[[], None]


class Register(Protocol):
    """What a hook is given to call once for each thing that its plugin brings."""

    def __call__(self, name: str, made: Any, /, *, traits: Collection[str] = (), **options: Any) -> None:
        """Register one thing.

        Args:
            name: what workflows call it. made: the thing, or `"package.module:attribute"` where it is imported from at
                first use. traits: what is special about it, of the words that its catalogue knows.
            options: keyword arguments that it is always called with, if it is a function.

        Raises:
            RegistrationError: the name is taken, or a trait is not known.
        """


@dataclass(frozen=True)
class Entry:
    """One thing of a catalogue; see `Register`.

    Attributes:
        plugin: who registered it. code_version: stands for its code in cache keys; "" for what comes with Mezzotint.
    """

    name: str
    made: Any
    plugin: str = ""
    code_version: str = ""
    traits: frozenset[str] = frozenset()
    options: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def thing(self) -> Any:
        """The thing itself, imported if need be."""
        made = self.made
        if isinstance(made, str):
            module, _, attribute = made.partition(":")
            made = getattr(import_module(module), attribute)
        return partial(made, **self.options) if self.options else made


class Catalogue(Mapping[str, Any]):
    """Name → thing, in the order of registration. Safe for threads.

    Several hosts of one process share it. What one plugin registers twice, for two hosts or when it is loaded again,
    stands for itself; the newest is used, and the one before when it is taken back.

    Args:
        kind: what a thing is called in messages. traits: the words that may describe one.
    """

    def __init__(self, kind: str, traits: Collection[str] = ()) -> None:
        self.kind = kind
        self._traits = frozenset(traits)
        self._built_in: Callable[[Register], None] | None = None
        self._entries: dict[str, tuple[Entry, ...]] = {}
        self._lock = threading.Lock()

    def describe(self, traits: Collection[str], built_in: Callable[[Register], None]) -> Catalogue:
        """Say which traits there are, and what registers the things that are there outside any host (in a script)."""
        self._traits, self._built_in = frozenset(traits), built_in
        return self

    def add(self, entry: Entry) -> Undo:
        """Register a thing; returns what takes it back.

        Raises:
            RegistrationError: another plugin has the name, or a trait is not known.
        """
        if unknown := entry.traits - self._traits:
            known = f"known are {', '.join(sorted(self._traits))}" if self._traits else "there are none; leave it out"
            raise RegistrationError(f"the {self.kind} '{entry.name}' has the trait '{min(unknown)}'; {known}")
        with self._lock:
            present = self._entries.get(entry.name, ())
            if present and present[-1].plugin != entry.plugin:
                raise RegistrationError(
                    f"plugin '{entry.plugin}' registers a {self.kind} '{entry.name}', but plugin "
                    f"'{present[-1].plugin}' has it already; give it another name"
                )
            self._entries = {**self._entries, entry.name: (*present, entry)}
        return partial(self._remove, entry)

    def _remove(self, entry: Entry) -> None:
        with self._lock:
            left = tuple(other for other in self._entries.get(entry.name, ()) if other is not entry)
            entries = {**self._entries, entry.name: left}
            self._entries = {name: present for name, present in entries.items() if present}

    def entry(self, name: str) -> Entry:
        """The newest entry of a name. Raises KeyError."""
        return self._known[name][-1]

    def having(self, trait: str) -> list[str]:
        """The names of the things with a trait."""
        return [name for name, entries in self._known.items() if trait in entries[-1].traits]

    def has_trait(self, name: str, trait: str) -> bool:
        """Whether there is a thing of this name, and it has the trait."""
        return name in self._known and trait in self.entry(name).traits

    def version_of(self, name: str) -> str:
        """What stands for the code behind a name in cache keys; "" where nothing need to."""
        return self.entry(name).code_version if name in self._known else ""

    @property
    def versions(self) -> list[str]:
        """What stands for the code of all things that plugins brought, where it matters which of them are there."""
        newest = (entries[-1] for entries in self._known.values())
        return [f"{entry.name}={entry.code_version}" for entry in newest if entry.code_version]

    @property
    def names(self) -> list[str]:
        return [*self._known]

    @property
    def _known(self) -> dict[str, tuple[Entry, ...]]:
        if not self._entries and self._built_in is not None:
            self._built_in(self._register_built_in)
        return self._entries

    def _register_built_in(self, name: str, made: Any, /, *, traits: Collection[str] = (), **options: Any) -> None:
        self.add(Entry(name, made, BUILT_IN_PLUGIN, traits=frozenset(traits), options=options))

    def __getitem__(self, name: str) -> Any:
        return self.entry(name).thing

    def __contains__(self, name: object) -> bool:
        return name in self._known

    def __iter__(self) -> Iterator[str]:
        return iter([*self._known])

    def __len__(self) -> int:
        return len(self._known)


BUILT_IN_PLUGIN = "mezzotint.nodes"
"""Who has what is there outside any host: the plugin that would register the same."""

_catalogues: dict[str, Catalogue] = {}


def catalogue(kind: str) -> Catalogue:
    """The catalogue of a kind, `"sampler"`; one for the process."""
    return _catalogues.setdefault(kind, Catalogue(kind))
