"""`mezzotint plugin new`: a complete small package, made of the templates beside this file."""

from __future__ import annotations

import keyword
import re
import shutil
import sys
import tempfile
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template

from mezzotint.engine.errors import MezzotintError

from .exit_code import DONE
from .terminal import Terminal

SUFFIX = ".template"
_WORD = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
MAX_LENGTH = 60


class NewPluginError(MezzotintError):
    """A plugin cannot be made: its name or its folder will not do."""


def write_plugin(name: str, folder: Path) -> int:
    """Write the package `name` into a new folder of that name, whole or not at all, and return the exit code.

    Raises:
        NewPluginError: the name will not do, or the folder is there, or cannot be written.
    """
    words = template_words(name)
    target = folder.expanduser().absolute() / name
    if target.exists() or target.is_symlink():
        raise NewPluginError(f"'{target}' is there already; choose another name or --folder, or remove it")
    try:
        _write_whole(target, words)
    except OSError as error:
        raise NewPluginError(f"'{target}' cannot be written: {error.strerror}; choose another --folder") from error
    terminal = Terminal()
    terminal.result(str(target))
    terminal.say(f"Next: cd {target}, then: pip install -e '.[test]' and: pytest")
    return DONE


def template_words(name: str) -> dict[str, str]:
    """What the templates are filled with: `name` (film-grain), `package` (film_grain), `prefix` (FilmGrain), `title`.

    Raises:
        NewPluginError: the name will not do for a distribution and a Python package.
    """
    if not _WORD.fullmatch(name) or len(name) > MAX_LENGTH:
        raise NewPluginError(
            f"'{name}' cannot be the name of a plugin: take a lower-case letter first, then such letters and digits, "
            f"with single hyphens between words, {MAX_LENGTH} characters at most; such as film-grain"
        )
    package = name.replace("-", "_")
    if keyword.iskeyword(package) or package in {*sys.stdlib_module_names, "mezzotint", "torch", "numpy", "pytest"}:
        raise NewPluginError(f"'{name}' cannot be the name of a plugin: Python has something of that name already")
    parts = [word.capitalize() for word in name.split("-")]
    return {"name": name, "package": package, "prefix": "".join(parts), "title": " ".join(parts)}


def _write_whole(target: Path, words: dict[str, str]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        unfinished.chmod(0o755)
        _fill(files("mezzotint.cli") / "plugin_template", unfinished, words)
        unfinished.rename(target)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def _fill(source: Traversable, folder: Path, words: dict[str, str]) -> None:
    """Fill a folder of templates in. In names, `PACKAGE` is the package, and `dot-` at the start a dot."""
    for entry in source.iterdir():
        name = entry.name.removesuffix(SUFFIX).replace("PACKAGE", words["package"])
        path = folder / re.sub("^dot-", ".", name)
        if entry.is_dir():
            path.mkdir()
            _fill(entry, path, words)
        elif entry.name.endswith(SUFFIX):
            path.write_text(Template(entry.read_text(encoding="utf-8")).substitute(words), encoding="utf-8")
