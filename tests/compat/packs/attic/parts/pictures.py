# mypy: ignore-errors
import hashlib
import os

import folder_paths
import node_helpers
import numpy as np
import torch
from PIL import Image, ImageOps


class AtticLoad:
    """Loads a picture of the input folder, as such nodes have been copied from pack to pack."""

    CATEGORY = "attic"
    FUNCTION = "load"
    RETURN_TYPES = ("IMAGE", "MASK")

    @classmethod
    def INPUT_TYPES(cls):
        folder = folder_paths.get_input_directory()
        files = [name for name in os.listdir(folder) if os.path.isfile(os.path.join(folder, name))]
        return {"required": {"image": (sorted(files), {"image_upload": True})}}

    def load(self, image):
        path = folder_paths.get_annotated_filepath(image)
        picture = node_helpers.pillow(ImageOps.exif_transpose, node_helpers.pillow(Image.open, path))
        pixels = torch.from_numpy(np.array(picture.convert("RGB")).astype(np.float32) / 255.0)[None]
        return (pixels, torch.zeros((64, 64), dtype=torch.float32)[None])

    @classmethod
    def IS_CHANGED(cls, image):
        path = folder_paths.get_annotated_filepath(image)
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()

    @classmethod
    def VALIDATE_INPUTS(cls, image):
        if not folder_paths.exists_annotated_filepath(image):
            return f"Invalid image file: {image}"
        return True


NODE_CLASS_MAPPINGS = {"AtticLoad": AtticLoad}
