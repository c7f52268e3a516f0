"""Imports a node that is not there."""

from nodes import NoSuchNode

NODE_CLASS_MAPPINGS = {"Lacking": NoSuchNode}
