"""Features of VGG and AlexNet against stacks of torch's own layers, LPIPS written out; and what else may compare."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from mezzotint import Context
from mezzotint.engine.errors import ModelFileError
from mezzotint.nodes.models.pickle_file import PickleSwitch
from mezzotint.nodes.training.autoencoder_step import autoencoder_step
from mezzotint.nodes.training.diffusion_loss import diffusion_step, perceptual_loss
from mezzotint.nodes.training.loss import feature_loss
from mezzotint.nodes.training.perceptual_network import AutoencoderFeatures, VisionFeatures, borrowed_features
from mezzotint.nodes.training.perceptual_nodes import load_perceptual_network
from mezzotint.nodes.training.picture_nodes import training_shapes
from mezzotint.nodes.training.state import TrainingError
from mezzotint.nodes.training.step_settings import AutoencoderSettings, DiffusionSettings

from .tiny_training import Begin, random_latents, tiny_plan, weights

VGG16 = [4, 4, "M", 8, 8, "M", 12, 12, 12, "M", 16, 16, 16, "M", 16, 16, 16]
"""torchvision's configuration D, a sixteenth as wide; the numbers of the layers are the same."""
AFTER_RELU = {"vgg": (3, 8, 15, 22, 29), "alex": (1, 4, 7, 9, 11)}
"""The layers that LPIPS compares: relu1_2, relu2_2, relu3_3, relu4_3, relu5_3; and all five of AlexNet."""
PICTURES, OTHERS = torch.rand(2, 2, 3, 64, 64, generator=torch.Generator().manual_seed(3)) * 2 - 1


def vgg() -> nn.Sequential:
    layers: list[nn.Module] = []
    channels = 3
    for width in VGG16:
        if width == "M":
            layers.append(nn.MaxPool2d(2, 2))
            continue
        assert isinstance(width, int)
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
        channels = width
    return nn.Sequential(*layers)


def alex() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Conv2d(8, 12, 5, padding=2), nn.ReLU(),
        nn.MaxPool2d(3, 2), nn.Conv2d(12, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 12, 3, padding=1), nn.ReLU(),
        nn.Conv2d(12, 12, 3, padding=1), nn.ReLU(),
    )  # fmt: skip


BUILDERS = {"vgg": vgg, "alex": alex}


@pytest.fixture
def folder(context: Context) -> Path:
    folder = context.folders.models[0] / "perceptual"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def networks() -> dict[str, nn.Sequential]:
    torch.manual_seed(0)
    return {name: build().requires_grad_(False) for name, build in BUILDERS.items()}


def written_out(network: nn.Sequential, kind: str, pixels: Tensor) -> list[Tensor]:
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    hidden = ((pixels + 1) / 2 - mean[:, None, None]) / deviation[:, None, None]
    found = []
    for index, layer in enumerate(network):
        hidden = layer(hidden)
        if index in AFTER_RELU[kind]:
            found.append(hidden)
    return found


def put(path: Path, network: nn.Module, name: str = "features.{}") -> None:
    save_file({name.format(key): tensor.clone() for key, tensor in network.state_dict().items()}, path)


