# mypy: ignore-errors
"""Nodes that declare, check and fingerprint."""

import asyncio

from comfy_execution.graph import ExecutionBlocker


class Wild(str):
    def __ne__(self, other):
        return False


class Base:
    CATEGORY = "statements"
    FUNCTION = "go"
    RETURN_TYPES = ("INT",)


class AsyncHooks(Base):
    """All hooks may be async."""

    @classmethod
    def INPUT_TYPES(s):
        return {"required": {"value": ("INT",), "late": ("INT", {"lazy": True})}}

    @classmethod
    async def IS_CHANGED(s, value, late):
        await asyncio.sleep(0)
        return "same"

    @classmethod
    async def VALIDATE_INPUTS(s, value):
        await asyncio.sleep(0)
        return True if value else "a zero"

    async def check_lazy_status(self, value, late):
        await asyncio.sleep(0)
        return ["late"]

    async def go(self, value, late):
        await asyncio.sleep(0)
        return (value + late,)


class Returns(Base):
    """Returns in each form that there is."""

    OUTPUT_NODE = True
    RETURN_TYPES = ("INT", "INT")

    @classmethod
    def INPUT_TYPES(s):
        return {"required": {"form": ("STRING",), "value": ("INT",)}}

    def go(self, form, value):
        forms = {
            "tuple": (value, value + 1),
            "list": [value, value + 1],
            "result": {"result": (value, value + 1)},
            "ui and result": {"ui": {"text": [f"shown {value}"]}, "result": (value, value + 1)},
            "blocker": ExecutionBlocker(None),
            "nothing": {},
            "number": value,
        }
        return forms[form]


class Gives(Base):
    """An output of each kind of type."""

    RETURN_TYPES = ("STRING", "*", ["a", "b"], "COMBO", "INT,FLOAT", "ROCK", Wild("ANY"))

    @classmethod
    def INPUT_TYPES(s):
        return {"required": {"salt": ("INT",)}}

    def go(self, salt):
        return ("a", "a", "a", "a", 1, "rock", "a")


class Takes(Base):
    """An input of one type."""

    RETURN_TYPES = ()
    OUTPUT_NODE = True
    KIND = ("INT",)

    @classmethod
    def INPUT_TYPES(s):
        return {"required": {"given": s.KIND}}

    def go(self, given):
        return {"ui": {"text": [str(given)]}}


class TakesInt(Takes):
    pass


class TakesUnion(Takes):
    KIND = ("FLOAT,STRING",)


class TakesAny(Takes):
    KIND = ("*",)


class TakesChoice(Takes):
    KIND = (["a", "b", "1"],)


class TakesNewChoice(Takes):
    KIND = ("COMBO", {"options": ["a", "b"]})


class TakesChoices(Takes):
    KIND = ("COMBO", {"options": ["a", "b"], "multiselect": True})


class TakesRock(Takes):
    KIND = ("ROCK", {"min": 3})


class ChecksAll(Base):
    """Takes all inputs into its own check."""

    @classmethod
    def INPUT_TYPES(s):
        return {"required": {"a": ("INT", {"max": 3}), "b": (["x"],), "linked": ("INT",)}}

    @classmethod
    def VALIDATE_INPUTS(s, **given):
        return given["linked"] is None and given["a"] != 13

    def go(self, a, b, linked):
        return (a + linked,)


class ChecksLists(Base):
    """Its check is given lists as its function is."""

    INPUT_IS_LIST = True

    @classmethod
    def INPUT_TYPES(s):
        return {"required": {"a": ("INT",)}}

    @classmethod
    def VALIDATE_INPUTS(s, a):
        return True if a == [1] else f"got {a}"

    def go(self, a):
        return (a[0],)


ASKED = {}


class Asked(Base):
    """Counts how often it is asked whether it changed, and with what."""

    @classmethod
    def INPUT_TYPES(s):
        return {
            "required": {"salt": ("INT",), "linked": ("INT",)},
            "hidden": {"prompt": "PROMPT", "id": "UNIQUE_ID"},
        }

    @classmethod
    def IS_CHANGED(s, salt, linked, prompt, id):
        ASKED.setdefault(salt, []).append(f"linked {linked}, prompt {prompt}, id {id}")
        return "same"

    def go(self, salt, linked, prompt, id):
        return (salt,)


class AskedBefore(Base):
    """What `Asked` was asked."""

    RETURN_TYPES = ()
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(s):
        return {"required": {"about": ("INT",)}}

    def go(self, about):
        return {"ui": {"text": [*ASKED.get(about, [])]}}


class ShowsItself(Base):
    """Shows what the graph says of itself."""

    RETURN_TYPES = ()
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(s):
        return {
            "required": {"salt": ("INT",), "how": ("STRING",), "scale": ("FLOAT",), "on": ("BOOLEAN",)},
            "hidden": {"prompt": "PROMPT", "id": "UNIQUE_ID"},
        }

    @classmethod
    def IS_CHANGED(s, salt, how, **rest):
        return {"nan": float("nan"), "object": Base}.get(how, how)

    def go(self, salt, how, scale, on, prompt, id):
        return {"ui": {"text": [str(prompt[id])]}}


NODE_CLASS_MAPPINGS = {
    name: made for name, made in globals().items() if isinstance(made, type) and made not in (Base, Wild, Takes)
    and hasattr(made, "FUNCTION")
}  # fmt: skip
