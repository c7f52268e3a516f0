"""`mezzotint plugin` and the commands below it, for those who write plugins."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

plugin_app = typer.Typer(no_args_is_help=True)


@plugin_app.callback()
def plugin() -> None:
    """Write plugins. Those that are there are listed by mezzotint plugins."""


@plugin_app.command(no_args_is_help=True)
def new(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="Lower-case letters, digits and hyphens: film-grain.", show_default=False),
    ],
    folder: Annotated[
        Path,
        typer.Option("--folder", metavar="DIR", help="Where the package's folder is made.", show_default=False),
    ] = Path(),
) -> None:
    """Write a package with two nodes, a sampler, and tests of them that pass: a start for your own.

    [dim]mezzotint plugin new film-grain[/dim]
    """
    from .new_plugin import write_plugin

    raise typer.Exit(write_plugin(name, folder))
