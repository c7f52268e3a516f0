"""Training steps against a loop in plain PyTorch; the loop as a graph against the fused node; stopping and going on."""

from __future__ import annotations

import asyncio
import copy
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from mezzotint import Context
from mezzotint.engine.engine import Engine
from mezzotint.engine.errors import Cancelled, OutOfMemoryError
from mezzotint.engine.expansion import GraphBuilder
from mezzotint.engine.node import node, nodes_in
from mezzotint.engine.run_result import RunResult
from mezzotint.engine.workflow import Workflow
from mezzotint.nodes.basics import logic, primitive
from mezzotint.nodes.inference import inference_scope
from mezzotint.nodes.training import (
    autoencoder_nodes,
    loop_nodes,
    noise_nodes,
    perceptual_nodes,
    picture_nodes,
    train_nodes,
)
from mezzotint.nodes.training.checkpoint import checkpoints, load_checkpoint, save_checkpoint
from mezzotint.nodes.training.diffusion_loss import diffusion_step
from mezzotint.nodes.training.long_run import LongRun
from mezzotint.nodes.training.optimiser_plan import OptimiserPlan
from mezzotint.nodes.training.ports import Latents, Networks, Optimiser
from mezzotint.nodes.training.state import TrainingError, TrainingState
from mezzotint.nodes.training.step import NotANumberError, draw_latents, draw_noise, draw_timesteps, optimise, predict
from mezzotint.nodes.training.step_settings import DiffusionSettings

from .tiny_training import CAPTIONS, Begin, masked_latents, random_latents, tiny_plan, weights

SETTINGS = DiffusionSettings(batch_size=3)


class Plain:
    """The same training, written out: nothing of ours but the first weights and the tokeniser."""

    def __init__(self, state: TrainingState, name: str, seed: int, rate: float, steps: int) -> None:
        self.unet = copy.deepcopy(state.networks["unet"])
        self.text = copy.deepcopy(state.networks["text_encoder"])
        assert state.encoder is not None
        self.tokenizer = state.encoder.tokenizer
        self.parameters = [*self.unet.parameters(), *self.text.parameters()]
        kind, more = (torch.optim.AdamW, {}) if name == "adamw" else (torch.optim.SGD, {"momentum": 0.9})
        self.optimiser: Any = kind(self.parameters, lr=rate, weight_decay=0.01, **more)  # type: ignore[operator]
        self.generator = torch.Generator().manual_seed(seed)
        self.seed, self.rate, self.steps = seed, rate, steps
        betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
        self.alpha_bar = torch.cumprod(1 - betas, 0)
        self.average = [parameter.detach().clone() for parameter in self.parameters]
        self.position = self.step = 0

    def tokens(self, caption: str) -> list[int]:
        start, end = self.tokenizer.token_to_id("<|startoftext|>"), self.tokenizer.token_to_id("<|endoftext|>")
        ids = [i for word in caption.split() for i in self.tokenizer.encode(word, add_special_tokens=False).ids][:6]
        return [start, *ids, end, *[end] * (6 - len(ids))]

    def indices(self, count: int) -> list[int]:
        found = []
        for _ in range(count):
            epoch, place = divmod(self.position, 5)
            order = torch.randperm(5, generator=torch.Generator().manual_seed(self.seed * 1_000_003 + epoch))
            found.append(int(order[place]))
            self.position += 1
        return found

    def train(self, samples: Tensor, count: int, dropout: float) -> float:
        chosen = self.indices(count)
        views = [int(torch.randint(2, (1,), generator=self.generator)) for _ in chosen]
        x0 = torch.stack([samples[i, v] for i, v in zip(chosen, views, strict=True)])
        words = ["" if torch.rand(1, generator=self.generator) < dropout else CAPTIONS[i] for i in chosen]
        t = torch.randint(1000, (count,), generator=self.generator)
        noise = torch.randn(x0.shape, generator=self.generator)
        share = self.alpha_bar[t].reshape(-1, 1, 1, 1)
        x_t = (share.sqrt() * x0 + (1 - share).sqrt() * noise).float()
        v = (share.sqrt() * noise - (1 - share).sqrt() * x0).float()
        context = self.text(torch.tensor([self.tokens(text) for text in words])).last_hidden_state
        loss = functional.mse_loss(self.unet(x_t, t, context).sample, v)
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate * (1 - self.step / self.steps)
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimiser.step()
        self.step += 1
        decay = 0.0 if self.step == 1 else min(0.9, self.step / (self.step + 9))
        for kept, parameter in zip(self.average, self.parameters, strict=True):
            kept.mul_(decay).add_(parameter.detach(), alpha=1 - decay)
        return loss.item()


