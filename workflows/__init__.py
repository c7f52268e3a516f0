"""Saved workflows that travel with the package; the folder holds their JSON."""
