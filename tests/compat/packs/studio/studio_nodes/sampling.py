# mypy: ignore-errors
"""Nodes that use models as packs do: by the methods of their values, and by the nodes and functions of the host."""

import os

import comfy.sample
import comfy.samplers
import comfy.sd
import comfy.utils
import folder_paths
import latent_preview
import node_helpers
import torch
from comfy_extras.nodes_mask import GrowMask

import nodes
from nodes import CLIPTextEncode, KSampler, PreviewImage, SaveImage, VAEDecode, VAEEncode, common_ksampler

SAMPLING = {
    "model": ("MODEL",),
    "seed": ("INT", {"default": 0, "min": 0, "max": 0xFFFFFFFFFFFFFFFF}),
    "steps": ("INT", {"default": 4}),
    "cfg": ("FLOAT", {"default": 4.0}),
    "sampler_name": (comfy.samplers.KSampler.SAMPLERS,),
    "scheduler": (comfy.samplers.KSampler.SCHEDULERS,),
    "positive": ("CONDITIONING",),
    "negative": ("CONDITIONING",),
    "latent_image": ("LATENT",),
    "denoise": ("FLOAT", {"default": 1.0}),
    "way": (["common", "class", "mapping", "sample", "ksampler", "custom", "guider", "function", "changed guider"],),
}


class HalfwayGuider(comfy.samplers.CFGGuider):
    """Overrides what is predicted, with the same result."""

    def predict_noise(self, x, timestep, model_options=None, seed=None):
        positive, negative = self.conds["positive"], self.conds["negative"]
        cond, uncond = comfy.samplers.calc_cond_batch(
            self.inner_model, [positive, negative], x, timestep, model_options
        )
        return uncond + (cond - uncond) * self.cfg


def euler(model, x, sigmas, extra_args=None, callback=None, disable=None, gain=1.0):
    s_in = x.new_ones([x.shape[0]])
    for i in range(len(sigmas) - 1):
        denoised = model(x, sigmas[i] * s_in, **extra_args)
        x = x + (x - denoised) / sigmas[i] * (sigmas[i + 1] - sigmas[i]) * gain
    return x


class StudioSampler:
    CATEGORY = "studio"
    FUNCTION = "sample"
    RETURN_TYPES = ("LATENT",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": SAMPLING}

    def sample(self, model, seed, steps, cfg, sampler_name, scheduler, positive, negative, latent_image, denoise, way):
        args = (model, seed, steps, cfg, sampler_name, scheduler, positive, negative, latent_image, denoise)
        if way == "common":
            return common_ksampler(*args[:-1], denoise=denoise)
        if way == "class":
            return KSampler().sample(*args)
        if way == "mapping":
            sampler = nodes.NODE_CLASS_MAPPINGS["KSampler"]()
            return getattr(sampler, sampler.FUNCTION)(**dict(zip(list(SAMPLING)[:-1], args, strict=True)))
        samples = comfy.sample.fix_empty_latent_channels(model, latent_image["samples"])
        noise = comfy.sample.prepare_noise(samples, seed, latent_image.get("batch_index"))
        kept = {}
        callback = latent_preview.prepare_callback(model, steps, kept)
        if way == "sample":
            samples = comfy.sample.sample(
                model, noise, steps, cfg, sampler_name, scheduler, positive, negative, samples,
                denoise=denoise, callback=callback, seed=seed,
            )  # fmt: skip
            assert kept["x0"].shape == samples.shape
            return ({**latent_image, "samples": samples},)
        runner = comfy.samplers.KSampler(
            model, steps, "cpu", sampler=sampler_name, scheduler=scheduler, denoise=denoise
        )
        if way == "ksampler":
            return ({"samples": runner.sample(noise, positive, negative, cfg, latent_image=samples, seed=seed)},)
        sampler = comfy.samplers.sampler_object(sampler_name)
        if way == "custom":
            done = comfy.sample.sample_custom(
                model, noise, cfg, sampler, runner.sigmas, positive, negative, samples, seed=seed
            )
            return ({"samples": done},)
        if way == "function":
            sampler = comfy.samplers.KSAMPLER(euler, extra_options={"gain": 1.0})
        guider = (HalfwayGuider if way == "changed guider" else comfy.samplers.CFGGuider)(model)
        guider.set_conds(positive, negative)
        guider.set_cfg(cfg)
        return ({"samples": guider.sample(noise, samples, sampler, runner.sigmas, seed=seed)},)


class StudioDecode:
    CATEGORY = "studio"
    FUNCTION = "decode"
    RETURN_TYPES = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls):
        ways = ["method", "class", "tiled"]
        return {"required": {"samples": ("LATENT",), "vae": ("VAE",), "way": (ways,)}}

    def decode(self, samples, vae, way):
        if way == "class":
            return VAEDecode().decode(vae, samples)
        if way == "tiled":
            return (vae.decode_tiled(samples["samples"], tile_x=6, tile_y=6, overlap=2),)
        return (vae.decode(samples["samples"]),)


