"""Deep shrink against the same changes made by hooks on a U-Net of diffusers; with ControlNets; in its range."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from mezzotint.nodes.patches.deep_shrink import DeepShrink
from mezzotint.nodes.patches.unet_blocks import input_blocks, output_blocks
from mezzotint.nodes.sampling.network_change import Forward, NetworkChangeError, with_changes, within

from .. import tiny_models as tiny

X, TOKENS = torch.randn(1, 4, 16, 24), torch.randn(1, 7, 24)


@pytest.fixture(scope="module")
def unet() -> Any:
    return tiny.seeded(tiny.unet)


def shrink(block: int, factor: float = 2.0, keeps_skip: bool = True) -> DeepShrink:
    return DeepShrink(block, factor, 1.0, 5.0, keeps_skip, "bilinear", "bilinear")


def forward(network: Any, sigma: float = 2.0, x: Tensor = X, **given: Any) -> Tensor:
    any_sampling: Any = None
    with torch.no_grad(), within(Forward((x.shape[-2], x.shape[-1]), sigma, any_sampling)):
        output: Tensor = network(x, 500, TOKENS, return_dict=False, **given)[0]
        return output


def test_the_blocks_are_in_the_published_order(unet: Any) -> None:
    names = [block.last for block in input_blocks(unet)]
    assert names[:4] == [
        "conv_in", "down_blocks.0.attentions.0", "down_blocks.0.attentions.1", "down_blocks.0.downsamplers.0",
    ]  # fmt: skip
    assert len(names) == len(output_blocks(unet)) == 9
    for block in output_blocks(unet):
        resnet = unet.get_submodule(block.resnet)
        assert 0 < block.channels < resnet.in_channels


def test_after_the_skip_it_is_that_of_plain_hooks(unet: Any) -> None:
    """Smaller behind the first downsampler (block 3), large again where its skip connection comes (output block 5)."""
    ours = forward(with_changes(unet, (shrink(3),)))
    following, before = unet.down_blocks[1].resnets[0], unet.up_blocks[1].attentions[1]
    half = {"scale_factor": 0.5, "mode": "bilinear"}
    hooks = [
        following.register_forward_pre_hook(lambda _, given: (interpolate(given[0], **half), *given[1:])),
        before.register_forward_hook(lambda _, given, output: (interpolate(output[0], size=(8, 12), mode="bilinear"),)),
    ]
    try:
        theirs = forward(unet)
    finally:
        for hook in hooks:
            hook.remove()
    torch.testing.assert_close(ours, theirs)
    assert not torch.allclose(ours, forward(unet))


def test_outside_its_noise_levels_no_bit_changes(unet: Any) -> None:
    changed = with_changes(unet, (shrink(3),))
    plain = forward(unet)
    for sigma in (0.9, 5.1):
        assert torch.equal(forward(changed, sigma), plain)
    assert not torch.equal(forward(changed, 5.0), plain)


@pytest.mark.parametrize("keeps_skip", [True, False])
@pytest.mark.parametrize("size", [(16, 24), (13, 19)])
def test_every_block_and_factor_gives_the_size_that_it_got(unet: Any, keeps_skip: bool, size: tuple[int, int]) -> None:
    x = torch.randn(1, 4, *size)
    for block in range(1, 9):
        for factor in (1.5, 2.0, 0.7):
            output = forward(with_changes(unet, (shrink(block, factor, keeps_skip),)), x=x)
            assert output.shape == x.shape
            assert torch.isfinite(output).all()


@pytest.mark.parametrize("keeps_skip", [True, False])
def test_it_works_with_what_control_nets_and_adapters_add(unet: Any, keeps_skip: bool) -> None:
    sizes = [(16, 24)] * 3 + [(8, 12)] * 3 + [(4, 6)] * 3
    channels = [32] * 3 + [32, 64, 64] + [64] * 3
    residuals = {
        "down_block_additional_residuals": [torch.randn(1, c, *size) for c, size in zip(channels, sizes, strict=True)],
        "mid_block_additional_residual": torch.randn(1, 64, 4, 6),
        "down_intrablock_additional_residuals": [
            torch.randn(1, c, *size) for c, size in ((32, (16, 24)), (64, (8, 12)), (64, (4, 6)))
        ],
    }
    for block in range(1, 9):
        changed = with_changes(unet, (shrink(block, 2.0, keeps_skip),))
        copies = {name: [*given] if isinstance(given, list) else given for name, given in residuals.items()}
        assert not torch.allclose(forward(changed, **copies), forward(changed))


def test_a_block_that_is_not_there_is_refused_in_a_sentence(unet: Any) -> None:
    with pytest.raises(NetworkChangeError, match=r"block_number is 9, and the model has input blocks 1 to 8"):
        with_changes(unet, (shrink(9),))
