"""Hypernetworks: x + strength * network(x) before the keys and values of attention, and gone without a trace."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from mezzotint import Context
from mezzotint.engine.errors import ModelFileError
from mezzotint.engine.folders import Folders
from mezzotint.engine.residency import Residency
from mezzotint.engine.value_type import pack, unpack
from mezzotint.nodes.adapters import lora as loras
from mezzotint.nodes.adapters.hypernetwork import load_hypernetwork
from mezzotint.nodes.conditioning.conditioning import encode_text
from mezzotint.nodes.models.checkpoints import Checkpoint, load_checkpoint
from mezzotint.nodes.models.network_names import DENOISER
from mezzotint.nodes.models.pickle_file import PickleSwitch
from mezzotint.nodes.models.recipe import PATCHED_NBYTES
from mezzotint.nodes.sampling.denoise import Denoise

Networks = Mapping[int, tuple[nn.Sequential, nn.Sequential]]
SIGMA = 3.0


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Context:
    root = tmp_path_factory.mktemp("hypernetwork")
    for kind in ("hypernetworks", "loras"):
        (root / "models" / kind).mkdir(parents=True)
    folders = Folders(root / "home", models=[root / "models"])
    return Context(folders=folders, models=Residency("cpu", folders=folders))


@pytest.fixture(scope="module")
def checkpoint(context: Context) -> Checkpoint:
    return load_checkpoint(ctx=context)


@pytest.fixture(scope="module")
def widths(checkpoint: Checkpoint, context: Context) -> set[int]:
    """What attention of the embedded model reads: its text, and its own widths."""
    with context.models.borrow(checkpoint.MODEL) as denoiser:
        return {layer.in_features for name, layer in denoiser.network.named_modules() if name.endswith(".to_k")}


@pytest.fixture
def folder(context: Context, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That of hypernetworks; pickles are allowed."""
    monkeypatch.setattr(PickleSwitch, "is_on", True)
    return context.folders.model_folders("hypernetworks")[0]


def networks(widths: set[int], make: Callable[[int], nn.Sequential], seed: int = 1) -> Networks:
    generator = torch.Generator().manual_seed(seed)
    made = {width: (make(width), make(width)) for width in sorted(widths)}
    for pair in made.values():
        for network in pair:
            network.requires_grad_(False).eval()
            for parameter in network.parameters():
                parameter.data = torch.randn(parameter.shape, generator=generator) * 0.1
    return made


def plain(width: int) -> nn.Sequential:
    """Two layers, one after the other."""
    return nn.Sequential(nn.Linear(width, 2 * width), nn.Linear(2 * width, width))


def rich(width: int) -> nn.Sequential:
    """What is in between takes places in the names of tensors; the last layer has no activation here."""
    norms = [nn.LayerNorm(wide) for wide in (3 * width, 2 * width, width)]
    return nn.Sequential(
        nn.Linear(width, 3 * width), nn.ReLU(), norms[0], nn.Linear(3 * width, 2 * width), nn.ReLU(), norms[1],
        nn.Dropout(0.3), nn.Linear(2 * width, width), norms[2],
    )  # fmt: skip


def active(width: int) -> nn.Sequential:
    """With an activation behind the last layer, too."""
    return nn.Sequential(nn.Linear(width, 2 * width), nn.Hardswish(), nn.Linear(2 * width, width), nn.Hardswish())


def published(made: Networks, **words: Any) -> dict[Any, Any]:
    """As the code that trains them saves it."""
    states = {
        width: [{f"linear.{key}": each for key, each in network.state_dict().items()} for network in pair]
        for width, pair in made.items()
    }
    return {**states, "step": 100, "name": "mine", "sd_checkpoint": None, **words}


def predicted(model: Any, checkpoint: Checkpoint, context: Context) -> Tensor:
    prompt = encode_text("a red apple", checkpoint.CLIP, ctx=context)
    x = torch.randn(1, 8, 8, 8, generator=torch.Generator().manual_seed(3)) * SIGMA
    with torch.inference_mode():
        ((made,),) = Denoise.answer([Denoise(model, x, SIGMA, (prompt,))], context)
    return made


