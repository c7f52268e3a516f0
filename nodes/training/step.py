"""The parts of a training step, each a function that changes a `TrainingState` in place.

The nodes of the loop as a graph and the fused node call the same ones, in the same order: batch, timesteps, noise,
output, loss, optimiser. So they draw the same random numbers and give the same weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from mezzotint.engine.errors import OutOfMemoryError

from .networks import part_of
from .noise_process import NoiseProcess
from .picture_set import DataOrder, LatentSet, PictureSet
from .state import TrainingError, TrainingState
from .step_settings import OnNan, TimestepChoice

if TYPE_CHECKING:
    from ..text.text_encoder import TextEncoder

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class NotANumberError(TrainingError):
    """A loss is NaN or infinite."""


class LatentBatch(NamedTuple):
    """The next pictures and what goes with them.

    Attributes:
        latents: float32 [B, C, h, w], unscaled. captions: an empty one where it is left out.
        labels: int64 [B], the classes, -1 where it is left out; None where the data has none.
        concatenated: for inpainting, [B, 1 + C, h, w]: masks, and what they leave, as the model sees it; else None.
    """

    latents: Tensor
    captions: tuple[str, ...]
    labels: Tensor | None = None
    concatenated: Tensor | None = None


def draw_latents(state: TrainingState, data: LatentSet, count: int) -> LatentBatch:
    """The next batch of stored latents, on the device of the training."""
    indices = data_order(state, len(data)).take(count)
    places = (indices, [data.view(index, state.generator) for index in indices])
    conditions = [data.condition(index, state.generator) for index in indices]
    labels = torch.tensor([label for _, label in conditions]).to(state.device) if data.labels else None
    concatenated = None
    if data.masks is not None:
        masked = process_of(state).to_model(data.masked[places])
        concatenated = torch.cat([data.masks[places], masked], 1).to(state.device)
    latents = data.samples[places].to(state.device)
    return LatentBatch(latents, tuple(caption for caption, _ in conditions), labels, concatenated)


def draw_pictures(state: TrainingState, data: PictureSet, count: int) -> Tensor:
    """The next batch of pictures: float32 [B, 3, H, W] in -1..1, on the device of the training."""
    indices = data_order(state, len(data)).take(count)
    pictures = torch.stack([data.picture(index, state.generator) for index in indices])
    return pictures.to(state.device).float() / 127.5 - 1


def data_order(state: TrainingState, count: int) -> DataOrder:
    """The order of a set of `count`, made at the first batch.

    Raises:
        TrainingError: the training began with a set of another size.
    """
    if state.order is None:
        state.order = DataOrder(count, state.seed)
    if state.order.count != count:
        raise TrainingError(
            f"this training began with {state.order.count} pictures and is now given {count}; begin a new one for "
            f"other data"
        )
    return state.order


def draw_timesteps(state: TrainingState, steps: int, count: int, choice: TimestepChoice) -> Tensor:
    """Timesteps int64 [count]: any equally often, or the middle ones more often (Esser et al. 2024, section 3.1)."""
    if choice == "uniform":
        return torch.randint(steps, (count,), generator=state.generator).to(state.device)
    drawn = torch.randn(count, generator=state.generator).sigmoid()
    return (drawn * steps).long().clamp(max=steps - 1).to(state.device)


def draw_noise(state: TrainingState, latents: Tensor, offset: float = 0.0) -> Tensor:
    """Standard normal noise of the shape of the latents; with `offset`, some of it is the same all over a channel."""
    noise = torch.randn(latents.shape, generator=state.generator)
    if offset:
        noise = noise + offset * torch.randn(*latents.shape[:2], 1, 1, generator=state.generator)
    return noise.to(state.device)


def predict(
    state: TrainingState,
    x_t: Tensor,
    timesteps: Tensor,
    captions: Sequence[str],
    concatenated: Tensor | None = None,
    labels: Tensor | None = None,
) -> Tensor:
    """What the U-Net says of x_t, with gradients: [B, C, h, w].

    Args:
        concatenated: further channels [B, D, h, w], such as a mask and a masked latent.
        labels: int64 [B], the classes, -1 for none; a network that is not conditioned by class takes no notice.

    Raises:
        TrainingError: the channels or classes are not those of the network.
    """
    network = part_of(state.networks, "unet", "predicting")
    x = x_t if concatenated is None else torch.cat([x_t, concatenated], 1)
    if x.shape[1] != network.config.in_channels:
        raise TrainingError(
            f"the network takes {network.config.in_channels} channels and is given {x.shape[1]}; encode the pictures "
            f"with the VAE that belongs to it"
        )
    classes = class_inputs(network, labels, len(x))
    with computing(state):
        encoded = encode_captions(state, captions)
        output: Tensor = network(_ordinary(x), timesteps, encoded, return_dict=False, **classes)[0]
    return output


def class_inputs(network: Any, labels: Tensor | None, count: int) -> dict[str, Tensor]:
    """What a U-Net is told of classes, by the name of its argument; nothing where it is not conditioned by them.

    Its last class stands for none (Ho and Salimans 2022: classifier-free guidance).

    Args:
        labels: int64 [count], -1 for none; None for none at all.

    Raises:
        TrainingError: it has fewer classes.
    """
    total = network.config.num_class_embeds
    if total is None:
        return {}
    labels = torch.full((count,), -1) if labels is None else labels
    if int(labels.max()) >= total - 1:
        raise TrainingError(
            f"class {int(labels.max())} is asked for, and the network has {total - 1} classes, from 0; begin a new "
            f"network for such data"
        )
    return {"class_labels": torch.where(labels < 0, total - 1, labels).to(network.device)}


def encode_captions(state: TrainingState, captions: Sequence[str]) -> Tensor:
    """Cross-attention input [B, T, D]: of each caption its first chunk of tokens."""
    if state.encoder is None:
        raise TrainingError("encoding captions needs a text encoder, and this training has none; connect a CLIP")
    tokens = [_tokens_of(state.encoder, caption) for caption in captions]
    return state.encoder.read(torch.tensor(tokens, device=state.device))[0]


def _tokens_of(encoder: TextEncoder, caption: str) -> list[int]:
    """The tokens of a caption as prompts have them, without the syntax of weights, cut to one chunk."""
    from ..text.prompt_chunks import Word, lay_out

    encoded = encoder.tokenizer.encode_batch(caption.split(), add_special_tokens=False)
    return lay_out((Word(list(word.ids), 1.0) for word in encoded), encoder.layout)[0].tokens


def process_of(state: TrainingState) -> NoiseProcess:
    """The forward process of a training of a diffusion model. Raises TrainingError."""
    if state.process is None:
        raise TrainingError("this training is of an autoencoder, which has no noise; begin one of a diffusion model")
    return state.process


def optimise(state: TrainingState, loss: Tensor, on_nan: OnNan = "stop") -> float:
    """Take a batch's loss into account; with the last of an accumulation, change the weights. Gives the loss.

    Raises:
        NotANumberError: the loss is no number, and `on_nan` says stop.
    """
    value = float(loss.detach())
    if not math.isfinite(value):
        _take_nan(state, value, on_nan)
        return value
    plan = state.optimiser_plan
    state.scaler.scale(loss / plan.accumulate).backward()  # type: ignore[no-untyped-call]
    state.pending.append(value)
    if len(state.pending) >= plan.accumulate:
        _change_weights(state)
    return value


def _take_nan(state: TrainingState, value: float, on_nan: OnNan) -> None:
    if on_nan == "stop":
        raise NotANumberError(
            f"the loss of step {state.step + 1} is {value}; the weights are those of the step before. Lower the "
            f"learning rate, clip gradients, train in bfloat16 or float32 in place of float16, or set on_nan to skip"
        )
    state.skipped += 1


def _change_weights(state: TrainingState) -> None:
    plan, parameters = state.optimiser_plan, list(state.parameters())
    if plan.clip_norm:
        state.scaler.unscale_(state.optimiser)
        torch.nn.utils.clip_grad_norm_(parameters, plan.clip_norm, foreach=True)
    state.scaler.step(state.optimiser)
    state.scaler.update()
    state.optimiser.zero_grad(set_to_none=True)
    state.rates.step()
    if state.average is not None:
        state.average.step(parameters)
    state.losses.append(sum(state.pending) / len(state.pending))
    state.pending.clear()
    state.step += 1


@contextmanager
def computing(state: TrainingState) -> Iterator[None]:
    """The state of torch in which networks compute: the precision, and random numbers that follow from the batch.

    Dropout draws from torch's own generators. They are set by the seed and the batch, and put back after, so that a
    training that is taken up again goes on bit by bit. On a CPU, attention in half precision is computed by plain
    products: going back through the fused one of torch takes as long there as all the rest of a step (measured with
    2.13).
    """
    device, dtype = state.device.type, DTYPES.get(state.precision)
    with ExitStack() as stack:
        if device == "cpu" and dtype is not None:
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        stack.enter_context(torch.autocast(device, dtype=dtype, enabled=dtype is not None))
        stack.enter_context(torch.random.fork_rng(devices=[state.device] if device == "cuda" else []))
        torch.manual_seed(_seed_of_batch(state))
        yield


def _seed_of_batch(state: TrainingState) -> int:
    batch = state.step * state.optimiser_plan.accumulate + len(state.pending) + state.skipped
    return (state.seed * 1_000_003 + batch) % (1 << 63)


def _ordinary(tensor: Tensor) -> Tensor:
    """A tensor that gradients may be recorded of: one made in inference mode is copied."""
    return tensor.clone() if tensor.is_inference() else tensor


def told_out_of_memory(error: Exception, count: int) -> OutOfMemoryError:
    """The sentence for a training step that did not fit."""
    told = OutOfMemoryError(
        f"the memory ran out in a training step of {count} pictures; lower the batch size and accumulate more batches, "
        f"turn gradient checkpointing on, or train in bfloat16"
    )
    told.__cause__ = error
    return told
