"""Training an autoencoder: against a loop in plain PyTorch, its losses, and its decoder alone."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch.nn import functional

from mezzotint import Context
from mezzotint.nodes.models.checkpoints import Checkpoint
from mezzotint.nodes.training.autoencoder_nodes import whiten_latents
from mezzotint.nodes.training.autoencoder_step import autoencoder_step, feature_network, reconstructions
from mezzotint.nodes.training.perceptual_network import AutoencoderFeatures
from mezzotint.nodes.training.picture_nodes import training_shapes
from mezzotint.nodes.training.samples import drawing
from mezzotint.nodes.training.state import TrainingError
from mezzotint.nodes.training.step_settings import AutoencoderSettings

from .tiny_training import Begin, tiny_plan, weights

SHAPES = training_shapes(6, 16, seed=1)


def test_losses_and_weights_are_those_of_a_plain_loop(begin: Begin) -> None:
    state = begin(tiny_plan(("vae",)), name="sgd", learning_rate=0.01, clip_norm=0.0)
    plain: Any = copy.deepcopy(state.networks["vae"])
    optimiser = torch.optim.SGD(plain.parameters(), lr=0.01, momentum=0.9, weight_decay=0.01)
    generator = torch.Generator().manual_seed(7)
    losses = []
    for turn in range(4):
        order = torch.cat([
            torch.randperm(6, generator=torch.Generator().manual_seed(7 * 1_000_003 + epoch)) for epoch in range(2)
        ])  # fmt: skip
        chosen = order[2 * turn : 2 * turn + 2]
        torch.rand(2, generator=generator), torch.rand(2, generator=generator)  # where to crop, whether to mirror
        x = SHAPES.pixels[chosen].movedim(-1, 1).float() / 127.5 - 1
        posterior = plain.encode(x).latent_dist
        z = posterior.mean + posterior.std * torch.randn(posterior.mean.shape, generator=generator)
        y = plain.decode(z).sample
        edges = sum(functional.l1_loss(y.diff(dim=way), x.diff(dim=way)) for way in (-1, -2)) / 2
        blurred = functional.l1_loss(functional.avg_pool2d(y, 4), functional.avg_pool2d(x, 4))
        kl = 0.5 * (posterior.mean**2 + posterior.var - 1 - posterior.logvar).mean()
        loss = functional.l1_loss(y, x) + 0.5 * functional.mse_loss(y, x) + 0.3 * edges + 0.2 * blurred + 0.01 * kl
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    for _ in range(4):
        autoencoder_step(state, SHAPES, AutoencoderSettings(2, gradient=0.3, low_pass=0.2, kl=0.01))
    assert state.losses == pytest.approx(losses, rel=1e-5)
    theirs = torch.cat([parameter.detach().flatten() for parameter in plain.parameters()])
    assert (weights(state) - theirs).abs().max() < 1e-5


def test_reconstructions_get_better(begin: Begin) -> None:
    state = begin(tiny_plan(("vae",)), learning_rate=5e-3)
    for _ in range(40):
        autoencoder_step(state, SHAPES, AutoencoderSettings(6))
    assert sum(state.losses[-5:]) < 0.8 * sum(state.losses[:5])
    assert reconstructions(state, SHAPES).shape == (12, 16, 16, 3)


def test_the_decoder_alone_leaves_the_encoder_as_it_was(begin: Begin) -> None:
    state = begin(tiny_plan(("vae",), vae_part="decoder"))
    network: Any = state.networks["vae"]
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    autoencoder_step(state, SHAPES, AutoencoderSettings(2))
    after = network.state_dict()
    changed = {name.split(".")[0] for name, tensor in before.items() if not torch.equal(after[name], tensor)}
    assert changed == {"decoder", "post_quant_conv"}


def test_the_perceptual_loss_is_over_the_features_of_another_encoder(
    begin: Begin, embedded: Checkpoint, model_context: Context
) -> None:
    state, other = begin(tiny_plan(("vae",))), begin(tiny_plan(("vae",)))
    settings = AutoencoderSettings(2, perceptual=1.0)
    with feature_network(embedded.VAE, 1.0, model_context) as network:
        autoencoder_step(state, SHAPES, settings, network)
        assert isinstance(network, AutoencoderFeatures)
        assert all(parameter.grad is None for parameter in network.network.parameters())
    autoencoder_step(other, SHAPES, AutoencoderSettings(2))
    assert state.losses[0] > other.losses[0]


@pytest.mark.parametrize("ema_decay", [0.0, 0.5])
def test_white_latents_decode_to_the_same_pictures(begin: Begin, ema_decay: float) -> None:
    state = begin(tiny_plan(("vae",)), learning_rate=0.01, ema_decay=ema_decay)
    for _ in range(5):
        autoencoder_step(state, SHAPES, AutoencoderSettings(4))
    network: Any = state.networks["vae"]
    x = SHAPES.pixels.movedim(-1, 1).float() / 127.5 - 1
    before = reconstructions(state, SHAPES)
    with drawing(state):
        posterior = network.encode(x).latent_dist
    deviation, mean = torch.std_mean(posterior.mean.movedim(1, 0).flatten(1), 1, correction=0)
    whiten_latents(state, SHAPES, 100)
    with drawing(state):
        white = network.encode(x).latent_dist
    assert white.mean.movedim(1, 0).flatten(1).mean(1).abs().max() < 1e-4
    assert torch.allclose(white.mean.movedim(1, 0).flatten(1).std(1, correction=0), torch.ones(4), atol=1e-4)
    scale = deviation[None, :, None, None]
    assert torch.allclose(white.std * scale, posterior.std, rtol=1e-3)
    assert torch.allclose(white.mean * scale + mean[None, :, None, None], posterior.mean, atol=1e-4)
    assert torch.allclose(reconstructions(state, SHAPES), before, atol=1e-4)


def test_a_perceptual_loss_without_a_network_is_told(model_context: Context) -> None:
    with (
        pytest.raises(TrainingError, match="nothing is connected to features; connect a VAE"),
        feature_network(None, 1.0, model_context),
    ):
        pass
