"""Finding plugins and loading them: the hook specifications and the manager."""
