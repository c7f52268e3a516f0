"""What is wrong with the words on the command line themselves."""

from mezzotint.engine.errors import MezzotintError


class UsageError(MezzotintError):
    """An option cannot be followed; the sentence says which, what was given, and what helps."""
