"""What plugins bring for the server: routes of their own, and the files that editors load."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
            yield route if not host.settings.reload else _renewed(route, plugin, host)


def _renewed(route: web.RouteDef, plugin: Plugin, host: Host) -> web.RouteDef:
    """A route that is answered by its plugin's present code, where plugins are loaded again."""
    if isinstance(route.handler, type):  # a view of aiohttp's, which is called in another way
        return route
    return web.RouteDef(route.method, route.path, _Renewed(route, plugin, host).answer, route.kwargs)


class _Renewed:
    """Knows the handler that a plugin has for a route now."""

    def __init__(self, route: web.RouteDef, plugin: Plugin, host: Host) -> None:
        self._route, self._plugin, self._host = route, plugin, host
        self._handler: Any = route.handler

    async def answer(self, request: web.Request) -> web.StreamResponse:
        plugins = self._host.plugins
        now = next((other for other in plugins.loaded if other.name == self._plugin.name), self._plugin)
        if now is not self._plugin:
            given: list[web.RouteDef] = []
            plugins.call("register_routes", now, register=given.append, host=self._host)
            place = (self._route.method, self._route.path)
            self._plugin = now
            self._handler = next((each.handler for each in given if (each.method, each.path) == place), None)
        if self._handler is None:
            raise web.HTTPNotFound(text=f"The plugin '{self._plugin.name}' has this route no more.")
        answer: web.StreamResponse = await self._handler(request)
        return answer


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
