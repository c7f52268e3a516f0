"""Which dtype networks compute in."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mezzotint import Context
from mezzotint.engine.residency import Residency
from mezzotint.nodes.models.checkpoints import Checkpoint
from mezzotint.nodes.models.dtype_policy import COMPUTED_IN, DevicePowers, computation_dtype, powers_of
from mezzotint.nodes.models.weights_file import DTYPES

CPU, NEW_GPU, OLD_GPU = DevicePowers("cpu", True), DevicePowers("cuda", True), DevicePowers("cuda", False)
DOCS = Path(__file__).parents[3] / "docs" / "models.md"


@pytest.mark.parametrize("found", COMPUTED_IN)
def test_a_cpu_computes_in_float32(found: str) -> None:
    assert computation_dtype(found, CPU) == "float32"


@pytest.mark.parametrize(
    ("found", "powers", "dtype"),
    [
        ("float16", NEW_GPU, "float16"),
        ("bfloat16", NEW_GPU, "bfloat16"),
        ("float8_e4m3fn", NEW_GPU, "bfloat16"),
        ("float32", NEW_GPU, "float32"),
        ("float64", OLD_GPU, "float32"),
        ("float16", OLD_GPU, "float16"),
        ("bfloat16", OLD_GPU, "float32"),
        ("float8_e5m2", OLD_GPU, "float16"),
        ("bfloat16", DevicePowers("mps", False), "float32"),
    ],
)
def test_a_gpu_computes_as_the_file_is_where_it_can(found: str, powers: DevicePowers, dtype: str) -> None:
    assert computation_dtype(found, powers) == dtype


@pytest.mark.parametrize("found", ["float16", "float8_e4m3fn"])
def test_what_overflows_in_float16_gets_float32(found: str) -> None:
    assert computation_dtype(found, OLD_GPU, avoids_half=True) == "float32"
    assert computation_dtype("bfloat16", NEW_GPU, avoids_half=True) == "bfloat16"


@pytest.mark.parametrize("powers", [CPU, NEW_GPU, OLD_GPU])
def test_what_the_user_says_goes_before(powers: DevicePowers) -> None:
    assert computation_dtype("float32", powers, "float16", avoids_half=True) == "float16"


def test_every_dtype_that_files_have_is_in_the_table() -> None:
    assert COMPUTED_IN.keys() == set(DTYPES.values())


def test_the_documentation_has_the_table() -> None:
    rows = [line.strip("| ").split(" | ") for line in DOCS.read_text().splitlines() if line.startswith("| ")]
    said = {row[0]: tuple(row[1:]) for row in rows if len(row) == 4}
    for found, computed in COMPUTED_IN.items():
        name = "8 bits" if "float8" in found else next(row for row in said if found in row.split(", "))
        assert said[name] == computed


def test_powers_of_the_cpu() -> None:
    assert powers_of(torch.device("cpu")).kind == "cpu"


def test_networks_compute_in_what_the_user_says(embedded: Checkpoint, model_context: Context) -> None:
    models = Residency("cpu", folders=model_context.folders, dtypes={"model": "bfloat16", "clip": "float16"})
    with models.borrow(embedded.MODEL) as denoiser, models.borrow(embedded.VAE) as autoencoder:
        assert denoiser.dtype == torch.bfloat16
        assert {parameter.dtype for parameter in denoiser.network.parameters()} == {torch.bfloat16}
        assert autoencoder.dtype == torch.float32
        x = torch.randn(1, 8, 8, 8)
        tokens = torch.randn(1, 77, denoiser.conditioning_width)
        with model_context.models.borrow(embedded.MODEL) as exact:
            expected = exact.predict(x, 1.0, tokens)
        assert torch.allclose(denoiser.predict(x, 1.0, tokens), expected, atol=0.1)
    with models.borrow(embedded.CLIP) as text_encoder:
        assert {parameter.dtype for parameter in text_encoder.network.parameters()} == {torch.float16}
