"""The exit codes of the `mezzotint` command."""

DONE = 0
FAILED = 1
"""Something failed while running."""
INVALID = 2
"""A workflow does not pass validation, or the command was used wrongly; nothing ran."""
INTERRUPTED = 130
"""Ctrl-C, or the process was asked to end."""
