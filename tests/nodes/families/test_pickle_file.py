"""Pickles: refused unless allowed, and then weights alone are taken from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mezzotint import Context
from mezzotint.engine.errors import ModelFileError
from mezzotint.engine.folders import Folders
from mezzotint.engine.residency import Residency
from mezzotint.nodes.models.checkpoints import load_checkpoint
from mezzotint.nodes.models.pickle_file import PickleSwitch, read_pickle
from mezzotint.nodes.sampling.model_sampling import model_sampling
from mezzotint.plugins.host import Host, Settings

from .. import ldm_layout as ldm
from .. import single_files
from .test_single_file import assert_equal


@pytest.fixture
def allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PickleSwitch, "is_on", True)


@pytest.fixture
def ctx(tmp_path: Path) -> Context:
    folders = Folders(tmp_path / "home", models=[tmp_path])
    (tmp_path / "checkpoints").mkdir()
    return Context(folders=folders, models=Residency("cpu", folders=folders))


def tensors(family: single_files.Family) -> dict[str, Any]:
    parts = {single_files.UNET: ldm.unet_tensors(family.unet), single_files.VAE: ldm.vae_tensors(family.vae)}
    for prefix, network in family.text.items():
        is_open_clip = prefix.endswith(".model.")
        parts[prefix] = (ldm.open_clip_tensors if is_open_clip else ldm.clip_tensors)(network)
    return {f"{prefix}{name}": tensor for prefix, part in parts.items() for name, tensor in part.items()}


@pytest.mark.parametrize("form", ["of today", "old", "with what training was busy with"])
@pytest.mark.parametrize("name", ["sd1", "sd2-v"])
def test_a_checkpoint_is_read_where_pickles_are_allowed(
    allowed: None, ctx: Context, tmp_path: Path, form: str, name: str
) -> None:
    torch.manual_seed(0)
    family = single_files.FAMILIES[name]()
    content: Any = tensors(family)
    if form.startswith("with"):
        content = {"state_dict": content, "global_step": 470000, "epoch": 3}
    path = tmp_path / "checkpoints" / "old.ckpt"
    torch.save(content, path, _use_new_zipfile_serialization=form != "old")
    model, clip, vae = load_checkpoint("old.ckpt", ctx=ctx)
    with ctx.models.borrow(model) as denoiser, ctx.models.borrow(vae) as autoencoder:
        assert_equal(denoiser.network, family.unet)
        assert_equal(autoencoder.network, family.vae)
    with ctx.models.borrow(clip) as encoder:
        assert_equal(encoder.network, next(iter(family.text.values())))
    assert model_sampling(model, ctx).prediction_type == family.prediction_type


def test_it_is_refused_by_a_sentence_that_names_the_switch(ctx: Context, tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(1)}, tmp_path / "checkpoints" / "old.ckpt")
    with pytest.raises(ModelFileError, match=r"is a pickle \(\.ckpt\).* takes weights only: --allow-pickles"):
        load_checkpoint("old.ckpt", ctx=ctx)


def test_code_in_a_pickle_is_not_run(allowed: None, ctx: Context, tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "run",)

    torch.save({"weight": torch.ones(1), "more": Attack()}, tmp_path / "checkpoints" / "bad.ckpt")
    with pytest.raises(ModelFileError, match="cannot be read as weights alone"):
        load_checkpoint("bad.ckpt", ctx=ctx)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("content", [b"", b"nothing at all", b"\x80\x02"])
def test_a_damaged_pickle(allowed: None, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "torn.pt").write_bytes(content)
    with pytest.raises(ModelFileError, match="cannot be read as weights alone"):
        read_pickle(tmp_path / "torn.pt")


@pytest.mark.parametrize("wrapper", ["params_ema", "params", "model", "net"])
def test_weights_are_found_where_trainers_of_upscale_models_put_them(
    allowed: None, tmp_path: Path, wrapper: str
) -> None:
    torch.save({wrapper: {"weight": torch.ones(1)}, "iter": torch.ones(1)}, tmp_path / "a.pth")
    assert read_pickle(tmp_path / "a.pth").keys() == {"weight"}


def test_a_pickle_of_something_else(allowed: None, tmp_path: Path) -> None:
    torch.save([1, 2, 3], tmp_path / "list.pt")
    with pytest.raises(ModelFileError, match="holds no weights"):
        read_pickle(tmp_path / "list.pt")


def test_a_host_allows_them_by_its_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(PickleSwitch, "is_on", False)
    with Host(Settings(home=tmp_path)):
        assert not PickleSwitch.is_on
    with Host(Settings(home=tmp_path, allow_pickles=True)):
        assert PickleSwitch.is_on
