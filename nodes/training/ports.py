"""The types that links between training nodes carry.

Training         `TrainingState`, consumed
Pictures         `PictureSet`; Latents `LatentSet`
Process          `NoiseProcess`
Networks         `NetworkPlan`: which networks are trained and where they come from
Optimiser        `OptimiserPlan`
Tensor           float32 [B, C, h, w], or [B] of a timestep for each sample, on the device
Output, Posterior, Loss   what a network said and what that cost, consumed: they hold the gradients' graph
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from mezzotint.engine.port import Port

from .network_plan import NetworkPlan
from .noise_process import NoiseProcess
from .optimiser_plan import OptimiserPlan
from .picture_set import LatentSet, PictureSet
from .state import Loss, Output, Posterior, TrainingState

if TYPE_CHECKING:
    from torch import Tensor as TorchTensor

    Tensor = Annotated[TorchTensor, Port("TENSOR")]
else:
    Tensor = Annotated[Any, Port("TENSOR")]

Pictures = Annotated[PictureSet, Port("TRAINING_PICTURES")]
Latents = Annotated[LatentSet, Port("TRAINING_LATENTS")]
Process = Annotated[NoiseProcess, Port("NOISE_PROCESS")]
Networks = Annotated[NetworkPlan, Port("TRAINING_NETWORKS")]
Optimiser = Annotated[OptimiserPlan, Port("OPTIMISER")]
Training = Annotated[TrainingState, Port("TRAINING")]
PredictionOutput = Annotated[Output, Port("PREDICTION")]
TrainingLatent = Annotated[Posterior, Port("POSTERIOR")]
TrainingLoss = Annotated[Loss, Port("LOSS")]
Captions = Annotated[tuple[str, ...], Port("CAPTIONS")]
