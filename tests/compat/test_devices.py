"""Which dtypes packs are told of: those that models compute in by the options and the device."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mezzotint.plugins.compat import surroundings
from mezzotint.plugins.compat.shims import devices
from mezzotint.plugins.host import Host, Settings


@pytest.fixture
def with_options(monkeypatch: pytest.MonkeyPatch) -> Any:
    """`with_options(dtype="float16")`: a host with these settings, which packs find."""
    opened: list[Host] = []

    def open_host(**options: Any) -> None:
        host = Host(Settings(device="cpu", **options))
        opened.append(host)
        monkeypatch.setattr(
            surroundings, "_host", [surroundings.Surroundings(host.registry, host.folders, host.models)]
        )

    yield open_host
    for host in opened:
        host.close()


def told() -> tuple[torch.dtype, ...]:
    return devices.unet_dtype(), devices.text_encoder_dtype(), devices.vae_dtype()


def test_on_the_cpu_everything_is_float32(with_options: Any) -> None:
    with_options()
    assert told() == (torch.float32,) * 3
    assert not devices.should_use_fp16()
    assert not devices.should_use_bf16()


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
@pytest.mark.parametrize("has_bfloat16", [True, False])
def test_on_a_gpu_files_of_half_precision_stay_so_but_for_the_vae(
    with_options: Any, monkeypatch: pytest.MonkeyPatch, device: str, has_bfloat16: bool
) -> None:
    from mezzotint.nodes.models import dtype_policy

    with_options()
    monkeypatch.setattr(dtype_policy, "_has_bfloat16", lambda device: has_bfloat16)
    assert devices.unet_dtype(device) == devices.text_encoder_dtype(torch.device(device)) == torch.float16
    assert devices.vae_dtype(device) == torch.float32
    assert devices.should_use_fp16(device)
    assert devices.should_use_bf16(device) is has_bfloat16


@pytest.mark.parametrize("device", [None, "cpu", "cuda"])
def test_the_options_go_before(with_options: Any, monkeypatch: pytest.MonkeyPatch, device: str | None) -> None:
    from mezzotint.nodes.models import dtype_policy

    monkeypatch.setattr(dtype_policy, "_has_bfloat16", lambda device: True)
    with_options(dtype="bfloat16", text_encoder_dtype="float16", vae_dtype="float16")
    assert devices.unet_dtype(device) == torch.bfloat16
    assert devices.text_encoder_dtype(device) == devices.vae_dtype(device) == torch.float16
    assert devices.should_use_bf16(device)
    assert not devices.should_use_fp16(device)
    with_options(dtype="float16")
    assert devices.unet_dtype(device) == torch.float16
    assert devices.should_use_fp16(device)
    assert not devices.should_use_bf16(device)
    with_options(dtype="float32")
    assert devices.unet_dtype(device) == torch.float32
    assert not devices.should_use_fp16(device)
