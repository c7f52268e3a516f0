"""`Context`: all that a running node may touch beside its inputs."""

from __future__ import annotations

import json
from collections import ChainMap
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from .errors import Cancelled
from .expansion import GraphBuilder

if TYPE_CHECKING:
    from .folders import Folders
    from .output_store import Outputs
    from .residency import Residency
    from .run_record import FileClaims
    from .workflow import Workflow


class Listener(Protocol):
    """What a context tells about its step; a run is one."""

    @property
    def is_cancelled(self) -> bool: ...

    @property
    def wants_previews(self) -> bool | Callable[[], bool]: ...

    def progressed(self, node_id: str, value: float, total: float, preview: Any, text: str = "") -> None:
        """A step got as far as `value` of `total`."""

    def said(self, node_id: str, call: Callable[[], object]) -> bool:
        """Have `call` made on the loop after what was told of a step so far; False when the run is over."""


class Place(NamedTuple):
    """Where a step stands: the step that expanded into it, the node that shows it, the node it stems from."""

    parent_id: str | None
    display_id: str
    real_id: str


class Prompt:
    """The workflow a step belongs to.

    Args:
        workflow: the document. extra_pnginfo: what is saved beside the graph in pictures, normally {"workflow": the
            editor's document}; the workflow's own when None. extra: further data of the submission, for plugins.
        fingerprints: what nodes of packs say of the world outside, by id: their graphs hold it, as `is_changed`.
    """

    def __init__(
        self,
        workflow: Workflow,
        extra_pnginfo: Mapping[str, Any] | None = None,
        extra: Mapping[str, Any] | None = None,
        fingerprints: Mapping[str, Any] | None = None,
    ) -> None:
        self.workflow = workflow
        self.extra_pnginfo = workflow.extra_pnginfo if extra_pnginfo is None else extra_pnginfo
        self.extra = extra or {}
        self._fingerprints = fingerprints or {}
        self._added: dict[str, Any] = {}
        self._places: dict[str, Place] = {}

    @cached_property
    def original(self) -> dict[str, Any]:
        """The graph in API format, as submitted."""
        graph = self.workflow.to_api()
        for node_id, fingerprint in self._fingerprints.items():
            graph[node_id]["is_changed"] = [_as_json(fingerprint)]
        return graph

    @property
    def nodes(self) -> Mapping[str, Any]:
        """The graph in API format, with the nodes of all expansions so far."""
        return self._all

    @cached_property
    def _all(self) -> ChainMap[str, Any]:
        return ChainMap(self._added, self.original)

    def add(self, nodes: Mapping[str, Any], places: Mapping[str, Place] | None = None) -> None:
        """A step expanded into these."""
        self._added.update(nodes)
        self._places.update(places or {})

    def place(self, node_id: str) -> Place:
        """Where a step stands."""
        return self._places.get(node_id) or Place(None, node_id, node_id)


class Context:
    """Given to a body that declares a `Context` parameter. `Context()` works outside an engine, in a test.

    Attributes:
        node_id: the step's id. call_index: which call of a list-mapped step this is.
        device: where models run, `"cpu"` or `"cuda:0"`. models: the residency manager, borrows weights.
        folders: input, output, temp and models folders. outputs: saves files, in the output folder or wherever they go.
        save_metadata: whether files carry their workflow. shown: what `show` collected.
    """

    def __init__(
        self,
        node_id: str = "",
        *,
        prompt: Prompt | None = None,
        folders: Folders | None = None,
        models: Residency | None = None,
        listener: Listener | None = None,
        call_index: int = 0,
        save_metadata: bool = True,
        claims: FileClaims | None = None,
        outputs: Outputs | None = None,
    ) -> None:
        self.node_id = node_id
        self.call_index = call_index
        self.save_metadata = save_metadata
        self.shown: dict[str, list[Any]] = {}
        self._prompt = prompt
        self._folders = folders
        self._models = models
        self._outputs = outputs
        self._listener = listener
        self._claims = claims
        self._graphs = 0

    @property
    def extra(self) -> Mapping[str, Any]:
        """Further data of the submission."""
        return self._prompt.extra if self._prompt else {}

    def place(self, node_id: str) -> Place:
        """Where a step of this run stands."""
        return self._prompt.place(node_id) if self._prompt else Place(None, node_id, node_id)

    @property
    def prompt(self) -> Mapping[str, Any]:
        """The API graph, with the nodes of all expansions so far: `{id: {"class_type": ..., "inputs": {...}}}`."""
        return self._prompt.nodes if self._prompt else {}

    @property
    def original_prompt(self) -> Mapping[str, Any]:
        """The API graph as submitted; what is saved in pictures."""
        return self._prompt.original if self._prompt else {}

    @property
    def extra_pnginfo(self) -> Mapping[str, Any]:
        return self._prompt.extra_pnginfo if self._prompt else {}

    @property
    def folders(self) -> Folders:
        if self._folders is None:
            from .folders import Folders

            self._folders = Folders.default()
        return self._folders

    @property
    def outputs(self) -> Outputs:
        if self._outputs is None:
            from .output_store import Outputs

            self._outputs = Outputs(self.folders)
        return self._outputs if self._claims is None else self._outputs.claiming(self._claims)

    @property
    def models(self) -> Residency:
        if self._models is None:
            from .residency import Residency

            self._models = Residency(folders=self.folders)
        return self._models

    @property
    def device(self) -> str:
        return self.models.device

    @property
    def wants_previews(self) -> bool:
        """Whether anybody listens for previews; making one for nobody costs a decode."""
        wanted = self._listener is not None and self._listener.wants_previews
        return wanted() if callable(wanted) else wanted

    def check(self) -> None:
        """Stop here if the job was cancelled.

        Raises:
            Cancelled: it was.
        """
        if self._listener is not None and self._listener.is_cancelled:
            raise Cancelled

    def progress(self, value: float, total: float, preview: Any = None, text: str = "") -> None:
        """Tell how far the step is, with a preview picture and a few words if there are any.

        Raises:
            Cancelled: the job was asked to stop.
        """
        if self._listener is not None:
            if self._listener.is_cancelled:
                raise Cancelled
            self._listener.progressed(self.node_id, value, total, preview, text)

    def in_order(self, call: Callable[[], object]) -> bool:
        """Have `call` made on the event loop, after all that was told of this step so far, its beginning included.

        Returns:
            False when nobody hears of the step, or its run is over; `call` is then not made.
        """
        return self._listener is not None and self._listener.said(self.node_id, call)

    def show(self, **lists: list[Any]) -> None:
        """Report what an output node made: `ctx.show(images=[{"filename": ..., "subfolder": ..., "type": ...}])`."""
        for name, items in lists.items():
            self.shown.setdefault(name, []).extend(items)

    def graph(self) -> GraphBuilder:
        """A builder for a sub-graph that replaces this step; ids are the same on every run."""
        self._graphs += 1
        return GraphBuilder(prefix=f"{self.node_id}.{self.call_index}.{self._graphs - 1}.")


def _as_json(value: Any) -> Any:
    """The value, or its text where JSON has no such thing."""
    try:
        json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return str(value)
    return value
