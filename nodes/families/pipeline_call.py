"""Networks called through their pipeline: what diffusers' own code does in one step, without the step.

A pipeline's `__call__` is run for one timestep, with a scheduler that takes what it is given and ends the run. So
whatever a family does around its network (packing latents, places of tokens, signs, embedded guidance) is done by the
code that was written for it, and none of it is written here. The steps of a sampling after its first do only what
depends on x and the timestep (`call_trace`).
"""

from __future__ import annotations

import inspect
import math
from collections import deque
from collections.abc import Hashable, Mapping
from functools import cache, cached_property, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from ..models.component_weights import one_line
from ..models.network_overlay import shallow_copy
from ..sampling.control import AT_CALL
from ..sampling.network_call import (
    POOLED,
    REFERENCES,
    USUAL_GUIDANCE,
    ConditioningError,
    NamedTensors,
    Target,
    for_each,
)
from .call_trace import CallTrace, record

if TYPE_CHECKING:
    from collections.abc import Sequence

PROMPT_INPUTS = "prompt_inputs"
"""The option of a conditioning with what `encode_prompt` gave beside tokens and pooled output, by its names."""
TOKENS, POOLED_TOKENS = ("prompt_embeds", "prompt_embeds_t5"), "pooled_prompt_embeds"
"""What pipelines call the tokens of a text, the first that one has; and what is made of the text as a whole."""
LAYERS_FIRST = frozenset({"prompt_embeds_llama3"})
"""What encoders give for all their layers, [layers, B, T, D]; in conditionings it is [B, layers, T, D]."""
GUIDANCE = "guidance"
REFERENCE = "image"
"""What pipelines that edit call the latent of the picture that they are shown."""
EDITING = {"FluxPipeline": "FluxKontextPipeline"}
"""Pipelines → those that edit with networks of the same shape."""
TURNED_OFF = {
    "num_inference_steps": 1, "output_type": "latent", "return_dict": False, "use_resolution_binning": False,
    "true_cfg_scale": 1.0, "guidance_scale": 0.0,
}  # fmt: skip
"""What is said to a pipeline that takes it. Guidance is ours, and most pipelines have none at 1, some at 0 only."""


MAX_TRACES = 2
"""How many calls are remembered: those of one sampling, whose two prompts may be predicted for one by one."""


class _Reached(Exception):  # noqa: N818  # no error: it carries what was waited for
    """The network has answered."""

    def __init__(self, output: Tensor) -> None:
        super().__init__()
        self.output = output


class OneStep:
    """Stands for a pipeline's scheduler: has one timestep, and ends the run when the network has answered.

    Args:
        config: of the scheduler that it stands for.
    """

    order, init_noise_sigma = 1, 1.0

    def __init__(self, config: Mapping[str, Any]) -> None:
        from diffusers.configuration_utils import FrozenDict

        self.config = FrozenDict(config)
        self.timesteps = self.sigmas = torch.zeros(1)

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: Any = None,
        sigmas: Any = None,
        timesteps: Any = None,
        mu: float | None = None,
    ) -> None:
        """Nothing: the timestep is set already."""

    def set_begin_index(self, begin_index: int = 0) -> None:
        """Nothing: there is one step."""

    def scale_model_input(self, sample: Tensor, timestep: Any = None) -> Tensor:
        """The sample: it is scaled already."""
        return sample

    def step(self, model_output: Tensor, *_: Any, **__: Any) -> Any:
        """Ends the run."""
        raise _Reached(model_output)


class _Trace(NamedTuple):
    """A pipeline's call with these tokens and inputs for an x of this kind, to be made again."""

    again: CallTrace
    kind: Hashable
    tokens: Tensor
    inputs: NamedTensors

    def fits(self, x: Tensor, timestep: Tensor, tokens: Tensor, inputs: NamedTensors) -> bool:
        """Whether the pipeline would do the same once more."""
        if self.tokens is not tokens or self.kind != _kind(x) or len(timestep) != 1:
            return False
        return len(inputs) == len(self.inputs) and all(self.inputs.get(name) is inputs[name] for name in inputs)


def _kind(x: Tensor) -> Hashable:
    return x.shape, x.stride(), x.dtype, x.device, torch.is_inference_mode_enabled()


