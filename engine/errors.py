"""Every exception a user can cause, as one tree.

MezzotintError                  shown as a sentence, never as a traceback
├── DeclarationError            a node function is declared wrongly (raised at registration)
├── RegistrationError           a node name is claimed twice, a plugin is unusable
├── WorkflowError               a document is not a workflow, or cannot be read
├── InvalidWorkflowError        a workflow has problems; carries all of them
├── GraphError                  an expansion or a link at run time makes no graph
│   ├── CircleError             its steps wait for one another
│   └── UnknownNodeError        it names a node type that is not there
├── RunFailedError              steps failed while running; carries all of them
├── MissingModelError           a model name that is in no models folder
├── ModelFileError              a model file that cannot be used: truncated, a pickle, a wrong family
├── OutOfMemoryError            what is asked for does not fit this machine
├── OutputError                 a file that cannot be written, or that would leave its folder
└── FolderError                 a file name or a folders setting that cannot be followed
    └── OutsideFolderError      a path that leads out of its folder

Cancelled                       control flow: the job was asked to stop (a BaseException)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .event import StepFailed
    from .problem import Problem


class MezzotintError(Exception):
    """The family that is shown to people as text: a sentence that says what is wrong and what helps."""


class DeclarationError(MezzotintError):
    """A node function is declared wrongly; names the plugin, the node, the parameter and the cure."""


class RegistrationError(MezzotintError):
    """A node cannot be registered: its name is taken, or the plugin is unusable."""


class WorkflowError(MezzotintError):
    """A file or a document is not a workflow, or cannot be read as one."""


class InvalidWorkflowError(MezzotintError):
    """A workflow does not pass validation.

    Attributes:
        problems: every problem found, in the order of the document.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class GraphError(MezzotintError):
    """A link or a sub-graph made while running cannot be followed (a taken id, a wrong link)."""


class CircleError(GraphError):
    """A sub-graph made while running closes a circle, so that its steps would wait for one another."""


class UnknownNodeError(GraphError):
    """A sub-graph made while running names a node type that is not there."""


class RunFailedError(MezzotintError):
    """A run ended with failed steps.

    Attributes:
        failures: one event for each step that raised.
    """

    def __init__(self, failures: Sequence[StepFailed]) -> None:
        self.failures = tuple(failures)
        super().__init__("\n".join(failure.sentence for failure in self.failures))


class MissingModelError(MezzotintError):
    """A model is named that no models folder holds."""


class ModelFileError(MezzotintError):
    """A model file cannot be used: truncated, a pickle, or of a family that is not known."""


class OutOfMemoryError(MezzotintError):
    """What was asked for needs more memory than the machine or the budget has."""


class OutputError(MezzotintError):
    """A file cannot be written (full disk, no permission) or its name would leave the output folder."""


class Cancelled(BaseException):
    """The job was asked to stop. A BaseException, so that `except Exception` in a node does not swallow it."""


class FolderError(MezzotintError):
    """A file name leaves its folder or names no file, or a settings file of folders is not understood."""


class OutsideFolderError(FolderError):
    """A path leads out of its folder, by `..`, by a link or because it is absolute."""
