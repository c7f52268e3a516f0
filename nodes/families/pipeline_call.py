"""Networks called through their pipeline: what diffusers' own code does in one step, without the step.

A pipeline's `__call__` is run for one timestep, with a scheduler that takes what it is given and ends the run. So
whatever a family does around its network (packing latents, places of tokens, signs, embedded guidance) is done by the
code that was written for it, and none of it is written here.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

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
        given = dict(inputs)
        pipeline = self.editing if REFERENCE in given else self.pipeline
        guidance = given.pop(GUIDANCE).tolist() if GUIDANCE in given else [None] * len(x)
        times = timestep.tolist() * (len(x) if len(timestep) == 1 else 1)
        pairs = {*zip(times, guidance, strict=True)}
        control = options.get(AT_CALL)
        if len(pairs) == 1:
            _set_network(pipeline, network, control, range(len(x)))
            return self._output(pipeline, x, times[0], tokens, given, guidance[0])
        outputs = torch.empty_like(x)
        for time, strength in dict.fromkeys(zip(times, guidance, strict=True)):
            rows = [i for i, pair in enumerate(zip(times, guidance, strict=True)) if pair == (time, strength)]
            some = {name: tensor[rows] for name, tensor in given.items()}
            _set_network(pipeline, network, control, rows)
            outputs[rows] = self._output(pipeline, x[rows], time, tokens[rows], some, strength)
        return outputs

    def _output(
        self,
        pipeline: Any,
        x: Tensor,
        timestep: float,
        tokens: Tensor,
        inputs: dict[str, Tensor],
        guidance: float | None,
    ) -> Tensor:
        """What the network gives for one timestep, like x."""
        scale, parameters = pipeline.vae_scale_factor, _parameters(pipeline)
        height, width = (side * scale for side in x.shape[-2:])
        scheduler = pipeline.scheduler
        scheduler.timesteps = torch.tensor([timestep], device=x.device)
        scheduler.sigmas = scheduler.timesteps / 1000
        said = {name: value for name, value in TURNED_OFF.items() if name in parameters}
        if "max_area" in parameters:  # it would choose another size
            said["max_area"] = height * width
        if guidance is not None:
            said["guidance_scale"] = guidance
        elif parameters["guidance_scale"].default is None:
            del said["guidance_scale"]
        if hasattr(
            pipeline, "default_sample_size"
        ):  # HiDream would draw a picture of this area; a little more rounds down
            pipeline.default_sample_size = math.sqrt(height * width) * (1 + 1e-6) / scale
        inputs = {name: each.movedim(0, 1) if name in LAYERS_FIRST else each for name, each in inputs.items()}
        prompts: Tensor | Sequence[Tensor] = [*tokens] if self.takes_list else tokens
        latents = pipeline._pack_latents(x, *x.shape) if self.packs else x
        try:
            pipeline(**said, **inputs, **{self.tokens_name: prompts}, latents=latents, height=height, width=width)
        except _Reached as reached:
            output = reached.output
        except (ValueError, TypeError) as error:
            raise ConditioningError(
                f"the model's pipeline ({type(pipeline).__name__}) refuses a picture of {width}×{height} with "
                f"this conditioning: {one_line(error)}"
            ) from error
        if self.packs:
            output = pipeline._unpack_latents(output, height, width, scale)
        return output.reshape(x.shape).to(x.dtype)


def _set_network(pipeline: Any, network: nn.Module, control: Any, rows: Sequence[int]) -> None:
    """Have a pipeline call this network, with what a control adds to the arguments for these rows of the forward."""
    if control is not None:

        def before(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
            return args, {**kwargs, **control(network, kwargs, rows)}

        network = shallow_copy(network)
        network.register_forward_pre_hook(before, with_kwargs=True)
    if pipeline.transformer is not network:  # it would be registered anew
        pipeline.transformer = network


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
