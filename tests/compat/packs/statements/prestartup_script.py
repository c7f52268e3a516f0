import sys

# Notes, before any pack is imported, which of them are there.
sys.modules["statements_before"] = [name for name in sys.modules if "old_api" in name or "statements" in name]