class PipelineCall:
    """The `NetworkCall` of a pipeline's transformer.

    Args:
        pipeline: without text encoders, with a `OneStep` as its scheduler. takes_list: whether prompts are given as a
            list of texts [T, D]. takes_guidance: whether the network is told how strong guidance is.
    """

    def __init__(self, pipeline: Any, takes_list: bool, takes_guidance: bool) -> None:
        self.pipeline, self.takes_list, self.takes_guidance = pipeline, takes_list, takes_guidance
        self.parameters = _parameters(pipeline)
        self.tokens_name = tokens_name(type(pipeline))
        self.packs = hasattr(pipeline, "_pack_latents") and hasattr(pipeline, "_unpack_latents")
        self._traces: deque[_Trace] = deque(maxlen=MAX_TRACES)

    def inputs(self, options: Mapping[str, Any], target: Target) -> dict[str, Tensor]:
        made = dict(options.get(PROMPT_INPUTS, {}))
        if POOLED_TOKENS in self.parameters:
            if options.get(POOLED) is None:
                raise ConditioningError(
                    "a conditioning has no pooled output, which the model wants beside the tokens: encode the text "
                    "with the CLIP of the model's own checkpoint"
                )
            made[POOLED_TOKENS] = options[POOLED]
        if references := options.get(REFERENCES):
            made[REFERENCE] = self._reference(references, target)
        if self.takes_guidance:
            made[GUIDANCE] = torch.tensor([float(options.get(GUIDANCE, USUAL_GUIDANCE))])
        return {name: for_each(tensor.to(target.device), target.shape[0]) for name, tensor in made.items()}

    def _reference(self, references: Sequence[Tensor], target: Target) -> Tensor:
        """The latent that the network is shown, as it sees latents, [1 or B, C, h, w]."""
        if self.editing is None:
            raise ConditioningError(
                f"a conditioning shows the model a reference latent, and its pipeline ({type(self.pipeline).__name__}) "
                f"takes none; leave out ReferenceLatent, or use Flux Kontext"
            )
        if len(references) > 1:
            raise ConditioningError(
                f"a conditioning shows the model {len(references)} reference latents, and its pipeline takes one; put "
                f"the pictures side by side with ImageStitch"
            )
        (latent,) = references
        if latent.shape[1] != target.shape[1]:
            raise ConditioningError(
                f"a reference latent has {latent.shape[1]} channels, and the model wants {target.shape[1]}; encode the "
                f"picture with the VAE that belongs to the model"
            )
        return target.sampling.to_model(latent.float())

    @cached_property
    def editing(self) -> Any:
        """A pipeline of the same parts that is shown a picture; None where there is none."""
        import diffusers

        name, parts = type(self.pipeline).__name__, self.pipeline
        if name in EDITING.values():
            return parts
        if name not in EDITING:
            return None
        return bare_pipeline(getattr(diffusers, EDITING[name]), parts.device, vae=parts.vae, scheduler=parts.scheduler)

    def forward(
        self,
        network: nn.Module,
        x: Tensor,
        timestep: Tensor,
        tokens: Tensor,
        inputs: NamedTensors,
        options: Mapping[str, Any],
    ) -> Tensor:
        control, everything = options.get(AT_CALL), range(len(x))
        for trace in self._traces:
            if trace.fits(x, timestep, tokens, inputs):
                if not torch.is_grad_enabled():
                    return trace.again(_controlled(network, control, everything), x, timestep)
                with torch.no_grad():  # as pipelines have it
                    return trace.again(_controlled(network, control, everything), x, timestep)
        given = dict(inputs)
        pipeline = self.editing if REFERENCE in given else self.pipeline
        guidance = given.pop(GUIDANCE).tolist() if GUIDANCE in given else [None] * len(x)
        if len(timestep) == 1 and len({*guidance}) == 1:
            output = partial(self._output, pipeline, tokens, given, guidance[0])
            made, again = record(output, _controlled(network, control, everything), x, timestep)
            if again is not None:
                self._traces.appendleft(_Trace(again, _kind(x), tokens, inputs))
            return made
        times = timestep.tolist() * (len(x) if len(timestep) == 1 else 1)
        rows: dict[Any, list[int]] = {}
        for row, pair in enumerate(zip(times, guidance, strict=True)):
            rows.setdefault(pair, []).append(row)
        outputs = torch.empty_like(x)
        for (time, strength), some in rows.items():
            theirs = {name: tensor[some] for name, tensor in given.items()}
            called, at = _controlled(network, control, some), torch.tensor([time], device=x.device)
            outputs[some] = self._output(pipeline, tokens[some], theirs, strength, called, x[some], at)
        return outputs

    def _output(
        self,
        pipeline: Any,
        tokens: Tensor,
        inputs: Mapping[str, Tensor],
        guidance: float | None,
        network: Any,
        x: Tensor,
        timestep: Tensor,
    ) -> Tensor:
        """What the network gives for one timestep, [1], like x."""
        scale, parameters = pipeline.vae_scale_factor, _parameters(pipeline)
        height, width = (side * scale for side in x.shape[-2:])
        scheduler = pipeline.scheduler
        scheduler.timesteps, scheduler.sigmas = timestep, timestep / 1000
        said = {name: value for name, value in TURNED_OFF.items() if name in parameters}
        if "max_area" in parameters:  # it would choose another size
            said["max_area"] = height * width
        if guidance is not None:
            said["guidance_scale"] = guidance
        elif parameters["guidance_scale"].default is None:
            del said["guidance_scale"]
        if hasattr(pipeline, "default_sample_size"):  # HiDream draws a picture of this area; it rounds down
            pipeline.default_sample_size = math.sqrt(height * width) * (1 + 1e-6) / scale
        inputs = {name: each.movedim(0, 1) if name in LAYERS_FIRST else each for name, each in inputs.items()}
        prompts: Tensor | Sequence[Tensor] = [*tokens] if self.takes_list else tokens
        latents = pipeline._pack_latents(x, *x.shape) if self.packs else x
        vars(pipeline)["transformer"] = network  # by its attribute it would be registered anew
        try:
            pipeline(**said, **inputs, **{self.tokens_name: prompts}, latents=latents, height=height, width=width)
        except _Reached as reached:
            output = reached.output
        except (ValueError, TypeError) as error:
            raise ConditioningError(
                f"the model's pipeline ({type(pipeline).__name__}) refuses a picture of {width}×{height} with "
                f"this conditioning: {one_line(error)}"
            ) from error
        finally:
            vars(pipeline)["transformer"] = None  # so that nothing stays alive by it
        if self.packs:
            output = pipeline._unpack_latents(output, height, width, scale)
        return (output if output.shape == x.shape else output.reshape(x.shape)).to(x.dtype)


