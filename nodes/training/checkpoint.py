"""Training checkpoints: all that a training needs to go on as if it had never stopped. Safetensors, no pickle.

A file appears whole or not at all. What the networks were before training is not in it: the workflow makes that again,
and a fingerprint of the plan tells when a checkpoint belongs to another training.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch
from blake3 import blake3

from mezzotint.engine.atomic_file import write_atomically
from mezzotint.engine.errors import OutputError
from mezzotint.engine.value_type import Packed, canonical, pack, unpack

from .picture_set import DataOrder
from .state import TrainingError, TrainingState

FORMAT = "mezzotint-training-1"
KEPT = 2
"""How many of the latest checkpoints of a training are kept."""
_NAME = re.compile(r"checkpoint_(\d+)\.safetensors")


def save_checkpoint(state: TrainingState, folder: Path) -> Path:
    """Write a checkpoint of a training between two optimiser steps; older ones but `KEPT` go.

    Raises:
        OutputError: it cannot be written; nothing of it was.
    """
    from safetensors.numpy import save

    packed = pack(_content(state))
    text = json.dumps(packed.plain)
    path = folder / f"checkpoint_{state.step:08d}.safetensors"
    arrays = {**packed.arrays, "plain": _bytes_array(text)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, save(arrays, {"format": FORMAT}))
        for old in checkpoints(folder)[:-KEPT]:
            old.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(
            f"the training checkpoint cannot be written to '{folder}' ({error.strerror or error}); free some space or "
            f"check its permissions"
        ) from error
    return path


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a folder, by step."""
    found = [path for path in folder.glob("checkpoint_*.safetensors") if _NAME.fullmatch(path.name)]
    return sorted(found, key=lambda path: int(_NAME.fullmatch(path.name)[1]))  # type: ignore[index]


def load_checkpoint(state: TrainingState, folder: Path) -> bool:
    """Go on from the last checkpoint of a folder, if there is one; says whether.

    Raises:
        TrainingError: it is of another training, or damaged.
    """
    found = checkpoints(folder)
    if not found:
        return False
    content = _read(found[-1])
    if content["fingerprint"] != fingerprint(state):
        raise TrainingError(
            f"'{folder.name}' holds the checkpoint of another training: its networks, optimiser or seed differ from "
            f"those of this one; choose another name, or remove the folder '{folder}'"
        )
    _restore(state, content)
    return True


def fingerprint(state: TrainingState) -> str:
    """What must agree for a checkpoint to be of use: networks, seed, and what the optimiser keeps."""
    kept = (state.optimiser_plan.name, state.average is not None)
    return blake3(b"".join(canonical((state.plan, state.seed, kept)))).hexdigest()


def trained_tensors(state: TrainingState) -> dict[str, torch.Tensor]:
    """The trained weights by part and name, as they are, not copied."""
    return {
        f"{part}.{name}": parameter
        for part in state.plan.trained
        for name, parameter in state.networks[part].named_parameters()
        if parameter.requires_grad
    }


def _content(state: TrainingState) -> dict[str, Any]:
    return {
        "fingerprint": fingerprint(state),
        "step": state.step,
        "losses": state.losses,
        "skipped": state.skipped,
        "generator": state.generator.get_state(),
        "order": None if state.order is None else [state.order.count, state.order.seed, state.order.position],
        "weights": trained_tensors(state),
        "optimiser": state.optimiser.state_dict()["state"],
        "scaler": state.scaler.state_dict(),
        "average": None if state.average is None else state.average.state_dict(),
    }


def _restore(state: TrainingState, content: dict[str, Any]) -> None:
    with torch.no_grad():
        for name, parameter in trained_tensors(state).items():
            parameter.copy_(content["weights"][name])
    groups = state.optimiser.state_dict()["param_groups"]
    state.optimiser.load_state_dict({"state": content["optimiser"], "param_groups": groups})
    _set_rates(state, content["step"])
    if content["scaler"]:
        state.scaler.load_state_dict(content["scaler"])
    if state.average is not None:
        state.average.load_state_dict(content["average"])
        state.average.to(device=state.device)
    state.generator.set_state(content["generator"])
    order = content["order"]
    state.order = None if order is None else DataOrder(*order)
    state.step, state.losses, state.skipped = content["step"], content["losses"], content["skipped"]
    state.pending.clear()


def _set_rates(state: TrainingState, step: int) -> None:
    """The learning rates of a step, by the plan of this training, which may differ from that of the checkpoint."""
    rates: Any = state.rates
    rates.last_epoch, rates._step_count = step, step + 1
    for group, base, rule in zip(state.optimiser.param_groups, rates.base_lrs, rates.lr_lambdas, strict=True):
        group["lr"] = base * rule(step)
    rates._last_lr = [group["lr"] for group in state.optimiser.param_groups]


def _read(path: Path) -> dict[str, Any]:
    from safetensors.numpy import load

    try:
        arrays = load(path.read_bytes())
        text = arrays.pop("plain").tobytes().decode()
        content: dict[str, Any] = unpack(Packed(json.loads(text), arrays))
    except Exception as error:
        raise TrainingError(
            f"the training checkpoint '{path}' cannot be read ({error}); remove it, and the one before it is used"
        ) from error
    return content


def _bytes_array(text: str) -> Any:
    import numpy as np

    return np.frombuffer(text.encode(), np.uint8)
