"""Uses what no host but the original has."""

from comfy.model_patcher import ModelPatcher

NODE_CLASS_MAPPINGS = {"Patches": ModelPatcher}
