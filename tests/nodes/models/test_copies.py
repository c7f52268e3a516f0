"""How weights are copied between main memory and a GPU, told by stand-ins for tensors: there is no GPU here.

Copies to the GPU need not be waited for, since they and what computes with them are on one stream, the device's default
one, whichever thread asks; out of memory that torch pinned, which it does not give to others before they are done.
Copies from the GPU are waited for: main memory is read by the processor, in no stream's order.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from mezzotint.nodes.models import weight_placement
from mezzotint.nodes.models.weight_placement import WeightPlacement, WholePlacement, _in_main_memory, _on_device

GPU = torch.device("cuda:0")


@dataclass
class Standin:
    """A tensor. told: the copies that were made of it."""

    device: torch.device
    pinned: bool = False
    told: list[str] = field(default_factory=list)

    def is_pinned(self) -> bool:
        return self.pinned

    def to(self, device: Any, non_blocking: bool = False) -> Standin:
        self.told.append(f"to {torch.device(device).type}{'' if non_blocking else ', waited for'}")
        return Standin(torch.device(device), told=self.told)

    def copy_(self, source: Standin, non_blocking: bool = False) -> Standin:
        self.told.append(f"from {source.device.type} into {'pinned' if self.pinned else 'pageable'}"
                         f"{'' if non_blocking else ', waited for'}")  # fmt: skip
        return self


@pytest.fixture
def pins(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether the system still pins memory."""
    pins = [True]

    def empty_like(tensor: Standin, device: str, pin_memory: bool) -> Standin:
        if not pins[0]:
            raise RuntimeError("CUDA error: out of memory")
        return Standin(torch.device(device), pin_memory, tensor.told)

    monkeypatch.setattr(torch, "empty_like", empty_like)
    return pins


def test_copies_to_the_gpu_need_not_be_waited_for() -> None:
    tensor: Any = Standin(torch.device("cpu"), pinned=True)
    assert _on_device(tensor, GPU).device == GPU
    assert tensor.told == ["to cuda"]


def test_copies_from_the_gpu_go_into_pinned_memory_and_are_waited_for(pins: list[bool]) -> None:
    tensor: Any = Standin(GPU)
    assert _in_main_memory(tensor, is_pinned=True).is_pinned()
    assert tensor.told == ["from cuda into pinned, waited for"]


def test_what_is_pinned_is_not_copied_and_what_is_not_is_pinned(pins: list[bool]) -> None:
    there: Any = Standin(torch.device("cpu"), pinned=True)
    _in_main_memory(there, is_pinned=True)
    mapped: Any = Standin(torch.device("cpu"))
    assert _in_main_memory(mapped, is_pinned=True).is_pinned()
    assert (there.told, mapped.told) == (["to cpu, waited for"], ["from cpu into pinned, waited for"])


def test_where_no_more_can_be_pinned_memory_is_pageable(pins: list[bool]) -> None:
    pins[0] = False
    tensor: Any = Standin(GPU)
    assert not _in_main_memory(tensor, is_pinned=True).is_pinned()
    assert tensor.told == ["to cpu, waited for"]


@pytest.mark.parametrize(("device", "free", "is_pinned"), [(GPU, 801, True), (GPU, 800, False), ("cpu", 10**9, False)])
@pytest.mark.parametrize("placement", [WeightPlacement, WholePlacement])
def test_memory_is_pinned_for_a_gpu_and_where_there_is_twice_as_much(
    device: Any, free: int, is_pinned: bool, placement: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(weight_placement, "free_nbytes", lambda device: free)
    monkeypatch.setattr(
        weight_placement, "_in_main_memory", lambda tensor, is_pinned: (asked.append(is_pinned), tensor)[1]
    )
    network = torch.nn.Linear(10, 10, bias=False)
    if placement is WeightPlacement:
        WeightPlacement(network, torch.device(device), 400, None).to_host()
    else:
        WholePlacement(network.parameters(), torch.device(device), 400).to_host()
    assert asked == [is_pinned]
