"""What travels on MODEL, CLIP and VAE links: a description of weights, not weights.

A recipe hashes, caches, serialises and reaches another machine as cheaply as an integer; the residency manager makes
the network of it when a node borrows it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from mezzotint import value_type

if TYPE_CHECKING:
    from mezzotint.engine.residency import Loaded, Residency

Kind = Literal["model", "clip", "vae"]
Options = tuple[tuple[str, Any], ...]
FOR_DRIVER = "sampling."
"""What the names of options begin with that a model's network is not told: the sampling driver reads them."""
DIFFERENTIAL = f"{FOR_DRIVER}differential_diffusion"
"""The option of a model whose masks let go of cells one after the other; its value is the strength, 0..1."""


@value_type("mezzotint.Source")
@dataclass(frozen=True, slots=True)
class Source:
    """The file or folder that weights come from.

    Attributes:
        folder: the kind of models folder, such as `"checkpoints"`. name: its name in there, with '/'.
        digest: blake3 of its content, so that recipes of different contents differ.
    """

    folder: str
    name: str
    digest: str


@value_type("mezzotint.Recipe")
@dataclass(frozen=True, slots=True)
class Recipe:
    """A model, text encoder or VAE: which weights, and how they are used.

    Attributes:
        kind: `"model"`, `"clip"` or `"vae"`. dtype: `"float32"`, `"float16"`, `"bfloat16"`, or `"auto"`: the file's on
            CUDA and float32 elsewhere. options: pairs of name and value, sorted, that change no weights.
        patches: what is added to the weights, in order.
    """

    kind: Kind
    source: Source
    dtype: str = "auto"
    options: Options = ()
    patches: tuple[Any, ...] = ()

    def with_option(self, name: str, value: Any) -> Recipe:
        """A copy with an option set, in place of an earlier value."""
        options = {**dict(self.options), name: value}
        return replace(self, options=tuple(sorted(options.items())))

    def with_patch(self, patch: Any) -> Recipe:
        """A copy with one more patch, after the others."""
        return replace(self, patches=(*self.patches, patch))

    # what the residency manager asks

    @property
    def weights(self) -> Recipe:
        """The recipe without its options; recipes that agree in this share one network."""
        return replace(self, options=()) if self.options else self

    def load(self, residency: Residency) -> Loaded:
        """Make the network, where no plugin host has registered a loader for the kind."""
        from .model_source import load_recipe

        return load_recipe(self, residency)

    def configure(self, loaded: Any) -> Any:
        """The network with the recipe's options, by its `with_options`; those for the driver are not told."""
        options = {name: value for name, value in self.options if not name.startswith(FOR_DRIVER)}
        return loaded.with_options(options) if options else loaded