class StudioEncode:
    CATEGORY = "studio"
    FUNCTION = "encode"
    RETURN_TYPES = ("LATENT",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"pixels": ("IMAGE",), "vae": ("VAE",), "way": (["method", "class", "tiled"],)}}

    def encode(self, pixels, vae, way):
        if way == "class":
            return VAEEncode().encode(vae, pixels)
        return ({"samples": vae.encode_tiled(pixels) if way == "tiled" else vae.encode(pixels[:, :, :, :3])},)


class StudioText:
    CATEGORY = "studio"
    FUNCTION = "encode"
    RETURN_TYPES = ("CONDITIONING",)

    @classmethod
    def INPUT_TYPES(cls):
        ways = ["scheduled", "pooled", "dict", "class", "changed"]
        return {"required": {"text": ("STRING", {"multiline": True}), "clip": ("CLIP",), "way": (ways,)}}

    def encode(self, text, clip, way):
        if way == "class":
            return CLIPTextEncode().encode(clip, text)
        tokens = clip.tokenize(text)
        if way == "scheduled":
            return (clip.encode_from_tokens_scheduled(tokens),)
        if way == "dict":
            found = clip.encode_from_tokens(tokens, return_pooled=True, return_dict=True)
            return ([[found.pop("cond"), found]],)
        if way == "changed":  # to what it was, in plain lists
            tokens = {name: [[(int(t), float(w)) for t, w in chunk] for chunk in part] for name, part in tokens.items()}
        cond, pooled = clip.encode_from_tokens(tokens, return_pooled=True)
        cond = [[cond, {"pooled_output": pooled}]]
        return (node_helpers.conditioning_set_values(cond, {"start_percent": 0.0}),)


class StudioSkip:
    """Changes a clone, and not what it was given."""

    CATEGORY = "studio"
    FUNCTION = "skip"
    RETURN_TYPES = ("CLIP", "CLIP")

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"clip": ("CLIP",)}}

    def skip(self, clip):
        changed = clip.clone()
        changed.clip_layer(-2)
        return (changed, clip)


class StudioCheckpoint:
    CATEGORY = "studio"
    FUNCTION = "load"
    RETURN_TYPES = ("MODEL", "CLIP", "VAE", "STRING")

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"name": (folder_paths.get_filename_list("checkpoints"),)}}

    def load(self, name):
        path = folder_paths.get_full_path_or_raise("checkpoints", name)
        model, clip, vae, _ = comfy.sd.load_checkpoint_guess_config(path, output_vae=True, output_clip=True)
        copy = model.clone()
        sampling = copy.get_model_object("model_sampling")
        assert isinstance(vae, comfy.sd.VAE)
        assert copy.is_clone(model)
        assert copy == model
        told = (
            float(sampling.sigma_max), float(sampling.timestep(sampling.sigma(torch.tensor([500.0])))),
            copy.model.latent_format.latent_channels, vae.spacial_compression_decode(), copy.model_options.get("x"),
        )  # fmt: skip
        return (copy, clip, vae, " ".join(map(str, told)))


class StudioPatch:
    """Reaches for what is not offered."""

    CATEGORY = "studio"
    FUNCTION = "patch"
    RETURN_TYPES = ("MODEL",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("MODEL",), "what": (["attribute", "options", "inner"],)}}

    def patch(self, model, what):
        model = model.clone()
        if what == "attribute":
            model.set_model_unet_function_wrapper(lambda *args: args)
        elif what == "options":
            model.model_options["transformer_options"]["x"] = 1
        else:
            model.model.diffusion_model.eval()
        return (model,)


class StudioGuide:
    """Takes part in guidance."""

    CATEGORY = "studio"
    FUNCTION = "patch"
    RETURN_TYPES = ("MODEL", "MODEL")

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("MODEL",), "way": (["formula", "positive", "post", "double"],)}}

    def patch(self, model, way):
        changed = model.clone()
        if way == "formula":
            changed.set_model_sampler_cfg_function(
                lambda args: args["uncond"] + (args["cond"] - args["uncond"]) * args["cond_scale"]
            )
        elif way == "positive":
            changed.set_model_sampler_cfg_function(lambda args: args["input"] - args["cond_denoised"])
        else:
            changed.set_model_sampler_post_cfg_function(lambda args: args["denoised"] * 0.5)
            if way == "double":
                changed.set_model_sampler_post_cfg_function(lambda args: args["denoised"] * 2)
            assert len(changed.model_options["sampler_post_cfg_function"]) == (2 if way == "double" else 1)
        return (changed, model)