class Behind(nn.Module):
    """A layer of attention behind a network, as the format means it."""

    def __init__(self, layer: nn.Module, network: nn.Module, strength: float) -> None:
        super().__init__()
        self.layer, self.network, self.strength = layer, network, strength

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.layer(x + self.strength * self.network(x))
        return made


def expected(made: Networks, strength: float, checkpoint: Checkpoint, context: Context) -> Tensor:
    """Of a copy of the whole model, with the networks inside."""
    prompt = encode_text("a red apple", checkpoint.CLIP, ctx=context)
    x = torch.randn(1, 8, 8, 8, generator=torch.Generator().manual_seed(3)) * SIGMA
    with context.models.borrow(checkpoint.MODEL) as denoiser, torch.inference_mode(False):
        network = deepcopy(denoiser.network)
        for attention in [each for name, each in network.named_modules() if name.endswith(("attn1", "attn2"))]:
            keys, values = made[attention.to_k.in_features]
            attention.to_k = Behind(attention.to_k, keys, strength)
            attention.to_v = Behind(attention.to_v, values, strength)
        with torch.no_grad():
            return denoiser.with_networks({DENOISER: network}).predict(x, SIGMA, prompt[0][0])


def error(actual: Tensor, wanted: Tensor) -> float:
    return float((actual - wanted).norm() / wanted.norm())


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (plain, {}),
        (plain, {"layer_structure": [1, 2, 1], "activation_func": "linear", "is_layer_norm": False}),
        (rich, {"layer_structure": [1, 3, 2, 1], "activation_func": "relu", "is_layer_norm": True,
                "activate_output": False, "use_dropout": True, "dropout_structure": [0, 0, 0.3, 0]}),
        (active, {"activation_func": "swish", "activate_output": True, "weight_initialization": "Normal"}),
        (active, {"activation_func": "swish"}),
    ],
)  # fmt: skip
def test_it_is_what_the_format_means(
    make: Callable[[int], nn.Sequential], words: dict[str, Any], checkpoint: Checkpoint, context: Context,
    widths: set[int], folder: Path,
) -> None:  # fmt: skip
    made = networks(widths, make)
    torch.save(published(made, **words), folder / "mine.pt")
    model = load_hypernetwork(checkpoint.MODEL, "mine.pt", 0.7, ctx=context)
    ours = predicted(model, checkpoint, context)
    assert error(ours, expected(made, 0.7, checkpoint, context)) < 1e-5
    assert error(ours, predicted(checkpoint.MODEL, checkpoint, context)) > 0.01


def test_one_without_activation_is_a_product_of_weights(
    checkpoint: Checkpoint, context: Context, widths: set[int], folder: Path
) -> None:
    """W (x + s B A x) = (W + s W B A) x: a closed form, as a LoRA in whole differences."""
    made = networks(widths, lambda width: nn.Sequential(nn.Linear(width, width), nn.Linear(width, width)))
    for pair in made.values():
        for layer in (layer for network in pair for layer in network):
            layer.bias.data.zero_()
    torch.save(published(made), folder / "product.pt")
    with context.models.borrow(checkpoint.MODEL) as denoiser, torch.inference_mode(False):
        network = deepcopy(denoiser.network)
        for name, layer in network.named_modules():
            if name.endswith((".to_k", ".to_v")):
                first, second = made[layer.in_features][name.endswith(".to_v")]
                layer.weight.data += -0.5 * layer.weight @ second.weight @ first.weight
        other = denoiser.with_networks({DENOISER: network})
        prompt = encode_text("a red apple", checkpoint.CLIP, ctx=context)
        x = torch.randn(1, 8, 8, 8, generator=torch.Generator().manual_seed(3)) * SIGMA
        with torch.no_grad():
            theirs = other.predict(x, SIGMA, prompt[0][0])
    model = load_hypernetwork(checkpoint.MODEL, "product.pt", -0.5, ctx=context)
    assert error(predicted(model, checkpoint, context), theirs) < 1e-5


