"""A family of model files: which files are of it, and what becomes of them. Plugins bring families."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from .residency import Loaded, Residency


class ModelFamily(Protocol):
    """Knows files of one layout. In all methods, `path` is where they lie and `name` what the user calls them.

    Where files that lie elsewhere decide what a model is, too, such as a tokenizer, a family also has
    `beside(path, folders)`, which gives them as a mapping of the names that they count under to their paths.
    """

    def recognises(self, path: Path) -> bool:
        """Whether a file or folder is of this family. Looks at names and small headers only, and never raises."""

    def file_names(self, path: Path, name: str) -> Sequence[str]:
        """The files that decide what the model is, as paths below a folder with '/'; of a single file, none.

        Raises:
            ModelFileError: one is missing.
        """

    def check(self, path: Path, name: str) -> None:
        """See that everything is there and can be used; reads no weights.

        Raises:
            ModelFileError: it cannot; the sentence names the file and the cure.
        """

    def sampling(self, path: Path, name: str, digest: str) -> Any:
        """How the diffusion model is sampled: a `nodes.sampling.model_sampling.ModelSampling`. Reads no weights.

        Raises:
            ModelFileError: its configuration cannot be used.
        """

    def load(self, recipe: Any, path: Path, residency: Residency) -> Loaded:
        """Materialise a recipe of kind `"model"`, `"clip"` or `"vae"` on the device of `residency`.

        What is made offers what `nodes.sampling.denoiser.Denoiser`, `nodes.text.text_encoder.TextEncoder` and
        `nodes.autoencoders.autoencoder.Autoencoder` offer; `networks` and `with_networks` only if LoRAs are to fit it.

        Raises:
            ModelFileError: the files are damaged, or hold no such part. OutOfMemoryError: it does not fit.
        """
