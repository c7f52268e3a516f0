"""`mezzotint plugins allow` and `deny`: whether a plugin that is a file or a folder may run."""

from __future__ import annotations

from pathlib import Path

from mezzotint.engine.folders import default_home
from mezzotint.engine.registry import closest
from mezzotint.plugins.consent import Consents
from mezzotint.plugins.host import plugins_folder
from mezzotint.plugins.manager import plugin_paths

from .exit_code import DONE
from .terminal import Terminal
from .usage import UsageError


def allow(name: str, plugins_dir: Path | None) -> int:
    """Allow a plugin as it is now, and return the exit code.

    Raises:
        UsageError: there is no such plugin. OutputError: the home cannot be written.
    """
    path = _find(name, plugins_dir)
    Consents(default_home()).allow(path)
    Terminal().say(f"'{path}' may run from now on, as it is now.")
    return DONE


def deny(name: str, plugins_dir: Path | None) -> int:
    """Take back that a plugin is allowed, and return the exit code.

    Raises:
        UsageError: there is no such plugin, or it was not allowed. OutputError: the home cannot be written.
    """
    consents = Consents(default_home())
    path = Path(name).absolute() if consents.deny(Path(name)) else _find(name, plugins_dir)
    if str(path) != str(Path(name).absolute()) and not consents.deny(path):
        raise UsageError(f"'{path}' was not allowed, so there is nothing to deny")
    Terminal().say(f"'{path}' runs no more.")
    return DONE


def _find(name: str, plugins_dir: Path | None) -> Path:
    """The file or folder of a plugin: by its name in the plugins folder, or by its path."""
    folder = plugins_folder(plugins_dir, default_home())
    present = {path.stem: path for path in plugin_paths(folder)}
    if name in present:
        return present[name]
    path = Path(name).absolute()
    if (path.is_file() and path.suffix == ".py") or (path / "__init__.py").is_file():
        return path
    near = closest(name, present)
    hint = f"did you mean '{near}'?" if near else f"in '{folder}' are {', '.join(present) or 'none'}"
    raise UsageError(f"there is no plugin '{name}', nor such a Python file; {hint}")