def test_it_goes_without_a_trace(checkpoint: Checkpoint, context: Context, widths: set[int], folder: Path) -> None:
    torch.save(published(networks(widths, plain)), folder / "once.pt")
    model = load_hypernetwork(checkpoint.MODEL, "once.pt", ctx=context)
    before, on, after, again = (
        predicted(each, checkpoint, context) for each in (checkpoint.MODEL, model, checkpoint.MODEL, model)
    )
    assert torch.equal(before, after)
    assert torch.equal(on, again)
    assert not torch.equal(before, on)
    assert load_hypernetwork(checkpoint.MODEL, "once.pt", 0.0, ctx=context) is checkpoint.MODEL
    assert unpack(pack(model)) == model


def test_the_weights_are_accounted_for(
    context: Context, checkpoint: Checkpoint, widths: set[int], folder: Path
) -> None:
    made = networks(widths, plain)
    torch.save(published(made), folder / "counted.pt")
    model = load_hypernetwork(checkpoint.MODEL, "counted.pt", ctx=context)
    models = Residency("cpu", folders=context.folders)
    with models.borrow(checkpoint.MODEL):
        alone = models.total_nbytes
    with models.borrow(model), models.borrow(model.with_patch(model.patches[0])):
        nbytes = sum(each.nbytes for pair in made.values() for network in pair for each in network.parameters())
        assert models.total_nbytes - alone == nbytes + 2 * PATCHED_NBYTES  # both share the networks


def test_two_see_each_what_the_one_before_gives(
    checkpoint: Checkpoint, context: Context, widths: set[int], folder: Path
) -> None:
    first, second = networks(widths, plain, 1), networks(widths, active, 2)
    torch.save(published(first), folder / "first.pt")
    torch.save(published(second, activation_func="swish"), folder / "second.pt")
    model = load_hypernetwork(checkpoint.MODEL, "first.pt", 0.5, ctx=context)
    model = load_hypernetwork(model, "second.pt", 0.5, ctx=context)

    class Both(nn.Module):
        def __init__(self, pair: tuple[nn.Module, nn.Module]) -> None:
            super().__init__()
            self.pair = nn.ModuleList(pair)

        def forward(self, x: Tensor) -> Tensor:
            reached = x + 0.5 * self.pair[0](x)
            return reached + 0.5 * self.pair[1](reached) - x

    together: Any = {width: [*map(Both, zip(first[width], second[width], strict=True))] for width in widths}
    assert error(predicted(model, checkpoint, context), expected(together, 1.0, checkpoint, context)) < 1e-5


def test_with_a_lora_either_way_round(checkpoint: Checkpoint, context: Context, widths: set[int], folder: Path) -> None:
    torch.save(published(networks(widths, plain)), folder / "with.pt")
    with context.models.borrow(checkpoint.MODEL) as denoiser:
        layers = {
            name: layer.weight.shape for name, layer in denoiser.network.named_modules() if name.endswith(".to_k")
        }
    generator = torch.Generator().manual_seed(5)
    tensors = {}
    for name, (wide, width) in layers.items():
        tensors[f"unet.{name}.lora_A.weight"] = torch.randn(2, width, generator=generator) * 0.1
        tensors[f"unet.{name}.lora_B.weight"] = torch.randn(wide, 2, generator=generator) * 0.1
    save_file(tensors, context.folders.model_folders("loras")[0] / "small.safetensors")
    model = checkpoint.MODEL
    inner = load_hypernetwork(
        loras.load_lora_model_only(model, "small.safetensors", ctx=context), "with.pt", ctx=context
    )
    outer = loras.load_lora_model_only(
        load_hypernetwork(model, "with.pt", ctx=context), "small.safetensors", ctx=context
    )
    ours, same, alone = (
        predicted(each, checkpoint, context)
        for each in (inner, outer, load_hypernetwork(model, "with.pt", ctx=context))
    )
    assert error(ours, same) < 1e-6
    assert error(ours, alone) > 1e-3


# files


