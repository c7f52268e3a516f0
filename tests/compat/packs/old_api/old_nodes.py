# mypy: ignore-errors
import asyncio
import time

import folder_paths
from aiohttp import web
from comfy.model_management import throw_exception_if_processing_interrupted
from comfy.utils import ProgressBar
from comfy_execution.graph import ExecutionBlocker
from comfy_execution.graph_utils import GraphBuilder

from nodes import MAX_RESOLUTION
from nodes import NODE_CLASS_MAPPINGS as KNOWN
from server import PromptServer

COUNTS = {}


class AnyType(str):
    def __ne__(self, other):
        return False


class Everything(dict):
    def __contains__(self, name):
        return True

    def __getitem__(self, name):
        return (AnyType("*"),)


ANY = AnyType("*")


class Base:
    CATEGORY = "old"
    FUNCTION = "go"
    RETURN_TYPES = ("INT",)


class OldSum(Base):
    @classmethod
    def INPUT_TYPES(s):
        return {
            "required": {"a": ("INT", {"default": 0, "min": 0, "max": MAX_RESOLUTION * 100})},
            "optional": {"b": ("INT",)},
        }

    def go(self, a, b=1000):
        return (a + b,)


class OldShow(Base):
    RETURN_TYPES = ()
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(s):
        return {"required": {"source": (ANY,)}}

    def go(self, source):
        return {"ui": {"text": [str(source)]}}


class OldList(Base):
    OUTPUT_IS_LIST = (True,)

    @classmethod
    def INPUT_TYPES(s):
        return {"required": {"start": ("INT",), "count": ("INT",)}}

    def go(self, start, count):
        return ([start + i for i in range(count)],)


class OldTotal(Base):
    INPUT_IS_LIST = True

    @classmethod
    def INPUT_TYPES(s):
        return {"required": {"values": ("INT",), "factor": ("INT",)}, "hidden": {"id": "UNIQUE_ID"}}

    def go(self, values, factor, id):
        assert isinstance(id, list)
        return (sum(values) * factor[0],)


class OldLazy(Base):
    @classmethod
    def INPUT_TYPES(s):
        lazy = ("INT", {"lazy": True})
        return {"required": {"first": ("BOOLEAN",), "yes": lazy, "no": lazy}}

    def check_lazy_status(self, first, yes, no):
        return ["yes"] if first and yes is None else [] if first else ["no"]

    def go(self, first, yes, no):
        return (yes if first else no,)


class OldLazyWrong(OldLazy):
    def check_lazy_status(self, first, yes, no):
        return ["nothing"]


class OldLazyNever(Base):
    @classmethod
    def INPUT_TYPES(s):
        return {"required": {"yes": ("INT", {"lazy": True})}}

    def go(self, yes):
        return (0 if yes is None else 1,)


class OldExpand(Base):
    @classmethod
    def INPUT_TYPES(s):
        return {"required": {"value": ("INT",)}}

    def go(self, value):
        graph = GraphBuilder()
        first = graph.node("OldSum", a=value, b=1)
        second = graph.node("SmallSum", a=first.out(0), b=1)
        return {"result": (second.out(0),), "expand": graph.finalize()}


class OldExpandUnknown(OldExpand):
    def go(self, value):
        graph = GraphBuilder()
        return {"result": (graph.node("NoSuchNode").out(0),), "expand": graph.finalize()}


class OldExpandFail(OldExpand):
    def go(self, value):
        graph = GraphBuilder()
        return {"result": (graph.node("OldFail", value=value).out(0),), "expand": graph.finalize()}


class OldCountdown(OldExpand):
    def go(self, value):
        if value == 0:
            return (0,)
        graph = GraphBuilder()
        return {"result": (graph.node("OldCountdown", value=value - 1).out(0),), "expand": graph.finalize()}


class OldAsync(OldExpand):
    async def go(self, value):
        await asyncio.sleep(0.05)
        return (value + 1,)


