"""Makes a training: networks, optimiser, averages and random numbers, from their plans."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from mezzotint.engine.context import Context

from .networks import Made, make_networks
from .noise_process import NoiseProcess
from .state import Precision, TrainingError, TrainingState

if TYPE_CHECKING:
    from .network_plan import NetworkPlan
    from .optimiser_plan import OptimiserPlan


def begin_training(
    plan: NetworkPlan,
    optimiser_plan: OptimiserPlan,
    seed: int,
    precision: Precision,
    checkpointing: bool,
    ctx: Context,
) -> TrainingState:
    """A training at its beginning.

    Args:
        seed: of the order of the data and all that is drawn by chance.
        precision: what the networks compute in; trained weights stay float32.
        checkpointing: compute activations twice, to save memory.

    Raises:
        TrainingError: it cannot be, as planned. OutOfMemoryError, ModelFileError: of the models.
    """
    device = torch.device(ctx.device)
    made = make_networks(plan, ctx, checkpointing, seed)
    missing = [part for part in plan.trained if part not in made.networks]
    if missing or not plan.trained:
        raise TrainingError(f"there is no {' or '.join(missing) or 'network'} to train; connect one, and choose it")
    parameters = [each for part in plan.trained for each in made.networks[part].parameters() if each.requires_grad]
    optimiser = optimiser_plan.optimiser(parameters)
    return TrainingState(
        plan=plan,
        optimiser_plan=optimiser_plan,
        seed=seed,
        precision=precision,
        device=device,
        networks=made.networks,
        scheduler_config=made.scheduler_config,
        process=_process(made),
        optimiser=optimiser,
        rates=optimiser_plan.rates(optimiser),
        scaler=torch.amp.GradScaler(device.type, enabled=precision == "float16"),
        average=_average(optimiser_plan, parameters),
        generator=torch.Generator().manual_seed(seed),
        encoder=made.encoder,
        class_names=made.class_names,
    )


def _process(made: Made) -> NoiseProcess | None:
    if "unet" not in made.networks:
        return None
    config: Any = made.networks["vae"].config if "vae" in made.networks else {}
    scale, shift = config.get("scaling_factor"), config.get("shift_factor")
    return NoiseProcess.from_config(made.scheduler_config, float(scale or 1.0), float(shift or 0.0))


def _average(plan: OptimiserPlan, parameters: list[torch.nn.Parameter]) -> object | None:
    if not plan.ema_decay:
        return None
    from diffusers.training_utils import EMAModel

    average: object = EMAModel(parameters, decay=plan.ema_decay, foreach=True)
    return average
