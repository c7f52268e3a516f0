# mypy: ignore-errors
NODES = {}
