"""What the hidden inputs of packs' nodes are filled with."""

from __future__ import annotations

from typing import Any

from mezzotint.engine.context import Context

_SUBMITTED = {
    "AUTH_TOKEN_COMFY_ORG": "auth_token_comfy_org",
    "API_KEY_COMFY_ORG": "api_key_comfy_org",
    "COMFY_USAGE_SOURCE": "comfy_usage_source",
}
"""Kinds that come with the job, and what they are called there."""
KINDS = frozenset({"PROMPT", "EXTRA_PNGINFO", "UNIQUE_ID", "DYNPROMPT", *_SUBMITTED})


class DynamicPrompt:
    """The graph of a run as it is now, with the nodes that expansions brought (`DYNPROMPT`)."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def get_node(self, node_id: str) -> Any:
        """The node in API format.

        Raises:
            KeyError: there is none.
        """
        return self._context.prompt[node_id]

    def has_node(self, node_id: str) -> bool:
        return node_id in self._context.prompt

    def all_node_ids(self) -> set[str]:
        return {*self._context.prompt}

    def get_original_prompt(self) -> Any:
        """The graph as it was submitted."""
        return self._context.original_prompt

    def get_parent_node_id(self, node_id: str) -> str | None:
        """The node that expanded into this one, if any."""
        return self._context.place(node_id).parent_id

    def get_real_node_id(self, node_id: str) -> str:
        """The submitted node that this one stems from."""
        return self._context.place(node_id).real_id

    def get_display_node_id(self, node_id: str) -> str:
        """The node that shows this one."""
        return self._context.place(node_id).display_id


def hidden_value(kind: str, context: Context) -> Any:
    """What a hidden input of this kind is given; None for an unknown kind, or when there is nothing to give."""
    if kind in _SUBMITTED:
        return context.extra.get(_SUBMITTED[kind])
    match kind:
        case "PROMPT":
            return context.original_prompt
        case "EXTRA_PNGINFO":
            return dict(context.extra_pnginfo) or None
        case "UNIQUE_ID":
            return context.node_id
        case "DYNPROMPT":
            return DynamicPrompt(context)
    return None


def hidden_before_run(kind: str, node_id: str) -> Any:
    """What the fingerprint of a node is given: there is no run yet."""
    return {"PROMPT": {}, "UNIQUE_ID": node_id}.get(kind)
