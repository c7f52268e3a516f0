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


class AlwaysEqual(str):
    """Equal to all, which makes it no key of a dict."""

    def __eq__(self, _):
        return True

    def __ne__(self, _):
        return False


class Either(str):
    """One type or another, by a comparison of its own."""

    def __eq__(self, other):
        return other in ("INT", "STRING")

    def __ne__(self, other):
        return not self == other


class AtticAnything:
    CATEGORY = "attic"
    FUNCTION = "pass_on"
    RETURN_TYPES = (AlwaysEqual("*"),)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"anything": (AlwaysEqual("*"),), "either": (Either("EITHER"),)}}

    def pass_on(self, anything, either):
        return (anything if either else either,)


nodes.NODE_CLASS_MAPPINGS["AtticGlobal"] = AtticGlobal
nodes.NODE_DISPLAY_NAME_MAPPINGS["AtticGlobal"] = "Put into the host's table"
NODE_CLASS_MAPPINGS = {"AtticTell": AtticTell, "AtticAnything": AtticAnything}
