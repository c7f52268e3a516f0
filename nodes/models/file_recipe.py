"""What all recipes of a single file of weights have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from pathlib import Path

    from mezzotint.engine.folders import Folders

    from .recipe import Source


class FileRecipe:
    """A base class for recipes of what one file holds, its `source`, where nothing else of a recipe changes weights."""

    __slots__ = ()

    source: Source

    @property
    def weights(self) -> Self:
        return self

    def files(self, folders: Folders) -> list[Path]:
        """The file that it is read from."""
        return [folders.require(self.source.folder, self.source.name)]

    def configure(self, loaded: Any) -> Any:
        return loaded
