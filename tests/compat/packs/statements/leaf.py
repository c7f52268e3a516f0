"""Imported by the pack under another name."""
