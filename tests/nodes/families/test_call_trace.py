"""A network's call that was watched gives the same again, and none is repeated that could come out otherwise."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mezzotint import Context
from mezzotint.engine.folders import Folders
from mezzotint.engine.residency import Residency
from mezzotint.nodes.conditioning.conditioning import encode_text
from mezzotint.nodes.families import pipeline_call
from mezzotint.nodes.families.call_trace import record
from mezzotint.nodes.models.checkpoints import load_checkpoint
from mezzotint.nodes.sampling.denoise import Denoise
from mezzotint.nodes.sampling.prompts import Prompts

from .. import tiny_pipelines


def network(x: Tensor, scale: Tensor, places: Tensor | None = None) -> tuple[Tensor]:
    return (x * scale.view(-1, 1) + (0 if places is None else places),)


def around(called: Any, x: Tensor, timestep: Tensor) -> Tensor:
    """What pipelines do: some of it is the same at each step, some is for nothing."""
    places = torch.zeros(4, 4)
    places[1:] += torch.arange(4)
    (t,) = timestep
    doubled = (x.to(torch.float32) * 2).reshape(x.shape)
    _ = doubled.sum() + t
    first, _ = called(doubled, t.expand(len(x)) / 1000, places=places)[0].chunk(2)
    return -first


def test_a_trace_gives_what_the_function_gives() -> None:
    x, timestep = torch.randn(4, 4), torch.tensor([7.0])
    given, trace = record(around, network, x, timestep)
    assert trace is not None
    assert torch.equal(given, around(network, x, timestep))
    other, later = torch.randn(4, 4), torch.tensor([3.0])
    assert torch.equal(trace(network, other, later), around(network, other, later))


def test_what_does_not_depend_on_its_tensors_is_not_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    _, trace = record(around, network, torch.randn(4, 4), torch.ones(1))
    assert trace is not None
    for name in ("zeros", "arange"):
        monkeypatch.setattr(torch, name, None)
    trace(network, torch.randn(4, 4), torch.ones(1))


def reads_a_value(called: Any, x: Tensor, timestep: Tensor) -> Tensor:
    scale = timestep if timestep.item() > 5 else -timestep
    return called(x, scale)[0]  # type: ignore[no-any-return]


def lists_values(called: Any, x: Tensor, timestep: Tensor) -> Tensor:
    return called(x, torch.tensor(timestep.tolist()))[0]  # type: ignore[no-any-return]


def chooses_by_a_value(called: Any, x: Tensor, timestep: Tensor) -> Tensor:
    return called(x, timestep if timestep > 5 else -timestep)[0]  # type: ignore[no-any-return]


def changes_what_it_is_given(called: Any, x: Tensor, timestep: Tensor) -> Tensor:
    return called(x.clone().mul_(2), timestep)[0]  # type: ignore[no-any-return]


def changes_what_it_used(called: Any, x: Tensor, timestep: Tensor) -> Tensor:
    count = torch.zeros(1)
    moved = x + count
    count += 1
    return called(moved, timestep)[0]  # type: ignore[no-any-return]


def writes_into_another(called: Any, x: Tensor, timestep: Tensor) -> Tensor:
    table = torch.zeros(4, 4)
    table[0] = x[0]
    return called(table, timestep)[0]  # type: ignore[no-any-return]


def calls_twice(called: Any, x: Tensor, timestep: Tensor) -> Tensor:
    return called(called(x, timestep)[0], timestep)[0]  # type: ignore[no-any-return]


def calls_nothing(called: Any, x: Tensor, timestep: Tensor) -> Tensor:
    return x * timestep


def hides_a_tensor(called: Any, x: Tensor, timestep: Tensor) -> Tensor:
    class Box:
        scale = timestep * 2

    return called(Box(), x)[0]  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "function",
    [
        reads_a_value, lists_values, chooses_by_a_value, changes_what_it_is_given, changes_what_it_used,
        writes_into_another, calls_twice, calls_nothing, hides_a_tensor,
    ],
)  # fmt: skip
def test_what_cannot_be_traced_is_not(function: Callable[..., Tensor]) -> None:
    def lenient(x: Any, scale: Tensor) -> tuple[Tensor]:
        return network(x, scale) if isinstance(x, Tensor) else (x.scale * scale,)

    given, trace = record(function, lenient, torch.ones(4, 4), torch.tensor([7.0]))
    assert trace is None
    assert torch.equal(given, function(lenient, torch.ones(4, 4), torch.tensor([7.0])))


@pytest.mark.parametrize("name", tiny_pipelines.PIPELINES)
def test_steps_after_the_first_give_what_the_pipeline_gives(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    tiny_pipelines.drawn(name).save_pretrained(tmp_path / "models" / "checkpoints" / name)
    folders = Folders(tmp_path / "home", models=[tmp_path / "models"])
    context = Context(folders=folders, models=Residency("cpu", folders=folders))
    model, clip, _ = load_checkpoint(name, ctx=context)
    prompts = Prompts([encode_text(text, clip, ctx=context) for text in ("a photo of a cat", "a dog")])
    steps = 4

    def predictions() -> list[Tensor]:
        found: list[Tensor] = []
        for step in range(steps):
            x = torch.randn(1, channels, 8, 8, generator=torch.Generator().manual_seed(step))
            found += Denoise.answer([Denoise(model, x, 0.9 - step / 5, prompts)], context)[0]
        return found

    with torch.inference_mode(), context.models.borrow(model) as denoiser:
        pipeline, channels = denoiser.call.pipeline, denoiser.sampling.latent_channels
        calls: list[None] = []
        called = type(pipeline).__call__

        @wraps(called)
        def counted(*args: Any, **said: Any) -> Any:
            calls.append(None)
            return called(*args, **said)

        monkeypatch.setattr(type(pipeline), "__call__", counted)
        repeated = predictions()
        assert len(calls) < 2 * steps
        assert len(calls) == len(denoiser.call._traces)  # of one prediction, the prompts together or one by one
        monkeypatch.setattr(pipeline_call, "record", lambda function, *given: (function(*given), None))
        denoiser.call._traces.clear()
        calls.clear()
        whole = predictions()
        assert len(calls) >= steps
    assert all(torch.equal(one, other) for one, other in zip(repeated, whole, strict=True))