class OldBlock(OldExpand):
    @classmethod
    def INPUT_TYPES(s):
        return {"required": {"value": ("INT",), "message": ("STRING",)}}

    def go(self, value, message):
        return (ExecutionBlocker(message or None) if value % 2 else value,)


class OldFail(OldExpand):
    def go(self, value):
        raise ValueError(f"not {value}")


class OldNone(OldExpand):
    RETURN_TYPES = ()
    OUTPUT_NODE = True

    def go(self, value):
        return None


class OldHidden(Base):
    RETURN_TYPES = ("STRING",)

    @classmethod
    def INPUT_TYPES(s):
        kinds = {"prompt": "PROMPT", "info": "EXTRA_PNGINFO", "id": "UNIQUE_ID", "dyn": "DYNPROMPT",
                 "token": "AUTH_TOKEN_COMFY_ORG"}  # fmt: skip
        return {"required": {"salt": ("INT",)}, "hidden": kinds}

    def go(self, salt, prompt, info, id, dyn, token):
        return (f"{sorted(prompt)} {info} {id} {dyn.get_real_node_id(id)} {dyn.has_node('nosuch')} {token}",)


class OldChanged(Base):
    @classmethod
    def INPUT_TYPES(s):
        return {"required": {"kind": (["same", "nan", "raises"],), "salt": ("INT",)}}

    @classmethod
    def IS_CHANGED(s, kind, salt):
        if kind == "raises":
            raise RuntimeError
        return float("nan") if kind == "nan" else "same"

    def go(self, kind, salt):
        COUNTS[salt] = COUNTS.get(salt, 0) + 1
        return (COUNTS[salt],)


class OldChecked(Base):
    @classmethod
    def INPUT_TYPES(s):
        return {"required": {"even": ("INT", {"max": 10}), "free": ("INT", {"max": 10})}}

    @classmethod
    def VALIDATE_INPUTS(s, even, input_types):
        if even is not None and even % 2:
            return f"{even} is odd {input_types}"
        return True

    def go(self, even, free):
        return (even,)


class OldKeeps(Base):
    def __init__(self):
        self.times = 0

    @classmethod
    def INPUT_TYPES(s):
        return {"required": {"salt": ("INT",)}}

    def go(self, salt):
        self.times += 1
        return (self.times,)


class OldSlow(Base):
    @classmethod
    def INPUT_TYPES(s):
        return {"required": {"ticks": ("INT",)}}

    def go(self, ticks):
        bar = ProgressBar(ticks)
        for _ in range(ticks):
            time.sleep(0.01)
            throw_exception_if_processing_interrupted()
            bar.update(1)
        return (ticks,)


class OldFlexible(Base):
    @classmethod
    def INPUT_TYPES(s):
        return {"required": {}, "optional": Everything()}

    def go(self, **inputs):
        return (sum(inputs.values()),)


class OldRaw(Base):
    RETURN_TYPES = ("STRING",)

    @classmethod
    def INPUT_TYPES(s):
        return {"required": {"link": ("INT", {"rawLink": True})}}

    def go(self, link):
        return (str(link),)


class OldUnlike(OldKeeps):
    NOT_IDEMPOTENT = True
    __init__ = object.__init__

    def go(self, salt):
        COUNTS["unlike"] = COUNTS.get("unlike", 0) + 1
        return (COUNTS["unlike"],)


class OldReplaced(OldExpand):
    def go(self, value):
        return (1,)


class OldNative(OldExpand):
    def go(self, value):
        return KNOWN["SmallSum"]().run(a=value, b=5)


@PromptServer.instance.routes.get("/old_api/folders")
async def folders(request):
    return web.json_response(folder_paths.get_filename_list("hypernetworks"))


NODE_CLASS_MAPPINGS = {name: made for name, made in globals().items() if name.startswith("Old")}
NODE_CLASS_MAPPINGS["SmallNumber"] = OldSum
NODE_DISPLAY_NAME_MAPPINGS = {"OldSum": "Sum (old)"}
