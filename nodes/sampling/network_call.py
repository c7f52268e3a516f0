"""How a network is called: what it takes beside x, a timestep and tokens, and where that comes from.

What a conditioning's item says of itself (its options: `pooled_output`, `width`, `concat_mask`) becomes named tensors
once, when prompts are made ready; each forward joins those of several items along the batch and hands them on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from mezzotint.engine.errors import MezzotintError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from .model_sampling import ModelSampling
    from .picture_vector import PictureVector

NamedTensors = Mapping[str, "Tensor"]
"""Further inputs of a network, [B, ...] each."""
POOLED = "pooled_output"
CONCAT = "concat"
"""The input that is joined to the channels of x, [B, ..., h, w]; where an area is evaluated, it is cut like x."""
CONCAT_LATENT, CONCAT_MASK = "concat_latent_image", "concat_mask"
REFERENCES = "reference_latents"
"""The option with latents of pictures, [B, C, h, w] each as the VAE gives them, that a model that edits is shown."""
CLASS_LABEL, CLASS_LABELS = "class_label", "class_labels"
"""The option of a conditioning's item that names its class by number, and the input of the network."""
UNCLIP, PICTURES = "unclip_conditioning", "pictures"
"""The option with the pictures that an unCLIP model is shown, a dict each: `clip_vision_output` (what CLIP made of it),
`strength`, and `noise_augmentation`, 0 to 1. Then, the input that becomes of them."""
GLIGEN, BOXES = "gligen", "gligen_boxes"
"""The option with boxes and their texts, `("position", the patch of the model that draws them, boxes)`: a box is its
pooled text [1, D], then height, width, y and x in cells of the latent. Then, the input that becomes of them, [B, N, 4]:
left, top, right and bottom in shares of what is evaluated."""
NOISE_SEED = "noise_seed"
"""The option with the seed of the run, for what else is drawn from it."""
PICTURE_NUMBERS = (5, 6)
"""How many numbers SDXL's refiner and SDXL are told of a picture."""
USUAL_GUIDANCE = 3.5
"""Of networks that were trained to be told how strong guidance is, and are not."""
AESTHETIC_SCORES = 6.0, 2.5
"""How well made a picture is to look, for a positive and for a negative prompt that do not say."""


class ConditioningError(MezzotintError):
    """A conditioning asks for something that is not done, or lacks what the model needs."""