@pytest.mark.parametrize(("name", "rate"), [("adamw", 1e-3), ("sgd", 0.03)])
def test_losses_weights_and_averages_are_those_of_a_plain_loop(begin: Begin, name: Any, rate: float) -> None:
    state = begin(name=name, learning_rate=rate, rate_schedule="linear", steps=20, ema_decay=0.9)
    plain = Plain(state, name, seed=7, rate=rate, steps=20)
    data = random_latents()
    expected = [plain.train(data.samples, 3, 0.3) for _ in range(10)]
    for _ in range(10):
        diffusion_step(state, data, SETTINGS)
    assert state.losses == pytest.approx(expected, rel=1e-5)
    if name == "sgd":  # Adam makes something of the rounding of gradients that are zero, those of biases before a norm
        differences = [
            (one - other).abs().max().item()
            for ours, theirs in (
                ([*state.parameters()], plain.parameters),
                (state.average.shadow_params, plain.average),
            )
            for one, other in zip(ours, theirs, strict=True)
        ]
        assert max(differences) < 1e-5


@pytest.mark.parametrize("options", [{"loss": "l1"}, {"loss": "huber"}, {"snr_gamma": 5.0}, {"noise_offset": 0.1},
                                     {"timesteps": "logit_normal"}])  # fmt: skip
@pytest.mark.parametrize("prediction", ["epsilon", "sample"])
def test_every_kind_of_loss_learns(begin: Begin, options: dict[str, Any], prediction: str) -> None:
    state = begin(tiny_plan(schedule={"prediction_type": prediction}), learning_rate=3e-3)
    before = weights(state)
    for _ in range(3):
        diffusion_step(state, random_latents(), DiffusionSettings(batch_size=4, **options))
    assert len(state.losses) == 3
    assert (weights(state) - before).abs().max() > 1e-3


def test_accumulated_batches_are_one_large_batch(begin: Begin) -> None:
    parts, whole = begin(accumulate=2, clip_norm=0.0, name="sgd"), begin(clip_norm=0.0, name="sgd")
    data = random_latents(dropout=0.0)
    drawn = []
    for _ in range(2):
        latents, captions, *_ = draw_latents(parts, data, 2)
        timesteps, noise = draw_timesteps(parts, 1000, 2, "uniform"), draw_noise(parts, latents)
        drawn.append((latents, captions, timesteps, noise))
        optimise(parts, functional.mse_loss(predict(parts, noise, timesteps, captions), latents))
    joined = [torch.cat([batch[i] for batch in drawn]) for i in (0, 2, 3)]
    captions = (*drawn[0][1], *drawn[1][1])
    optimise(whole, functional.mse_loss(predict(whole, joined[2], joined[1], captions), joined[0]))
    assert parts.step == whole.step == 1
    assert torch.allclose(weights(parts), weights(whole), atol=1e-7)


