# mypy: ignore-errors
"""A pack as large ones are: several files, a model folder, routes, messages to its scripts, handlers of prompts."""

import os

import folder_paths

from .studio_nodes import sampling, talk
from .studio_nodes.server_part import ROOT

folder_paths.add_model_folder_path("studio_models", os.path.join(folder_paths.models_dir, "studio"))
print(f"### Studio: loaded from {os.path.basename(ROOT)}")

WEB_DIRECTORY = "./js"
NODE_CLASS_MAPPINGS = {**talk.NODES, **sampling.NODES}
NODE_DISPLAY_NAME_MAPPINGS = {name: f"Studio {name.removeprefix('Studio')}" for name in NODE_CLASS_MAPPINGS}

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS", "WEB_DIRECTORY"]
