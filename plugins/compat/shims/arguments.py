"""`comfy.cli_args`: the options of the host's command line, as far as packs look at them."""

from __future__ import annotations

from types import SimpleNamespace


class Arguments(SimpleNamespace):
    """Options as if nothing was given; those that are not known are None."""

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


args = Arguments(
    listen="127.0.0.1", port=8188, cpu=False, lowvram=False, highvram=False, disable_metadata=False,
    preview_method="auto", output_directory=None, input_directory=None, temp_directory=None,
)  # fmt: skip
