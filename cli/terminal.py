"""Where the command writes: results on the standard output, everything said to people on the standard error."""

from __future__ import annotations

import io
import os
import re
import sys
import textwrap
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

WIDE = 4096
"""Columns of a table that goes into a file or a pipe: nothing is cut there."""
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_ENDS = (".", "!", "?", ":")


_FORCING = frozenset({"FORCE_COLOR", "TTY_COMPATIBLE"})
"""Variables by which rich takes a pipe for a terminal."""


class Terminal:
    """Both streams of one command. Rich, which lays out what people see, is loaded when there is something for them.

    Args:
        is_quiet: say nothing but errors.
    """

    def __init__(self, is_quiet: bool = False) -> None:
        self.is_quiet = is_quiet
        self._stream = sys.stdout

    @cached_property
    def output(self) -> Console:
        """The standard output."""
        from rich.console import Console

        return Console(highlight=False)

    @cached_property
    def messages(self) -> Console:
        """The standard error."""
        from rich.console import Console

        return Console(stderr=True, highlight=False)

    def say(self, text: str, style: str = "") -> None:
        """Tell something of interest; left out when quiet."""
        if not self.is_quiet:
            self._tell(text, style)

    def warn(self, text: str) -> None:
        """Tell of something that is not as it should be but stops nothing."""
        if not self.is_quiet:
            self._tell(sentence(text), mark=("Warning: ", "yellow"))

    def fail(self, text: str, hint: str = "") -> None:
        """Tell of an error, and below it what helps to understand it."""
        self._tell(sentence(text), mark=("Error: ", "bold red"))
        if hint:
            self.hint(hint)

    def hint(self, text: str) -> None:
        """Tell more of an error."""
        self._tell(text)

    def result(self, line: str) -> None:
        """Write a line of results: never wrapped, cut or coloured, and at once."""
        self._stream.write(f"{line}\n")
        self._stream.flush()

    def show(self, shown: Table | Text | str) -> None:
        """Write a table or a text of results; in a pipe, uncut and without trailing blanks."""
        from rich.console import Console
        from rich.text import Text

        if isinstance(shown, str):
            shown = Text(wrapped(plain(shown), self.output))
        if self.output.is_terminal:
            self.output.print(shown, soft_wrap=isinstance(shown, Text))
            return
        wide = Console(file=io.StringIO(), width=WIDE, highlight=False, color_system=None)
        wide.print(shown)
        assert isinstance(wide.file, io.StringIO)
        for line in wide.file.getvalue().splitlines():
            self._stream.write(f"{line.rstrip()}\n")

    def _tell(self, text: str, style: str = "", mark: tuple[str, str] = ("", "")) -> None:
        if not (sys.stderr.isatty() or _FORCING & os.environ.keys()):
            sys.stderr.write(f"{mark[0]}{plain(text)}\n")
            sys.stderr.flush()
            return
        from rich.text import Text

        told = Text(wrapped(mark[0] + plain(text), self.messages), style)
        told.stylize(mark[1], 0, len(mark[0]))
        self.messages.print(told, soft_wrap=True)


def wrapped(text: str, console: Console) -> str:
    """A text in lines as wide as the terminal; addresses and paths stay whole. As it is where there is no terminal."""
    if not console.is_terminal:
        return text
    return "\n".join(_wrapped_line(line, console.width) for line in text.split("\n"))


def _wrapped_line(line: str, width: int) -> str:
    indent = line[: len(line) - len(line.lstrip())]
    return textwrap.fill(
        line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False, drop_whitespace=True
    )


def plain(text: str) -> str:
    """A text without the control characters that a workflow could steer a terminal with."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def sentence(text: str) -> str:
    """A text with a full stop behind it."""
    text = text.rstrip()
    return text if text.endswith(_ENDS) else f"{text}."
