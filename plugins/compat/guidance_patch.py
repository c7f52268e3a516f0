"""Functions of packs that take part in guidance. They stay in memory: no other process can read a closure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mezzotint.nodes.sampling.guidance import Guided

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class ScaleFunction:
    """Guides in the place of the usual formula: x minus what `function` gives is the prediction.

    `function` gets a dict: `cond` and `uncond`, the noise in x by each prediction; `cond_denoised` and
    `uncond_denoised`, the predictions themselves; `cond_scale`, `input` (x), `sigma` and `timestep` ([B]),
    `model_options`.
    """

    function: Callable[[dict[str, Any]], Tensor]
    needs_negative: bool = False

    def __call__(self, guided: Guided) -> Tensor:
        facts = _facts(guided)
        return guided.x - self.function({
            **facts,
            "cond": guided.x - facts["cond_denoised"],
            "uncond": guided.x - facts["uncond_denoised"],
            "cond_scale": guided.scale,
            "timestep": facts["sigma"],
        })  # fmt: skip


@dataclass(frozen=True, eq=False)
class AfterGuidance:
    """Changes what guidance gave: `function` gives the prediction in the place of `denoised`.

    It gets a dict: `denoised`, `cond_denoised`, `uncond_denoised`, `cond` and `uncond` (the conditionings), `input`
    (x), `sigma` ([B]), `model_options`.
    """

    function: Callable[[dict[str, Any]], Tensor]
    needs_negative: bool = False

    def __call__(self, guided: Guided) -> Tensor:
        given = {"denoised": guided.prediction, "cond": guided.positive, "uncond": guided.negative}
        return self.function({**_facts(guided), **given})


def _facts(guided: Guided) -> dict[str, Any]:
    negative = guided.conditional if guided.unconditional is None else guided.unconditional
    return {
        "cond_denoised": guided.conditional,
        "uncond_denoised": negative,
        "input": guided.x,
        "sigma": guided.x.new_full((guided.x.shape[0],), guided.sigma),
        "model_options": {"transformer_options": {}},
    }
