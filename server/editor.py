"""The web editor that the extra `editor` installs: a program of its own, found where it lies and served as files."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

DISTRIBUTION, FOLDER = "comfyui-frontend-package", "comfyui_frontend_package/static"
CURE = "install it with: pip install 'mezzotint[editor]'"


def editor_folder() -> Path | None:
    """The folder of the editor's files; None when it is not installed. None of its code is imported."""
    try:
        folder = Path(str(distribution(DISTRIBUTION).locate_file(FOLDER)))
    except PackageNotFoundError:
        return None
    return folder if (folder / "index.html").is_file() else None