@pytest.mark.parametrize("kind", ["vgg", "alex"])
@pytest.mark.parametrize("name", ["features.{}", "net.slice1.{}"])
def test_features_are_those_of_the_layers(folder: Path, context: Context, networks: Any, kind: str, name: str) -> None:
    put(folder / "a.safetensors", networks[kind], name)
    recipe = load_perceptual_network("a.safetensors", ctx=context)
    with borrowed_features(recipe, context) as network:
        assert network is not None
        found = network.features(PICTURES)
    for ours, expected in zip(found, written_out(networks[kind], kind, PICTURES), strict=True):
        assert torch.allclose(ours, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("where", ["same", "other"])
def test_the_distance_is_lpips_written_out(folder: Path, context: Context, networks: Any, where: str) -> None:
    generator = torch.Generator().manual_seed(4)
    heads = [torch.rand(1, width, 1, 1, generator=generator) for width in (4, 8, 12, 16, 16)]
    named = {f"lin{index}.model.1.weight": head for index, head in enumerate(heads)}
    own = {f"features.{key}": tensor.clone() for key, tensor in networks["vgg"].state_dict().items()}
    save_file(own | (named if where == "same" else {}), folder / "vgg.safetensors")
    save_file(named, folder / "heads.safetensors")
    recipe = load_perceptual_network("vgg.safetensors", "none" if where == "same" else "heads.safetensors", ctx=context)
    with borrowed_features(recipe, context) as network:
        assert network is not None
        ours = feature_loss(network.features(PICTURES), network.features(OTHERS), network.heads)
    expected = torch.zeros(2)
    for one, other, head in zip(
        *(written_out(networks["vgg"], "vgg", pixels) for pixels in (PICTURES, OTHERS)), heads, strict=True
    ):
        difference = one / (one.norm(dim=1, keepdim=True) + 1e-10) - other / (other.norm(dim=1, keepdim=True) + 1e-10)
        expected += torch.nn.functional.conv2d(difference.square(), head).mean((1, 2, 3))
    assert torch.allclose(ours, expected, rtol=1e-3)
    assert feature_loss(network.features(PICTURES), network.features(PICTURES), network.heads).abs().max() < 1e-6


def test_pickles_are_read_as_weights_only_where_they_are_allowed(
    folder: Path, context: Context, networks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = {f"features.{key}": tensor for key, tensor in networks["alex"].state_dict().items()}
    torch.save(named, folder / "alexnet.pth")
    recipe = load_perceptual_network("alexnet.pth", ctx=context)
    with pytest.raises(ModelFileError, match="is a pickle"), borrowed_features(recipe, context):
        pass
    monkeypatch.setattr(PickleSwitch, "is_on", True)
    with borrowed_features(recipe, context) as network:
        assert network is not None
        assert len(network.features(PICTURES)) == 5


@pytest.mark.parametrize(("tensors", "sentence"), [
    ({"conv.weight": torch.ones(1)}, "'a.safetensors' is no VGG or AlexNet in the layout of torchvision or LPIPS"),
    ({"features.0.weight": torch.ones(4, 3, 3, 3), "features.1.weight": torch.ones(4)}, "without batch norms"),
])  # fmt: skip
def test_a_file_of_another_network_is_told(folder: Path, context: Context, tensors: Any, sentence: str) -> None:
    save_file(tensors, folder / "a.safetensors")
    recipe = load_perceptual_network("a.safetensors", ctx=context)
    with pytest.raises(ModelFileError, match=sentence), borrowed_features(recipe, context):
        pass


def test_heads_of_another_network_are_told(folder: Path, context: Context, networks: Any) -> None:
    put(folder / "vgg.safetensors", networks["vgg"])
    save_file({"lin0.model.1.weight": torch.ones(1, 64, 1, 1)}, folder / "heads.safetensors")
    recipe = load_perceptual_network("vgg.safetensors", "heads.safetensors", ctx=context)
    sentence = r"'heads.safetensors' holds LPIPS heads for features of \[64\] channels, and the network has \[4, 8, 12"
    with pytest.raises(ModelFileError, match=sentence), borrowed_features(recipe, context):
        pass


def test_a_vision_encoder_says_what_it_sees_in_each_patch() -> None:
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    config = CLIPVisionConfig(hidden_size=32, intermediate_size=64, num_hidden_layers=8, num_attention_heads=2,
                              image_size=32, patch_size=8, projection_dim=16)  # fmt: skip
    torch.manual_seed(0)
    network = CLIPVisionModelWithProjection(config).eval().requires_grad_(False)
    seen = VisionFeatures(network)
    pixels = PICTURES.clone().requires_grad_(True)
    found = seen.features(pixels)
    assert [tuple(feature.shape) for feature in found] == [(2, 32, 16, 1)] * 4
    feature_loss(found, seen.features(OTHERS)).sum().backward()
    assert pixels.grad is not None
    assert pixels.grad.abs().sum() > 0
    same_size = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
    deviation = torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]
    states = network((same_size - mean) / deviation, output_hidden_states=True).hidden_states
    for ours, layer in zip(seen.features(same_size * 2 - 1), (2, 4, 6, 8), strict=True):
        assert torch.allclose(ours[..., 0].movedim(1, 2), states[layer][:, 1:], atol=1e-3)


def test_autoencoders_are_trained_by_what_vgg_sees(begin: Begin, folder: Path, context: Context, networks: Any) -> None:
    put(folder / "vgg.safetensors", networks["vgg"])
    recipe = load_perceptual_network("vgg.safetensors", ctx=context)
    shapes = training_shapes(4, 32)
    settings = AutoencoderSettings(4, l1=0, mse=0, gradient=0, low_pass=0, kl=0, perceptual=1.0)
    state = begin(tiny_plan(("vae",)), learning_rate=1e-2)
    with borrowed_features(recipe, context) as network:
        losses = [autoencoder_step(state, shapes, settings, network) for _ in range(20)]
    assert losses[-1] < 0.9 * losses[0], "it alone is what is learnt by"


def test_predictions_are_compared_as_pictures(begin: Begin) -> None:
    """Of the true output nothing is lost; each sample counts by the share of picture in it."""
    state = begin()
    assert state.process is not None
    vae = state.networks["vae"]
    x0, noise = torch.randn(2, 3, 4, 8, 8, generator=torch.Generator().manual_seed(2))
    timesteps = torch.tensor([10, 300, 800])
    noisy = state.process.add_noise(x0, noise, timesteps)
    true = state.process.target(x0, noise, timesteps)
    assert perceptual_loss(state, true, noisy, x0, timesteps, None).item() < 1e-6
    output = true + 0.3
    predicted = state.process.recover(noisy, output, timesteps)
    seen = [AutoencoderFeatures(vae).features(vae.decode(latents).sample) for latents in (predicted, x0)]
    share = state.process.alphas_cumprod()[timesteps].float()
    expected = (feature_loss(*seen) * share).mean()
    assert perceptual_loss(state, output, noisy, x0, timesteps, None).item() == pytest.approx(expected.item(), rel=1e-4)


def test_diffusion_is_trained_by_it_too(begin: Begin) -> None:
    plain, both = begin(), begin()
    for state, weight in ((plain, 0.0), (both, 0.5)):
        diffusion_step(state, random_latents(), DiffusionSettings(batch_size=2, perceptual=weight))
    assert both.losses[0] > plain.losses[0]
    assert not torch.equal(weights(both), weights(plain))
    assert all(parameter.grad is None for parameter in both.networks["vae"].parameters())


def test_without_a_vae_a_sentence_says_so(begin: Begin) -> None:
    state = begin()
    del state.networks["vae"]
    with pytest.raises(TrainingError, match="a perceptual loss needs a vae, and this training has unet, text_encoder"):
        diffusion_step(state, random_latents(), DiffusionSettings(batch_size=2, perceptual=1.0))
