"""How long a person waits for the command line."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .figure import Figure, figure, median, seconds
from .serving import COMMAND, ENVIRONMENT

TEXT_TO_IMAGE = Path(__file__).parent.parent / "workflows" / "text_to_image.json"
SMALL = {
    "1": {"class_type": "PrimitiveInt", "inputs": {"value": 1}},
    "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}},
}


def _to_first_event(file: Path, output: Path) -> float:
    """Seconds from the start of the process to the first line it prints; it is then left to finish."""
    command = [*COMMAND, "run", str(file), "--json", "--output-dir", str(output)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=ENVIRONMENT) as process:
        assert process.stdout is not None
        taken = seconds(process.stdout.readline)
        process.stdout.read()
    return taken


def command_line_times() -> Iterator[Figure]:
    """The figures of the command line."""
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder) / "small.json"
        small.write_text(json.dumps(SMALL))
        yield figure("`mezzotint run`, process start to first event", median(lambda _: _to_first_event(small, Path(folder)), 5), "s", digits=2)  # noqa: E501  # fmt: skip
        command = [*COMMAND, "run", str(TEXT_TO_IMAGE), "--quiet", "--output-dir", folder]
        whole = median(
            lambda _: seconds(lambda: subprocess.run(command, check=True, capture_output=True, env=ENVIRONMENT)), 3
        )
        yield figure("`mezzotint run workflows/text_to_image.json`, all of it", whole, "s", digits=2)
