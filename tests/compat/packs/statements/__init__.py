# mypy: ignore-errors
"""A pack for single statements of the specification; the other packs show what packs mostly do."""

import importlib
import sys

import folder_paths

import nodes

from .hook_nodes import NODE_CLASS_MAPPINGS as HOOKS
from .run_nodes import NODE_CLASS_MAPPINGS as RUNS

FOUND_BEFORE = sys.modules["statements_before"]
NAME = __name__


def can_import(name):
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True


class PackFacts:
    """What the pack sees of how it was loaded."""

    CATEGORY = "statements"
    FUNCTION = "go"
    RETURN_TYPES = ()
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(s):
        return {"required": {}}

    def go(self):
        facts = [
            f"before {FOUND_BEFORE}", f"name {NAME}", f"package {can_import('statements')}",
            f"sibling {can_import('custom_nodes.statements.leaf')}", f"listed {folder_paths.get_filename_list('rocks')}",
        ]  # fmt: skip
        return {"ui": {"text": facts}}


folder_paths.folder_names_and_paths["rocks"] = ([folder_paths.get_input_directory()], {".txt"})
nodes.EXTENSION_WEB_DIRS["panels"] = __file__.replace("__init__.py", "panels")
NODE_CLASS_MAPPINGS = {"PackFacts": PackFacts, **HOOKS, **RUNS}