@pytest.mark.parametrize(
    ("name", "schedule"),
    [("adamw", "cosine"), ("adam", "constant_with_warmup"), ("sgd", "polynomial"), ("adafactor", "linear")],
)
def test_a_training_taken_up_again_goes_on_bit_by_bit(begin: Begin, tmp_path: Path, name: Any, schedule: Any) -> None:
    options = {"name": name, "rate_schedule": schedule, "warmup_steps": 2, "steps": 9, "ema_decay": 0.9}
    data, whole, first = random_latents(), begin(**options), begin(**options)
    for _ in range(8):
        diffusion_step(whole, data, SETTINGS)
    for _ in range(5):
        diffusion_step(first, data, SETTINGS)
    save_checkpoint(first, tmp_path / "run")
    second = begin(**options)
    assert load_checkpoint(second, tmp_path / "run")
    for _ in range(3):
        diffusion_step(second, data, SETTINGS)
    assert torch.equal(weights(second), weights(whole))
    assert second.losses == whole.losses
    assert all(map(torch.equal, second.average.shadow_params, whole.average.shadow_params))


def test_networks_with_dropout_go_on_bit_by_bit(begin: Begin, tmp_path: Path) -> None:
    plan = tiny_plan(unet={"dropout": 0.3}, text_encoder={"attention_dropout": 0.3})
    data, whole, first = random_latents(), begin(plan, accumulate=2), begin(plan, accumulate=2)
    for state, batches in ((whole, 8), (first, 4)):
        for _ in range(batches):
            diffusion_step(state, data, SETTINGS)
    save_checkpoint(first, tmp_path / "run")
    second = begin(plan, accumulate=2)
    load_checkpoint(second, tmp_path / "run")
    before = torch.get_rng_state()
    for _ in range(4):
        diffusion_step(second, data, SETTINGS)
    assert torch.equal(weights(second), weights(whole))
    assert torch.equal(torch.get_rng_state(), before), "nobody else's random numbers change"
    plain = begin(tiny_plan())
    diffusion_step(plain, data, SETTINGS)
    assert plain.losses[0] != pytest.approx(whole.losses[0], rel=1e-3), "there is dropout"


def test_a_run_that_is_cancelled_at_any_step_is_taken_up_to_the_same_weights(begin: Begin, context: Context) -> None:
    data, folder = random_latents(), context.folders.output / "training" / "x"
    whole = begin(ema_decay=0.5)
    LongRun(context, 9, 3).run(whole, lambda: diffusion_step(whole, data, SETTINGS), resume=False)
    chance = random.Random(3)
    done = 0
    while done < 9:
        state = begin(ema_decay=0.5)
        stop = done + chance.randint(1, 4)
        watch = LongRun(Stopped(stop), 9, 3, folder, checkpoint_every=2)  # type: ignore[arg-type]
        try:
            watch.run(state, lambda state=state: diffusion_step(state, data, SETTINGS), resume=True)  # type: ignore[misc]
        except Cancelled:
            assert checkpoints(folder)[-1].name == f"checkpoint_{stop:08d}.safetensors"
        done = state.step
    assert torch.equal(weights(state), weights(whole))
    assert state.losses == whole.losses
    assert len(checkpoints(folder)) == 2, "older ones go"
    assert (folder / "loss.png").is_file()


class Stopped:
    """A context whose run is cancelled when a step is told of."""

    wants_previews = False

    def __init__(self, at: int) -> None:
        self.at = at

    def progress(self, value: float, total: float, preview: Any = None, text: str = "") -> None:
        if value == self.at and value < total:
            raise Cancelled


