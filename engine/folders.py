"""Where things lie: the input, output and temp folders, and every folder that holds models.

A name is a path below its folder with '/' between the parts, on every system; a name that would leave the folder is
never followed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, Self

from .errors import FolderError, MissingModelError
from .extra_paths import EXTRA_PATHS_FILE, expanded, read_extra_paths
from .folder_path import path_below, why_refused
from .listed_folder import ListedFolder

HOME_VARIABLE = "MEZZOTINT_HOME"
MODELS_VARIABLE = "MEZZOTINT_MODELS"

WEIGHTS = frozenset({".ckpt", ".pt", ".pt2", ".bin", ".pth", ".safetensors", ".pkl", ".sft"})
IMAGES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".apng", ".avif", ".jfif"})
PIPELINES_ONLY: frozenset[str] = frozenset()
ANY_FILE = None

KIND_ALIASES = {"unet": "diffusion_models", "clip": "text_encoders"}
"""Older names of the kinds, still met in settings and workflows."""
SUBFOLDERS = {
    "checkpoints": ("checkpoints",),
    "configs": ("configs",),
    "loras": ("loras",),
    "vae": ("vae",),
    "text_encoders": ("text_encoders", "clip"),
    "diffusion_models": ("diffusion_models", "unet"),
    "clip_vision": ("clip_vision",),
    "style_models": ("style_models",),
    "embeddings": ("embeddings",),
    "diffusers": ("diffusers",),
    "vae_approx": ("vae_approx",),
    "controlnet": ("controlnet", "t2i_adapter"),
    "gligen": ("gligen",),
    "upscale_models": ("upscale_models",),
    "hypernetworks": ("hypernetworks",),
    "photomaker": ("photomaker",),
    "classifiers": ("classifiers",),
    "model_patches": ("model_patches",),
    "audio_encoders": ("audio_encoders",),
    "ipadapter": ("ipadapter",),
    "perceptual": ("perceptual",),
}
"""The kinds of model, and what their sub-folders of a models folder are called."""
SUFFIXES: dict[str, frozenset[str] | None] = {
    **dict.fromkeys(SUBFOLDERS, WEIGHTS),
    "configs": frozenset({".yaml"}),
    "classifiers": ANY_FILE,
    "diffusers": PIPELINES_ONLY,
}
"""The files that a kind lists; a kind that only settings or packs name lists any."""
SAVED_IN = {
    "checkpoints": "checkpoints",
    "vae": "vae",
    "diffusion_models": "diffusion_models",
    "text_encoders": "clip",
}
"""The sub-folders of the output folder that are searched last: where workflows save models of these kinds."""
GGUF = ".gguf"
PIPELINE_KINDS = frozenset({"checkpoints", "diffusers"})
FOLDER_TYPES = ("input", "output", "temp")

_bundled: dict[tuple[str, str], Path] = {}


def bundle_model(kind: str, name: str, path: Path) -> None:
    """Offer a model that comes with a package. A file of the user's own with that name goes before it."""
    _bundled[kind, name] = path


class LocatedModel(NamedTuple):
    """A model and where it lies. `folder_index` counts `Folders.search_path`; -1 if it comes with a package."""

    name: str
    path: Path
    folder_index: int


