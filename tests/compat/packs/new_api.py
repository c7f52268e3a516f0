# mypy: ignore-errors
"""A pack as they are written for the newer class API."""

import asyncio

from comfy_api.latest import ComfyAPI, ComfyExtension, io, ui
from comfy_execution.graph_utils import GraphBuilder


def schema(name, inputs, outputs=None, **more):
    outputs = [io.Int.Output()] if outputs is None else outputs
    return io.Schema(node_id=name, category="new", inputs=inputs, outputs=outputs, **more)


class NewSum(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema("NewSum", [io.Int.Input("a", min=0), io.Int.Input("b", optional=True)])

    @classmethod
    def execute(cls, a, b=1000):
        return io.NodeOutput(a + b)


class NewShow(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema("NewShow", [io.AnyType.Input("source")], [], is_output_node=True)

    @classmethod
    def execute(cls, source):
        assert cls.hidden.prompt
        return io.NodeOutput(ui=ui.PreviewText(str(source)))


class NewList(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema("NewList", [io.Int.Input("start")], [io.Int.Output(is_output_list=True)])

    @classmethod
    def execute(cls, start):
        return io.NodeOutput([start, start + 1])


class NewLazy(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema(
            "NewLazy", [io.Boolean.Input("first"), io.Int.Input("yes", lazy=True), io.Int.Input("no", lazy=True)]
        )

    @classmethod
    def check_lazy_status(cls, first, yes, no):
        return ["yes" if first else "no"]

    @classmethod
    def execute(cls, first, yes, no):
        return io.NodeOutput(yes if first else no)


class NewExpand(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema("NewExpand", [io.Int.Input("value")], enable_expand=True)

    @classmethod
    def execute(cls, value):
        graph = GraphBuilder()
        return io.NodeOutput(graph.node("NewSum", a=value, b=1).out(0), expand=graph.finalize())


class NewAsync(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema("NewAsync", [io.Int.Input("value")])

    @classmethod
    async def execute(cls, value):
        await ComfyAPI().execution.set_progress(1, 2)
        await asyncio.sleep(0.05)
        return io.NodeOutput(value + 1)


class NewBlock(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema("NewBlock", [io.Int.Input("value")])

    @classmethod
    def execute(cls, value):
        return io.NodeOutput(block_execution="stop here") if value % 2 else io.NodeOutput(value)


class NewSets(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return schema("NewSets", [io.Int.Input("value")])

    @classmethod
    def execute(cls, value):
        cls.kept = value
        return io.NodeOutput(value)


class NewExtension(ComfyExtension):
    async def get_node_list(self):
        return [NewSum, NewShow, NewList, NewLazy, NewExpand, NewAsync, NewBlock, NewSets]


async def comfy_entrypoint():
    return NewExtension()
