"""`Schema`: what a node of the newer class API is."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any


class Hidden(enum.StrEnum):
    """What a node can ask to know of its surroundings."""

    unique_id = "UNIQUE_ID"
    prompt = "PROMPT"
    extra_pnginfo = "EXTRA_PNGINFO"
    dynprompt = "DYNPROMPT"
    auth_token_comfy_org = "AUTH_TOKEN_COMFY_ORG"
    api_key_comfy_org = "API_KEY_COMFY_ORG"


@dataclass
class Schema:
    """What a node is. Ids among its inputs, and among its outputs, must differ.

    Raises:
        ValueError: two are equal.
    """

    node_id: str
    display_name: str | None = None
    category: str = "sd"
    inputs: list[Any] = field(default_factory=list)
    outputs: list[Any] = field(default_factory=list)
    hidden: list[Hidden] = field(default_factory=list)
    description: str = ""
    is_input_list: bool = False
    is_output_node: bool = False
    is_deprecated: bool = False
    is_experimental: bool = False
    is_api_node: bool = False
    not_idempotent: bool = False
    enable_expand: bool = False
    search_aliases: list[str] = field(default_factory=list)
    is_dev_only: bool = False
    price_badge: Any = None
    accept_all_inputs: bool = False
    essentials_category: str | None = None
    has_intermediate_output: bool = False

    def __post_init__(self) -> None:
        for ids in ([given.id for given in self.inputs], [given.id for given in self.outputs if given.id is not None]):
            if len(ids) != len(set(ids)):
                raise ValueError(f"the schema of '{self.node_id}' names an input or output twice: {', '.join(ids)}")

    def output_templates(self) -> list[Any] | None:
        """For each output the template that says its type, or None; None when there are none."""
        found = [output.template.facts["template_id"] if output.template else None for output in self.outputs]
        return found if any(found) else None

    def hidden_kinds(self) -> Iterator[Hidden]:
        """What the node is told: what it asks for; of output nodes the graph; of nodes of services the tokens."""
        kinds = [*self.hidden]
        kinds += [Hidden.prompt, Hidden.extra_pnginfo] if self.is_output_node else []
        kinds += [Hidden.auth_token_comfy_org, Hidden.api_key_comfy_org] if self.is_api_node else []
        yield from dict.fromkeys(kinds)
