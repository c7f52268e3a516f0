"""Inputs that several sampling nodes have, as annotations."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mezzotint.engine.widget import Choices, Widget

from .noise import SEED_RANGE
