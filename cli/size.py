"""`8G`, `512M`: sizes on the command line."""

from __future__ import annotations

import re

from .usage import UsageError

_UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:I?B)?", re.IGNORECASE | re.ASCII)


def read_size(text: str, option: str, at_least: str = "0") -> int:
    """A size in bytes; units count by 1024.

    Raises:
        UsageError: it is none, or less than `at_least`.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"{option}: '{text}' is no size; write a number and a unit, as in 8G or 512M")
    nbytes = int(float(found[1]) * 2 ** _UNITS[found[2].upper()])
    if at_least != "0" and nbytes < read_size(at_least, option):
        raise UsageError(f"{option}: {text} is too little; give at least {at_least}")
    return nbytes