class StudioAttention:
    """Changes the attention of a clone's network, or what lies between its blocks."""

    CATEGORY = "studio"
    FUNCTION = "patch"
    RETURN_TYPES = ("MODEL", "MODEL")

    @classmethod
    def INPUT_TYPES(cls):
        ways = ["values", "double", "replace", "skips", "told"]
        return {"required": {"model": ("MODEL",), "way": (ways,)}}

    def patch(self, model, way):
        changed = model.clone()
        if way in ("values", "double"):
            changed.set_model_attn1_patch(lambda n, context, value, extra_options: (n, context, value * 2))
            if way == "double":
                changed.set_model_attn1_patch(lambda n, context, value, extra_options: (n, context, value * 0.5))
        elif way == "replace":
            changed.set_model_attn2_replace(self.attend, "middle", 0)
        elif way == "skips":
            changed.set_model_output_block_patch(lambda h, skip, transformer_options: (h, skip * 0.5))
        else:
            changed.set_model_attn2_output_patch(self.require_both_sides)
        return (changed, model)

    def attend(self, q, k, v, extra_options):
        heads = [each.unflatten(-1, (extra_options["n_heads"], -1)).transpose(1, 2) for each in (q, k, v)]
        return torch.nn.functional.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)

    def require_both_sides(self, n, extra_options):
        """Leaves the negative side as it is and takes half of the other."""
        sides = extra_options["cond_or_uncond"]
        assert sorted(sides) == [0, 1]
        parts = n.chunk(len(sides))
        return torch.cat([part if side else part * 0.5 for part, side in zip(parts, sides, strict=True)])


class StudioLora:
    CATEGORY = "studio"
    FUNCTION = "load"
    RETURN_TYPES = ("MODEL", "CLIP")

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("MODEL",), "clip": ("CLIP",), "name": ("STRING",), "strength": ("FLOAT",)}}

    def load(self, model, clip, name, strength):
        lora = comfy.utils.load_torch_file(folder_paths.get_full_path_or_raise("loras", name), safe_load=True)
        return comfy.sd.load_lora_for_models(model, clip, lora, strength, strength)


class StudioSave(SaveImage):
    """Saves, and says how many."""

    FUNCTION = "save"
    RETURN_TYPES = ("INT",)
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"images": ("IMAGE",)}, "hidden": {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"}}

    def save(self, images, prompt=None, extra_pnginfo=None):
        saved = self.save_images(images, "studio/picture", prompt, extra_pnginfo)
        return {"ui": saved["ui"], "result": (len(images),)}


class StudioPreview(SaveImage):
    FUNCTION = "show"
    RETURN_TYPES = ()
    OUTPUT_NODE = True

    def __init__(self):
        self.output_dir = folder_paths.get_temp_directory()
        self.type = "temp"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"images": ("IMAGE",)}}

    def show(self, images):
        return self.save_images(images=images)


class StudioOwnFile:
    """Writes a file of its own, where the host says."""

    CATEGORY = "studio"
    FUNCTION = "write"
    RETURN_TYPES = ()
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"text": ("STRING",), "prefix": ("STRING",)}}

    def write(self, text, prefix):
        folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(
            prefix, folder_paths.output_directory, 8, 9
        )
        file = f"{name}_{counter:05}_.txt"
        with open(os.path.join(folder, file), "w") as out:
            out.write(text)
        return {"ui": {"text": [f"{subfolder}|{file}"]}}


class StudioScale:
    """Tiles, resizing and masks."""

    CATEGORY = "studio"
    FUNCTION = "scale"
    RETURN_TYPES = ("IMAGE", "STRING")

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE",)}}

    def scale(self, image):
        samples = image.movedim(-1, 1)
        bar = comfy.utils.ProgressBar(comfy.utils.get_tiled_scale_steps(samples.shape[3], samples.shape[2], 24, 24, 8))
        done = comfy.utils.tiled_scale(
            samples, lambda part: torch.nn.functional.interpolate(part, scale_factor=2, mode="nearest"),
            tile_x=24, tile_y=24, overlap=8, upscale_amount=2, pbar=bar,
        )  # fmt: skip
        back = comfy.utils.common_upscale(done, samples.shape[3], samples.shape[2], "nearest-exact", "disabled")
        (mask,) = GrowMask().expand_mask(torch.zeros(1, 4, 4), 1, True)
        return (back.movedim(1, -1), f"{bar.current:g} {bar.total:g} {float(mask.sum()):g}")


NODES = {name: made for name, made in globals().items() if name.startswith("Studio")}
assert issubclass(nodes.NODE_CLASS_MAPPINGS["PreviewImage"], PreviewImage)
