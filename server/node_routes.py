"""`/object_info`: the nodes there are (wire protocol §1.6); `/models` and `/embeddings`: the files they load (§1.7)."""

from __future__ import annotations

import asyncio
import logging
from pathlib import PurePosixPath
from typing import Any

from aiohttp import web

from mezzotint.engine.errors import FolderError
from mezzotint.plugins.host import Host

from .app_key import HOST
from .json_body import json_answer, to_json

log = logging.getLogger("mezzotint.server")


async def get_definitions(request: web.Request) -> web.Response:
    """The definitions of all nodes; choices that are files are looked up now."""
    host = request.app[HOST]
    text = await asyncio.to_thread(lambda: to_json(_definitions(host, [*host.definitions])))
    return web.Response(text=text, content_type="application/json")


async def get_definition(request: web.Request) -> web.Response:
    """The definition of one node; an empty object when there is no such node."""
    host, name = request.app[HOST], request.match_info["class_type"]
    names = [name] if name in host.registry else []
    return json_answer(await asyncio.to_thread(_definitions, host, names))


def _definitions(host: Host, names: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in names:
        try:
            found[name] = host.definitions[name]
        except Exception:  # a plugin's function that lists choices may raise anything
            log.warning("the node %s is left out of the list, because its definition failed", name, exc_info=True)
    return found


async def get_model_kinds(request: web.Request) -> web.Response:
    """The kinds of model."""
    return json_answer(request.app[HOST].folders.kinds)


async def get_models(request: web.Request) -> web.Response:
    """The files of one kind."""
    folders = request.app[HOST].folders
    try:
        return json_answer(await asyncio.to_thread(folders.filenames, request.match_info["kind"]))
    except FolderError as error:
        raise web.HTTPNotFound(text=str(error)) from None


async def get_embeddings(request: web.Request) -> web.Response:
    """The names of the embeddings, as prompts write them: without the ending."""
    names = await asyncio.to_thread(request.app[HOST].folders.filenames, "embeddings")
    return json_answer([str(PurePosixPath(name).with_suffix("")) for name in names])


ROUTES = (
    web.get("/object_info", get_definitions),
    web.get("/object_info/{class_type}", get_definition),
    web.get("/models", get_model_kinds),
    web.get("/models/{kind}", get_models),
    web.get("/embeddings", get_embeddings),
)
