"""`mezzotint plugins` and the commands below it."""

from __future__ import annotations

from typing import Annotated

import typer

from .option import AsJson, BlockPlugin, PluginFiles, PluginsDir

plugins_app = typer.Typer(invoke_without_command=True)

_Named = Annotated[str, typer.Argument(metavar="PLUGIN", help="The name of a plugin in the plugins folder, or a path.")]


@plugins_app.callback()
def plugins(
    ctx: typer.Context,
    plugin: PluginFiles = None,
    plugins_dir: PluginsDir = None,
    block_plugin: BlockPlugin = None,
    as_json: AsJson = False,
) -> None:
    """List the plugins: what they bring, where they come from, and what is wrong with those that do not load."""
    if ctx.invoked_subcommand is not None:
        return
    from .plugins import show_plugins

    host = {"plugins": plugin, "plugins_dir": plugins_dir, "blocked_plugins": tuple(block_plugin or ())}
    raise typer.Exit(show_plugins(host, as_json=as_json))


@plugins_app.command()
def allow(name: _Named, plugins_dir: PluginsDir = None) -> None:
    """Let a plugin that is a file or a folder run from now on, as it is now; when it changes, it must be allowed again.

    A plugin runs with all your rights. Read it before.
    """
    from .plugin_consent import allow as allow_plugin

    raise typer.Exit(allow_plugin(name, plugins_dir))


@plugins_app.command()
def deny(name: _Named, plugins_dir: PluginsDir = None) -> None:
    """Let a plugin that was allowed run no more."""
    from .plugin_consent import deny as deny_plugin

    raise typer.Exit(deny_plugin(name, plugins_dir))
