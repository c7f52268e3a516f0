# mypy: ignore-errors
"""Nodes that wait, block, expand and keep."""

import asyncio
import threading
import time
from contextvars import copy_context

import torch
from comfy.utils import ProgressBar
from comfy_execution.graph import ExecutionBlocker
from comfy_execution.graph_utils import GraphBuilder


class Base:
    CATEGORY = "statements"
    FUNCTION = "go"
    RETURN_TYPES = ("INT",)

    @classmethod
    def INPUT_TYPES(s):
        return {"required": {"value": ("INT",)}}


class Sink(Base):
    RETURN_TYPES = ()
    OUTPUT_NODE = True


def shown(*texts):
    return {"ui": {"text": [str(text) for text in texts]}}


# order


class Nap(Base):
    """Never quick."""

    @classmethod
    def INPUT_TYPES(s):
        return {"required": {"value": ("INT",)}, "optional": {"also": ("INT",)}}

    def go(self, value, also=0):
        time.sleep(0.02)
        return (value,)


class NapAsync(Nap):
    async def go(self, value, also=0):
        await asyncio.sleep(0.02)
        return (value,)


class NapShow(Sink):
    def go(self, value):
        time.sleep(0.02)
        return shown(value)


UNDER_WAY = {}


class Meet(Base):
    """Ends when as many calls as it is told are under way together."""

    @classmethod
    def INPUT_TYPES(s):
        return {"required": {"value": ("INT",), "count": ("INT",), "salt": ("INT",)}}

    async def go(self, value, count, salt):
        arrived, all_here = UNDER_WAY.setdefault(salt, ([], asyncio.Event()))
        arrived.append(value)
        if len(arrived) == count:
            all_here.set()
        await all_here.wait()
        return (value,)


class AsyncFail(Base):
    async def go(self, value):
        await asyncio.sleep(0.01)
        raise RuntimeError(f"async {value}")


class ThreadProgress(Base):
    """Tells its progress from a thread that was given its context."""

    def go(self, value):
        bar = ProgressBar(4)
        thread = threading.Thread(target=copy_context().run, args=(bar.update_absolute, 3))
        thread.start()
        thread.join()
        return (value,)


class FailMemory(Base):
    def go(self, value):
        raise MemoryError


# lazy inputs


class LazySteps(Base):
    """Asks for one input after the other, and for what is there already."""

    @classmethod
    def INPUT_TYPES(s):
        lazy = ("INT", {"lazy": True})
        return {"required": {"value": ("INT",)}, "optional": {"one": lazy, "two": lazy, "three": lazy}}

    def check_lazy_status(self, value, one=None, two=None, three=None):
        return ["value", "one"] if one is None else ["two"]

    def go(self, value, one=None, two=None, three=None):
        return (f"{value} {one} {two} {three}",)


class LazyEach(Base):
    """Asks for "odd" or "even" for each value of a list."""

    @classmethod
    def INPUT_TYPES(s):
        lazy = ("INT", {"lazy": True})
        return {"required": {"value": ("INT",), "odd": lazy, "even": lazy}}

    def check_lazy_status(self, value, odd, even):
        return ["odd" if value % 2 else "even"]

    def go(self, value, odd, even):
        return (odd if value % 2 else even,)


class LazyLists(LazyEach):
    """Is given lists, and for what is missing a list of None."""

    INPUT_IS_LIST = True

    def check_lazy_status(self, value, odd, even):
        assert odd in ([None], [7])
        return ["odd"]

    def go(self, value, odd, even):
        return (f"{odd} {even}",)


# lists and blockers


class Batch(Base):
    """A tensor of several items, which is one value."""

    RETURN_TYPES = ("ROCK",)

    def go(self, value):
        return (torch.full((3, 2), float(value)),)


class Shape(Sink):
    @classmethod
    def INPUT_TYPES(s):
        return {"required": {"value": ("ROCK",)}}

    def go(self, value):
        return shown(tuple(value.shape))


class BlockOne(Base):
    """Blocks one of two outputs, or an item of a list."""

    RETURN_TYPES = ("INT", "INT", "INT")
    OUTPUT_IS_LIST = (False, False, True)

    def go(self, value):
        return (ExecutionBlocker(None), value, [value, ExecutionBlocker(None)])


class Total(Base):
    INPUT_IS_LIST = True

    def go(self, value):
        return (sum(value),)


class Count(Sink):
    def go(self, value):
        return shown(value)


