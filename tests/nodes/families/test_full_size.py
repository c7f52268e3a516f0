"""Checkpoints of full size load in the time of reading them and in the memory that they take, and sample."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .. import full_size

MEASURED = """
import json, sys, time
from pathlib import Path
import diffusers.loaders.single_file_utils
import torch
from mezzotint import Context
from mezzotint.engine.folders import Folders
from mezzotint.engine.request import drive
from mezzotint.engine.residency import Residency
from mezzotint.nodes.sampling import sampling_nodes
from mezzotint.nodes.autoencoders import vae
from mezzotint.nodes.models.checkpoints import load_checkpoint
from mezzotint.nodes.conditioning.conditioning import encode_text
from mezzotint.nodes.latents.latent import empty_latent_image

root = Path(sys.argv[1])
folders = Folders(root / "home", models=[root])
ctx = Context(folders=folders, models=Residency("cpu", folders=folders))

def use(name):
    checkpoint = load_checkpoint(name, ctx=ctx)
    seconds, halves = 0.0, []
    for recipe in checkpoint:
        began = time.perf_counter()
        with ctx.models.borrow(recipe) as borrowed:
            seconds += time.perf_counter() - began
            parts = [borrowed.first, borrowed.second] if hasattr(borrowed, "first") else [borrowed]
            parameters = [p for part in parts for p in part.network.parameters()]
            count = sum(p.numel() for p in parameters)
            halves.append(sum(p.numel() for p in parameters if p.dtype == torch.float16) / count)
    return checkpoint, seconds, halves

def draw(checkpoint):
    model, clip, decoder = checkpoint
    with torch.inference_mode():
        positive, negative = (encode_text(text, clip, ctx=ctx) for text in ("a cat", ""))
        body = sampling_nodes.ksampler(
            model, seed=1, steps=2, cfg=5.0, positive=positive, negative=negative,
            latent_image=empty_latent_image(128, 128), ctx=ctx,
        )
        picture = vae.vae_decode(drive(body, ctx), decoder, ctx=ctx)
    return list(picture.shape), bool(picture.isfinite().all())

def peak_nbytes():
    return int(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0]) * 1024

draw(load_checkpoint(ctx=ctx))  # everything is imported
ctx.models.clear()
load_checkpoint("big.safetensors", ctx=ctx)  # hashed, once
buffer = bytearray(1 << 24)
began = time.perf_counter()
with (root / "checkpoints" / "big.safetensors").open("rb", buffering=0) as file:
    while file.readinto(buffer):
        pass
reading = time.perf_counter() - began
open("/proc/self/clear_refs", "w").write("5")
before = peak_nbytes()
checkpoint, loading, halves = use("big.safetensors")
shape, is_finite = draw(checkpoint)
print(json.dumps({
    "reading_s": reading, "loading_s": loading, "peak_nbytes": peak_nbytes() - before, "halves": halves,
    "shape": shape, "is_finite": is_finite,
}))
"""


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is measured as Linux tells it")
@pytest.mark.parametrize("name", ["sd15", "sdxl"])
def test_a_checkpoint_of_full_size(name: str, tmp_path: Path) -> None:
    path = tmp_path / "checkpoints" / "big.safetensors"
    full_size.write(path, getattr(full_size, name)())
    nbytes = path.stat().st_size
    assert round(nbytes / 1e9, 1) == {"sd15": 2.1, "sdxl": 6.9}[name]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(tmp_path)], capture_output=True, text=True, check=False, env=environment
    )
    path.unlink()
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    sys.stderr.write(f"{name}: {found}\n")  # shown by -s
    assert min(found["halves"]) > 0.99
    assert found["loading_s"] <= 2 * found["reading_s"]
    assert found["peak_nbytes"] <= 1.2 * nbytes
    assert (found["shape"], found["is_finite"]) == ([1, 128, 128, 3], True)
