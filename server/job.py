"""A job: a workflow that somebody asked to run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from mezzotint.engine.validation import Validation
from mezzotint.engine.workflow import Workflow

PREVIEW_METHODS, NO_PREVIEWS = ("auto", "latent2rgb", "taesd"), "none"
"""The ways to make previews that clients may name; there is one, which all of them get."""

JobStatus = Literal["pending", "in_progress", "completed", "failed", "cancelled"]
STATUSES: tuple[JobStatus, ...] = ("pending", "in_progress", "completed", "failed", "cancelled")
ENDED: frozenset[JobStatus] = frozenset({"completed", "failed", "cancelled"})


@dataclass(frozen=True, slots=True)
class Job:
    """What was submitted, checked.

    Attributes:
        number: its place in the queue, the lowest first. job_id: the wire's `prompt_id`.
        prompt: the graph in API format, as clients see it. extra_data: what came with it, without what is secret.
        secrets: tokens that came with it; given to nodes, never shown and never written to disk.
        is_fixed: somebody chose its number; else the server did, and clients take turns.
        retry_of: the job that it repeats.
    """

    number: float
    job_id: str
    workflow: Workflow
    validation: Validation
    prompt: dict[str, Any]
    extra_data: dict[str, Any]
    secrets: dict[str, Any] = field(default_factory=dict, repr=False)
    is_fixed: bool = False
    retry_of: str | None = None

    @property
    def client_id(self) -> str | None:
        """The websocket that hears of the job; None when nobody in particular does."""
        client_id = self.extra_data.get("client_id")
        return client_id if isinstance(client_id, str) and client_id else None

    @property
    def extra_pnginfo(self) -> dict[str, Any]:
        """What pictures carry beside the graph."""
        extra = self.extra_data.get("extra_pnginfo")
        return extra if isinstance(extra, dict) else {}

    @property
    def workflow_id(self) -> str | None:
        """The id of the editor's document, if it has one."""
        document = self.extra_pnginfo.get("workflow")
        found = document.get("id") if isinstance(document, dict) else None
        return found if isinstance(found, str) else None

    def wants_previews(self, by_default: bool) -> bool:
        """Whether previews are to be made, which the job may say itself."""
        method = self.extra_data.get("preview_method")
        return method in PREVIEW_METHODS or (by_default and method != NO_PREVIEWS)
