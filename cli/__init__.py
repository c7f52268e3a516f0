"""The `mezzotint` command."""