def test_older_names_and_safetensors(checkpoint: Checkpoint, context: Context, widths: set[int], folder: Path) -> None:
    made = networks(widths, active)
    words = {"activation_func": "swish", "activate_output": "True"}
    torch.save(published(made, **words), folder / "today.pt")
    flat = {
        f"{width}.{place}.linear.{key}": each
        for width, pair in made.items()
        for place, network in enumerate(pair)
        for key, each in network.state_dict().items()
    }
    save_file(flat, folder / "flat.safetensors", metadata=words)
    names = {"0": "linear1", "2": "linear2"}
    older = {
        width: tuple(
            {f"{names[key.split('.')[0]]}.{key.split('.')[1]}": each for key, each in network.state_dict().items()}
            for network in pair
        )
        for width, pair in made.items()
    }
    torch.save({**older, **words}, folder / "older.pt")
    drawn = [
        predicted(load_hypernetwork(checkpoint.MODEL, name, ctx=context), checkpoint, context)
        for name in ("today.pt", "flat.safetensors", "older.pt")
    ]
    assert torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn[0], drawn[2])


def test_a_pickle_is_refused_unless_it_is_allowed(
    checkpoint: Checkpoint, context: Context, widths: set[int], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(published(networks(widths, plain)), folder / "refused.pt")
    monkeypatch.setattr(PickleSwitch, "is_on", False)
    with pytest.raises(ModelFileError, match=r"refused.pt' is a pickle .* --allow-pickles"):
        load_hypernetwork(checkpoint.MODEL, "refused.pt", ctx=context)


def layer(wide: int, width: int) -> dict[str, Tensor]:
    return {"linear.0.weight": torch.zeros(wide, width), "linear.0.bias": torch.zeros(wide)}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"lora_up.weight": torch.zeros(1)}, "'bad.pt' is no hypernetwork: .* looks like a LoRA"),
        ({8: (layer(8, 8), layer(8, 9))}, r"the hypernetwork 'bad.pt' is damaged \(of the network for 8, a layer of"),
        ({8: (layer(8, 8), layer(4, 8))}, r"is damaged \(the network for 8 gives 4\)"),
        ({8: (layer(8, 8), {})}, r"is damaged \(no layers for 8\)"),
        ({8: (layer(8, 8), {"linear.0.weight": torch.zeros(8, 8)})}, r"is damaged \('linear.0.bias'\)"),
        ({8: (layer(8, 8), {"weights.weight": torch.zeros(8, 8)})}, r"is damaged \(no layers for 8\)"),
    ],
)
def test_what_is_none(content: Any, message: str, checkpoint: Checkpoint, context: Context, folder: Path) -> None:
    torch.save(content, folder / "bad.pt")
    with pytest.raises(ModelFileError, match=message):
        load_hypernetwork(checkpoint.MODEL, "bad.pt", ctx=context)


def test_one_that_is_cut_short(checkpoint: Checkpoint, context: Context, widths: set[int], folder: Path) -> None:
    torch.save(published(networks(widths, plain)), folder / "cut.pt")
    (folder / "cut.pt").write_bytes((folder / "cut.pt").read_bytes()[:-300])
    with pytest.raises(ModelFileError, match=r"cannot be read as weights alone .* it is damaged"):
        load_hypernetwork(checkpoint.MODEL, "cut.pt", ctx=context)


def test_one_for_another_model(checkpoint: Checkpoint, context: Context, widths: set[int], folder: Path) -> None:
    """By its widths; where some of them are the model's, by those of texts."""
    for other in ({40}, {768, *widths}):
        torch.save(published(networks(other, plain)), folder / "other.pt")
        model = load_hypernetwork(checkpoint.MODEL, "other.pt", ctx=context)
        with pytest.raises(ModelFileError, match=r"the hypernetwork 'other.pt' is not for the model .*: it is for"):
            predicted(model, checkpoint, context)


def test_an_activation_that_is_not_known(
    checkpoint: Checkpoint, context: Context, widths: set[int], folder: Path
) -> None:
    torch.save(published(networks(widths, active), activation_func="wavelet"), folder / "wavelet.pt")
    model = load_hypernetwork(checkpoint.MODEL, "wavelet.pt", ctx=context)
    with pytest.raises(ModelFileError, match="wants the activation 'wavelet', which torch has not"):
        predicted(model, checkpoint, context)
