"""A node of Mezzotint's own that borrows a model, which says how often it was loaded."""

import itertools
from dataclasses import dataclass
from typing import Any

from mezzotint import Context, hookimpl, node
from mezzotint.engine.residency import Loaded

_loads = itertools.count(1)


@dataclass(frozen=True)
class Counted:
    kind: str = "counted"

    @property
    def weights(self) -> Any:
        return self

    def configure(self, loaded: Any) -> Any:
        return loaded


@node("SmallLoad")
def small_load(salt: int, *, ctx: Context) -> int:
    """How often the model was loaded."""
    with ctx.models.borrow(Counted()) as loaded:  # type: ignore[arg-type]
        return int(loaded)


@hookimpl
def register_nodes(register: Any) -> None:
    register(small_load)


@hookimpl
def register_models(models: Any) -> None:
    models.register("counted", lambda recipe, residency: Loaded(next(_loads), 1))
