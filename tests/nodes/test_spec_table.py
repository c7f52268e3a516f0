"""Nodes that saved workflows know have the names, titles, inputs, defaults and limits that those workflows expect.

The rows are those of the specification's table of core nodes, in its notation: `name` TYPE=default [min..max /step];
`?` optional, `ml` multiline, `cag` control_after_generate, {a,b} a combo whose first choice is the default.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import pytest

from mezzotint.engine.input_spec import MISSING, InputSpec
from mezzotint.engine.node import NodeSpec
from mezzotint.plugins.host import unloaded_plugins

ROWS = """
**ModelSamplingContinuousEDM** · advanced/model | `model` MODEL · `sampling` {v_prediction,edm,edm_playground_v2.5,eps,cosmos_rflow} · `sigma_max` FLOAT=120 [0..1000 /0.001] · `sigma_min` FLOAT=0.002 [0..1000 /0.001] | MODEL
**unCLIPConditioning** · conditioning | `conditioning` CONDITIONING · `clip_vision_output` CLIP_VISION_OUTPUT · `strength` FLOAT=1 [-10..10 /0.01] · `noise_augmentation` FLOAT=0 [0..1 /0.01] | CONDITIONING
**FreeU** · model_patches/unet | `model` MODEL · `b1` FLOAT=1.1 [0..10 /0.01] · `b2` FLOAT=1.2 [0..10 /0.01] · `s1` FLOAT=0.9 [0..10 /0.01] · `s2` FLOAT=0.2 [0..10 /0.01] | MODEL
**FreeU_V2** · model_patches/unet | `model` MODEL · `b1` FLOAT=1.3 [0..10 /0.01] · `b2` FLOAT=1.4 [0..10 /0.01] · `s1` FLOAT=0.9 [0..10 /0.01] · `s2` FLOAT=0.2 [0..10 /0.01] | MODEL
**PatchModelAddDownscale** “PatchModelAddDownscale (Kohya Deep Shrink)” · model_patches/unet | `model` MODEL · `block_number` INT=3 [1..32] · `downscale_factor` FLOAT=2 [0.1..9 /0.001] · `start_percent` FLOAT=0 [0..1 /0.001] · `end_percent` FLOAT=0.35 [0..1 /0.001] · `downscale_after_skip` BOOLEAN=true · `downscale_method` {bicubic,nearest-exact,bilinear,area,bislerp} · `upscale_method` {bicubic,nearest-exact,bilinear,area,bislerp} | MODEL
**HyperTile** · model_patches/unet | `model` MODEL · `tile_size` INT=256 [1..2048] · `swap_size` INT=2 [1..128] · `max_depth` INT=0 [0..10] · `scale_depth` BOOLEAN=false | MODEL
**TomePatchModel** · model_patches/unet | `model` MODEL · `ratio` FLOAT=0.3 [0..1 /0.01] | MODEL
**PerturbedAttentionGuidance** · model_patches/unet | `model` MODEL · `scale` FLOAT=3 [0..100 /0.01] | MODEL
**SelfAttentionGuidance** “Self-Attention Guidance” · _for_testing | `model` MODEL · `scale` FLOAT=0.5 [-2..5 /0.01] · `blur_sigma` FLOAT=2 [0..10 /0.1] | MODEL
**SkipLayerGuidanceSD3** · advanced/guidance | `model` MODEL · `layers` STRING=7, 8, 9 · `scale` FLOAT=3 [0..10 /0.1] · `start_percent` FLOAT=0.01 [0..1 /0.001] · `end_percent` FLOAT=0.15 [0..1 /0.001] | MODEL
**VideoLinearCFGGuidance** · sampling/video_models | `model` MODEL · `min_cfg` FLOAT=1 [0..100 /0.5] | MODEL
**DualCFGGuider** · sampling/custom_sampling/guiders | `model` MODEL · `cond1` CONDITIONING · `cond2` CONDITIONING · `negative` CONDITIONING · `cfg_conds` FLOAT=8 [0..100 /0.1] · `cfg_cond2_negative` FLOAT=8 [0..100 /0.1] · `style` {regular,nested} | GUIDER
**ConditioningSetArea** “Conditioning (Set Area)” · conditioning | `conditioning` CONDITIONING · `width` INT=64 [64..MAX /8] · `height` INT=64 [64..MAX /8] · `x` INT=0 [0..MAX /8] · `y` INT=0 [0..MAX /8] · `strength` FLOAT=1 [0..10 /0.01] | CONDITIONING
**ConditioningSetAreaPercentage** “Conditioning (Set Area with Percentage)” · conditioning | `conditioning` CONDITIONING · `width` FLOAT=1 [0..1 /0.01] · `height` FLOAT=1 [0..1 /0.01] · `x` FLOAT=0 [0..1 /0.01] · `y` FLOAT=0 [0..1 /0.01] · `strength` FLOAT=1 [0..10 /0.01] | CONDITIONING
**ConditioningSetAreaStrength** · conditioning | `conditioning` CONDITIONING · `strength` FLOAT=1 [0..10 /0.01] | CONDITIONING
**ConditioningSetMask** “Conditioning (Set Mask)” · conditioning | `conditioning` CONDITIONING · `mask` MASK · `strength` FLOAT=1 [0..10 /0.01] · `set_cond_area` {default,mask bounds} | CONDITIONING
**ConditioningSetTimestepRange** · advanced/conditioning | `conditioning` CONDITIONING · `start` FLOAT=0 [0..1 /0.001] · `end` FLOAT=1 [0..1 /0.001] | CONDITIONING
**InstructPixToPixConditioning** · conditioning/instructpix2pix | `positive` CONDITIONING · `negative` CONDITIONING · `vae` VAE · `pixels` IMAGE | CONDITIONING `positive`, CONDITIONING `negative`, LATENT `latent`
**HypernetworkLoader** · loaders | `model` MODEL · `hypernetwork_name` ‹hypernetworks› · `strength` FLOAT=1 [-10..10 /0.01] | MODEL
**ControlNetApplyAdvanced** “Apply ControlNet” · conditioning/controlnet | `positive` CONDITIONING · `negative` CONDITIONING · `control_net` CONTROL_NET · `image` IMAGE · `strength` FLOAT=1 [0..10 /0.01] · `start_percent` FLOAT=0 [0..1 /0.001] · `end_percent` FLOAT=1 [0..1 /0.001] · `vae`? VAE | CONDITIONING `positive`, CONDITIONING `negative`
**ControlNetApplySD3** “Apply Controlnet with VAE” · conditioning/controlnet | `positive` CONDITIONING · `negative` CONDITIONING · `control_net` CONTROL_NET · `vae` VAE · `image` IMAGE · `strength` FLOAT=1 [0..10 /0.01] · `start_percent` FLOAT=0 [0..1 /0.001] · `end_percent` FLOAT=1 [0..1 /0.001] | CONDITIONING `positive`, CONDITIONING `negative`
**SetUnionControlNetType** · conditioning/controlnet | `control_net` CONTROL_NET · `type` {auto,openpose,depth,hed/pidi/scribble/ted,canny/lineart/anime_lineart/mlsd,normal,segment,tile,repaint} | CONTROL_NET
**ControlNetInpaintingAliMamaApply** · conditioning/controlnet | `positive` CONDITIONING · `negative` CONDITIONING · `control_net` CONTROL_NET · `vae` VAE · `image` IMAGE · `mask` MASK · `strength` FLOAT=1 [0..10 /0.01] · `start_percent` FLOAT=0 [0..1 /0.001] · `end_percent` FLOAT=1 [0..1 /0.001] | CONDITIONING `positive`, CONDITIONING `negative`
**ReferenceLatent** · advanced/conditioning/edit_models | `conditioning` CONDITIONING · `latent`? LATENT | CONDITIONING
**InpaintModelConditioning** · conditioning/inpaint | `positive` CONDITIONING · `negative` CONDITIONING · `vae` VAE · `pixels` IMAGE · `mask` MASK · `noise_mask` BOOLEAN=true | CONDITIONING `positive`, CONDITIONING `negative`, LATENT `latent`
**VAEDecode** “VAE Decode” · latent | `samples` LATENT · `vae` VAE | IMAGE
**VAEEncode** “VAE Encode” · latent | `pixels` IMAGE · `vae` VAE | LATENT
**VAEDecodeTiled** “VAE Decode (Tiled)” · _for_testing | `samples` LATENT · `vae` VAE · `tile_size` INT=512 [64..4096 /32] · `overlap` INT=64 [0..4096 /32] · `temporal_size` INT=64 [8..4096 /4] · `temporal_overlap` INT=8 [4..4096 /4] | IMAGE
**VAEEncodeTiled** “VAE Encode (Tiled)” · _for_testing | `pixels` IMAGE · `vae` VAE · `tile_size` INT=512 [64..4096 /64] · `overlap` INT=64 [0..4096 /32] · `temporal_size` INT=64 [8..4096 /4] · `temporal_overlap` INT=8 [4..4096 /4] | LATENT
**VAEEncodeForInpaint** “VAE Encode (for Inpainting)” · latent/inpaint | `pixels` IMAGE · `vae` VAE · `mask` MASK · `grow_mask_by` INT=6 [0..64] | LATENT
**EmptyLatentImage** “Empty Latent Image” · latent | `width` INT=512 [16..MAX /8] · `height` INT=512 [16..MAX /8] · `batch_size` INT=1 [1..4096] | LATENT
**SetLatentNoiseMask** “Set Latent Noise Mask” · latent/inpaint | `samples` LATENT · `mask` MASK | LATENT
**SaveLatent** · _for_testing | `samples` LATENT · `filename_prefix` STRING=latents/ComfyUI | —
**SaveAnimatedWEBP** · image/animation | `images` IMAGE · `filename_prefix` STRING=ComfyUI · `fps` FLOAT=6 [0.01..1000 /0.01] · `lossless` BOOLEAN=true · `quality` INT=80 [0..100] · `method` {default,fastest,slowest} | —
**SaveAnimatedPNG** · image/animation | `images` IMAGE · `filename_prefix` STRING=ComfyUI · `fps` FLOAT=6 [0.01..1000 /0.01] · `compress_level` INT=4 [0..9] | —
**EmptySD3LatentImage** · latent/sd3 | `width` INT=1024 [16..MAX /16] · `height` INT=1024 [16..MAX /16] · `batch_size` INT=1 [1..4096] | LATENT
**LatentUpscale** “Upscale Latent” · latent | `samples` LATENT · `upscale_method` ‹up-latent› · `width` INT=512 [0..MAX /8] · `height` INT=512 [0..MAX /8] · `crop` {disabled,center} | LATENT
**LatentUpscaleBy** “Upscale Latent By” · latent | `samples` LATENT · `upscale_method` ‹up-latent› · `scale_by` FLOAT=1.5 [0.01..8 /0.01] | LATENT
**LatentFromBatch** “Latent From Batch” · latent/batch | `samples` LATENT · `batch_index` INT=0 [0..63] · `length` INT=1 [1..64] | LATENT
**RepeatLatentBatch** “Repeat Latent Batch” · latent/batch | `samples` LATENT · `amount` INT=1 [1..64] | LATENT
**LatentBatch** · latent/batch | `samples1` LATENT · `samples2` LATENT | LATENT
**SaveImage** “Save Image” · image | `images` IMAGE · `filename_prefix` STRING=ComfyUI | —
**PreviewImage** “Preview Image” · image | `images` IMAGE | —
**ImageScale** “Upscale Image” · image/upscaling | `image` IMAGE · `upscale_method` ‹up-image› · `width` INT=512 [0..MAX] · `height` INT=512 [0..MAX] · `crop` {disabled,center} | IMAGE
**ImageScaleBy** “Upscale Image By” · image/upscaling | `image` IMAGE · `upscale_method` ‹up-image› · `scale_by` FLOAT=1 [0.01..8 /0.01] | IMAGE
**ImageInvert** “Invert Image” · image | `image` IMAGE | IMAGE
**ImageBatch** “Batch Images” · image | `image1` IMAGE · `image2` IMAGE | IMAGE
**EmptyImage** · image | `width` INT=512 [1..MAX] · `height` INT=512 [1..MAX] · `batch_size` INT=1 [1..4096] · `color` INT=0 [0..16777215] | IMAGE
**ImageCrop** “Image Crop” · image/transform | `image` IMAGE · `width` INT=512 [1..MAX] · `height` INT=512 [1..MAX] · `x` INT=0 [0..MAX] · `y` INT=0 [0..MAX] | IMAGE
**GetImageSize** “Get Image Size” · image | `image` IMAGE | INT `width`, INT `height`, INT `batch_size`
**Canny** · image/preprocessors | `image` IMAGE · `low_threshold` FLOAT=0.4 [0.01..0.99 /0.01] · `high_threshold` FLOAT=0.8 [0.01..0.99 /0.01] | IMAGE
**FluxGuidance** · advanced/conditioning/flux | `conditioning` CONDITIONING · `guidance` FLOAT=3.5 [0..100 /0.1] | CONDITIONING
**ImageToMask** “Convert Image to Mask” · mask | `image` IMAGE · `channel` {red,green,blue,alpha} | MASK
**MaskToImage** “Convert Mask to Image” · mask | `mask` MASK | IMAGE
**SolidMask** · mask | `value` FLOAT=1 [0..1 /0.01] · `width` INT=512 [1..MAX] · `height` INT=512 [1..MAX] | MASK
**InvertMask** · mask | `mask` MASK | MASK
**LatentComposite** “Latent Composite” · latent | `samples_to` LATENT · `samples_from` LATENT · `x` INT=0 [0..MAX /8] · `y` INT=0 [0..MAX /8] · `feather` INT=0 [0..MAX /8] | LATENT
**LatentCompositeMasked** · latent | `destination` LATENT · `source` LATENT · `x` INT=0 [0..MAX /8] · `y` INT=0 [0..MAX /8] · `resize_source` BOOLEAN=false · `mask`? MASK | LATENT
**LatentBlend** “Latent Blend” · _for_testing | `samples1` LATENT · `samples2` LATENT · `blend_factor` FLOAT=0.5 [0..1 /0.01] | LATENT
**LatentRotate** “Rotate Latent” · latent/transform | `samples` LATENT · `rotation` {none,90 degrees,180 degrees,270 degrees} | LATENT
**LatentFlip** “Flip Latent” · latent/transform | `samples` LATENT · `flip_method` {x-axis: vertically,y-axis: horizontally} | LATENT
**LatentCrop** “Crop Latent” · latent/transform | `samples` LATENT · `width` INT=512 [64..MAX /8] · `height` INT=512 [64..MAX /8] · `x` INT=0 [0..MAX /8] · `y` INT=0 [0..MAX /8] | LATENT
**RebatchLatents** “Rebatch Latents” · latent/batch | `latents` LATENT · `batch_size` INT=1 [1..4096] | LATENT[]
**LatentBatchSeedBehavior** · latent/advanced | `samples` LATENT · `seed_behavior` {random,fixed}=fixed | LATENT
**LatentAdd** · latent/advanced | `samples1` LATENT · `samples2` LATENT | LATENT
**LatentSubtract** · latent/advanced | `samples1` LATENT · `samples2` LATENT | LATENT
**LatentMultiply** · latent/advanced | `samples` LATENT · `multiplier` FLOAT=1 [-10..10 /0.01] | LATENT
**LatentInterpolate** · latent/advanced | `samples1` LATENT · `samples2` LATENT · `ratio` FLOAT=1 [0..1 /0.01] | LATENT
**ImageScaleToTotalPixels** · image/upscaling | `image` IMAGE · `upscale_method` ‹up-image› · `megapixels` FLOAT=1 [0.01..16 /0.01] | IMAGE
**ImageScaleToMaxDimension** · image/upscaling | `image` IMAGE · `upscale_method` {area,lanczos,bilinear,nearest-exact,bicubic} · `largest_size` INT=512 [0..MAX] | IMAGE
**ImagePadForOutpaint** “Pad Image for Outpainting” · image | `image` IMAGE · `left` INT=0 [0..MAX /8] · `top` INT=0 [0..MAX /8] · `right` INT=0 [0..MAX /8] · `bottom` INT=0 [0..MAX /8] · `feathering` INT=40 [0..MAX] | IMAGE, MASK
**ImageBlend** · image/postprocessing | `image1` IMAGE · `image2` IMAGE · `blend_factor` FLOAT=0.5 [0..1 /0.01] · `blend_mode` {normal,multiply,screen,overlay,soft_light,difference} | IMAGE
**ImageBlur** · image/postprocessing | `image` IMAGE · `blur_radius` INT=1 [1..31] · `sigma` FLOAT=1 [0.1..10 /0.1] | IMAGE
**ImageSharpen** · image/postprocessing | `image` IMAGE · `sharpen_radius` INT=1 [1..31] · `sigma` FLOAT=1 [0.1..10 /0.01] · `alpha` FLOAT=1 [0..5 /0.01] | IMAGE
**ImageQuantize** · image/postprocessing | `image` IMAGE · `colors` INT=256 [1..256] · `dither` {none,floyd-steinberg,bayer-2,bayer-4,bayer-8,bayer-16} | IMAGE
**RepeatImageBatch** · image/batch | `image` IMAGE · `amount` INT=1 [1..4096] | IMAGE
**ImageFromBatch** · image/batch | `image` IMAGE · `batch_index` INT=0 [0..4095] · `length` INT=1 [1..4096] | IMAGE
**RebatchImages** “Rebatch Images” · image/batch | `images` IMAGE · `batch_size` INT=1 [1..4096] | IMAGE[]
**ImageCompositeMasked** · image | `destination` IMAGE · `source` IMAGE · `x` INT=0 [0..MAX] · `y` INT=0 [0..MAX] · `resize_source` BOOLEAN=false · `mask`? MASK | IMAGE
**ImageStitch** “Image Stitch” · image/transform | `image1` IMAGE · `direction` {right,down,left,up}=right · `match_image_size` BOOLEAN=true · `spacing_width` INT=0 [0..1024 /2] · `spacing_color` {white,black,red,green,blue}=white · `image2`? IMAGE | IMAGE
**ImageColorToMask** · mask | `image` IMAGE · `color` INT=0 [0..16777215] | MASK
**CropMask** · mask | `mask` MASK · `x` INT=0 [0..MAX] · `y` INT=0 [0..MAX] · `width` INT=512 [1..MAX] · `height` INT=512 [1..MAX] | MASK
**MaskComposite** · mask | `destination` MASK · `source` MASK · `x` INT=0 [0..MAX] · `y` INT=0 [0..MAX] · `operation` {multiply,add,subtract,and,or,xor} | MASK
**FeatherMask** · mask | `mask` MASK · `left` INT=0 [0..MAX] · `top` INT=0 [0..MAX] · `right` INT=0 [0..MAX] · `bottom` INT=0 [0..MAX] | MASK
**GrowMask** · mask | `mask` MASK · `expand` INT=0 [-16384..MAX] · `tapered_corners` BOOLEAN=true | MASK
**ThresholdMask** · mask | `mask` MASK · `value` FLOAT=0.5 [0..1 /0.01] | MASK
**MaskPreview** · mask | `mask` MASK | —
**JoinImageWithAlpha** “Join Image with Alpha” · mask/compositing | `image` IMAGE · `alpha` MASK | IMAGE
**SplitImageWithAlpha** “Split Image with Alpha” · mask/compositing | `image` IMAGE | IMAGE, MASK
**PorterDuffImageComposite** “Porter-Duff Image Composite” · mask/compositing | `source` IMAGE · `source_alpha` MASK · `destination` IMAGE · `destination_alpha` MASK · `mode` {ADD,CLEAR,DARKEN,DST,DST_ATOP,DST_IN,DST_OUT,DST_OVER,LIGHTEN,MULTIPLY,OVERLAY,SCREEN,SRC,SRC_ATOP,SRC_IN,SRC_OUT,SRC_OVER,XOR}=DST | IMAGE, MASK
**ModelMergeSimple** · advanced/model_merging | `model1` MODEL · `model2` MODEL · `ratio` FLOAT=1 [0..1 /0.01] | MODEL
**ModelMergeBlocks** · advanced/model_merging | `model1` MODEL · `model2` MODEL · `input` FLOAT=1 [0..1 /0.01] · `middle` FLOAT=1 [0..1 /0.01] · `out` FLOAT=1 [0..1 /0.01] | MODEL
**ModelMergeAdd** · advanced/model_merging | `model1` MODEL · `model2` MODEL | MODEL
**ModelMergeSubtract** · advanced/model_merging | `model1` MODEL · `model2` MODEL · `multiplier` FLOAT=1 [-10..10 /0.01] | MODEL
**CLIPMergeSimple** · advanced/model_merging | `clip1` CLIP · `clip2` CLIP · `ratio` FLOAT=1 [0..1 /0.01] | CLIP
**CheckpointSave** “Save Checkpoint” · advanced/model_merging | `model` MODEL · `clip` CLIP · `vae` VAE · `filename_prefix` STRING=checkpoints/ComfyUI | —
**VAESave** · advanced/model_merging | `vae` VAE · `filename_prefix` STRING=vae/ComfyUI_vae | —
**PrimitiveInt** “Int” · utils/primitive | `value` INT [-I64..I64] cag | INT
**PrimitiveFloat** “Float” · utils/primitive | `value` FLOAT [-I64..I64] | FLOAT
**PrimitiveString** “String” · utils/primitive | `value` STRING | STRING
**PrimitiveStringMultiline** “String (Multiline)” · utils/primitive | `value` STRING ml | STRING
**PrimitiveBoolean** “Boolean” · utils/primitive | `value` BOOLEAN | BOOLEAN
**StringConcatenate** “Concatenate” · utils/string | `string_a` STRING ml · `string_b` STRING ml · `delimiter` STRING | STRING
**PreviewAny** “Preview Any” · utils | `source` * | —
""".strip().splitlines()  # noqa: E501

SYMBOLS = {
    "‹up-latent›": "{nearest-exact,bilinear,area,bicubic,bislerp}",
    "‹up-image›": "{nearest-exact,bilinear,area,bicubic,lanczos}",
    "‹hypernetworks›": "{}",
    "MAX": "16384",
    "I64": "9223372036854775807",
}
SINKS = {
    "SaveImage", "SaveLatent", "SaveAnimatedWEBP", "SaveAnimatedPNG", "PreviewImage", "PreviewAny", "MaskPreview",
    "CheckpointSave", "VAESave",
}  # fmt: skip
NODE = re.compile(r"\*\*(?P<name>\w+)\*\*( “(?P<title>.+?)”)? · (?P<category>\S+)")
INPUT = re.compile(
    r"`(?P<name>\w+)`(?P<optional>\?)? (?P<port>\{[^}]*\}|[A-Z_]+|\*)(=(?P<default>\S+(, \S+)*))?"
    r"( \[(?P<low>\S+?)\.\.(?P<high>\S+?)( /(?P<step>\S+))?\])?(?P<hints>( ml| cag)*)"
)
OUTPUT = re.compile(r"(?P<port>[A-Z_]+)(?P<list>\[\])?( `(?P<name>\w+)`)?")
READERS: dict[str, Any] = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": lambda text: text == "true"}


class Row(NamedTuple):
    """One row of the table, taken apart."""

    name: str
    title: str
    category: str
    inputs: list[dict[str, Any]]
    outputs: list[tuple[str, str]]


def parsed(line: str) -> Row:
    for symbol, meaning in SYMBOLS.items():
        line = line.replace(symbol, meaning)
    head, inputs, outputs = line.split(" | ")
    node = NODE.fullmatch(head)
    assert node is not None, head
    made = [] if outputs == "—" else [OUTPUT.fullmatch(output) for output in outputs.split(", ")]
    pairs = [(match["name"] or match["port"], match["port"]) for match in made if match]
    title = node["title"] or node["name"]
    return Row(node["name"], title, node["category"], [parsed_input(text) for text in inputs.split(" · ")], pairs)


def parsed_input(text: str) -> dict[str, Any]:
    match = INPUT.fullmatch(text)
    assert match is not None, text
    choices = [each for each in match["port"][1:-1].split(",") if each] if match["port"].startswith("{") else None
    read = READERS.get(match["port"], str)
    absent = None if match["optional"] else MISSING
    default = read(match["default"]) if match["default"] else choices[0] if choices else absent
    limits = {sign: float(match[name]) for sign, name in (("ge", "low"), ("le", "high")) if match[name]}
    return {
        "name": match["name"],
        "port": match["port"] if choices is None else "COMBO",
        "default": default,
        "choices": choices,
        "limits": limits,
        "step": float(match["step"]) if match["step"] else None,
        "multiline": " ml" in match["hints"] or None,
        "control": " cag" in match["hints"] or None,
        "optional": bool(match["optional"]),
    }


def declared_input(given: InputSpec) -> dict[str, Any]:
    return {
        "name": given.name,
        "port": given.port,
        "default": given.default,
        "choices": given.choices.list(None) if given.choices else None,
        "limits": {sign: float(limit) for sign, limit in given.limits.items()},
        "step": given.widget.step,
        "multiline": given.widget.multiline,
        "control": given.widget.control_after_generate,
        "optional": given.is_optional,
    }


@pytest.fixture(scope="module")
def specs() -> dict[str, NodeSpec]:
    """Every built-in node, by name."""
    plugins = unloaded_plugins()
    plugins.load_built_in()
    return {spec.name: spec for spec in plugins.tables.registry}


TABLE = [parsed(line) for line in ROWS]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: str(row.name))
def test_a_node_is_declared_as_the_table_says(row: Row, specs: dict[str, NodeSpec]) -> None:
    spec = specs[row.name]
    assert (spec.title, spec.category) == (row.title, row.category)
    assert [declared_input(given) for given in spec.inputs.values()] == row.inputs
    assert [(output.name, output.port) for output in spec.outputs] == row.outputs
    assert spec.is_sink == (row.name in SINKS)


def test_load_image_is_declared_as_the_table_says(specs: dict[str, NodeSpec]) -> None:
    # Its row names no list of choices: they are the files of the input folder.
    spec = specs["LoadImage"]
    assert (spec.title, spec.category) == ("Load Image", "image")
    (given,) = spec.inputs.values()
    assert (given.name, given.port, given.default) == ("image", "COMBO", MISSING)
    assert given.widget.options() == {"image_upload": True}
    assert [(output.name, output.port) for output in spec.outputs] == [("IMAGE", "IMAGE"), ("MASK", "MASK")]
    assert spec.fingerprint is not None


def test_every_node_says_what_it_does(specs: dict[str, NodeSpec]) -> None:
    assert [spec.name for spec in specs.values() if not spec.description.endswith(".")] == []


@pytest.mark.parametrize("row", TABLE, ids=lambda row: str(row.name))
def test_only_what_borrows_a_vae_runs_on_the_device(row: Row, specs: dict[str, NodeSpec]) -> None:
    """Those of ControlNets hand it on to the sampler."""
    takes_vae = any(given["port"] == "VAE" for given in row.inputs) and not row.name.startswith("ControlNet")
    assert specs[row.name].lane == ("device" if takes_vae else "cpu")
