"""Commands that plugins bring. Plugins are loaded for them only when a command is asked for that is not built in."""

from __future__ import annotations

from typing import Any

import click
from typer.core import TyperGroup

from .terminal import Terminal


class PluginGroup(TyperGroup):
    """The commands that come with Mezzotint, and then those of plugins."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return super().get_command(ctx, cmd_name) or _plugin_commands(self.commands).get(cmd_name)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*super().list_commands(ctx), *_plugin_commands(self.commands)]


def _plugin_commands(built_in: dict[str, Any]) -> dict[str, click.Command]:
    """Name → command, of all plugins that are installed or allowed."""
    import typer

    from mezzotint.plugins.host import installed_plugins

    plugins = installed_plugins()
    found: dict[str, click.Command] = {}
    for plugin in plugins.loaded:
        app = typer.Typer()
        plugins.call("register_commands", plugin, app=app)
        for name, command in typer.main.get_group(app).commands.items() if _has_commands(app) else ():
            if name in built_in or name in found:
                plugin.problems.append(
                    f"plugin '{plugin.name}' ({plugin.origin}): a command was skipped: there is a command '{name}' "
                    f"already; give it another name"
                )
            else:
                found[name] = command
    for problem in plugins.problems():
        Terminal().warn(problem)
    return found


def _has_commands(app: Any) -> bool:
    return bool(app.registered_commands or app.registered_groups)
