"""What plugins bring for the server: routes of their own, and the files that editors load."""

from __future__ import annotations

from collections.abc import Iterator

from aiohttp import web

from mezzotint.plugins.host import Host

from .packs import Pack, Packs

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
    """Let editors have the folders of web files that plugins registered."""
    for plugin in host.plugins.loaded:
        folder = host.plugins.tables.web_directories.get(plugin.name)
        try:
            if folder is not None:
                packs.add(Pack(plugin.name, folder))
        except ValueError as error:
            plugin.problems.append(f"plugin '{plugin.name}' ({plugin.origin}): its web files were skipped: {error}")
