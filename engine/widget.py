"""What an editor needs to know of an input beyond its type and limits: markers for `Annotated[...]`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .folders import Folders

Options = Sequence[str] | Callable[[], Sequence[str]] | Callable[["Folders"], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Widget:
    """Editor hints of one input. All optional; none changes what a value may be.

    Attributes:
        step: increment of the number field. round: digits kept by the editor (a number or False).
        multiline: text in several lines. dynamic_prompts: `{a|b}` is expanded by clients when queueing.
        control_after_generate: the editor adds a control that changes the seed after each run.
        display: `"number"`, `"slider"`, `"knob"` or `"color"`. force_input: a socket only, no widget.
        image_upload: the editor adds an upload button; image_folder: where it lists (`"input"`, `"output"`, `"temp"`).
    """

    step: float | None = None
    round: float | bool | None = None
    multiline: bool | None = None
    dynamic_prompts: bool | None = None
    control_after_generate: bool | None = None
    placeholder: str | None = None
    display: str | None = None
    label_on: str | None = None
    label_off: str | None = None
    force_input: bool | None = None
    image_upload: bool | None = None
    image_folder: str | None = None
    tooltip: str | None = None

    def options(self) -> dict[str, Any]:
        """The hints that are set, under the names that editors use on the wire."""
        pairs = ((f.name, getattr(self, f.name)) for f in fields(self))
        return {_WIRE_NAMES.get(name, name): value for name, value in pairs if value is not None}


_WIRE_NAMES = {"dynamic_prompts": "dynamicPrompts", "force_input": "forceInput"}


@dataclass(frozen=True, slots=True)
class Choices:
    """The allowed values of a string input, when they are not known until asked for (a list of files, say).

    Attributes:
        source: the values, or a function that returns them, of nothing or of the `Folders`.
        models: the models folder the values are files of, if they are (`"checkpoints"`): a missing value is then a
            missing model and not a misspelling.
        accepts: says whether a further value, not listed, is allowed too ("a.png [output]").
        extra: more options for editors, under their wire names.
        version: what stands for the code behind a value in cache keys, where a value names some; "" for nothing.
    """

    source: Options
    models: str | None = None
    accepts: Callable[[str, Folders], bool] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    version: Callable[[str], str] | None = None

    def takes(self, value: str, folders: Folders | None) -> bool:
        """Whether a value that is not listed is allowed all the same."""
        return self.accepts is not None and folders is not None and self.accepts(value, folders)

    @property
    def needs_folders(self) -> bool:
        """Whether the values are not known without the `Folders`."""
        return callable(self.source) and _needs_argument(self.source)

    def list(self, folders: Folders | None) -> list[str]:
        """The values that are allowed now; none when they are not known without the folders."""
        if not callable(self.source):
            return [*self.source]
        if self.needs_folders:
            return [] if folders is None else [*self.source(folders)]  # type: ignore[call-arg]
        return [*self.source()]  # type: ignore[call-arg]


def _needs_argument(source: Callable[..., Any]) -> bool:
    parameters = inspect.signature(source).parameters.values()
    single = [given for given in parameters if given.kind not in (given.VAR_POSITIONAL, given.VAR_KEYWORD)]
    return any(given.default is given.empty for given in single)


def model_files(kind: str) -> Choices:
    """The files of one models folder, such as `"checkpoints"` or `"loras"`."""
    return Choices(lambda folders: folders.filenames(kind), models=kind)
