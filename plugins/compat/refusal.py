"""Says that a pack asks for something that is not offered."""

from __future__ import annotations


def refusal(name: str, *, is_internal: bool = False) -> str:
    """Why a module, a name of one, or an attribute of a value is not there.

    Args:
        is_internal: it has to do with the inside of models.
    """
    what = "the model internals of the host" if is_internal else "the host"
    return (
        f"'{name}' belongs to {what} that the pack was written for, and Mezzotint does not offer it; docs/packs.md "
        f"lists what it does"
    )
