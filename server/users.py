"""Whose settings and files are whose."""

from __future__ import annotations

import re
import threading
import uuid
from pathlib import Path

from aiohttp import web

from .object_file import ObjectFile

DEFAULT_USER = "default"
HEADER = "comfy-user"
SETTINGS_FILE, USERS_FILE = "comfy.settings.json", "users.json"
MAX_NAME_LENGTH = 100


class Users:
    """The users of a server: one, named `default`, or with `is_multi` those that clients make.

    Args:
        root: holds a folder for each. Nothing is made in it before something is kept.
    """

    def __init__(self, root: Path, *, is_multi: bool = False) -> None:
        self.root, self.is_multi = root, is_multi
        self._register = ObjectFile(root / USERS_FILE)
        self._settings: dict[Path, ObjectFile] = {}
        self._lock = threading.Lock()

    def folder(self, request: web.Request) -> Path:
        """Where the files of the one who asks are.

        Raises:
            web.HTTPUnauthorized: there are several users, and it is none of them.
        """
        if not self.is_multi:
            return self.root / DEFAULT_USER
        user_id = request.headers.get(HEADER, "")
        if user_id not in self.names():
            raise web.HTTPUnauthorized(text=f"Say who you are: the header '{HEADER}' must hold the id of a user.")
        return self.root / user_id

    def settings(self, request: web.Request) -> ObjectFile:
        """The settings of the one who asks. Raises web.HTTPUnauthorized as `folder` does."""
        path = self.folder(request) / SETTINGS_FILE
        return self._settings.setdefault(path, ObjectFile(path))

    def names(self) -> dict[str, str]:
        """Id → name of those that clients made."""
        return {key: str(name) for key, name in self._register.read().items() if _is_id(key)}

    def add(self, name: str) -> str:
        """Make a user; returns the id.

        Raises:
            ValueError: the name is blank, too long or taken; the text says so.
        """
        name = name.strip()
        if not 0 < len(name) <= MAX_NAME_LENGTH:
            raise ValueError(f"A user name must have 1 to {MAX_NAME_LENGTH} characters.")
        with self._lock:
            if name in self.names().values():
                raise ValueError("Duplicate username.")
            user_id = f"{re.sub('[^a-zA-Z0-9]', '-', name)}_{uuid.uuid4()}"
            self._register.update({user_id: name})
        return user_id


def _is_id(text: str) -> bool:
    """Whether a text is safe as a folder's name; the file may have been edited by hand."""
    return re.fullmatch(r"[\w-]+", text) is not None