def _controlled(network: nn.Module, control: Any, rows: Sequence[int]) -> nn.Module:
    """The network, with what a control adds to the arguments for these rows of the forward."""
    if control is None:
        return network

    def before(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return args, {**kwargs, **control(network, kwargs, rows)}

    made: nn.Module = shallow_copy(network)
    made.register_forward_pre_hook(before, with_kwargs=True)
    return made


def tokens_name(pipeline_class: Any) -> str:
    """What a pipeline calls the tokens of a text; empty where it takes none."""
    return next((name for name in TOKENS if name in _parameters_of(pipeline_class.__call__)), "")


def _parameters(pipeline: Any) -> Mapping[str, inspect.Parameter]:
    """What a pipeline can be told."""
    return _parameters_of(type(pipeline).__call__)


@cache
def _parameters_of(call: Any) -> Mapping[str, inspect.Parameter]:
    """Of the method of a class of diffusers: asked for at each step, it took longer than the step's other code."""
    return inspect.signature(call).parameters


def bare_pipeline(pipeline_class: Any, device: torch.device, **parts: Any) -> Any:
    """A pipeline on a device, with these components and without the others."""
    here = property(lambda _: device)
    placed = type(pipeline_class.__name__, (pipeline_class,), {"device": here, "_execution_device": here})
    names = [name for name in inspect.signature(pipeline_class.__init__).parameters if name != "self"]
    parameters = inspect.signature(pipeline_class.__init__).parameters
    required = [name for name in names if parameters[name].default is inspect.Parameter.empty]
    made = placed(**{**dict.fromkeys(required), **parts})
    made.set_progress_bar_config(disable=True)
    return made
