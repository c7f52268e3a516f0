"""The model library of editors: `/experiment/models` and `/view_metadata` (wire protocol §1.5 and §1.7)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from aiohttp import web

from mezzotint.engine.errors import FolderError, WorkflowError
from mezzotint.engine.folders import Folders, LocatedModel
from mezzotint.engine.workflow_media import media_kind, read_media_texts

from .app_key import HOST
from .file_headers import file_headers
from .file_place import below_root, is_file
from .json_body import json_answer
from .picture import PictureError, transcode

NO_MODELS = frozenset({"configs", "custom_nodes"})
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".preview.png", ".preview.jpg", ".preview.jpeg", ".preview.webp")
"""What a model's picture beside it is called, after the model's name without its ending."""


async def get_kinds(request: web.Request) -> web.Response:
    """The kinds of model, each with its folders."""
    folders = request.app[HOST].folders
    kinds = [kind for kind in folders.kinds if kind not in NO_MODELS]
    return json_answer([{"name": kind, "folders": [*map(str, folders.search_path(kind))]} for kind in kinds])


async def get_models(request: web.Request) -> web.Response:
    """The models of a kind, with their sizes and times."""
    return json_answer(await asyncio.to_thread(_models, request.app[HOST].folders, request.match_info["kind"]))


def _models(folders: Folders, kind: str) -> list[dict[str, Any]]:
    try:
        return [facts for model in folders.located(kind) if (facts := _facts(model))]
    except FolderError as error:
        raise web.HTTPNotFound(text=str(error)) from None


def _facts(model: LocatedModel) -> dict[str, Any] | None:
    try:
        status = model.path.stat()
        size = status.st_size if model.path.is_file() else _size_below(model.path)
    except OSError:  # gone by now
        return None
    return {
        "name": model.name,
        "pathIndex": model.folder_index,
        "modified": status.st_mtime,
        "created": status.st_ctime,
        "size": size,
    }


def _size_below(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


async def get_picture(request: web.Request) -> web.Response:
    """The picture beside a model, as WebP. The name ends in anything in place of the model's own ending."""
    info = request.match_info
    path = await asyncio.to_thread(_picture, request.app[HOST].folders, info["kind"], int(info["index"]), info["file"])
    try:
        made = await asyncio.to_thread(transcode, path, "webp;90", "")
    except PictureError as error:
        raise web.HTTPBadRequest(text=f"{error}.") from None
    if made is None:
        raise web.HTTPNotFound(text="The picture of this model cannot be read.")
    return web.Response(body=made[0], headers=file_headers(path.name, made[1]))


def _picture(folders: Folders, kind: str, index: int, name: str) -> Path:
    try:
        folder = dict(enumerate(folders.search_path(kind))).get(index)
    except FolderError as error:
        raise web.HTTPNotFound(text=str(error)) from None
    if folder is not None:
        stem = below_root(folder, name, "the models folder").with_suffix("")
        for path in (stem.with_name(stem.name + ending) for ending in PICTURES):
            if is_file(path):
                return path
    raise web.HTTPNotFound(text="There is no picture of this model.")


async def get_metadata(request: web.Request) -> web.Response:
    """What a safetensors file says about itself."""
    name = request.query.get("filename", "")
    texts = await asyncio.to_thread(_metadata, request.app[HOST].folders, request.match_info["kind"], name)
    if not texts:
        raise web.HTTPNotFound(text="There is no such safetensors file, or it says nothing about itself.")
    return json_answer(texts)


def _metadata(folders: Folders, kind: str, name: str) -> dict[str, str] | None:
    try:
        path = folders.find(kind, name)
        if path is None or not path.is_file():
            return None
        with path.open("rb") as file:
            if media_kind(file.read(16)) != "safetensors":
                return None
            file.seek(0)
            return read_media_texts(file, "safetensors")
    except (OSError, FolderError, WorkflowError):
        return None


ROUTES = (
    web.get("/experiment/models", get_kinds),
    web.get("/experiment/models/{kind}", get_models),
    web.get(r"/experiment/models/preview/{kind}/{index:\d{1,6}}/{file:.+}", get_picture),
    web.get("/view_metadata/{kind}", get_metadata),
)
