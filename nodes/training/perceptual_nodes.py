"""Perceptual losses: networks that say how alike pictures look, and the loss of what a diffusion model predicts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from pydantic import Field

from mezzotint import Context, node
from mezzotint.engine.folders import Folders
from mezzotint.engine.port import Port
from mezzotint.engine.widget import Choices, model_files

from ..models.weights_source import weights_identity, weights_source
from .perceptual_recipe import PerceptualRecipe
from .ports import PredictionOutput, Tensor, Training, TrainingLoss
from .state import Loss

KIND = "perceptual"
NO_HEADS = "none"
PORT = "PERCEPTUAL_NETWORK"

if TYPE_CHECKING:
    Perceptual = Annotated[PerceptualRecipe, Port(PORT)]
else:
    Perceptual = Annotated[Any, Port(PORT)]
Features = Annotated[
    Any,
    Port(f"VAE,CLIP_VISION,{PORT}"),
    Field(description="What compares pictures: a VAE's encoder, a vision encoder, or VGG or AlexNet with LPIPS."),
]


def perceptual_identity(network: str | None, heads: str | None, folders: Folders) -> Any:
    """What changes when a file is written or replaced."""
    of_heads = None if heads == NO_HEADS else weights_identity(KIND, heads, folders)
    return [weights_identity(KIND, network, folders), of_heads]


class WithLoss(NamedTuple):
    """The training, the loss, and the prediction again, for Diffusion Loss."""

    training: Training
    loss: TrainingLoss
    output: PredictionOutput


@node("LoadPerceptualNetwork", title="Load Perceptual Network", category="training/loss",
      fingerprint=perceptual_identity)  # fmt: skip
def load_perceptual_network(
    network: Annotated[str, model_files(KIND)],
    heads: Annotated[
        str,
        Choices(lambda folders: [NO_HEADS, *folders.filenames(KIND)]),
        Field(description="The heads that LPIPS learnt; with none, those in the network's own file, if any."),
    ] = NO_HEADS,
    *,
    ctx: Context,
) -> Perceptual:
    """Open the convolutions of VGG or AlexNet, in the layout of torchvision or LPIPS, to compare pictures by them.

    Raises:
        MissingModelError: a file is missing. ModelFileError: it is damaged.
    """
    of_heads = None if heads == NO_HEADS else weights_source(KIND, heads, ctx)
    return PerceptualRecipe(weights_source(KIND, network, ctx), of_heads)


@node("PredictionPerceptualLoss", title="Perceptual Loss of Prediction", category="training/loss", lane="device",
      autograd=True)  # fmt: skip
def prediction_perceptual_loss(
    training: Training,
    output: PredictionOutput,
    noisy: Tensor,
    latents: Tensor,
    timesteps: Tensor,
    features: Features | None = None,
    *,
    ctx: Context,
) -> WithLoss:
    """How far the picture that a prediction stands for looks from the real one; add it to that of Diffusion Loss.

    Both are decoded by the VAE of the training. Each sample counts by the share of picture in its noisy latent: where
    there is little but noise, a prediction is a blur in any case. Without `features` the VAE's own encoder compares.

    Raises:
        TrainingError: the training has no VAE.
    """
    from .diffusion_loss import perceptual_loss
    from .perceptual_network import borrowed_features
    from .step import process_of

    x0 = process_of(training).to_model(latents)
    with borrowed_features(features, ctx) as network:
        return WithLoss(training, Loss(perceptual_loss(training, output.value, noisy, x0, timesteps, network)), output)