class Target(NamedTuple):
    """What an item's inputs are made for.

    Attributes:
        shape: of the latents, [B, C, h, w]. column: which conditioning the item belongs to: 0 for the positive one.
        sampling: of the model. device: where the inputs go.
    """

    shape: tuple[int, ...]
    column: int
    sampling: ModelSampling
    device: torch.device

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the pictures, in pixels."""
        height, width = self.shape[-2:]
        return height * self.sampling.downscale, width * self.sampling.downscale


class NetworkCall(Protocol):
    """How networks of one kind are called."""

    def inputs(self, options: Mapping[str, Any], target: Target) -> dict[str, Tensor]:
        """The further inputs of a conditioning's item: float32 on the target's device, [B, ...] each.

        Raises:
            ConditioningError: the options lack what the network cannot do without.
        """

    def forward(
        self,
        network: nn.Module,
        x: Tensor,
        timestep: Tensor,
        tokens: Tensor,
        inputs: NamedTensors,
        options: Mapping[str, Any],
    ) -> Tensor:
        """One forward: its output, like x.

        Args:
            x: [B, C, h, w], scaled as the network wants it. timestep: [1] or [B]. tokens: [B, T, D].
            inputs: what `inputs` gave, joined. All of them are in the network's dtype. options: further arguments.
        """


@dataclass(frozen=True, slots=True)
class UNetCall:
    """Of diffusers' `UNet2DConditionModel`.

    Attributes:
        embedding_width: what a picture's size and the pooled text come to, where the network takes them (Podell et al.
            2023, section 2.2); 0 where it doesn't. number_width: of it, for each number.
        further_channels: beside those of x: 5 for inpainting (a mask, then the latent of what stays), 4 for editing.
        class_count: of a network that is conditioned by class (`num_class_embeds`), the last of which stands for none.
        pictures: makes what an unCLIP network takes in place of a class.
    """

    embedding_width: int = 0
    number_width: int = 0
    further_channels: int = 0
    class_count: int = 0
    pictures: PictureVector | None = None

    @property
    def sees_mask(self) -> bool:
        """Whether it is a model for inpainting: a mask comes to the channels of a latent, which are even in number."""
        return self.further_channels % 2 == 1

    def inputs(self, options: Mapping[str, Any], target: Target) -> dict[str, Tensor]:
        import torch

        made = {}
        if self.embedding_width:
            pooled = _pooled(options)
            count, rest = divmod(self.embedding_width - pooled.shape[-1], self.number_width)
            if rest or count not in PICTURE_NUMBERS:
                raise ConditioningError(
                    f"a conditioning has a pooled output of {pooled.shape[-1]} numbers, which does not fit the model: "
                    f"it comes from another text encoder; encode the text with the CLIP of the model's own checkpoint"
                )
            numbers = picture_numbers(options, target, count)
            made = {"text_embeds": pooled, "time_ids": torch.tensor([numbers], dtype=torch.float32)}
        if self.further_channels:
            made[CONCAT] = self._further_channels(options, target)
        if self.class_count:
            made[CLASS_LABELS] = torch.tensor([self._label(options)])
        if self.pictures is not None:
            made[PICTURES] = self.pictures.of(options)
        return {name: for_each(tensor.to(target.device), target.shape[0]) for name, tensor in made.items()}

    def _label(self, options: Mapping[str, Any]) -> int:
        label: int = options.get(CLASS_LABEL, self.class_count - 1)
        if not 0 <= label < self.class_count:
            raise ConditioningError(
                f"a conditioning asks for class {label}, and the model has classes 0 to {self.class_count - 1}; choose "
                f"one of these"
            )
        return label

    def _further_channels(self, options: Mapping[str, Any], target: Target) -> Tensor:
        """The mask, if it wants one, and the latent of the picture that is edited, [.., further channels, h, w]."""
        import torch

        latent = options.get(CONCAT_LATENT)
        if latent is None:
            latent = torch.zeros(1, target.shape[1], *target.shape[-2:])
        latent = _of_size(latent.float(), target.shape)
        if not self.sees_mask:  # the network was trained on such latents unscaled
            return latent
        mask = options.get(CONCAT_MASK)
        mask = torch.ones(1, 1, *target.shape[-2:]) if mask is None else mask.reshape(-1, 1, *mask.shape[-2:])
        latent = target.sampling.to_model(latent)
        count = max(len(mask), len(latent))
        mask = _of_size(mask.float(), target.shape).round()
        return torch.cat([for_each(mask, count), for_each(latent, count)], dim=1)

    def forward(
        self,
        network: nn.Module,
        x: Tensor,
        timestep: Tensor,
        tokens: Tensor,
        inputs: NamedTensors,
        options: Mapping[str, Any],
    ) -> Tensor:
        if not inputs:
            plain: Tensor = network(x, timestep, tokens, return_dict=False, **options)[0]
            return plain
        if self.further_channels:
            import torch

            x = torch.cat([x, inputs[CONCAT]], dim=1)
        added = {name: tensor for name, tensor in inputs.items() if name not in (CONCAT, CLASS_LABELS, PICTURES)}
        more = {"added_cond_kwargs": added, **options} if added else options
        if self.class_count:
            more = {CLASS_LABELS: inputs[CLASS_LABELS], **more}
        if PICTURES in inputs:
            more = {CLASS_LABELS: inputs[PICTURES], **more}
        output: Tensor = network(x, timestep, tokens, return_dict=False, **more)[0]
        return output


def picture_numbers(options: Mapping[str, Any], target: Target, count: int) -> list[float]:
    """What SDXL is told of a picture, in pixels: its size, how it is cut, the size wanted; or as a fifth a score."""
    height, width = target.size
    height, width = options.get("height", height), options.get("width", width)
    cut = [options.get("crop_h", 0), options.get("crop_w", 0)]
    if count == 5:
        score = AESTHETIC_SCORES[min(target.column, 1)]
        return [height, width, *cut, options.get("aesthetic_score", score)]
    return [height, width, *cut, options.get("target_height", height), options.get("target_width", width)]


def _pooled(options: Mapping[str, Any]) -> Tensor:
    pooled: Tensor | None = options.get(POOLED)
    if pooled is None:
        raise ConditioningError(
            "a conditioning has no pooled output, which the model wants beside the tokens: it comes from the text "
            "encoder of another model; encode the text with the CLIP of the model's own checkpoint"
        )
    return pooled


def for_each(tensor: Tensor, count: int) -> Tensor:
    """[count, ...]: one for each latent of a batch; fewer are repeated from the first."""
    given = len(tensor)
    if given == count:
        return tensor
    if given == 1:
        return tensor.expand(count, *[-1] * (tensor.ndim - 1))
    return tensor.repeat(-(-count // given), *[1] * (tensor.ndim - 1))[:count]


def _of_size(tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    """[..., h, w] in the size of a latent, bilinearly."""
    from torch.nn.functional import interpolate

    if tensor.shape[-2:] == shape[-2:]:
        return tensor
    return interpolate(tensor, shape[-2:], mode="bilinear")
