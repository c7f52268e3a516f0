from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mezzotint import Context
from mezzotint.engine.errors import Cancelled, OutOfMemoryError
from mezzotint.engine.residency import Residency
from mezzotint.nodes.autoencoders import vae as vae_nodes
from mezzotint.nodes.autoencoders.autoencoder import Autoencoder, LatentChannelsError
from mezzotint.nodes.autoencoders.vae import vae_decode, vae_encode
from mezzotint.nodes.models.checkpoints import Checkpoint, load_checkpoint


@pytest.fixture
def autoencoder(embedded: Checkpoint, model_context: Context) -> Iterator[Autoencoder]:
    with model_context.models.borrow(embedded.VAE) as autoencoder:
        yield autoencoder


@pytest.fixture(scope="module")
def theirs(embedded_path: Path) -> Any:
    """The embedded VAE as diffusers loads it."""
    from diffusers import AutoencoderKL

    return AutoencoderKL.from_pretrained(
        embedded_path / "vae", torch_dtype=torch.float32, local_files_only=True, low_cpu_mem_usage=False
    )


def random_image(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(3))


def test_a_latent_is_decoded_as_diffusers_image_processor_would(
    autoencoder: Autoencoder, model_context: Context, embedded: Checkpoint, theirs: Any
) -> None:
    from diffusers.image_processor import VaeImageProcessor

    samples = torch.randn(2, 8, 8, 8, generator=torch.Generator().manual_seed(3)) * 4
    image = vae_decode({"samples": samples}, embedded.VAE, ctx=model_context)
    with torch.no_grad():
        want = VaeImageProcessor().postprocess(theirs.decode(samples).sample, output_type="pt")
    assert (image.shape, image.dtype, image.device.type) == ((2, 64, 64, 3), torch.float32, "cpu")
    assert image.is_contiguous()
    assert 0 <= image.min() <= image.max() <= 1
    torch.testing.assert_close(image, want.movedim(1, -1), rtol=1e-4, atol=1e-5)


def test_a_picture_becomes_the_mean_of_its_latents(model_context: Context, embedded: Checkpoint, theirs: Any) -> None:
    image = random_image(2, 64, 32, 3)
    samples = vae_encode(image, embedded.VAE, ctx=model_context)["samples"]
    with torch.no_grad():
        want = theirs.encode(image.movedim(-1, 1) * 2 - 1).latent_dist.mode()
    assert (samples.shape, samples.dtype, samples.device.type) == ((2, 8, 8, 4), torch.float32, "cpu")
    torch.testing.assert_close(samples, want, rtol=1e-4, atol=1e-4)


def test_a_flat_picture_survives_the_way_there_and_back(model_context: Context, embedded: Checkpoint) -> None:
    image = torch.tensor([1.0, 1.0, 1.0]).expand(1, 64, 64, 3)
    latent = vae_encode(image, embedded.VAE, ctx=model_context)
    back = vae_decode(latent, embedded.VAE, ctx=model_context)
    assert (back - image).abs().mean() < 0.05


def test_what_is_beyond_a_multiple_of_the_cell_is_cut_off_evenly(autoencoder: Autoencoder) -> None:
    image = random_image(1, 70, 75, 3)
    torch.testing.assert_close(autoencoder.encode(image), autoencoder.encode(image[:, 3:67, 1:73]))


def test_alpha_is_dropped_and_grey_becomes_three_channels(autoencoder: Autoencoder) -> None:
    image = random_image(1, 16, 16, 4)
    torch.testing.assert_close(autoencoder.encode(image), autoencoder.encode(image[..., :3]))
    grey = image[..., :1]
    torch.testing.assert_close(autoencoder.encode(grey), autoencoder.encode(grey.repeat(1, 1, 1, 3)))


def test_inputs_are_left_as_they_are(model_context: Context, embedded: Checkpoint) -> None:
    image, samples = random_image(1, 16, 16, 3), torch.randn(1, 8, 2, 2)
    before = image.clone(), samples.clone()
    vae_encode(image, embedded.VAE, ctx=model_context)
    vae_decode({"samples": samples}, embedded.VAE, ctx=model_context)
    assert torch.equal(image, before[0])
    assert torch.equal(samples, before[1])


