"""What several commands take, and the panels that group options in their help."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

FOLDERS, CHANGES, DISPLAY = "Folders", "Changes to the workflow", "What is shown and kept"
JOBS = "Jobs"

File = Annotated[
    str,
    typer.Argument(
        metavar="FILE",
        help="A JSON file (API or editor format), a picture that carries a workflow, the name of a bundled workflow "
        "such as text_to_image, or - for JSON on the standard input.",
        show_default=False,
    ),
]
ModelsDir = Annotated[
    Path | None,
    typer.Option(
        "--models-dir",
        metavar="FOLDER",
        exists=True,
        file_okay=False,
        help="Models are searched here first, in checkpoints/, loras/, vae/ and so on.",
        rich_help_panel=FOLDERS,
    ),
]
ExtraModelPaths = Annotated[
    Path | None,
    typer.Option(
        "--extra-model-paths",
        metavar="YAML",
        exists=True,
        dir_okay=False,
        help="An extra_model_paths.yaml of another installation, whose models are used too.",
        rich_help_panel=FOLDERS,
    ),
]
InputDir = Annotated[
    Path | None,
    typer.Option(
        "--input-dir",
        metavar="FOLDER",
        exists=True,
        file_okay=False,
        help="Where the pictures are that workflows load.",
        rich_help_panel=FOLDERS,
    ),
]
PluginFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugin",
        metavar="FILE.py",
        help="A Python file with nodes of your own. May be repeated.",
        rich_help_panel=FOLDERS,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON.")]


class PreviewMethod(StrEnum):
    """How previews are made."""

    AUTO = "auto"
    LATENT2RGB = "latent2rgb"
    NONE = "none"
