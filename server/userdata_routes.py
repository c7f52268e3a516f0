"""`/userdata` and `/v2/userdata`: files that editors keep for a user (wire protocol §1.8)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from mezzotint.engine.atomic_file import move_new, write_atomically, write_new

from .app_key import USERS
from .file_headers import file_headers
from .file_place import is_file
from .json_body import json_answer
from .user_file import entries_below, entry_facts, file_facts, files_below, user_path


async def list_files(request: web.Request) -> web.Response:
    """The files of a folder: names, or with `split` their parts, or with `full_info` what is known of them."""
    root, name = _root(request), request.query.get("dir", "")
    if not name:
        raise web.HTTPBadRequest(text="Say which folder: ?dir=...")
    return json_answer(await asyncio.to_thread(_listed, root, name, request))


def _listed(root: Path, name: str, request: web.Request) -> list[Any]:
    folder = user_path(root, name)
    if not folder.is_dir():
        raise web.HTTPNotFound(text="There is no such folder.")
    files = files_below(folder, root.resolve(), recurse=_is_true(request, "recurse"))
    if _is_true(request, "full_info"):
        return [file_facts(path, folder) for path in files]
    names = [path.relative_to(folder).as_posix() for path in files]
    return [[name, *name.split("/")] for name in names] if _is_true(request, "split") else names


async def list_entries(request: web.Request) -> web.Response:
    """All files and folders below one, the user's own when none is named."""
    return json_answer(await asyncio.to_thread(_entries, _root(request), request.query.get("path", "")))


def _entries(root: Path, name: str) -> list[dict[str, Any]]:
    root.mkdir(parents=True, exist_ok=True)
    try:
        folder = user_path(root, name) if name else root.resolve()
    except web.HTTPForbidden as refused:
        raise web.HTTPBadRequest(text=refused.text) from None
    if is_file(folder):
        raise web.HTTPBadRequest(text="That is a file, not a folder.")
    if not folder.is_dir():
        raise web.HTTPNotFound(text="There is no such folder.")
    return [entry_facts(path, root.resolve()) for path in entries_below(folder, root.resolve())]


async def get_file(request: web.Request) -> web.StreamResponse:
    """A file. A stylesheet may be used as one: it is how editors are styled."""
    path = await asyncio.to_thread(_existing, _root(request), request.match_info["file"])
    return web.FileResponse(path, headers=file_headers(path.name, may_style=True))


async def post_file(request: web.Request) -> web.Response:
    """Store a file, with the folders on its way."""
    content = await request.read()
    root = _root(request)

    def store() -> Any:
        path = user_path(root, request.match_info["file"])
        return _written(request, path, root, lambda: _write(path, content, may_replace=_may_replace(request)))

    return json_answer(await asyncio.to_thread(store))


async def delete_file(request: web.Request) -> web.Response:
    """Remove a file."""
    path = await asyncio.to_thread(_existing, _root(request), request.match_info["file"])
    try:
        await asyncio.to_thread(path.unlink, missing_ok=True)
    except OSError as error:
        raise web.HTTPBadRequest(text=f"The file cannot be removed: {error.strerror}.") from None
    return web.Response(status=204)


async def move_file(request: web.Request) -> web.Response:
    """Give a file another name."""
    root = _root(request)

    def move() -> Any:
        source = _existing(root, request.match_info["file"])
        path = user_path(root, request.match_info["target"])
        return _written(request, path, root, lambda: _move(source, path, may_replace=_may_replace(request)))

    return json_answer(await asyncio.to_thread(move))


def _existing(root: Path, name: str) -> Path:
    path = user_path(root, name)
    if not is_file(path):
        raise web.HTTPNotFound(text="There is no such file.")
    return path


def _written(request: web.Request, path: Path, root: Path, write: Callable[[], None]) -> Any:
    """Write a file; what clients are told of it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write()
    except FileExistsError:
        raise web.HTTPConflict(text="There is such a file already; overwrite=true replaces it.") from None
    except OSError as error:
        raise web.HTTPBadRequest(text=f"The file cannot be written: {error.strerror}.") from None
    facts = file_facts(path, root.resolve())
    return facts if _is_true(request, "full_info") else facts["path"]


def _write(path: Path, content: bytes, *, may_replace: bool) -> None:
    if may_replace:
        write_atomically(path, content)
    else:
        write_new(path.parent, [path.name], content)


def _move(source: Path, path: Path, *, may_replace: bool) -> None:
    if may_replace:
        source.replace(path)
    else:
        move_new(source, path)


def _root(request: web.Request) -> Path:
    return request.app[USERS].folder(request)


def _is_true(request: web.Request, name: str, default: str = "false") -> bool:
    return request.query.get(name, default).lower() == "true"


def _may_replace(request: web.Request) -> bool:
    return request.query.get("overwrite", "true").lower() != "false"


ROUTES = (
    web.get("/userdata", list_files),
    web.get("/v2/userdata", list_entries),
    web.get("/userdata/{file}", get_file),
    web.post("/userdata/{file}", post_file),
    web.delete("/userdata/{file}", delete_file),
    web.post("/userdata/{file}/move/{target}", move_file),
)