def test_a_latent_of_another_model_is_refused_in_a_sentence(model_context: Context, embedded: Checkpoint) -> None:
    with pytest.raises(LatentChannelsError) as refusal:
        vae_decode({"samples": torch.zeros(1, 4, 8, 8)}, embedded.VAE, ctx=model_context)
    assert str(refusal.value) == (
        "a latent of shape [1, 4, 8, 8] cannot be decoded by this VAE, which wants [batch, 8, height, width]; "
        "use the VAE of the model that made it"
    )


def test_a_batch_goes_through_in_parts(
    model_context: Context, embedded: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = {"samples": torch.randn(5, 8, 4, 4)}
    whole = vae_decode(samples, embedded.VAE, ctx=model_context)
    sizes: list[int] = []
    decode = Autoencoder.decode

    def counted(self: Autoencoder, part: Tensor) -> Tensor:
        sizes.append(len(part))
        return decode(self, part)

    monkeypatch.setattr(Autoencoder, "decode", counted)
    with model_context.models.borrow(embedded.VAE) as autoencoder:
        monkeypatch.setattr(vae_nodes, "PART_NBYTES", autoencoder.estimate_decode_nbytes((2, 8, 4, 4)))
    in_parts = vae_decode(samples, embedded.VAE, ctx=model_context)
    assert sizes == [2, 2, 1]
    torch.testing.assert_close(in_parts, whole, rtol=1e-4, atol=1e-5)


def context_with(nbytes: int, embedded: Checkpoint, model_context: Context) -> Context:
    """A context with so much memory beside the VAE."""
    with model_context.models.borrow(embedded.VAE):
        found = (loaded.nbytes for loaded in model_context.models.residents() if loaded.recipe == embedded.VAE)
        models = Residency("cpu", next(found) + nbytes, model_context.folders)
    return Context(models=models, folders=model_context.folders)


def test_a_picture_that_does_not_fit_is_refused_in_a_sentence(embedded: Checkpoint, model_context: Context) -> None:
    ctx = context_with(10**6, embedded, model_context)
    latent = {"samples": torch.zeros(1, 8, 1, 1).expand(1, 8, 2048, 2048)}
    with pytest.raises(OutOfMemoryError, match=r"^decoding a 16384×16384 picture needs about 178\.\d GB of memory"):
        vae_decode(latent, embedded.VAE, ctx=ctx)
    image = torch.zeros(1, 1, 1, 3).expand(2, 16384, 8192, 3)
    with pytest.raises(OutOfMemoryError, match=r"^encoding 2 8192×16384 pictures needs about"):
        vae_encode(image, embedded.VAE, ctx=ctx)


def test_decoding_stops_when_the_job_is_cancelled(model_context: Context, embedded: Checkpoint) -> None:
    class Listening:
        is_cancelled = True
        wants_previews = False

        def progressed(self, node_id: str, value: float, total: float, preview: Any, text: str = "") -> None:
            pass

    ctx = Context(models=model_context.models, folders=model_context.folders, listener=Listening())
    with pytest.raises(Cancelled):
        vae_decode({"samples": torch.zeros(1, 8, 2, 2)}, embedded.VAE, ctx=ctx)


def early_name(name: str) -> str:
    for old, new in (("query", "to_q"), ("key", "to_k"), ("value", "to_v"), ("proj_attn", "to_out.0")):
        name = name.replace(f".{new}.", f".{old}.")
    return name


def test_attention_named_as_in_early_vae_files_loads_too(
    own_context: Context, copy_path: Path, autoencoder: Autoencoder
) -> None:
    from safetensors.torch import load_file, save_file

    path = copy_path / "vae" / "diffusion_pytorch_model.safetensors"
    renamed = {early_name(name): tensor.clone() for name, tensor in load_file(path).items()}
    assert any("proj_attn" in name for name in renamed)
    path.unlink()
    save_file(renamed, path)
    samples = torch.randn(1, 8, 2, 2)
    with own_context.models.borrow(load_checkpoint("copy", ctx=own_context).VAE) as loaded:
        assert torch.equal(loaded.decode(samples), autoencoder.decode(samples))
