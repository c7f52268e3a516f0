"""A plugin with small nodes that need no torch: the `--plugin` of the command line's tests."""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field

from mezzotint import Choices, Context, MezzotintError, Widget, model_files, node
from mezzotint.engine.output_file import output_series
from mezzotint.nodes.ports import Conditioning, Guider

Prompt = Annotated[str, Widget(multiline=True, dynamic_prompts=True)]
Seed = Annotated[int, Field(ge=0, le=2**64 - 1), Widget(control_after_generate=True)]


class Sides(NamedTuple):
    """Both sides of a sampler."""

    positive: Conditioning
    negative: Conditioning


@node("Encode", title="Encode Text", category="toys/text")
def encode(text: Prompt) -> Conditioning:
    """Makes conditioning of a text."""
    return text


@node("EncodeTwo")
def encode_two(text_g: Prompt, text_l: Prompt = "") -> Conditioning:
    return text_g + text_l


@node("Combine")
def combine(conditioning_1: Conditioning, conditioning_2: Conditioning) -> Conditioning:
    return f"{conditioning_1}+{conditioning_2}"


@node("Control")
def control(positive: Conditioning, negative: Conditioning, strength: float = 1.0) -> Sides:
    return Sides(positive, negative)


@node("Sample", category="toys")
def sample(
    positive: Conditioning,
    negative: Conditioning,
    seed: Seed = 0,
    steps: Annotated[int, Field(ge=1, le=100, description="How many.")] = 3,
    cfg: Annotated[float, Field(ge=0, le=100)] = 8.0,
    sampler: Literal["euler", "heun"] = "euler",
    flip: bool = False,
    *,
    ctx: Context,
) -> str:
    """Stands for a sampler; its result tells its inputs."""
    for step in range(steps):
        ctx.progress(step + 1, steps)
    return f"seed={seed} steps={steps} cfg={cfg} {sampler} flip={flip} positive={positive} negative={negative}"


@node("Guide")
def guide(conditioning: Conditioning) -> Guider:
    return conditioning


@node("Draw")
def draw(guider: Guider, noise_seed: Seed = 0) -> str:
    return f"seed={noise_seed} positive={guider}"


@node("Number")
def number(value: int) -> int:
    return value


@node("Line")
def line(value: str) -> str:
    return value


@node("Join")
def join(first: str, second: str) -> str:
    return first + second


@node("Pass")
def passed_on(value: Any) -> Any:
    return value


@node("Load", category="toys")
def load(name: Annotated[str, model_files("checkpoints")]) -> str:
    return name


@node("Write", title="Write File", category="toys", sink=True)
def write(text: str, filename_prefix: str = "toy", *, ctx: Context) -> None:
    """Writes a text into the output folder."""
    saved = output_series(ctx.folders.output, filename_prefix).save(text.encode(), ".txt")
    ctx.show(files=[saved.shown()])


@node("Tell", sink=True)
def tell(value: Any, *, ctx: Context) -> None:
    ctx.show(text=[str(value)])


@node("Print")
def print_it(text: str) -> str:
    print(text)  # noqa: T201
    return text


@node("Slow")
def slow(seconds: float = 60.0, *, ctx: Context) -> str:
    """Takes long, and can be stopped."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        ctx.progress(seconds - (end - time.monotonic()), seconds)
        time.sleep(0.01)
    return "slow"


@node("Stuck")
def stuck(ctx: Context) -> str:
    """Takes long, and cannot be stopped."""
    ctx.progress(1, 2)
    time.sleep(60)
    return "stuck"


@node("Fail")
def fail(text: str = "broken") -> str:
    raise ValueError(text)


@node("Complain")
def complain() -> str:
    raise MezzotintError("that cannot be; use another number")


@node("Read")
def read_file(
    name: Annotated[str, Choices(list, accepts=lambda name, folders: True), Widget(image_upload=True)], *, ctx: Context
) -> str:
    """Stands for a node that loads pictures."""
    return ctx.folders.require_file(name).read_text()
