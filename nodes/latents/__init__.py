"""Latents: made, changed, put into files."""