class Folders:
    """The folders of one installation. Nothing is made here; whoever writes makes the folder it writes to.

    Args:
        home: what persists lies below it. input, output, temp: sub-folders of `home` when None.
        models: models folders, each with the usual sub-folders; the first that has a name wins.
        extra_paths: `extra_model_paths.yaml` files to read.

    Raises:
        FolderError: a file of `extra_paths` cannot be read or understood.
    """

    def __init__(
        self,
        home: Path,
        input: Path | None = None,
        output: Path | None = None,
        temp: Path | None = None,
        models: Iterable[Path] = (),
        extra_paths: Iterable[Path] = (),
    ) -> None:
        self.home = home
        self.input = input or home / "input"
        self.output = output or home / "output"
        self.temp = temp or home / "temp"
        self.models = tuple(models)
        self._files: dict[tuple[Path, frozenset[str]], ListedFolder] = {}
        self._kinds: dict[str, list[ListedFolder]] = {}
        for kind, names in SUBFOLDERS.items():
            self.add(kind, *(folder / name for folder in self.models for name in names))
        self.add("custom_nodes", home / "custom_nodes")
        self._saved = {
            kind: [ListedFolder(self.output / name, SUFFIXES[kind], kind in PIPELINE_KINDS)]
            for kind, name in SAVED_IN.items()
        }
        for file in extra_paths:
            for extra in read_extra_paths(file):
                self.add(extra.kind, *extra.paths, first=extra.is_default)

    @classmethod
    def default(
        cls,
        *,
        home: Path | None = None,
        input_dir: Path | None = None,
        output_dir: Path | None = None,
        temp_dir: Path | None = None,
        models_dir: Path | None = None,
        extra_model_paths: Path | None = None,
    ) -> Self:
        """The folders that options and the environment name.

        Args:
            home: else `MEZZOTINT_HOME`, else the user's data folder.
            models_dir: else `models` below the home. The folders of `MEZZOTINT_MODELS` come after the one and before
                the other.
            extra_model_paths: else the `extra_model_paths.yaml` in the home, in a models folder or beside one.

        Raises:
            FolderError: `extra_model_paths` is missing, or a settings file is not understood.
        """
        home = home or default_home()
        named = [expanded(name) for name in os.environ.get(MODELS_VARIABLE, "").split(os.pathsep) if name]
        models = [models_dir, *named] if models_dir else [*named, home / "models"]
        extra = [extra_model_paths] if extra_model_paths else _extra_paths_files(home, models)
        return cls(home, input_dir, output_dir, temp_dir, models, extra)

    @property
    def kinds(self) -> list[str]:
        """The kinds of model folder: the usual ones, then those that settings or packs add."""
        return [*self._kinds]

    def add(self, kind: str, *paths: Path, first: bool = False, suffixes: frozenset[str] | None = None) -> None:
        """Let a kind (a new one, too) also be looked for in these folders; before the others if `first`.

        Args:
            suffixes: the endings of its files in there; those of the kind when None, any if it is new.
        """
        kind = KIND_ALIASES.get(kind, kind)
        folders = self._kinds.setdefault(kind, [])
        suffixes = SUFFIXES.get(kind, ANY_FILE) if suffixes is None else suffixes
        added = [ListedFolder(path, suffixes, kind in PIPELINE_KINDS) for path in paths]
        folders[:] = _distinct([*added, *folders] if first else [*folders, *added])

    def model_folders(self, kind: str) -> tuple[Path, ...]:
        """The folders of a kind, in the order they are searched. Some may not exist.

        Raises:
            FolderError: there is no such kind.
        """
        return tuple(folder.path for folder in self._of(kind))

    def filenames(self, kind: str) -> list[str]:
        """Every model of a kind: paths below its folders with '/', sorted, each once.

        A diffusers pipeline in `checkpoints/` or `diffusers/` is one checkpoint, by its folder's name.

        Raises:
            FolderError: there is no such kind.
        """
        names = {name for folder in self._searched(kind) for name in folder.names()}
        return sorted(names | {name for of_kind, name in _bundled if of_kind == kind})

    def search_path(self, kind: str) -> tuple[Path, ...]:
        """Every folder where models of a kind are searched, in order: `model_folders`, those of pipelines, `SAVED_IN`.

        Raises:
            FolderError: there is no such kind.
        """
        return tuple(folder.path for folder in self._searched(kind))

    def located(self, kind: str) -> list[LocatedModel]:
        """The models that `filenames` names, with the file or folder that each name stands for.

        Raises:
            FolderError: there is no such kind.
        """
        found = {name: LocatedModel(name, path, -1) for (of_kind, name), path in _bundled.items() if of_kind == kind}
        for index, folder in reversed([*enumerate(self._searched(kind))]):
            found.update((name, LocatedModel(name, folder.path / name, index)) for name in folder.names())
        return sorted(found.values())

    def find(self, kind: str, name: str) -> Path | None:
        """The file of a model, or the folder of a pipeline; None when there is none, or the name leaves its folder.

        Raises:
            FolderError: there is no such kind.
        """
        if why_refused(name):
            return None
        found = (folder.find(name) for folder in self._searched(kind))
        return next((path for path in found if path), _bundled.get((kind, name)))

    def require(self, kind: str, name: str) -> Path:
        """As `find`, for a model that must be there.

        Raises:
            MissingModelError: it is not.
            FolderError: there is no such kind.
        """
        path = self.find(kind, name)
        if path is None:
            raise MissingModelError(self._missing(kind, name))
        return path

    def why_unread(self, kind: str, name: object) -> str | None:
        """What keeps something of that name that lies in a folder of the kind from being a model; None if nothing does.

        Raises:
            FolderError: there is no such kind.
        """
        if not isinstance(name, str) or why_refused(name):
            return None
        path = next((each for folder in self.model_folders(kind) if _is_there(each := folder / name)), None)
        if path is None:
            return None
        if path.is_dir():
            return f"is a folder in '{path.parent}' that is no pipeline, since it has no model_index.json"
        form = "hold weights quantised in a form that is" if path.suffix.lower() == GGUF else "are"
        return (
            f"lies in '{path.parent}', but files of its kind ({path.suffix}) {form} not read here: get the model as "
            f".safetensors, in 16 bits or in 8 (float8)"
        )

    def by_type(self, folder_type: str) -> Path:
        """The folder that editors call `"input"`, `"output"` or `"temp"`.

        Raises:
            FolderError: it is none of the three.
        """
        if folder_type not in FOLDER_TYPES:
            raise FolderError(f"there is no folder type '{folder_type}'; allowed are {', '.join(FOLDER_TYPES)}")
        return Path(getattr(self, folder_type))

    def images(self, folder_type: str = "input") -> list[str]:
        """The pictures in a folder and below: paths with '/', sorted."""
        return self.files(IMAGES, folder_type)

    def files(self, suffixes: frozenset[str], folder_type: str = "input") -> list[str]:
        """The files in a folder and below that end in one of these: paths with '/', sorted."""
        path = self.by_type(folder_type)
        listed = self._files.setdefault((path, suffixes), ListedFolder(path, suffixes, stays_inside=True))
        return sorted(listed.names())

    def resolve_annotated(self, name: str, folder_type: str = "input") -> Path:
        """The path of `"a.png [temp]"`: in the folder that the annotation names, else in `folder_type`.

        The file need not exist. Links are followed, but not out of the folder.

        Raises:
            FolderError: the name, or a link in it, leaves that folder.
        """
        plain, folder_type = split_annotation(name, folder_type)
        if why := why_refused(plain):
            raise FolderError(f"the file name {name!r} cannot be used: {why}")
        return path_below(self.by_type(folder_type), plain)

    def require_file(self, name: str, folder_type: str = "input") -> Path:
        """As `resolve_annotated`, for a file that must be there.

        Raises:
            FolderError: the name leaves its folder, or the file is missing.
        """
        path = self.resolve_annotated(name, folder_type)
        if not _is_file(path):
            plain, folder_type = split_annotation(name, folder_type)
            raise FolderError(
                f"the file '{plain}' is not in the {folder_type} folder '{self.by_type(folder_type)}'; "
                f"copy it there, or name another folder with --{folder_type}-dir"
            )
        return path

    def _of(self, kind: str) -> list[ListedFolder]:
        kind = KIND_ALIASES.get(kind, kind)
        if kind not in self._kinds:
            raise FolderError(f"there is no kind of model '{kind}'; there are {', '.join(self._kinds)}")
        return self._kinds[kind]

    def _searched(self, kind: str) -> list[ListedFolder]:
        pipelines = self._kinds["diffusers"] if kind == "checkpoints" else []
        return [*self._of(kind), *pipelines, *self._saved.get(KIND_ALIASES.get(kind, kind), [])]

    def _missing(self, kind: str, name: str) -> str:
        from .registry import closest

        if why := why_refused(name):
            return f"the name {name!r} cannot be used for a model ({kind}): {why}"
        if why := self.why_unread(kind, name):
            return f"the model '{name}' ({kind}) {why}"
        names = self.filenames(kind)
        same_file = (known for known in names if known.rpartition("/")[2] == name.rpartition("/")[2])
        near = next(same_file, None) or closest(name, names)
        folders = ", ".join(f"'{folder}'" for folder in self.model_folders(kind)) or "no folder is named yet"
        return (
            f"the model '{name}' ({kind}) is missing"
            + (f"; did you mean '{near}'?" if near else ".")
            + f" Searched: {folders}. Put it there, or name its folder with --models-dir, {MODELS_VARIABLE} or "
            + f"{EXTRA_PATHS_FILE}"
        )


def _distinct(folders: list[ListedFolder]) -> list[ListedFolder]:
    by_path: dict[Path, ListedFolder] = {}
    for folder in folders:
        by_path.setdefault(folder.path, folder)
    return [*by_path.values()]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long
        return False


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False


def default_home() -> Path:
    """`MEZZOTINT_HOME`, or the user's data folder."""
    if named := os.environ.get(HOME_VARIABLE):
        return expanded(named)
    import platformdirs

    return platformdirs.user_data_path("mezzotint", appauthor=False)


def split_annotation(name: str, folder_type: str = "input") -> tuple[str, str]:
    """`"a.png [temp]"` → `("a.png", "temp")`; a name without annotation is of `folder_type`."""
    for known in FOLDER_TYPES:
        if name.endswith(f" [{known}]"):
            return name.removesuffix(f" [{known}]"), known
    return name, folder_type


def _extra_paths_files(home: Path, models: Iterable[Path]) -> list[Path]:
    places = [home, *(place for folder in models for place in (folder, folder.parent))]
    files = dict.fromkeys(place / EXTRA_PATHS_FILE for place in places)
    return [file for file in files if _is_file(file)]
