"""The built-in nodes, registered through the same hook as anybody's."""
