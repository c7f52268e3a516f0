"""What a safetensors file of weights seems to be, seen from its tensors' names; for messages."""

from __future__ import annotations

from collections.abc import Iterable

MARKS = (
    (("lora_", ".lora.", ".lora_", "_lora."), "a LoRA"),
    (("control_model.", "controlnet_", "input_hint_block."), "a ControlNet"),
    (("model.diffusion_model.", "double_blocks.", "joint_blocks.", "down_blocks.", "transformer_blocks."),
     "a diffusion model"),
    (("emb_params", "string_to_param"), "an embedding of textual inversion"),
    (("text_model.", "resblocks.", "encoder.block."), "a text encoder"),
    (("decoder.", "encoder."), "a VAE"),
)  # fmt: skip
"""What is met in names of tensors → what such files are; the first that is met decides."""


LOADED_BY = {
    "a LoRA": "put it into the models folder 'loras' and load it with LoraLoader",
    "a ControlNet": "put it into the models folder 'controlnet' and load it with ControlNetLoader",
    "an embedding of textual inversion":
        "put it into the models folder 'embeddings' and write embedding: and its name in a prompt",
}  # fmt: skip
"""What is done with files that hold no whole model."""


def file_content(names: Iterable[str]) -> str:
    """What holds tensors of these names: `a LoRA`; `something else` if nothing is known of them."""
    names = list(names)
    for marks, what in MARKS:
        if any(mark in name for name in names for mark in marks):
            return what
    return "something else"
