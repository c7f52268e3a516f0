"""Numbers, text, arithmetic, choices and loops: what has nothing to do with pictures."""
