# mypy: ignore-errors
"""A pack with the habits of old ones: parts imported by name, global tables, folders found beside the host's modules."""

import importlib
import os
import sys

import comfy
import folder_paths
from comfy.cli_args import args

import nodes

HERE = os.path.dirname(__file__)
COMFY = os.path.dirname(folder_paths.__file__)
assert COMFY == folder_paths.base_path == os.path.dirname(os.path.realpath(nodes.__file__))
assert os.path.samefile(os.path.join(folder_paths.get_folder_paths("custom_nodes")[0], "attic"), HERE)
assert comfy.utils.common_upscale  # nobody imported it
assert comfy.model_management.get_torch_device()
assert not args.disable_smart_memory
sys.path.append(os.path.join(HERE, "parts"))

if "attic_models" not in folder_paths.folder_names_and_paths:
    folder_paths.folder_names_and_paths["attic_models"] = ([os.path.join(folder_paths.models_dir, "attic")], {".onnx"})
folder_paths.folder_names_and_paths["loras"][0].append(os.path.join(HERE, "more_loras"))
folder_paths.add_model_folder_path("attic_any", os.path.join(HERE, "parts"))

NODE_CLASS_MAPPINGS = {}
for name in ("pictures", "tables"):
    module = importlib.import_module(f".parts.{name}", package=__name__)
    NODE_CLASS_MAPPINGS.update(module.NODE_CLASS_MAPPINGS)

__all__ = ["NODE_CLASS_MAPPINGS"]
