"""Small random pipelines with a transformer, as diffusers' own tests have them."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch.nn.functional import interpolate

from . import tiny_models as tiny

PIXART_LEVELS = {"beta_schedule": "linear", "beta_start": 0.0001, "beta_end": 0.02}
CHAT = "{% for message in messages %}{{ message['content'] }}{% endfor %}"


def t5() -> tuple[Any, Any]:
    from transformers import T5Config, T5EncoderModel, T5TokenizerFast

    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), *((chr(i), -3.0) for i in range(97, 123))]
    tokenizer = T5TokenizerFast(vocab=pieces, extra_ids=0, model_max_length=32)
    config = T5Config(vocab_size=64, d_model=32, d_kv=8, d_ff=37, num_layers=2, num_heads=4)
    return T5EncoderModel(config).eval(), tokenizer


def qwen_tokenizer() -> Any:
    from transformers import Qwen2TokenizerFast

    vocabulary = {"<|endoftext|>": 0, **{chr(i): i - 32 for i in range(33, 127)}, "Ġ": 95, "Ċ": 96}
    tokenizer = Qwen2TokenizerFast(vocab=vocabulary, merges=[])
    tokenizer.chat_template = CHAT
    return tokenizer


def clip(projection: int = 0, length: int = 77) -> Any:
    return tiny.text_encoder(32, 3, projection, length=length)


def vae(channels: int) -> Any:
    return tiny.vae(
        latent_channels=channels, use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.06, scaling_factor=1.5
    )


def flow(shift: float = 3.0) -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler

    return FlowMatchEulerDiscreteScheduler(shift=shift)


def sd3() -> Any:
    from diffusers import SD3Transformer2DModel, StableDiffusion3Pipeline

    transformer = SD3Transformer2DModel(
        sample_size=32, patch_size=1, in_channels=16, num_layers=2, attention_head_dim=8, num_attention_heads=4,
        caption_projection_dim=32, joint_attention_dim=32, pooled_projection_dim=64, out_channels=16,
    )  # fmt: skip
    encoder, tokenizer = t5()
    return StableDiffusion3Pipeline(
        transformer=transformer.eval(), scheduler=flow(), vae=vae(16), text_encoder=clip(32), text_encoder_2=clip(32),
        text_encoder_3=encoder, tokenizer=tiny.clip_tokenizer(), tokenizer_2=tiny.clip_tokenizer(),
        tokenizer_3=tokenizer,
    )  # fmt: skip


def flux() -> Any:
    from diffusers import FluxPipeline, FluxTransformer2DModel

    transformer = FluxTransformer2DModel(
        patch_size=1, in_channels=64, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=32, pooled_projection_dim=32, axes_dims_rope=[4, 4, 8], guidance_embeds=True,
    )  # fmt: skip
    encoder, tokenizer = t5()
    return FluxPipeline(
        transformer=transformer.eval(), scheduler=flow(), vae=vae(16), text_encoder=clip(), text_encoder_2=encoder,
        tokenizer=tiny.clip_tokenizer(), tokenizer_2=tokenizer,
    )  # fmt: skip


def pixart() -> Any:
    from diffusers import EulerDiscreteScheduler, PixArtSigmaPipeline, PixArtTransformer2DModel

    transformer = PixArtTransformer2DModel(
        sample_size=32, num_layers=2, patch_size=2, attention_head_dim=8, num_attention_heads=3, caption_channels=32,
        in_channels=4, cross_attention_dim=24, out_channels=8, norm_type="ada_norm_single",
    )  # fmt: skip
    encoder, tokenizer = t5()
    scheduler = EulerDiscreteScheduler(**PIXART_LEVELS, timestep_spacing="trailing")
    return PixArtSigmaPipeline(
        transformer=transformer.eval(), scheduler=scheduler, vae=tiny.vae(), text_encoder=encoder, tokenizer=tokenizer
    )


def z_image() -> Any:
    from diffusers import ZImagePipeline, ZImageTransformer2DModel
    from transformers import Qwen3Config, Qwen3Model

    transformer = ZImageTransformer2DModel(
        all_patch_size=(2,), all_f_patch_size=(1,), in_channels=4, dim=32, n_layers=2, n_refiner_layers=1, n_heads=2,
        n_kv_heads=2, cap_feat_dim=16, axes_dims=[8, 4, 4], axes_lens=[256, 64, 64],
    )  # fmt: skip
    config = Qwen3Config(
        hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2,
        vocab_size=256, head_dim=8,
    )  # fmt: skip
    return ZImagePipeline(
        transformer=transformer.eval(), scheduler=flow(), vae=vae(4), text_encoder=Qwen3Model(config).eval(),
        tokenizer=qwen_tokenizer(),
    )  # fmt: skip


def qwen_image() -> Any:
    from diffusers import AutoencoderKLQwenImage, QwenImagePipeline, QwenImageTransformer2DModel
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    transformer = QwenImageTransformer2DModel(
        patch_size=2, in_channels=16, out_channels=4, num_layers=2, attention_head_dim=16, num_attention_heads=3,
        joint_attention_dim=16, guidance_embeds=False, axes_dims_rope=(8, 4, 4),
    )  # fmt: skip
    frames = AutoencoderKLQwenImage(
        base_dim=24, z_dim=4, dim_mult=[1, 2, 4], num_res_blocks=1, temperal_downsample=[False, True],
        latents_mean=[0.1, 0.2, 0.3, 0.4], latents_std=[1.0, 2.0, 3.0, 4.0],
    )  # fmt: skip
    config = Qwen2_5_VLConfig(
        text_config={
            "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
            "num_key_value_heads": 2, "vocab_size": 256, "max_position_embeddings": 512,
            "rope_parameters": {"mrope_section": [1, 1, 2], "rope_type": "default", "rope_theta": 10000.0},
        },
        vision_config={
            "depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 16,
        },
    )  # fmt: skip
    return QwenImagePipeline(
        transformer=transformer.eval(), scheduler=flow(), vae=frames.eval(),
        text_encoder=Qwen2_5_VLForConditionalGeneration(config).eval(), tokenizer=qwen_tokenizer(),
    )  # fmt: skip


def hidream() -> Any:
    from diffusers import HiDreamImagePipeline, HiDreamImageTransformer2DModel
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    transformer = HiDreamImageTransformer2DModel(
        patch_size=2, in_channels=4, out_channels=4, num_layers=1, num_single_layers=1, attention_head_dim=8,
        num_attention_heads=4, caption_channels=[32, 16], text_emb_dim=64, axes_dims_rope=(4, 2, 2),
        max_resolution=(32, 32), llama_layers=[0, 1],
    )  # fmt: skip
    encoder, tokenizer = t5()
    first, second = (clip(32, 248) for _ in range(2))
    config = LlamaConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
        vocab_size=256,
    )  # fmt: skip
    text = qwen_tokenizer().backend_tokenizer
    llama = PreTrainedTokenizerFast(tokenizer_object=text, eos_token="<|endoftext|>", model_max_length=32)
    return HiDreamImagePipeline(
        transformer=transformer.eval(), scheduler=flow(), vae=vae(4), text_encoder=first, text_encoder_2=second,
        text_encoder_3=encoder, text_encoder_4=LlamaForCausalLM(config).eval(), tokenizer=tiny.clip_tokenizer(),
        tokenizer_2=tiny.clip_tokenizer(), tokenizer_3=tokenizer, tokenizer_4=llama,
    )  # fmt: skip


PIPELINES = {
    "hidream": hidream,
    "sd3": sd3,
    "flux": flux,
    "pixart": pixart,
    "z-image": z_image,
    "qwen-image": qwen_image,
}


def drawn(name: str) -> Any:
    """One with random weights throughout: some start with zeros, and would give nothing."""
    made = PIPELINES[name]()
    for parameter in made.transformer.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    made.set_progress_bar_config(disable=True)
    return made


def other(pipeline: Any, class_name: str, is_flow: bool) -> Any:
    """A pipeline of another class with the same components; of flows, one that is told its noise levels as they are."""
    import diffusers

    class_ = getattr(diffusers, class_name)
    parts = {key: pipeline.components.get(key) for key in inspect.signature(class_.__init__).parameters}
    parts = {key: part for key, part in parts.items() if part is not None}
    made = class_(**{**parts, **({"scheduler": flow(1.0)} if is_flow else {})})
    made.set_progress_bar_config(disable=True)
    if class_name == "HiDreamImagePipeline":  # it would draw a picture of this side
        made.default_sample_size = 64 // made.vae_scale_factor
    if class_name == "ZImageInpaintPipeline":  # it would encode latents once more, and uses nothing but the mask
        made.prepare_mask_latents = lambda mask, shown, *_: (interpolate(mask, scale_factor=1 / 2), shown)
    return made
