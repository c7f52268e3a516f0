"""What plugins bring for the server: routes of their own, and the files that editors load."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from aiohttp import web

from mezzotint.plugins.host import Host
from mezzotint.plugins.plugin import Plugin

from .packs import Pack, Packs

FOLDERS = ("locales", "example_workflows")
"""What may lie in a plugin's folder: texts in other languages, and workflows; see `Pack`."""

Place = tuple[str, str]
"""Method and path of a route."""


def plugin_routes(host: Host, taken: set[Place]) -> Iterator[web.RouteDef]:
    """The routes of all plugins; one whose place is taken is reported and left out.

    Args:
        taken: the places of routes there are; those of plugins are added.
    """
    for plugin in host.plugins.loaded:
        given: list[web.RouteDef] = []
        host.plugins.call("register_routes", plugin, register=given.append, host=host)
        for route in given if plugin.is_loaded else ():
            place = (route.method, route.path)
            if place in taken:
                plugin.problems.append(
                    f"plugin '{plugin.name}' ({plugin.origin}): a route was skipped: {' '.join(place)} is taken; "
                    f"give it another path, such as /{plugin.name}{route.path}"
                )
                continue
            taken.add(place)
            plugin.brings.append(f"route {' '.join(place)}")
            yield route


def add_packs(packs: Packs, host: Host) -> None:
    """Let editors have what plugins bring for them: web files that they registered, and what lies in their folders."""
    web = dict(host.plugins.tables.web_directories)
    for plugin in host.plugins.loaded:
        pack = Pack(plugin.name, web.pop(plugin.name, None), *(_beside(plugin, name) for name in FOLDERS))
        try:
            if pack.web or pack.locales or pack.templates:
                packs.add(pack)
        except ValueError as error:
            plugin.problems.append(f"plugin '{plugin.name}' ({plugin.origin}): its web files were skipped: {error}")
    for name, folder in web.items():
        packs.add(Pack(name, folder))


def _beside(plugin: Plugin, name: str) -> Path | None:
    """A folder beside the `__init__.py` of a plugin that is a folder itself."""
    places = getattr(plugin.implementation, "__path__", ())
    return next((folder for place in places if (folder := Path(place) / name).is_dir()), None)
