"""A job: a workflow that somebody asked to run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mezzotint.engine.validation import Validation
from mezzotint.engine.workflow import Workflow

PREVIEW_METHODS = frozenset({"auto", "latent2rgb", "taesd"})


@dataclass(frozen=True, slots=True)
class Job:
    """What was submitted, checked.

    Attributes:
        number: its place in the queue, the lowest first. job_id: the wire's `prompt_id`.
        prompt: the graph in API format, as clients see it. extra_data: what came with it, without what is secret.
        secrets: tokens that came with it; given to nodes, never shown.
    """

    number: float
    job_id: str
    workflow: Workflow
    validation: Validation
    prompt: dict[str, Any]
    extra_data: dict[str, Any]
    secrets: dict[str, Any] = field(default_factory=dict, repr=False)

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
    def wants_previews(self) -> bool:
        return self.client_id is not None and self.extra_data.get("preview_method") in PREVIEW_METHODS

    def item(self) -> list[Any]:
        """The job as queue and history list it."""
        return [self.number, self.job_id, self.prompt, self.extra_data, [*self.validation.outputs]]
