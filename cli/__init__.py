"""The `mezzotint` command."""

from __future__ import annotations

import gc
import os
import sys
import warnings
from collections.abc import Sequence
from typing import NoReturn

from mezzotint.engine.errors import Cancelled, MezzotintError, RunFailedError

from .exit_code import FAILED, INTERRUPTED, INVALID

TRACEBACK_VARIABLE = "MEZZOTINT_TRACEBACK"
_QUIET_LIBRARIES = {
    "TRANSFORMERS_VERBOSITY": "error",
    "DIFFUSERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
}


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and leave with its exit code: 0 done, 1 failed, 2 invalid or misused, 130 interrupted.

    Args:
        argv: the words after the command's name; those of this process when None.
    """
    sys.exit(_outcome(argv))


def _outcome(argv: Sequence[str] | None) -> int | str | None:
    try:
        _prepare_process()
        from .app import app_for

        words = sys.argv[1:] if argv is None else [*argv]
        app_for(words)(args=words, prog_name="mezzotint")
    except SystemExit as left:
        return left.code
    except (KeyboardInterrupt, Cancelled):
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has left. What the buffers still hold has nowhere to go either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except MezzotintError as error:
        return _tell(str(error), FAILED if isinstance(error, RunFailedError) else INVALID)
    except Exception as error:
        if os.environ.get(TRACEBACK_VARIABLE):
            raise
        return _tell(
            f"Mezzotint itself failed, which is a bug: {type(error).__name__}: {error}. "
            f"Set {TRACEBACK_VARIABLE}=1 to see where.",
            FAILED,
        )
    finally:
        gc.enable()
        if argv is None:  # the process ends: looking through all modules for garbage would take it a second
            gc.freeze()
    return 0


def _tell(text: str, code: int) -> int:
    from .terminal import Terminal

    Terminal().fail(text)
    return code


def _prepare_process() -> None:
    """Keep what libraries say to themselves off the terminal, and any character printable on any terminal."""
    # Until a host is there: what is imported stays, and looking for garbage in it takes a third of the time of a start.
    gc.disable()
    for variable, value in _QUIET_LIBRARIES.items():
        os.environ.setdefault(variable, value)
    if not (sys.warnoptions or os.environ.get(TRACEBACK_VARIABLE)):
        warnings.simplefilter("ignore")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
