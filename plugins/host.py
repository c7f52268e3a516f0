"""Wires an engine: plugins, nodes, folders, models, caches. The way in for Python programs: `load` and `run`."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from mezzotint.engine.definition import Definitions
from mezzotint.engine.engine import Engine
from mezzotint.engine.errors import FolderError, MezzotintError
from mezzotint.engine.event_stream import OnEvent
from mezzotint.engine.expansion import GraphBuilder
from mezzotint.engine.folder_path import path_below
from mezzotint.engine.folders import Folders
from mezzotint.engine.free_memory import PROCESS
from mezzotint.engine.output_store import LOCAL, Outputs
from mezzotint.engine.registry import Registry
from mezzotint.engine.residency import Residency
from mezzotint.engine.run_result import RunResult
from mezzotint.engine.upgrade import upgraded
from mezzotint.engine.workflow import Workflow
from mezzotint.engine.workflow_file import load_workflow
from mezzotint.nodes.models.pickle_file import PickleSwitch

from .consent import Consents
from .manager import Plugins
from .registration import Tables
from .reload import Reloader

BLOCK_VARIABLE = "MEZZOTINT_BLOCK_PLUGINS"
PLUGINS_VARIABLE = "MEZZOTINT_PLUGINS"

Dtype = Literal["float32", "float16", "bfloat16"]
WorkflowLike = str | Path | Mapping[str, Any] | Workflow | GraphBuilder


@dataclass(frozen=True, slots=True)
class Settings:
    """What a host can be told; None is the default of each.

    Attributes:
        home: holds everything that persists. input_dir, output_dir, models_dir, extra_model_paths: see `Folders`.
        cache_dir: folder of the disk cache; cache_nbytes: its bound. nodes: further node functions.
        plugins: Python files and folders to load as plugins, and objects that implement hooks. plugins_dir: where
            plugins lie that may be run once they are allowed; `plugins` in the home when None. blocked_plugins: names
            of plugins, or of their distributions, that are not to be loaded. custom_nodes: folders of node packs that
            are written for the de-facto class APIs.
        output_store: where saved files go, by the name of a store. device: `"cpu"`, `"cuda:0"`, ...
        dtype, vae_dtype, text_encoder_dtype: what diffusion models, VAEs and text encoders compute in: `"float32"`,
            `"float16"`, `"bfloat16"`; by the file and the device when None. It is part of what values are named by.
        vram_budget_nbytes: what models and the work with them may take on the device.
        memory_nbytes: bound of the memory cache.
        max_memory_nbytes: what the process should hold of the main memory at most, see `_limit_memory`.
        allow_pickles: whether single files of weights may be pickles, read by a loader that takes weights only; once
            allowed in a process, they are in all its hosts.
        save_metadata: whether pictures carry the workflow that made them.
        reload: whether changed plugins are loaded again while the host is open, and run without being allowed.
    """

    home: Path | None = None
    input_dir: Path | None = None
    output_dir: Path | None = None
    models_dir: Path | None = None
    extra_model_paths: Path | None = None
    cache_dir: Path | None = None
    cache_nbytes: int | None = None
    plugins: tuple[Any, ...] = ()
    plugins_dir: Path | None = None
    blocked_plugins: tuple[str, ...] = ()
    custom_nodes: tuple[Path, ...] = ()
    nodes: tuple[Callable[..., Any], ...] = ()
    output_store: str = LOCAL
    device: str | None = None
    dtype: Dtype | None = None
    vae_dtype: Dtype | None = None
    text_encoder_dtype: Dtype | None = None
    vram_budget_nbytes: int | None = None
    memory_nbytes: int = 1 << 30
    max_memory_nbytes: int | None = None
    allow_pickles: bool = False
    save_metadata: bool = True
    reload: bool = False


class Host:
    """An engine with everything that belongs to it. Use as a context manager, or call `close`."""

    def __init__(self, settings: Settings = Settings()) -> None:
        self.settings = settings
        if settings.allow_pickles:
            PickleSwitch.is_on = True
        self.folders = _folders(settings)
        self.registry = Registry()
        self.models = Residency(settings.device, settings.vram_budget_nbytes, self.folders, dtypes=_dtypes(settings))
        self.outputs = Outputs(self.folders, settings.output_store)
        self.plugins = _plugins(settings, Tables(self.registry, self.models, self.outputs), self.folders)
        for function in settings.nodes:
            self.registry.register(function, function.__module__)
        if settings.custom_nodes:
            self._load_packs(settings.custom_nodes)
        _check_store(self.outputs)
        self.definitions = Definitions(self.registry, self.folders)
        self.engine = Engine(
            self.registry,
            folders=self.folders,
            models=self.models,
            memory_nbytes=_limit_memory(settings),
            cache_dir=settings.cache_dir,
            cache_nbytes=settings.cache_nbytes,
            scope=self.plugins.scope(),
            save_metadata=settings.save_metadata,
            outputs=self.outputs,
            surroundings=self.plugins.surroundings(),
        )
        self._reloader = Reloader(self.plugins, self._surround_again) if settings.reload else None
        gc.freeze()  # what is loaded by now stays; collections during large graphs need not look at it again

    def load(self, source: WorkflowLike) -> Workflow:
        """Any form of a workflow, as one.

        Raises:
            WorkflowError: it is none.
        """
        if isinstance(source, Workflow):
            return source
        if isinstance(source, GraphBuilder):
            return Workflow.from_api(source.finalize())
        is_file = isinstance(source, Path) or (isinstance(source, str) and source.lstrip()[:1] not in ("{", "["))
        file = Path(source).expanduser().absolute() if is_file else None  # type: ignore[arg-type]
        warnings = self._load_beside(file) if file is not None else []
        workflow = load_workflow(source, self.definitions)
        if file is not None and (named := plugins_named_in(workflow)):
            warnings += [warning for name in named for warning in self._load_named(file.parent, name)]
            workflow = load_workflow(source, self.definitions)  # with what is defined now
        workflow = upgraded(workflow, self.registry)
        return workflow.model_copy(update={"warnings": [*workflow.warnings, *warnings]}) if warnings else workflow

    def _load_beside(self, file: Path) -> list[str]:
        """Load the plugin `saved.nodes.py` that lies beside `saved.json`, if it is allowed; what to say of it."""
        inline = file.with_name(f"{file.stem}.nodes.py")
        return self._load_inline(inline) if inline.is_file() else []

    def _load_named(self, folder: Path, name: str) -> list[str]:
        """Load a plugin that a workflow of this folder names, if it is allowed; what to say of it."""
        try:
            path = path_below(folder, name)
        except FolderError as error:
            return [f"the workflow names a plugin: {error}"]
        if not path.is_file():
            return [f"the workflow names the plugin '{name}', which is not there: '{path}'; put it there"]
        return self._load_inline(path)

    def _load_inline(self, path: Path) -> list[str]:
        plugin = self.plugins.load_inline(path, is_trusted=self.settings.reload)
        self._surround_again()
        if plugin.state in ("not allowed", "changed"):
            what = "it changed" if plugin.state == "changed" else "nobody allowed it"
            return [f"'{path}' was not run, since {what}; read it, then: mezzotint plugins allow {path}"]
        return list(plugin.problems)

    def rewritten(self, submission: dict[str, Any]) -> dict[str, Any]:
        """What is submitted to a server, as the packs' handlers of prompts leave it."""
        if not self.settings.custom_nodes:
            return submission
        from .compat.shims.prompt_server import PromptServer

        return PromptServer.instance.rewritten(submission)

    def close(self) -> None:
        """Finish what is being written, stop the threads and let go of the plugins."""
        if self._reloader is not None:
            self._reloader.close()
        self.engine.close()
        self.plugins.close()

    def _load_packs(self, folders: tuple[Path, ...]) -> None:
        from .compat.pack import import_pack, prepare
        from .compat.surroundings import Surroundings as PackSurroundings

        host = PackSurroundings(self.registry, self.folders, self.models)
        for path in prepare(folders, host):
            self.plugins.load_pack(path, partial(import_pack, path, host))

    def _surround_again(self) -> None:
        now, before = self.plugins.surroundings(), self.engine.surroundings
        before.runs, before.steps, before.observers = now.runs, now.steps, now.observers

    def __enter__(self) -> Host:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def plugins_named_in(workflow: Workflow) -> list[str]:
    """The files that an editor's document names, `"extra": {"mezzotint": {"plugins": ["grain.py"]}}`."""
    found: Any = workflow.ui
    for key in ("extra", "mezzotint", "plugins"):
        found = found.get(key) if isinstance(found, dict) else None
    return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []


