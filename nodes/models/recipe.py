"""What travels on MODEL, CLIP and VAE links: a description of weights, not weights.

A recipe hashes, caches, serialises and reaches another machine as cheaply as an integer; the residency manager makes
the network of it when a node borrows it.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

from mezzotint import value_type

if TYPE_CHECKING:
    from pathlib import Path

    from mezzotint.engine.folders import Folders
    from mezzotint.engine.residency import Loadable, Loaded, Residency

PATCHED_NBYTES = 8_000_000
"""What one more set of patches on a loaded base takes beside the weights of the patches: its view of the modules, in
main memory."""

Kind = Literal["model", "clip", "vae"]
Options = tuple[tuple[str, Any], ...]
FOR_DRIVER = "sampling."
"""What the names of options begin with that a model's network is not told: the sampling driver reads them."""
DIFFERENTIAL = f"{FOR_DRIVER}differential_diffusion"
"""The option of a model whose masks let go of cells one after the other; its value is the strength, 0..1."""

GUIDANCE = f"{FOR_DRIVER}guidance"
"""The option of a model whose predictions are changed once they are guided; its value is a tuple of
`sampling.guidance.Adjustment`."""
SAMPLING = "sampling"
"""The option of a model that is sampled otherwise than its files say; its value is a
`sampling.sampling_change.SamplingChange`."""
CHANGES = "changes"
"""The option of a model whose network computes otherwise; its value is a tuple of
`sampling.network_change.NetworkChange`."""


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


class Patch(Protocol):
    """Something that is added to a model, such as a LoRA: small, frozen, of a class marked by `@value_type`."""

    def parts(self, base: Recipe) -> tuple[Loadable, ...]:
        """The recipes of what it adds, for a base without options and patches; their bytes are accounted for."""

    def apply(self, loaded: Any, *parts: Any) -> Any:
        """What the base became, as it is with this; `loaded` itself, which others share, stays as it was.

        Args:
            parts: what `parts` became.
        """


@runtime_checkable
class Replacement(Protocol):
    """A patch after which other weights stand in place of the base's, such as a merge."""

    def replaced(self, base: Recipe) -> Loadable:
        """What the base becomes; its patches are those before this one."""


@value_type("mezzotint.Recipe")
@dataclass(frozen=True, slots=True)
class Recipe:
    """A model, text encoder or VAE: which weights, and how they are used.

    Attributes:
        kind: `"model"`, `"clip"` or `"vae"`. dtype: `"float32"`, `"float16"`, `"bfloat16"`, or `"auto"`: see
            docs/models.md; `"float8_e4m3fn"` and `"float8_e5m2"` are kept so and computed in as with `"auto"`.
        options: pairs of name and value, sorted, that change no weights. patches: what is added to the weights, in
            order, each a `Patch` or `Replacement`. further: the files of its other text encoders, where each has one
            of its own. text_of: the family that these text encoders are for, as `families.separate_text_encoders` has
            it; empty where the files say so.
    """

    kind: Kind
    source: Source
    dtype: str = "auto"
    options: Options = ()
    patches: tuple[Patch | Replacement, ...] = ()
    further: tuple[Source, ...] = ()
    text_of: str = ""

    def with_option(self, name: str, value: Any) -> Recipe:
        """A copy with an option set, in place of an earlier value."""
        options = {**dict(self.options), name: value}
        return replace(self, options=tuple(sorted(options.items())))

    def with_patch(self, patch: Patch) -> Recipe:
        """A copy with one more patch, after the others."""
        return replace(self, patches=(*self.patches, patch))

    # what the residency manager asks

    @property
    def weights(self) -> Any:
        """The recipe without its options; recipes that agree in this share one network."""
        if not self.patches:
            return replace(self, options=()) if self.options else self
        places = reversed(range(len(self.patches)))
        last = next((place for place in places if isinstance(self.patches[place], Replacement)), -1)
        base = replace(self, options=(), patches=self.patches[: last + 1])
        after: Any = self.patches[last + 1 :]
        if after:
            return PatchedWeights(base, after)
        replacement: Any = self.patches[last]
        return replacement.replaced(replace(base, patches=self.patches[:last]))

    def load(self, residency: Residency) -> Loaded:
        """Make the network, where no plugin host has registered a loader for the kind."""
        from .model_source import load_recipe

        return load_recipe(self, residency)

    def files(self, folders: Folders) -> list[Path]:
        """The files that its weights are read from."""
        from .model_source import source_files

        return [path for source in (self.source, *self.further) for path in source_files(source, folders)]

    def configure(self, loaded: Any) -> Any:
        """The network with the recipe's options, by its `with_options`; those for the driver are not told."""
        options = {name: value for name, value in self.options if not name.startswith(FOR_DRIVER)}
        return loaded.with_options(options) if options else loaded


@dataclass(frozen=True, slots=True)
class PatchedWeights:
    """What a recipe with patches becomes: it stands on the network of the base, which it shares with all others."""

    base: Recipe
    patches: tuple[Patch, ...]
    kind: ClassVar[str] = "patched"

    @property
    def weights(self) -> PatchedWeights:
        return self

    @property
    def parts(self) -> tuple[Any, ...]:
        """The recipes that it stands on."""
        return self.base.weights, *(part.weights for patch in self.patches for part in patch.parts(self.base))

    def load(self, residency: Residency) -> Loaded:
        """Apply the patches to the base, in order."""
        from mezzotint.engine.residency import Loaded

        with ExitStack() as loans:
            made = loans.enter_context(residency.borrow(self.base))
            for patch in self.patches:
                parts = [loans.enter_context(residency.borrow(part)) for part in patch.parts(self.base)]
                made = patch.apply(made, *parts)
        return Loaded(made, 0 if residency.host_nbytes else PATCHED_NBYTES)
