"""How torch runs in node bodies."""

from __future__ import annotations

import threading
from collections.abc import Callable

import torch

from mezzotint.engine.engine import Engine
from mezzotint.engine.expansion import GraphBuilder
from mezzotint.engine.node import node
from mezzotint.engine.run_result import RunResult
from mezzotint.nodes.inference import inference_scope


@node("OnCpu")
def on_cpu() -> str:
    return f"{torch.get_num_threads()} {torch.is_inference_mode_enabled()}"


@node("OnDevice", lane="device")
def on_device() -> str:
    return f"{torch.get_num_threads()} {torch.is_inference_mode_enabled()}"


@node("WithGradients", lane="device", autograd=True)
def with_gradients() -> str:
    return f"{torch.get_num_threads()} {torch.is_inference_mode_enabled()}"


def test_only_the_lane_of_the_device_computes_with_several_threads_and_gradients_are_off(
    make_engine: Callable[..., Engine], run: Callable[..., RunResult]
) -> None:
    usual = torch.get_num_threads()
    engine = make_engine(on_cpu, on_device, with_gradients, scope=inference_scope)
    g = GraphBuilder()
    nodes = [g.node(function) for function in (on_cpu, on_device, with_gradients)]
    result = run(engine, g, targets=[built.id for built in nodes])
    assert [result.value(built.id) for built in nodes] == ["1 True", f"{usual} True", f"{usual} False"]


def test_threads_of_others_keep_what_they_had(
    make_engine: Callable[..., Engine], run: Callable[..., RunResult]
) -> None:
    usual, seen = torch.get_num_threads(), []
    g = GraphBuilder()
    run(make_engine(on_cpu, scope=inference_scope), g, targets=[g.node(on_cpu).id])
    later = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    later.start()
    later.join()
    assert [torch.get_num_threads(), *seen] == [usual, usual]