def _limit_memory(settings: Settings) -> int:
    """Hold the process to its limit, and return the bound of the memory cache.

    A quarter is for values that are kept, the rest for models and work. What a step is known to need beyond what is
    left is refused, and models that nobody uses make room. The limit is the process's, and so that of all its hosts.
    """
    if settings.max_memory_nbytes is None:
        return settings.memory_nbytes
    PROCESS.limit_nbytes = settings.max_memory_nbytes
    return min(settings.memory_nbytes, settings.max_memory_nbytes // 4)


def _dtypes(settings: Settings) -> dict[str, str]:
    """What the user wants computed in, by the kinds of recipes."""
    wanted = {"model": settings.dtype, "vae": settings.vae_dtype, "clip": settings.text_encoder_dtype}
    return {kind: dtype for kind, dtype in wanted.items() if dtype is not None}


def _folders(settings: Settings) -> Folders:
    return Folders.default(
        home=settings.home,
        input_dir=settings.input_dir,
        output_dir=settings.output_dir,
        models_dir=settings.models_dir,
        extra_model_paths=settings.extra_model_paths,
    )


def installed_plugins(settings: Settings = Settings()) -> Plugins:
    """The plugins that are installed or allowed, without the built-in ones and without an engine."""
    plugins = unloaded_plugins(settings)
    plugins.load_installed()
    plugins.load_folder(plugins_folder(settings.plugins_dir, _folders(settings).home), is_trusted=settings.reload)
    return plugins


def unloaded_plugins(settings: Settings = Settings()) -> Plugins:
    """Plugins with tables of their own, without an engine, of which none is loaded yet."""
    folders = _folders(settings)
    return _no_plugins(settings, Tables(Registry(), Residency(folders=folders), Outputs(folders)), folders)


def _no_plugins(settings: Settings, tables: Tables, folders: Folders) -> Plugins:
    named = os.environ.get(BLOCK_VARIABLE, "").split(",")
    blocked = {*settings.blocked_plugins, *map(str.strip, named)} - {""}
    return Plugins(tables, Consents(folders.home), blocked)


def _plugins(settings: Settings, tables: Tables, folders: Folders) -> Plugins:
    plugins = _no_plugins(settings, tables, folders)
    plugins.load_built_in()
    plugins.load_installed()
    plugins.load_folder(plugins_folder(settings.plugins_dir, folders.home), is_trusted=settings.reload)
    for given in settings.plugins:
        if isinstance(given, str | Path):
            plugins.load_file(Path(given).absolute())
        else:
            plugins.load_object(given)
    return plugins


def plugins_folder(named: Path | None, home: Path) -> Path:
    """Where plugins lie: the folder that is named, else that of `MEZZOTINT_PLUGINS`, else `plugins` in the home."""
    if named is not None:
        return named.absolute()
    variable = os.environ.get(PLUGINS_VARIABLE)
    return Path(variable).expanduser().absolute() if variable else (home / "plugins").absolute()


def _check_store(outputs: Outputs) -> None:
    if outputs.name not in outputs.makers:
        raise MezzotintError(
            f"output_store: there is no store '{outputs.name}'; there are {', '.join(outputs.makers)}; "
            f"load the plugin that brings it"
        )


_lock = threading.RLock()
_hosts: dict[Settings, Host] = {}


def _host(settings: Settings) -> Host:
    with _lock:
        if settings not in _hosts:
            _hosts[settings] = Host(settings)
        return _hosts[settings]


def load(source: WorkflowLike) -> Workflow:
    """Read a workflow from a file (JSON of either format, PNG, WebP), JSON text, a dict or a `GraphBuilder`.

    Raises:
        WorkflowError: it is none; the sentence says why.
    """
    return _host(Settings()).load(source)


def run(
    workflow: WorkflowLike,
    *,
    targets: Iterable[str] | None = None,
    on_event: OnEvent | None = None,
    settings: Settings | None = None,
    **options: Any,
) -> RunResult:
    """Run a workflow to its end and return what it made. Values are kept between calls in this process.

        result = mezzotint.run("saved.json", output_dir="pictures")
        result.outputs   # {"9": {"images": [{"filename": ..., ...}]}}

    Args:
        workflow: a path, a dict in API or UI format, a loaded workflow, or a `GraphBuilder`.
        targets: ids of the nodes whose values are wanted; the output nodes when None.
        on_event: called with each event, on another thread when a loop is running here.
        settings, options: the `Settings`, whole or by name (`output_dir="pictures"`, `nodes=[my_node]`).

    Raises:
        WorkflowError, InvalidWorkflowError: it cannot be read, or does not pass validation.
        RunFailedError: steps failed; it carries all of them.
    """
    host = _host(settings or _settings(options))
    document = host.load(workflow)

    def work() -> RunResult:
        with _lock:
            return asyncio.run(host.engine.run(document, targets=targets, on_event=on_event))

    return _outside_any_loop(work).raise_for_status()


def _settings(options: Mapping[str, Any]) -> Settings:
    given: dict[str, Any] = dict(options)
    for name in ("home", "input_dir", "output_dir", "models_dir", "extra_model_paths", "cache_dir", "plugins_dir"):
        if given.get(name) is not None:
            given[name] = Path(given[name])
    given["custom_nodes"] = tuple(Path(folder).absolute() for folder in given.get("custom_nodes", ()))
    for name in ("plugins", "nodes", "blocked_plugins"):
        given[name] = tuple(given.get(name, ()))
    return Settings(**given)


def _outside_any_loop(work: Callable[[], RunResult]) -> RunResult:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return work()
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()
