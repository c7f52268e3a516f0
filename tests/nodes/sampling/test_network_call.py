"""What networks are given beside text, against what diffusers' pipelines give them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from mezzotint.nodes.samplers.schedules import DiscreteSigmas
from mezzotint.nodes.sampling.model_sampling import ModelSampling
from mezzotint.nodes.sampling.network_call import ConditioningError, Target, UNetCall

SCALE = 0.5
SDXL = UNetCall(embedding_width=1280 + 6 * 256, number_width=256)
REFINER = UNetCall(embedding_width=1280 + 5 * 256, number_width=256)


def target(column: int = 0, batch: int = 2) -> Target:
    sampling = ModelSampling(DiscreteSigmas.from_config(), "epsilon", 4, 8, SCALE, 0.0, {})
    return Target((batch, 4, 12, 16), column, sampling, torch.device("cpu"))


def numbers(call: UNetCall, column: int = 0, **options: Any) -> list[float]:
    inputs = call.inputs({"pooled_output": torch.ones(1, 1280), **options}, target(column))
    assert inputs["text_embeds"].shape == (2, 1280)
    assert torch.equal(inputs["time_ids"][0], inputs["time_ids"][1])
    return inputs["time_ids"][0].tolist()


def test_a_picture_that_says_nothing_is_whole_and_of_the_size_that_is_drawn() -> None:
    assert numbers(SDXL) == [96, 128, 0, 0, 96, 128]


def test_a_conditioning_may_say_of_what_picture_it_is() -> None:
    said = {"width": 2, "height": 1, "crop_w": 4, "crop_h": 3, "target_width": 6, "target_height": 5}
    assert numbers(SDXL, **said) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(("column", "score"), [(0, 6.0), (1, 2.5), (2, 2.5)])
def test_the_refiner_is_told_a_score_in_place_of_the_size_wanted(column: int, score: float) -> None:
    assert numbers(REFINER, column) == [96, 128, 0, 0, score]
    assert numbers(REFINER, column, aesthetic_score=4.0)[4] == 4.0


def test_a_conditioning_of_another_text_encoder_is_refused() -> None:
    with pytest.raises(ConditioningError, match="no pooled output"):
        SDXL.inputs({}, target())
    with pytest.raises(ConditioningError, match="a pooled output of 768 numbers, which does not fit the model"):
        SDXL.inputs({"pooled_output": torch.ones(1, 768)}, target())


def concat(call: UNetCall, **options: Any) -> Tensor:
    return call.inputs(options, target())["concat"]


def test_inpainting_takes_the_mask_then_the_scaled_latent_of_what_stays() -> None:
    latent, mask = torch.randn(1, 4, 12, 16), torch.zeros(1, 1, 96, 128)
    mask[..., :64] = 1
    joined = concat(UNetCall(further_channels=5), concat_latent_image=latent, concat_mask=mask)
    assert joined.shape == (2, 5, 12, 16)
    assert torch.equal(joined[0, 0, 0], torch.tensor([1.0] * 8 + [0.0] * 8))
    torch.testing.assert_close(joined[1, 1:], latent[0] * SCALE)


def test_with_nothing_said_all_is_painted() -> None:
    joined = concat(UNetCall(further_channels=5))
    assert torch.equal(joined[:, :1], torch.ones(2, 1, 12, 16))
    assert not joined[:, 1:].any()


def test_editing_takes_the_latent_as_it_is() -> None:
    latent = torch.randn(2, 4, 12, 16)
    assert torch.equal(concat(UNetCall(further_channels=4), concat_latent_image=latent), latent)


def test_the_network_gets_its_inputs_under_the_names_that_it_knows() -> None:
    given: dict[str, Any] = {}

    class Network(torch.nn.Module):
        def forward(self, x: Tensor, timestep: Tensor, tokens: Tensor, **options: Any) -> tuple[Tensor]:
            given.update(options, x=x)
            return (x[:, :4],)

    call = UNetCall(embedding_width=1280 + 6 * 256, number_width=256, further_channels=5)
    inputs = call.inputs({"pooled_output": torch.ones(1, 1280)}, target())
    x = torch.randn(2, 4, 12, 16)
    assert torch.equal(call.forward(Network(), x, torch.ones(1), torch.ones(2, 77, 8), inputs, {"hint": 1}), x)
    assert set(given) == {"x", "added_cond_kwargs", "return_dict", "hint"}
    assert set(given["added_cond_kwargs"]) == {"text_embeds", "time_ids"}
    assert torch.equal(given["x"], torch.cat([x, inputs["concat"]], 1))
