"""Commands that plugins bring. Plugins are loaded for them only when a command is asked for that is not built in."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import typer
from typer.core import TyperGroup

from .terminal import Terminal


class PluginGroup(TyperGroup):
    """The commands that come with Mezzotint, and then those of plugins."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return super().get_command(ctx, cmd_name) or _plugin_commands(self.commands).get(cmd_name)

    def list_commands(self, ctx: Any) -> list[str]:
        return [*super().list_commands(ctx), *_plugin_commands(self.commands)]


def _plugin_commands(built_in: Collection[str]) -> dict[str, Any]:
    """Name → command, of all plugins that are installed or allowed."""
    from mezzotint.plugins.host import installed_plugins

    plugins = installed_plugins()
    found: dict[str, Any] = {}
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
