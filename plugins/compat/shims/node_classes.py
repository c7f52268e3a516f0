"""`nodes`: constants, the classes of all nodes by name, sampling, and interruption."""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from functools import cache
from typing import Any

from mezzotint.engine.definition import define
from mezzotint.engine.node import NodeSpec
from mezzotint.nodes import resize as _resize
from mezzotint.plugins.compat import surroundings
from mezzotint.plugins.compat.native_call import call_node

MAX_RESOLUTION = _resize.MAX_RESOLUTION
EXTENSION_WEB_DIRS: dict[str, str] = {}


def interrupt_processing(value: bool = True) -> None:
    """Ask the running job to stop."""
    if value:
        surroundings.interrupt()


def before_node_execution() -> None:
    """Stop here if the job was asked to."""
    from .devices import throw_exception_if_processing_interrupted

    throw_exception_if_processing_interrupted()


def common_ksampler(
    model: Any, seed: int, steps: int, cfg: float, sampler_name: str, scheduler: str, positive: Any, negative: Any,
    latent: dict[str, Any], denoise: float = 1.0, disable_noise: bool = False, start_step: int | None = None,
    last_step: int | None = None, force_full_denoise: bool = False,
) -> tuple[dict[str, Any]]:  # fmt: skip
    """A latent, sampled as the node KSampler does it; between two steps as KSamplerAdvanced."""
    from mezzotint.nodes.sampling.sampler_value import NamedSampler
    from mezzotint.plugins.compat.pack_sampling import guided_by, noise_of, sampled, steps_of

    sigmas = steps_of(model, sampler_name, scheduler, steps, denoise, start_step, last_step,
                      force_full_denoise=force_full_denoise)  # fmt: skip
    noise = noise_of(None, seed, is_disabled=disable_noise)
    return (sampled(guided_by(model, positive, negative, cfg), NamedSampler(sampler_name), sigmas, noise, latent),)


class BuiltInNode:
    """A built-in node as packs call one, by any name that its method may have: `VAEDecode().decode(vae, samples)`.

    Values in order go each to the first input that may hold them.
    """

    FUNCTION = "run"
    SPEC: NodeSpec
    type = "output"
    prefix_append = ""
    compress_level = 4

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        inputs: dict[str, Any] = define(cls.SPEC, surroundings.folders())["input"]
        return inputs

    def run(self, *values: Any, **inputs: Any) -> Any:
        """Call the node. Returns its outputs; of an output node what it shows, too."""
        result = call_node(self._spec, values, inputs)
        return {"ui": result.shown, "result": result.outputs} if self.SPEC.is_sink else result.outputs

    @property
    def _spec(self) -> NodeSpec:
        """The node; packs make one that saves into one that previews by saying so."""
        is_preview = self.SPEC.name == "SaveImage" and self.type == "temp"
        return surroundings.host().registry["PreviewImage"] if is_preview else self.SPEC

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(name)
        return self.run


class _Nodes(MutableMapping[str, type]):
    """Class_type → class, of all nodes of the host. What a pack sets here while it is imported is its own node."""

    def __init__(self) -> None:
        self._added: dict[str, type] = {}

    def __getitem__(self, name: str) -> type:
        return self._added.get(name) or class_of(surroundings.host().registry[name])

    def __setitem__(self, name: str, cls: type) -> None:
        self._added[name] = cls

    def __delitem__(self, name: str) -> None:
        del self._added[name]

    def __iter__(self) -> Iterator[str]:
        known = [spec.name for spec in surroundings.host().registry]
        return iter(dict.fromkeys([*known, *self._added]))

    def __len__(self) -> int:
        return len([*self])

    def take_added(self) -> dict[str, type]:
        """What was set since the last time."""
        added, self._added = self._added, {}
        return added


class _Titles(dict[str, str]):
    """Class_type → title, of all nodes of the host."""

    def __missing__(self, name: str) -> str:
        return surroundings.host().registry[name].title


@cache
def _built_in(key: int, name: str) -> type:
    spec = surroundings.host().registry[name]
    facts = {
        "SPEC": spec,
        "RETURN_TYPES": tuple(output.port for output in spec.outputs),
        "RETURN_NAMES": tuple(output.name for output in spec.outputs),
        "OUTPUT_IS_LIST": tuple(output.is_list for output in spec.outputs),
        "OUTPUT_NODE": spec.is_sink,
        "CATEGORY": spec.category,
        "DESCRIPTION": spec.description,
    }
    return type(name, (BuiltInNode,), facts)


def class_of(spec: NodeSpec) -> type:
    """The class of a node: a pack's own, or a `BuiltInNode`, the same each time."""
    node: Any = getattr(spec.invocation, "__self__", None)
    found: type = node.cls if node is not None else _built_in(id(spec), spec.name)
    return found


def find(name: str) -> type | None:
    """The class of a node that a pack imports by name; None when there is none."""
    spec = surroundings.host().registry.get(name)
    return class_of(spec) if spec is not None else None


NODE_CLASS_MAPPINGS = _Nodes()
NODE_DISPLAY_NAME_MAPPINGS = _Titles()
