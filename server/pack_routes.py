"""`/extensions`, `/i18n` and `/workflow_templates`: what plugins bring for editors (wire protocol §1.7)."""

from __future__ import annotations

import asyncio
from pathlib import Path

from aiohttp import web

from .app_key import PACKS
from .file_headers import file_headers
from .json_body import json_answer
from .static_file import static_file


async def get_extensions(request: web.Request) -> web.Response:
    """The addresses of the scripts that editors load."""
    return json_answer(await asyncio.to_thread(request.app[PACKS].scripts))


async def get_translations(request: web.Request) -> web.Response:
    """Texts in other languages."""
    return json_answer(await asyncio.to_thread(request.app[PACKS].translations))


async def get_templates(request: web.Request) -> web.Response:
    """The names of the example workflows of each pack."""
    return json_answer(await asyncio.to_thread(request.app[PACKS].templates))


async def get_extension_file(request: web.Request) -> web.StreamResponse:
    """A script, style or other file of a pack; what runs in the editor runs with the editor's rights."""
    folder = request.app[PACKS].web_folder(request.match_info["pack"])
    return await static_file(_present(folder), request.match_info["file"])


async def get_template_file(request: web.Request) -> web.StreamResponse:
    """An example workflow, or its picture."""
    folder = request.app[PACKS].template_folder(request.match_info["pack"])
    name = request.match_info["file"]
    return await static_file(_present(folder), name, file_headers(name.rpartition("/")[2]))


def _present(folder: Path | None) -> Path:
    if folder is None:
        raise web.HTTPNotFound(text="There is no such pack.")
    return folder


ROUTES = (
    web.get("/extensions", get_extensions),
    web.get("/i18n", get_translations),
    web.get("/workflow_templates", get_templates),
    web.get("/workflow_templates/{pack}/{file:.+}", get_template_file),
)
BARE_ROUTES = (web.get("/extensions/{pack}/{file:.+}", get_extension_file),)
"""Static files have no form under `/api`."""
