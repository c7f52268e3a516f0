"""GLIGEN draws what diffusers' own pipeline draws with the same boxes and texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from mezzotint import Context
from mezzotint.engine.errors import ModelFileError
from mezzotint.engine.folders import Folders
from mezzotint.engine.request import drive
from mezzotint.engine.residency import Residency
from mezzotint.engine.value_type import pack, unpack
from mezzotint.nodes.adapters import gligen
from mezzotint.nodes.conditioning.conditioning import combine, encode_text
from mezzotint.nodes.conditioning.conditioning_scope import set_area
from mezzotint.nodes.models.checkpoints import load_checkpoint
from mezzotint.nodes.sampling import denoise_step, sampling_nodes
from mezzotint.nodes.sampling.model_sampling import model_sampling
from mezzotint.nodes.sampling.network_call import GLIGEN, ConditioningError
from mezzotint.nodes.sampling.noise import initial_noise
from mezzotint.nodes.sampling.noise_levels import basic_scheduler

from .. import ldm_layout as ldm
from .. import single_files
from .. import tiny_models as tiny

SEED, STEPS, CFG, WIDTH = 7, 4, 3.0, 24
PROMPT, NEGATIVE = "a photo of a cat", "blurry"
BOXES = {"a red apple": (16, 8, 32, 40), "a dog": (40, 0, 24, 24)}
"""Text → x, y, width and height in pixels of a picture of 64×64."""


class Case(NamedTuple):
    """A model and its GLIGEN file, opened, and the U-Net that has both."""

    family: Any
    gated: Any
    context: Context
    opened: Any
    file: Any

    def text(self, text: str) -> Any:
        return encode_text(text, self.opened.CLIP, ctx=self.context)

    def boxed(self, conditioning: Any, boxes: dict[str, tuple[int, int, int, int]], file: Any = None) -> Any:
        for text, (x, y, width, height) in boxes.items():
            conditioning = gligen.apply_text_box(
                conditioning, self.opened.CLIP, file or self.file, text, width, height, x, y, ctx=self.context
            )
        return conditioning

    def drawn(self, positive: Any, negative: Any = None, cfg: float = CFG, model: Any = None) -> Tensor:
        model, negative = model or self.opened.MODEL, negative or self.text(NEGATIVE)
        body = sampling_nodes.ksampler(
            model, seed=SEED, steps=STEPS, cfg=cfg, sampler_name="euler", scheduler="simple", positive=positive,
            negative=negative, latent_image={"samples": torch.zeros(1, 4, 8, 8)}, ctx=self.context,
        )  # fmt: skip
        made: Tensor = model_sampling(model, self.context).to_model(drive(body, self.context)["samples"])
        return made

    def theirs(self, boxes: dict[str, tuple[int, int, int, int]], cfg: float = CFG) -> Tensor:
        from diffusers.pipelines.deprecated.stable_diffusion_gligen import StableDiffusionGLIGENPipeline

        plain = self.family.pipeline()
        parts = {name: plain.components[name] for name in ("vae", "text_encoder", "tokenizer", "scheduler")}
        pipeline = StableDiffusionGLIGENPipeline(
            unet=self.gated, **parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False
        )
        pipeline.set_progress_bar_config(disable=True)
        sigma = model_sampling(self.opened.MODEL, self.context).sigmas.sigma_max
        places = [[x / 64, y / 64, (x + width) / 64, (y + height) / 64] for x, y, width, height in boxes.values()]
        made: Tensor = pipeline(
            PROMPT, negative_prompt=NEGATIVE, guidance_scale=cfg, num_inference_steps=STEPS, height=16, width=16,
            latents=initial_noise((1, 4, 8, 8), SEED) * (1 + sigma**2) ** 0.5 / sigma, gligen_phrases=[*boxes],
            gligen_boxes=places, gligen_scheduled_sampling_beta=1.0, output_type="latent",
        ).images  # fmt: skip
        return made


def gated_unet(width: int = WIDTH) -> Any:
    made = tiny.unet(width, attention_type="gated")
    for name, parameter in made.named_parameters():
        if "alpha" in name or "null" in name:
            torch.nn.init.normal_(parameter)
        elif "position_net" in name or "fuser.linear" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    return made


def own_layers(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in tensors.items() if "fuser" in name or "position_net" in name}


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    torch.manual_seed(0)
    root = tmp_path_factory.mktemp("gligen")
    family, gated = single_files.sd1(), gated_unet()
    family.unet.load_state_dict(gated.state_dict(), strict=False)
    family.write(root / "checkpoints" / "base.safetensors")
    (root / "gligen").mkdir()
    published = own_layers(ldm.unet_tensors(gated))
    save_file(published, root / "gligen" / "textbox.safetensors")
    save_file({f"model.diffusion_model.{name}": each for name, each in published.items()}, root / "gligen/other.sft")
    save_file(own_layers(gated.state_dict()), root / "gligen" / "diffusers.safetensors")
    folders = Folders(root / "home", models=[root])
    context = Context(folders=folders, models=Residency("cpu", folders=folders))
    opened = load_checkpoint("base.safetensors", ctx=context)
    return Case(family, gated, context, opened, gligen.load_gligen("textbox.safetensors", ctx=context))


def error(actual: Tensor, expected: Tensor) -> float:
    assert expected.isfinite().all()
    return float((actual - expected).norm() / expected.norm())


@pytest.mark.parametrize("cfg", [1.0, CFG])
@pytest.mark.parametrize("count", [1, 2])
def test_boxes_are_drawn_as_by_the_pipeline(case: Case, count: int, cfg: float) -> None:
    boxes = dict([*BOXES.items()][:count])
    ours = case.drawn(case.boxed(case.text(PROMPT), boxes), cfg=cfg)
    assert error(ours, case.theirs(boxes, cfg)) < 1e-4
    assert error(ours, case.drawn(case.text(PROMPT), cfg=cfg)) > 1e-2


@pytest.mark.parametrize("name", ["other.sft", "diffusers.safetensors"])
def test_layers_are_known_by_other_names_too(case: Case, name: str) -> None:
    file = gligen.load_gligen(name, ctx=case.context)
    ours = [case.drawn(case.boxed(case.text(PROMPT), BOXES, each)) for each in (case.file, file)]
    assert torch.equal(*ours)


def test_without_boxes_the_model_is_what_it_was(case: Case) -> None:
    before = case.drawn(case.text(PROMPT))
    with case.context.models.borrow(case.opened.MODEL) as denoiser:
        names = [*denoiser.network.state_dict()]
    case.drawn(case.boxed(case.text(PROMPT), BOXES))
    assert torch.equal(case.drawn(case.text(PROMPT)), before)
    with case.context.models.borrow(case.opened.MODEL) as denoiser:
        assert [*denoiser.network.state_dict()] == names
        with case.context.models.borrow(case.opened.MODEL.with_patch(case.file)) as patched:
            assert patched.network.conv_in.weight is denoiser.network.conv_in.weight


def test_a_negative_prompt_may_have_boxes_of_its_own(case: Case) -> None:
    both = [case.boxed(case.text(text), BOXES) for text in (PROMPT, NEGATIVE)]
    alike = case.drawn(both[0], both[0])  # guidance away from itself changes nothing
    assert error(alike, case.drawn(both[0], cfg=1.0)) < 1e-4
    assert error(case.drawn(*both), case.drawn(both[0])) > 1e-3


def test_single_steps_draw_what_the_sampler_draws(case: Case) -> None:
    boxed, model = case.boxed(case.text(PROMPT), BOXES), case.opened.MODEL
    sigmas = basic_scheduler(model, "simple", STEPS, 1.0, ctx=case.context)
    empty = {"samples": torch.zeros(1, 4, 8, 8)}
    latent = denoise_step.latent_noise(model, SEED, sigmas=sigmas, latent=empty, ctx=case.context)
    for index in range(STEPS):
        body = denoise_step.unet_denoise(model, boxed, case.text(NEGATIVE), CFG, latent=latent, ctx=case.context)
        denoised = drive(body, case.context)
        latent = denoise_step.scheduler_step(model, latent, denoised, sigmas, index, ctx=case.context)
    assert torch.equal(model_sampling(model, case.context).to_model(latent["samples"]), case.drawn(boxed))


def test_in_an_area_a_box_is_where_it_is_in_the_picture(case: Case) -> None:
    area = set_area(case.boxed(case.text(PROMPT), {"a dog": (40, 16, 8, 24)}), 64, 64, 0, 0)
    seen = []
    with case.context.models.borrow(case.opened.MODEL.with_patch(case.file)) as denoiser:
        projection = denoiser.network.position_net
        handle = projection.register_forward_pre_hook(
            lambda _, args, given: seen.append(given["boxes"]), with_kwargs=True
        )
        body = sampling_nodes.ksampler(
            case.opened.MODEL, seed=SEED, steps=1, cfg=1.0, positive=combine(area, area), negative=area,
            latent_image={"samples": torch.zeros(1, 4, 8, 16)}, ctx=case.context,
        )  # fmt: skip
        drive(body, case.context)
        handle.remove()
    assert seen[0][0, 0].tolist() == [40 / 64, 16 / 64, 48 / 64, 40 / 64]


def test_conditionings_with_boxes_are_stored(case: Case) -> None:
    ((_, options),) = unpack(pack(case.boxed(case.text(PROMPT), BOXES)))
    kind, file, boxes = options[GLIGEN]
    assert (kind, file, [tuple(box[1:]) for box in boxes]) == ("position", case.file, [(5, 4, 1, 2), (3, 3, 0, 5)])


def test_more_boxes_than_it_knows_are_refused(case: Case) -> None:
    ((tokens, options),) = case.boxed(case.text(PROMPT), {"a dog": (0, 0, 8, 8)})
    kind, file, boxes = options[GLIGEN]
    with pytest.raises(ConditioningError, match="has 31 boxes of GLIGENTextBoxApply; allowed are 30"):
        case.drawn([[tokens, {**options, GLIGEN: (kind, file, boxes * 31)}]])


def test_boxes_of_two_files_are_refused(case: Case) -> None:
    other = gligen.load_gligen("diffusers.safetensors", ctx=case.context)
    boxed = case.boxed(case.text(PROMPT), {"a dog": (0, 0, 8, 8)})
    with pytest.raises(ConditioningError, match=r"'textbox.safetensors', and this one of 'diffusers.safetensors'"):
        case.boxed(boxed, {"a cat": (0, 0, 8, 8)}, other)
    with pytest.raises(ConditioningError, match="use one file for all boxes"):
        case.drawn(boxed, case.boxed(case.text(NEGATIVE), {"a cat": (0, 0, 8, 8)}, other))


def test_a_file_for_another_width_is_refused(case: Case) -> None:
    wide = tiny.unet(WIDTH, attention_type="gated", block_out_channels=(64, 128, 128))
    save_file(own_layers(ldm.unet_tensors(wide)), case.context.folders.model_folders("gligen")[0] / "wide.safetensors")
    file = gligen.load_gligen("wide.safetensors", ctx=case.context)
    with pytest.raises(
        ModelFileError,
        match=r"GLIGEN file 'wide.safetensors' is not for the model 'base.safetensors' .* has 32 channels",
    ):
        case.drawn(case.boxed(case.text(PROMPT), BOXES, file))


def test_a_text_of_another_encoder_is_refused(case: Case) -> None:
    ((tokens, options),) = case.boxed(case.text(PROMPT), {"a dog": (0, 0, 8, 8)})
    kind, file, ((_, *place),) = options[GLIGEN]
    with pytest.raises(ConditioningError, match="encoded its text as 5 numbers, and the GLIGEN file wants 24"):
        case.drawn([[tokens, {**options, GLIGEN: (kind, file, [(torch.zeros(1, 5), *place)])}]])


def test_what_is_no_gligen_file_is_refused(case: Case, tmp_path: Path) -> None:
    folder = case.context.folders.model_folders("gligen")[0]
    save_file({"weight": torch.zeros(2)}, folder / "no.safetensors")
    with pytest.raises(ModelFileError, match=r"'no.safetensors' is no GLIGEN file"):
        gligen.load_gligen("no.safetensors", ctx=case.context)
    pictures = tiny.unet(WIDTH, attention_type="gated-text-image")
    save_file(own_layers(pictures.state_dict()), folder / "pictures.safetensors")
    with pytest.raises(ModelFileError, match="of another kind than boxes with texts"):
        gligen.load_gligen("pictures.safetensors", ctx=case.context)
