# mypy: ignore-errors
import folder_paths

import nodes


class AtticTell:
    CATEGORY = "attic"
    FUNCTION = "tell"
    RETURN_TYPES = ("STRING",)

    @classmethod
    def INPUT_TYPES(cls):
        # The choices of a built-in node, by its class
        samplers = nodes.NODE_CLASS_MAPPINGS["KSampler"].INPUT_TYPES()["required"]["sampler_name"][0]
        return {"required": {"sampler": (samplers,)}}

    def tell(self, sampler):
        known = [name for name in nodes.NODE_CLASS_MAPPINGS if name.startswith("Attic")]
        kinds = folder_paths.get_filename_list("attic_models"), folder_paths.get_filename_list("attic_any")
        title = nodes.NODE_DISPLAY_NAME_MAPPINGS["SaveImage"]
        return (f"{sampler} {sorted(known)} {kinds} {title}",)


class AtticGlobal(AtticTell):
    pass


nodes.NODE_CLASS_MAPPINGS["AtticGlobal"] = AtticGlobal
nodes.NODE_DISPLAY_NAME_MAPPINGS["AtticGlobal"] = "Put into the host's table"
NODE_CLASS_MAPPINGS = {"AtticTell": AtticTell}
