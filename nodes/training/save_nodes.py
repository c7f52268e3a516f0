"""Nodes that save what was trained into the models folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field

from mezzotint import Context, node

from .ports import Training
from .train_nodes import below_the_folder

if TYPE_CHECKING:
    import torch

    from .state import TrainingState

    WriteTrained = Callable[[TrainingState, Path, torch.dtype, bool], None]

Name = Annotated[str, AfterValidator(below_the_folder), Field(min_length=1, description="In the models folder.")]
WeightType = Annotated[Literal["float16", "bfloat16", "float32"], Field(description="Of the numbers in the files.")]
Replace = Annotated[bool, Field(description="Write over what has the name already.")]
Averaged = Annotated[bool, Field(description="Save the average of the weights, where one is kept.")]


@node("SaveTrainedCheckpoint", title="Save Trained Checkpoint", category="training/save", sink=True, autograd=True)
def save_trained_checkpoint(
    training: Training,
    name: Name,
    weight_type: WeightType = "float16",
    averaged: Averaged = True,
    replace: Replace = False,
    *,
    ctx: Context,
) -> None:
    """Save a whole model in the diffusers layout among the checkpoints, where Load Checkpoint finds it at once.

    Raises:
        TrainingError: the training has not all parts of a model. OutputError: the name is taken, or the disk is full.
    """
    from .diffusers_writer import write_pipeline

    path = _models_folder(ctx, "checkpoints") / name
    _write(write_pipeline, training, path, weight_type, averaged, replace, ctx)


@node("SaveTrainedVAE", title="Save Trained VAE", category="training/save", sink=True, autograd=True)
def save_trained_vae(
    training: Training,
    name: Name,
    weight_type: WeightType = "float16",
    averaged: Averaged = True,
    replace: Replace = False,
    *,
    ctx: Context,
) -> None:
    """Save an autoencoder in the diffusers layout in the folder `vae`.

    Raises:
        TrainingError: the training has no autoencoder. OutputError: the name is taken, or the disk is full.
    """
    from .diffusers_writer import write_autoencoder

    _write(write_autoencoder, training, _models_folder(ctx, "vae") / name, weight_type, averaged, replace, ctx)


@node("SaveTrainedLora", title="Save Trained LoRA", category="training/save", sink=True, autograd=True)
def save_trained_lora(
    training: Training,
    name: Name,
    weight_type: WeightType = "float16",
    averaged: Averaged = True,
    replace: Replace = False,
    *,
    ctx: Context,
) -> None:
    """Save a LoRA as a safetensors file among the LoRAs, with the names that diffusers and peft have for its weights.

    Raises:
        TrainingError: no LoRA was trained. OutputError: the name is taken, or the disk is full.
    """
    from .diffusers_writer import write_lora

    path = _models_folder(ctx, "loras") / f"{name.removesuffix('.safetensors')}.safetensors"
    _write(write_lora, training, path, weight_type, averaged, replace, ctx)


def _models_folder(ctx: Context, kind: str) -> Path:
    return ctx.folders.model_folders(kind)[0]


def _write(
    write: WriteTrained,
    training: TrainingState,
    path: Path,
    weight_type: str,
    averaged: bool,
    replace: bool,
    ctx: Context,
) -> None:
    import torch

    from .samples import weights_for_use

    with weights_for_use(training, averaged):
        write(training, path, getattr(torch, weight_type), replace)
    ctx.show(text=[f"saved as '{path}'"])
