"""Every value has a name: the key of the step that makes it.

    key = H(node type, code version, inputs: canonical literals and (parent's key, slot), fingerprint?, id?)

Computed once for each step in topological order. None means "never reuse": something it depends on has no name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from blake3 import blake3

from .node import NodeSpec
from .value_type import NotStorableError, add_canonical, canonical
from .workflow import Link

Key = str


def step_key(
    spec: NodeSpec,
    literals: Mapping[str, Any],
    links: Mapping[str, Link],
    parent_key: Callable[[str], Key | None],
    *,
    fingerprint: Any = None,
    node_id: str = "",
    salt: str = "",
) -> Key | None:
    """The key of a step, or None when a literal, the fingerprint or a parent has no name.

    Args:
        parent_key: gives the key of a step by id. salt: further context, such as the folder an output node writes to.
    """
    parts = [_header(spec.name, spec.version, spec.code_version, salt, node_id if spec.uses_id else None)]
    try:
        for name in sorted([*literals, *links]):
            parts.append(_label(name))
            link = links.get(name)
            if link is None:
                add_canonical(literals[name], parts)
                continue
            key = parent_key(link.node_id)
            if key is None:
                return None
            parts.append(b"@%b.%d;" % (key.encode(), link.slot))
        for name, version_of in spec.versioned_inputs:
            if name in literals and (version := version_of(str(literals[name]))):
                parts.append(f"#{name}={version};".encode())
        if fingerprint is not None:
            parts.append(b"!")
            add_canonical(fingerprint, parts)
    except (NotStorableError, RecursionError):
        return None
    return blake3(b"".join(parts)).digest().hex()  # quicker than hexdigest


# Nodes of one type have the same header and the same names of inputs, so these are remembered.


@lru_cache(1024)
def _label(name: str) -> bytes:
    return f"{len(name)}:{name}=".encode("utf-8", "surrogatepass")


@lru_cache(1024, typed=True)
def _header(*of_node: str | int | None) -> bytes:
    return b"".join(canonical(of_node))
