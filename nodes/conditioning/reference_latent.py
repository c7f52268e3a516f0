"""The node that shows a model that edits the picture that is edited."""

from __future__ import annotations

from mezzotint import Conditioning, Latent, node

from ..sampling.network_call import REFERENCES


@node("ReferenceLatent", category="advanced/conditioning/edit_models")
def reference_latent(conditioning: Conditioning, latent: Latent | None = None) -> Conditioning:
    """Show a model that edits by instruction (Flux Kontext) the latent of a picture."""
    if latent is None:
        return conditioning
    return [
        [tokens, {**given, REFERENCES: [*given.get(REFERENCES, []), latent["samples"]]}]
        for tokens, given in conditioning
    ]
