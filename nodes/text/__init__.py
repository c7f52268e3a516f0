"""Prompts as text encoders read them: weights, chunks, learned words."""
