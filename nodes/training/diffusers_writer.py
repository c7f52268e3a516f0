"""Writes what was trained: a whole checkpoint in the diffusers folder layout, or a LoRA. Whole or not at all."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mezzotint.engine.atomic_file import write_atomically
from mezzotint.engine.errors import OutputError

from ..models.component_weights import LAST_LAYER
from .networks import ADAPTER
from .state import TrainingError, TrainingState

PIPELINE_PARTS = {
    "unet": ["diffusers", "UNet2DConditionModel"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "vae": ["diffusers", "AutoencoderKL"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
}


def write_pipeline(state: TrainingState, folder: Path, dtype: torch.dtype, replace: bool) -> None:
    """A training's networks as a checkpoint folder that diffusers' `StableDiffusionPipeline.from_pretrained` reads.

    Args:
        dtype: of the weights in the files. replace: whether a folder of that name gives way.

    Raises:
        TrainingError: a network is missing, or it is a LoRA that was trained. OutputError: it cannot be written.
    """
    missing = {"unet", "text_encoder", "vae"} - state.networks.keys()
    if missing:
        raise TrainingError(f"a checkpoint needs {', '.join(sorted(missing))} too, which this training has not")
    _refuse_lora(state)
    _require_last_layer(state)
    with _new_folder(folder, replace) as made:
        for part, network in state.networks.items():
            _write_network(network, made / part, dtype)
        _write_tokenizer(state, made / "tokenizer")
        _write_json(made / "scheduler" / "scheduler_config.json", state.scheduler_config)
        scheduler = ["diffusers", str(state.scheduler_config.get("_class_name", "DDIMScheduler"))]
        nothing = {name: [None, None] for name in ("feature_extractor", "image_encoder", "safety_checker")}
        index = {"_class_name": "StableDiffusionPipeline", "requires_safety_checker": False, **nothing}
        if state.class_names:  # as the pipelines of diffusers that draw classes have it
            index["id2label"] = {str(number): name for number, name in enumerate(state.class_names)}
        _write_json(made / "model_index.json", {**index, **PIPELINE_PARTS, "scheduler": scheduler})


def write_autoencoder(state: TrainingState, folder: Path, dtype: torch.dtype, replace: bool) -> None:
    """A training's autoencoder as a folder that `AutoencoderKL.from_pretrained` reads. Raises as `write_pipeline`."""
    if "vae" not in state.networks:
        raise TrainingError("this training has no VAE to be saved; begin one of an autoencoder")
    with _new_folder(folder, replace) as made:
        _write_network(state.networks["vae"], made, dtype)


def write_lora(state: TrainingState, path: Path, dtype: torch.dtype, replace: bool) -> None:
    """A trained LoRA as one safetensors file with the names that diffusers and peft have for it.

    Raises:
        TrainingError: no LoRA was trained. OutputError: it cannot be written.
    """
    from peft import get_peft_model_state_dict
    from safetensors.torch import save

    lora = state.plan.lora
    if lora is None:
        raise TrainingError("whole weights were trained and no LoRA; save a checkpoint, or train LoRA of Networks")
    weights: dict[str, torch.Tensor] = {}
    for part in state.plan.trained:
        found = get_peft_model_state_dict(state.networks[part], adapter_name=ADAPTER)
        weights |= {f"{part}.{name}": _stored(tensor, dtype) for name, tensor in found.items()}
    described = {"r": lora.rank, "lora_alpha": lora.alpha, "target_modules": list(lora.targets)}
    config = {f"{part}.{name}": value for part in state.plan.trained for name, value in described.items()}
    data = save(weights, {"format": "pt", "lora_adapter_metadata": json.dumps(config, sort_keys=True)})
    if path.exists() and not replace:
        raise _taken(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, data)
    except OSError as error:
        raise _unwritable(path, error) from error


def _refuse_lora(state: TrainingState) -> None:
    if state.plan.lora is not None:
        raise TrainingError("a LoRA was trained and no whole weights; save it by Save Trained LoRA")


def _require_last_layer(state: TrainingState) -> None:
    if state.encoder is not None and state.encoder.reading != LAST_LAYER:
        raise TrainingError(
            f"this training reads layer {state.encoder.reading.layer} of the text encoder, and the diffusers layout "
            f"has no word for that; leave CLIP Set Last Layer out, or train a LoRA"
        )


def _write_network(network: nn.Module, folder: Path, dtype: torch.dtype) -> None:
    """config.json and one safetensors file; the name of the weights is that of the library."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    config: Any = network.config
    is_transformers = hasattr(config, "model_type")
    described: dict[str, Any] = config.to_diff_dict() if is_transformers else dict(config)
    if is_transformers:
        described |= {"architectures": [type(network).__name__], "model_type": config.model_type}
    else:
        described = {"_class_name": type(network).__name__, **_public(described)}
    name = "model.safetensors" if is_transformers else "diffusion_pytorch_model.safetensors"
    weights = {name: _stored(tensor, dtype) for name, tensor in network.state_dict().items()}
    _write_json(folder / "config.json", described)
    save_file(weights, folder / name, {"format": "pt"})
    (folder / name).chmod(folder.stat().st_mode & 0o666)  # safetensors lets only the owner read what it writes


def _stored(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return tensor.detach().to("cpu", dtype if tensor.is_floating_point() else tensor.dtype).contiguous().clone()


def _public(config: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if not name.startswith("_")}


def _write_tokenizer(state: TrainingState, folder: Path) -> None:
    """tokenizer.json, and the vocab.json and merges.txt that older libraries read."""
    assert state.encoder is not None
    folder.mkdir(parents=True)
    tokenizer, layout = state.encoder.tokenizer, state.encoder.layout
    described = json.loads(tokenizer.to_str())
    (folder / "tokenizer.json").write_text(json.dumps(described, ensure_ascii=False), encoding="utf-8")
    _write_json(folder / "vocab.json", tokenizer.get_vocab())
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in described["model"]["merges"]]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")
    start, end, pad = (tokenizer.id_to_token(i) for i in (layout.start, layout.end, layout.padding))
    config = {
        "tokenizer_class": "CLIPTokenizer",
        "bos_token": start,
        "eos_token": end,
        "pad_token": pad,
        "unk_token": end,
        "model_max_length": layout.length,
    }
    _write_json(folder / "tokenizer_config.json", config)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2, sort_keys=True, default=list) + "\n", encoding="utf-8")


@contextmanager
def _new_folder(folder: Path, replace: bool) -> Iterator[Path]:
    """A folder to be filled, which has its name only when it is whole."""
    if folder.exists() and not replace:
        raise _taken(folder)
    staged = folder.with_name(f".{folder.name}-{secrets.token_hex(4)}")
    try:
        staged.mkdir(parents=True)
        yield staged
        if folder.exists():
            before = folder.with_name(f".{folder.name}-{secrets.token_hex(4)}")
            folder.rename(before)
            staged.rename(folder)
            shutil.rmtree(before, ignore_errors=True)
        else:
            staged.rename(folder)
    except OSError as error:
        raise _unwritable(folder, error) from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _taken(path: Path) -> OutputError:
    return OutputError(f"'{path}' is there already; choose another name, or turn replace on")


def _unwritable(path: Path, error: OSError) -> OutputError:
    return OutputError(f"'{path}' cannot be written ({error.strerror or error}); free some space or check permissions")
