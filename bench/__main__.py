"""Prints every figure and writes them into docs/benchmarks.md, between its markers.

With names of parts, `python -m bench engine pictures`, these alone are measured and printed, and the page stays.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from .command_line import command_line_times
from .embedded_model import embedded_model
from .engine_cost import engine_costs
from .families import families
from .figure import Figure
from .load import server_load
from .png import png_times
from .server import server_costs

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"
START, END = "<!-- figures: written by make bench -->", "<!-- end of figures -->"
PARTS: dict[str, Callable[[], Iterator[Figure]]] = {
    "Engine": engine_costs,
    "Command line": command_line_times,
    "Server": server_costs,
    "Server under load": server_load,
    "Embedded model": embedded_model,
    "Families": families,
    "Pictures": png_times,
}


def main() -> None:
    """Measure the parts that the command line names and print as they come; without names all, and write the page."""
    names = sys.argv[1:]
    parts = {name: measure for name, measure in PARTS.items() if not names or name.lower() in map(str.lower, names)}
    if names and len(parts) < len({*map(str.lower, names)}):
        sys.exit(f"of {', '.join(names)} not all are parts; the parts are {', '.join(PARTS)}")
    lines = [f"Measured on {datetime.now(UTC):%Y-%m-%d}: {_machine()}.", ""]
    for name, measure in parts.items():
        print(f"\n{name}")
        lines += [f"### {name}", "", "| what | figure | target | |", "|---|---|---|---|"]
        for row in measure():
            mark = {True: "holds", False: "**missed**", None: ""}[row.holds]
            print(f"  {row.what:<64} {row.value:>12}  {row.target:<10} {mark}")
            lines.append(f"| {row.what} | {row.value} | {row.target} | {mark} |")
        lines.append("")
    if not names:
        _write("\n".join(lines))


def _machine() -> str:
    libraries = ", ".join(f"{name} {version(name)}" for name in ("torch", "diffusers"))
    return f"{os.cpu_count()} CPU cores, {platform.system()}, Python {platform.python_version()}, {libraries}"


def _write(text: str) -> None:
    page = PAGE.read_text(encoding="utf-8")
    before, after = page.split(START)[0], page.split(END)[1]
    PAGE.write_text(f"{before}{START}\n\n{text}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
