"""The nodes that make conditionings, and say where and how strongly they count."""