def test_the_curve_is_shown_while_it_runs(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mezzotint.nodes.training.long_run.PREVIEW_SECONDS", 0.0)
    state, told = begin(), Heard()
    LongRun(told, 4, 3).run(state, lambda: diffusion_step(state, random_latents(), SETTINGS), resume=False)  # type: ignore[arg-type]
    assert [value for value, _, _ in told.calls] == [1, 2, 3, 4]
    assert {preview.size for _, preview, _ in told.calls} == {(640, 360)}
    assert told.calls[0][2] == f"loss {state.losses[0]:.4g}"
    assert re.fullmatch(r"loss [\d.e-]+ [▁▂▃▄▅▆▇█]{4}", told.calls[3][2])


class Heard:
    """A context that somebody watches."""

    wants_previews = True

    def __init__(self) -> None:
        self.calls: list[tuple[float, Any, str]] = []

    def progress(self, value: float, total: float, preview: Any = None, text: str = "") -> None:
        self.calls.append((value, preview, text))


def test_another_learning_rate_holds_from_the_checkpoint_on(begin: Begin, tmp_path: Path) -> None:
    first = begin(rate_schedule="linear", steps=10)
    diffusion_step(first, random_latents(), SETTINGS)
    save_checkpoint(first, tmp_path / "run")
    second = begin(rate_schedule="linear", steps=20, learning_rate=0.5)
    load_checkpoint(second, tmp_path / "run")
    assert second.optimiser.param_groups[0]["lr"] == pytest.approx(0.5 * 19 / 20)
    diffusion_step(second, random_latents(), SETTINGS)
    assert second.optimiser.param_groups[0]["lr"] == pytest.approx(0.5 * 18 / 20)


def test_a_checkpoint_of_another_training_is_refused(begin: Begin, tmp_path: Path) -> None:
    save_checkpoint(begin(seed=1), tmp_path / "run")
    with pytest.raises(TrainingError, match="'run' holds the checkpoint of another training"):
        load_checkpoint(begin(seed=2), tmp_path / "run")


def test_a_damaged_checkpoint_is_told(begin: Begin, tmp_path: Path) -> None:
    path = save_checkpoint(begin(), tmp_path / "run")
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(TrainingError, match=r"cannot be read .* remove it, and the one before it is used"):
        load_checkpoint(begin(), tmp_path / "run")


def test_data_of_another_size_is_refused(begin: Begin) -> None:
    state = begin()
    diffusion_step(state, random_latents(5), SETTINGS)
    with pytest.raises(TrainingError, match="began with 5 pictures and is now given 4"):
        diffusion_step(state, random_latents(4), SETTINGS)


def test_latents_of_another_model_are_refused(begin: Begin) -> None:
    data = random_latents()
    wide = type(data)(torch.cat([data.samples, data.samples], 2), data.captions)
    with pytest.raises(TrainingError, match="takes 4 channels and is given 8"):
        diffusion_step(begin(), wide, SETTINGS)


def test_one_picture_alone_can_be_trained_on(begin: Begin) -> None:
    state = begin()
    diffusion_step(state, random_latents(1), SETTINGS)
    assert state.step == 1


def test_a_loss_that_is_no_number_stops_and_spoils_nothing(begin: Begin) -> None:
    state = begin()
    before = weights(state)
    with pytest.raises(NotANumberError, match="the loss of step 1 is nan; the weights are those of the step before"):
        optimise(state, next(state.parameters()).sum() * float("nan"))
    assert torch.equal(weights(state), before)


def test_a_loss_that_is_no_number_is_left_out_and_counted(begin: Begin) -> None:
    state = begin()
    before = weights(state)
    optimise(state, next(state.parameters()).sum() * float("inf"), "skip")
    assert (state.step, state.skipped) == (0, 1)
    assert torch.equal(weights(state), before)


def test_skipping_ends_where_nothing_but_skipping_is_left(begin: Begin, context: Context) -> None:
    state = begin()
    nan = lambda: optimise(state, next(state.parameters()).sum() * float("nan"), "skip")  # noqa: E731
    with pytest.raises(NotANumberError, match="100 batches in a row"):
        LongRun(context, 5, 3).run(state, nan, resume=False)


def fail_on_cuda() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory")


@pytest.mark.parametrize("fail", [fail_on_cuda, lambda: torch.empty(1 << 60, dtype=torch.uint8)])
def test_running_out_of_memory_is_a_sentence(begin: Begin, context: Context, fail: Any) -> None:
    with pytest.raises(OutOfMemoryError, match="in a training step of 3 pictures; lower the batch size"):
        LongRun(context, 5, 3).run(begin(), fail, resume=False)


def test_float16_is_scaled_and_a_gradient_too_large_is_not_taken(begin: Begin, tmp_path: Path) -> None:
    plain, brief = begin(clip_norm=1.0), begin(clip_norm=1.0, precision="float16")
    for state in (plain, brief):
        diffusion_step(state, random_latents(), SETTINGS)
    assert brief.losses == pytest.approx(plain.losses, rel=0.05)
    assert brief.scaler.get_scale() == 2**16
    before = weights(brief)
    optimise(brief, next(brief.parameters()).sum() * 1e38)
    assert brief.scaler.get_scale() == 2**15
    assert torch.equal(weights(brief), before)
    save_checkpoint(brief, tmp_path / "run")
    resumed = begin(clip_norm=1.0, precision="float16")
    load_checkpoint(resumed, tmp_path / "run")
    assert resumed.scaler.get_scale() == 2**15, "and it goes on with that scale"


def test_bfloat16_and_checkpointed_activations_train(begin: Begin) -> None:
    plain, thrifty = begin(), begin(checkpointing=True)
    brief = begin(precision="bfloat16")
    for state in (plain, thrifty, brief):
        for _ in range(2):
            diffusion_step(state, random_latents(), SETTINGS)
    assert torch.allclose(weights(plain), weights(thrifty), atol=1e-6)
    assert brief.losses == pytest.approx(plain.losses, rel=0.05)
    assert brief.losses != plain.losses


# the loop as a graph


@node("TinyNetworks")
def tiny_networks() -> Networks:
    return tiny_plan()


@node("TinyAutoencoder")
def tiny_autoencoder() -> Networks:
    return tiny_plan(("vae",))


@node("RandomLatents")
def random_latent_node() -> Latents:
    return random_latents()


@node("ConditionedNetworks")
def conditioned_networks() -> Networks:
    return tiny_plan(unet={"num_class_embeds": 4, "in_channels": 9, "dropout": 0.1})


@node("MaskedLatents")
def masked_latent_node() -> Latents:
    return masked_latents()


@node("PlainOptimiser")
def plain_optimiser() -> Optimiser:
    return OptimiserPlan(learning_rate=1e-3, ema_decay=0.9)


@pytest.fixture
def engine(make_engine: Callable[..., Engine]) -> Engine:
    own = (
        tiny_networks,
        tiny_autoencoder,
        random_latent_node,
        conditioned_networks,
        masked_latent_node,
        plain_optimiser,
        logic.repeat_begin,
        logic.repeat_end,
    )
    functions = nodes_in(loop_nodes, noise_nodes, train_nodes, perceptual_nodes, autoencoder_nodes, picture_nodes)
    return make_engine(*own, *functions, primitive.primitive_int, scope=inference_scope)


def loop_graph(steps: int, networks: str, latents: str) -> tuple[GraphBuilder, Any, Any]:
    """A training as a loop of single nodes; the builder, the data and the training's end."""
    g = GraphBuilder()
    data = g.node(latents).out()
    begun = g.node("BeginTraining", networks=g.node(networks), optimiser=g.node("PlainOptimiser"), seed=7)
    turn = g.node("RepeatBegin", count=steps, value_1=begun.out(0))
    batch = g.node("DrawTrainingBatch", training=turn.out(2), latents=data, batch_size=3)
    times = g.node("DrawTimesteps", training=batch.out(0), latents=batch.out(1), process=begun.out(1))
    noise = g.node("DrawTrainingNoise", training=times.out(0), latents=batch.out(1))
    given = {"latents": batch.out(1), "noise": noise.out(1), "timesteps": times.out(1), "process": begun.out(1)}
    noisy, target = g.node("AddTrainingNoise", **given), g.node("TrainingTarget", **given)
    output = g.node("PredictInTraining", training=noise.out(0), noisy=noisy, timesteps=times.out(1),
                    captions=batch.out(2), labels=batch.out(3), concatenated=batch.out(4))  # fmt: skip
    looks = g.node("PredictionPerceptualLoss", training=output.out(0), output=output.out(1), noisy=noisy,
                   latents=batch.out(1), timesteps=times.out(1))  # fmt: skip
    loss = g.node("DiffusionLoss", output=looks.out(2), target=target, timesteps=times.out(1), process=begun.out(1))
    both = g.node("AddLosses", loss_1=loss, loss_2=looks.out(1), weight_2=0.2)
    step = g.node("OptimiserStep", training=looks.out(0), loss=both)
    end = g.node("RepeatEnd", flow=turn.out(0), value_1=step.out(0), value_2=step.out(1))
    return g, data, end


@pytest.mark.parametrize(
    ("networks", "latents"), [("TinyNetworks", "RandomLatents"), ("ConditionedNetworks", "MaskedLatents")]
)
def test_the_loop_as_a_graph_is_the_fused_node_bit_by_bit(
    engine: Engine, run: Callable[..., RunResult], networks: str, latents: str
) -> None:
    g, data, end = loop_graph(6, networks, latents)
    begun = g.node("BeginTraining", networks=g.node(networks), optimiser=g.node("PlainOptimiser"), seed=7)
    fused = g.node("TrainSteps", training=begun.out(0), latents=data, steps=6, batch_size=3, perceptual=0.2)
    result = run(engine, g, targets=[end.id, fused.id]).raise_for_status()
    single, together = result.value(end.id), result.value(fused.id)
    assert single is not together
    assert single.losses == together.losses
    assert len(single.losses) == 6
    assert result.value(end.id, 1) == single.losses[-1]
    assert torch.equal(weights(single), weights(together))


def test_the_loop_of_an_autoencoder_is_the_fused_node_bit_by_bit(engine: Engine, run: Callable[..., RunResult]) -> None:
    g = GraphBuilder()
    shapes = g.node("TrainingShapes", count=5, size=16).out()
    ends = []
    for is_fused in (False, True):
        optimiser = g.node("PlainOptimiser")
        begun = g.node("BeginTraining", networks=g.node("TinyAutoencoder"), optimiser=optimiser, seed=7)
        if is_fused:
            ends.append(g.node("TrainAutoencoderSteps", training=begun.out(0), pictures=shapes, steps=4, batch_size=3,
                               kl=0.01))  # fmt: skip
            continue
        turn = g.node("RepeatBegin", count=4, value_1=begun.out(0))
        batch = g.node("DrawTrainingPictures", training=turn.out(2), pictures=shapes, batch_size=3)
        made = g.node("ReconstructInTraining", training=batch.out(0), pictures=batch.out(1))
        loss = g.node("ReconstructionLoss", output=made.out(1), pictures=batch.out(1))
        both = g.node("AddLosses", loss_1=loss, loss_2=g.node("KLLoss", posterior=made.out(2)), weight_2=0.01)
        step = g.node("OptimiserStep", training=made.out(0), loss=both)
        ends.append(g.node("RepeatEnd", flow=turn.out(0), value_1=step.out(0)))
    result = run(engine, g, targets=[end.id for end in ends]).raise_for_status()
    single, together = (result.value(end.id) for end in ends)
    assert len(single.losses) == 4
    assert single.losses == together.losses
    assert torch.equal(weights(single), weights(together))


def test_a_run_cancelled_by_the_engine_leaves_a_checkpoint(engine: Engine, tmp_path: Path) -> None:
    g = GraphBuilder()
    begun = g.node("BeginTraining", networks=g.node("TinyNetworks"), optimiser=g.node("PlainOptimiser"), seed=7)
    fused = g.node("TrainSteps", training=begun.out(0), latents=g.node("RandomLatents"), steps=100_000, batch_size=3,
                   name="stopped", checkpoint_every=0)  # fmt: skip

    async def cancelled() -> RunResult:
        run = await engine.prepare(Workflow.from_api(g.finalize()), targets=[fused.id], on_event=hear)
        holder.append(run)
        return await run.execute()

    holder: list[Any] = []

    def hear(event: Any) -> None:
        if event.kind == "step_progressed" and event.value >= 5:
            holder[0].cancel()

    assert asyncio.run(cancelled()).status == "cancelled"
    (kept,) = checkpoints(engine.folders.output / "training" / "stopped")
    assert int(kept.stem.removeprefix("checkpoint_")) >= 5