class TwoKeys(Sink):
    """Shows under a key that the calls after the first do not have."""

    def go(self, value):
        return {"ui": {"text": [value], ("other" if value % 2 else "first"): [value]}}


# expansion


class ExpandShown(Base):
    """Brings an output node, one that the result needs, and one that nothing needs."""

    def go(self, value):
        graph = GraphBuilder()
        needed = graph.node("Nap", "needed", value=value)
        graph.node("Nap", "spare", value=value + 1)
        graph.node("NapShow", "shown", value=value + 2)
        return {"result": (needed.out(0),), "expand": graph.finalize()}


class ExpandTaken(Base):
    """Uses an id that is taken."""

    def go(self, value):
        return {"result": (["2", 0],), "expand": {"2": {"class_type": "Nap", "inputs": {"value": value}}}}


class ExpandLinked(Base):
    """Its graph links to what the node itself is linked to, and its result to another node of the prompt."""

    @classmethod
    def INPUT_TYPES(s):
        return {"required": {"value": ("INT", {"rawLink": True})}}

    RETURN_TYPES = ("INT", "INT")

    def go(self, value):
        graph = GraphBuilder()
        return {"result": (graph.node("Nap", value=value).out(0), value), "expand": graph.finalize()}


class ExpandParts(Base):
    """Of its two nodes only one depends on `b`."""

    @classmethod
    def INPUT_TYPES(s):
        return {"required": {"a": ("INT",), "b": ("INT",)}}

    def go(self, a, b):
        graph = GraphBuilder()
        first = graph.node("Nap", "first", value=a)
        return {"result": (graph.node("OldSum", "second", a=first.out(0), b=b).out(0),), "expand": graph.finalize()}


class ExpandSome(Base):
    """Expands for even values only."""

    def go(self, value):
        if value % 2:
            return (value,)
        graph = GraphBuilder()
        return {"result": (graph.node("Nap", value=value + 100).out(0),), "expand": graph.finalize()}


class ExpandCircle(Base):
    """Its nodes wait for one another."""

    def go(self, value):
        graph = GraphBuilder()
        one = graph.node("Nap", "one", value=value)
        two = graph.node("Nap", "two", value=one.out(0))
        one.set_input("also", two.out(0))
        return {"result": (two.out(0),), "expand": graph.finalize()}


class ExpandAhead(Base):
    """Its graph waits for the node behind it."""

    def go(self, value):
        graph = GraphBuilder()
        return {"result": (graph.node("Nap", value=["2", 0]).out(0),), "expand": graph.finalize()}


class ExpandElsewhere(Base):
    """Has its node shown by another."""

    def go(self, value):
        graph = GraphBuilder()
        one = graph.node("Nap", value=value)
        one.set_override_display_id("2")
        return {"result": (one.out(0),), "expand": graph.finalize()}


class ExpandShort(Base):
    """Links to an output that its node does not have."""

    def go(self, value):
        graph = GraphBuilder()
        nap = graph.node("Nap", value=value)
        return {"result": (graph.node("NapOrNone", value=nap.out(5)).out(0),), "expand": graph.finalize()}


class NapOrNone(Base):
    def go(self, value):
        return (-1 if value is None else value,)


class OldReplaced(Base):
    """Has the name of an earlier pack's node."""

    def go(self, value):
        return (2,)


# caching


class Box(Base):
    """A value that can be changed, as none should be."""

    RETURN_TYPES = ("BOX",)

    def go(self, value):
        return ({"value": value, "changes": 0},)


class BoxChange(Sink):
    @classmethod
    def INPUT_TYPES(s):
        return {"required": {"box": ("BOX",), "wait": ("INT",)}}

    def go(self, box, wait):
        box["changes"] += 1
        return shown(box["changes"], id(box))


class ShowsOnTheWay(Base):
    """Shows something again when it is reused, and is no output node."""

    HAS_INTERMEDIATE_OUTPUT = True

    def go(self, value):
        return {"ui": {"text": [f"on the way {value}"]}, "result": (value,)}


class HasId(Base):
    @classmethod
    def INPUT_TYPES(s):
        return {"required": {"value": ("INT",)}, "hidden": {"id": "UNIQUE_ID"}}

    def go(self, value, id):
        return (f"{value} {id}",)


NODE_CLASS_MAPPINGS = {
    name: made for name, made in globals().items() if isinstance(made, type) and issubclass(made, Base)
    and made not in (Base, Sink)
}  # fmt: skip
