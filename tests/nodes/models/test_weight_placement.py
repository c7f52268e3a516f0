"""Weights that wait in main memory: outputs are the same to the bit, and no more than the budget is on the device.

There is no device beside the CPU here. What is "in main memory" is kept in a dtype that no layer can compute with, so a
weight that is used without being fetched is an error, as it would be on a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from mezzotint import Context
from mezzotint.engine.errors import OutOfMemoryError
from mezzotint.engine.folders import Folders
from mezzotint.engine.residency import Residency
from mezzotint.nodes.adapters.lora import load_lora_model_only
from mezzotint.nodes.adapters.lora_patch import LoraWeights
from mezzotint.nodes.families import diffusers_networks
from mezzotint.nodes.merging.merge import MergedWeights
from mezzotint.nodes.merging.merge_nodes import merge_blocks, merge_models
from mezzotint.nodes.models import weight_casting, weight_placement
from mezzotint.nodes.models.checkpoints import Checkpoint, load_checkpoint, load_three_clips
from mezzotint.nodes.models.weight_placement import WeightPlacement

from .. import tiny_models as tiny
from .. import tiny_pipelines
from ..families.test_separate_transformers import FILES, text_files, wide_t5
from ..lora_files import DENOISER, attention_layers, kohya, random_lora

UNET_NBYTES = 9_488_072 * 4


FAR = {torch.float32: torch.complex64, torch.float16: torch.float64}
"""What a dtype is kept as in main memory."""


@pytest.fixture(autouse=True)
def far(monkeypatch: pytest.MonkeyPatch) -> None:
    """Main memory is told from the device, and also small weights are moved."""
    near = {far: near for near, far in FAR.items()}

    def in_main_memory(tensor: Tensor, is_pinned: bool) -> Tensor:
        return tensor.to(FAR.get(tensor.dtype, tensor.dtype))

    def on_device(tensor: Tensor, device: torch.device) -> Tensor:
        return (tensor.real.contiguous() if tensor.is_complex() else tensor).to(near.get(tensor.dtype, tensor.dtype))

    monkeypatch.setattr(weight_placement, "SMALL", 4096)
    monkeypatch.setattr(weight_placement, "_in_main_memory", in_main_memory)
    monkeypatch.setattr(weight_placement, "_on_device", on_device)


class Watched(Residency):
    """Remembers the most that it held while something was borrowed."""

    most_nbytes = 0

    def borrow(self, recipe: Any) -> Any:
        return self._watching(super().borrow(recipe))

    @contextmanager
    def _watching(self, loan: Any) -> Iterator[Any]:
        with loan as borrowed:
            self.most_nbytes = max(self.most_nbytes, self.total_nbytes + self.working_nbytes)
            yield borrowed


def context(model_context: Context, budget_nbytes: int, host_nbytes: int = 1 << 30) -> Any:
    folders = model_context.folders
    return Context(folders=folders, models=Watched("cpu", budget_nbytes, folders, host_nbytes=host_nbytes))


def far_share(network: nn.Module) -> float:
    """How much of its numbers wait in main memory."""
    held = [(each.numel(), each.dtype in FAR.values()) for each in network.parameters()]
    return sum(count for count, is_far in held if is_far) / sum(count for count, _ in held)


def drawn(checkpoint: Checkpoint, ctx: Context) -> list[Tensor]:
    """What all three networks give, one after the other, twice."""
    found = []
    for _ in range(2):
        with ctx.models.borrow(checkpoint.CLIP) as encoder:
            tokens = encoder.encode("a red apple")[0][0]
        with ctx.models.borrow(checkpoint.MODEL) as denoiser, torch.inference_mode():
            x = torch.randn(1, 8, 8, 8, generator=torch.Generator().manual_seed(0))
            x = denoiser.predict(x, 3.0, tokens)
        with ctx.models.borrow(checkpoint.VAE) as autoencoder, torch.inference_mode():
            found += [tokens, x, autoencoder.decode(x)]
    return found


@pytest.mark.parametrize("share", [1.05, 0.6, 0.2])
def test_what_was_moved_away_or_is_only_there_in_part_gives_the_same_bits(
    model_context: Context, embedded: Checkpoint, share: float
) -> None:
    budget = int(UNET_NBYTES * share)
    ctx = context(model_context, budget)
    found = drawn(embedded, ctx)
    assert all(map(torch.equal, found, drawn(embedded, model_context)))
    assert 0 < ctx.models.most_nbytes <= budget
    kinds = {each.recipe.kind: each for each in ctx.models.residents()}
    assert kinds.keys() == {"model", "clip", "vae"}  # none was read a second time
    assert kinds["model"].nbytes < UNET_NBYTES
    with ctx.models.borrow(embedded.MODEL) as denoiser:
        far = far_share(denoiser.network)
    assert far == 0 if share > 1 else 1 - share <= far < 1


def test_a_model_that_does_not_fit_in_part_is_refused_in_a_sentence(
    model_context: Context, embedded: Checkpoint
) -> None:
    ctx = context(model_context, 1 << 20)
    with pytest.raises(OutOfMemoryError) as refusal, ctx.models.borrow(embedded.MODEL):
        pass
    assert str(refusal.value).startswith("loading the unet of the checkpoint 'mezzotint-emoji' needs about ")
    assert "; use a smaller model, or one in a narrower dtype, or free some memory" in str(refusal.value)
    assert ctx.models.total_nbytes == 0


def test_a_model_is_refused_where_there_is_no_other_memory(model_context: Context, embedded: Checkpoint) -> None:
    ctx = context(model_context, UNET_NBYTES // 2, host_nbytes=0)
    with pytest.raises(OutOfMemoryError, match=r"needs about 38\.0 MB"), ctx.models.borrow(embedded.MODEL):
        pass


@pytest.fixture(scope="module")
def with_lora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("placement")
    folders = Folders(root / "home", models=[root / "models"])
    ctx = Context(folders=folders, models=Residency("cpu", folders=folders))
    with ctx.models.borrow(load_checkpoint(ctx=ctx).MODEL) as denoiser:
        tensors = kohya(DENOISER, random_lora(attention_layers(denoiser.network)))
    (root / "models" / "loras").mkdir(parents=True)
    save_file(tensors, root / "models" / "loras" / "random.safetensors")
    return root


@pytest.mark.parametrize("size", [8, 32])  # few tokens go beside a layer, many through its merged weight
def test_adapters_see_weights_that_are_fetched(with_lora: Path, size: int) -> None:
    folders = Folders(with_lora / "home", models=[with_lora / "models"])
    found = []
    for budget in (1 << 30, int(UNET_NBYTES * 0.8)):
        ctx = Context(folders=folders, models=Watched("cpu", budget, folders, host_nbytes=1 << 30))
        base = load_checkpoint(ctx=ctx).MODEL
        model = load_lora_model_only(base, "random.safetensors", 0.8, ctx=ctx)
        x = torch.ones(1, 8, size, size)
        with torch.inference_mode():
            for recipe in (base, model, base):
                with ctx.models.borrow(recipe) as denoiser:
                    tokens = torch.ones(1, 77, denoiser.conditioning_width)
                    found.append(denoiser.predict(x, 3.0, tokens))
        if budget < UNET_NBYTES:
            assert far_share(denoiser.network) > 0.1
    plain, patched, again = found[:3]
    assert torch.equal(plain, again)
    assert not torch.allclose(plain, patched)
    assert all(map(torch.equal, found[:3], found[3:]))


def waiting(ctx: Any, kind: str) -> int:
    """How many bytes of the one resident of a kind wait in main memory."""
    (found,) = (each for each in ctx.models.residents() if each.recipe.kind == kind)
    return int(found.offloaded_nbytes)


@pytest.mark.parametrize("kind", ["lora", "merged"])
def test_adapters_and_merges_wait_in_main_memory_too(
    with_lora: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = Folders(with_lora / "home", models=[with_lora / "models"])
    ctx = Context(folders=folders, models=Residency("cpu", 1 << 30, folders, host_nbytes=1 << 30))
    base = load_checkpoint(ctx=ctx).MODEL
    model = load_lora_model_only(base, "random.safetensors", 0.8, ctx=ctx)
    model = merge_models(base, model, 0.3) if kind == "merged" else model

    def predicted() -> Tensor:
        with ctx.models.borrow(model) as denoiser, torch.inference_mode():
            found: Tensor = denoiser.predict(
                torch.ones(1, 8, 8, 8), 3.0, torch.ones(1, 77, denoiser.conditioning_width)
            )
            return found

    first = predicted()
    ctx.models.reserve(ctx.models.budget_nbytes, "making it wait")
    assert waiting(ctx, kind) > 0
    assert ctx.models.total_nbytes == 0
    loader = LoraWeights if kind == "lora" else MergedWeights
    monkeypatch.setattr(loader, "load", None)  # it is not read or made again
    assert torch.equal(predicted(), first)
    assert waiting(ctx, kind) == 0


def test_a_mixture_that_shares_weights_is_made_anew(with_lora: Path) -> None:
    """Else what it shares would stay on the device for its sake."""
    folders = Folders(with_lora / "home", models=[with_lora / "models"])
    ctx = Context(folders=folders, models=Residency("cpu", 1 << 30, folders, host_nbytes=1 << 30))
    base = load_checkpoint(ctx=ctx).MODEL
    model = merge_blocks(base, load_lora_model_only(base, "random.safetensors", 0.8, ctx=ctx), 1.0, 0.5, 1.0)
    with ctx.models.borrow(model):
        pass
    ctx.models.reserve(ctx.models.budget_nbytes, "making it wait")
    assert {each.recipe.kind: each.offloaded_nbytes > 0 for each in ctx.models.residents()} == {
        "model": True, "lora": True
    }  # fmt: skip


def test_weights_kept_in_half_precision_are_fetched_and_then_widened(
    model_context: Context, embedded: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = drawn(embedded, model_context)
    monkeypatch.setattr(diffusers_networks, "SMALL_NBYTES", 0)
    monkeypatch.setattr(weight_casting, "SMALL", 4096)
    ctx = context(model_context, int(UNET_NBYTES * 0.3))
    assert all(map(torch.equal, drawn(embedded, ctx), expected))
    with ctx.models.borrow(embedded.MODEL) as denoiser:
        assert far_share(denoiser.network) > 0.2


def test_weights_make_way_for_the_work(model_context: Context, embedded: Checkpoint) -> None:
    """A picture whose forwards need more than is left beside the weights."""
    from mezzotint.nodes.sampling.guidance import BasicGuider
    from mezzotint.nodes.sampling.sampling_driver import prepare_model

    with model_context.models.borrow(embedded.MODEL) as denoiser:
        shape = (1, 8, 64, 64)
        nbytes = denoiser.estimate_nbytes(shape)
    ctx = context(model_context, UNET_NBYTES + nbytes // 2)
    with ctx.models.borrow(embedded.MODEL):
        pass
    guider = BasicGuider(embedded.MODEL, [[torch.ones(1, 77, 256), {}]])
    prepared = prepare_model(ctx, guider, shape)
    with prepared.room, ctx.models.borrow(embedded.MODEL) as denoiser:
        assert 0 < far_share(denoiser.network) < 1
        assert ctx.models.total_nbytes + nbytes <= ctx.models.budget_nbytes
    with ctx.models.borrow(embedded.MODEL):
        assert ctx.models.working_nbytes == 0


def test_text_encoders_of_a_pipeline_share_what_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weight_placement, "SMALL", 64)
    torch.manual_seed(0)
    tiny_pipelines.drawn("sd3").save_pretrained(tmp_path / "models" / "checkpoints" / "sd3")
    folders = Folders(tmp_path / "home", models=[tmp_path / "models"])
    found = []
    for budget in (1 << 30, 12_930_000):
        ctx = Context(folders=folders, models=Watched("cpu", budget, folders, host_nbytes=1 << 30))
        clip = load_checkpoint("sd3", ctx=ctx).CLIP
        for _ in range(2):
            with ctx.models.borrow(clip) as encoder, torch.inference_mode():
                tokens, options = encoder.encode("a cat")[0]
                found += [tokens, options["pooled_output"]]
                resident = ctx.models.residents()[0]
            with ctx.models.reserve(11_900_000, "making it wait"):
                assert (ctx.models.residents()[0].nbytes == 0) is (budget < 1 << 30)
    assert resident.offloaded_nbytes > 0
    assert all(torch.equal(each, found[k % 2]) for k, each in enumerate(found))


def test_text_encoders_from_files_of_their_own_share_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weight_placement, "SMALL", 128)
    torch.manual_seed(0)
    pipeline = tiny_pipelines.sd3()
    pipeline.register_modules(text_encoder_2=tiny.text_encoder(64, 3, 32, activation="gelu"))
    pipeline.text_encoder_3, pipeline.tokenizer_3 = wide_t5(96)
    names = text_files(pipeline, FILES, tmp_path)
    folders = Folders(tmp_path / "home", models=[tmp_path])
    found: list[Tensor] = []
    here: list[int] = []
    for share in (1.0, 0.995):
        budget = int(here[0] * share) if here else 1 << 30
        ctx = Context(folders=folders, models=Watched("cpu", budget, folders, host_nbytes=1 << 30))
        clip = load_three_clips(*names, ctx=ctx)
        for _ in range(2):
            with ctx.models.borrow(clip) as encoder, torch.inference_mode():
                found.append(encoder.encode("a cat")[0][0])
                (resident,) = ctx.models.residents()
                networks = [getattr(encoder.pipeline, name) for name in FILES.values()]
                tensors = {id(each): each for network in networks for each in network.parameters()}
            with ctx.models.reserve(budget - 1, "making it wait"):
                assert ctx.models.residents()[0].nbytes == 0
        here.append(resident.nbytes)
        assert ctx.models.most_nbytes <= budget
    assert sum(each.nbytes for each in tensors.values() if each.dtype not in FAR.values()) <= here[1] < here[0]
    assert resident.offloaded_nbytes == here[0] - here[1]
    assert all(torch.equal(each, found[0]) for each in found)


def test_the_first_layers_stay_and_the_account_has_room_for_the_largest_that_is_fetched() -> None:
    network = nn.Sequential(*(nn.Linear(100, 100, bias=False) for _ in range(4))).requires_grad_(False)
    placement = WeightPlacement(network, torch.device("cpu"), 160_000, None)
    assert placement.least_nbytes == 40_000
    assert placement.to_device(130_000) == 120_000
    assert [each.dtype in FAR.values() for each in network.parameters()] == [False, False, True, True]
    assert network(torch.ones(1, 100)).dtype == torch.float32
    assert placement.to_device(160_000) == 160_000
    assert far_share(network) == 0
    placement.to_host()
    assert far_share(network) == 1
