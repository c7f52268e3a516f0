# mypy: ignore-errors
import threading

from PIL import Image

from server import BinaryEventTypes, PromptServer

from . import server_part  # noqa: F401


class StudioNumber:
    CATEGORY = "studio"
    FUNCTION = "run"
    RETURN_TYPES = ("INT",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": ("INT", {"default": 0})}, "hidden": {"unique_id": "UNIQUE_ID"}}

    def run(self, value, unique_id):
        return (value,)


class StudioSay(StudioNumber):
    """Tells its own client, everybody, and sends pictures, from the node's thread and from one of its own."""

    def run(self, value, unique_id):
        server = PromptServer.instance
        facts = {"value": value, "node": unique_id}
        server.send_sync("studio.said", facts, server.client_id)
        facts["value"] = None  # too late: it was written down
        server.send_sync(
            "studio.all", {"prompt": server.last_prompt_id, "node": server.last_node_id, "bad": float("nan")}
        )
        server.send_sync(
            BinaryEventTypes.UNENCODED_PREVIEW_IMAGE, ("JPEG", Image.new("RGB", (64, 32)), 16), server.client_id
        )
        server.send_sync(BinaryEventTypes.PREVIEW_IMAGE, b"\0\0\0\2png", server.client_id)
        server.send_progress_text(f"value {value}", unique_id, server.client_id)
        sid = server.client_id
        thread = threading.Thread(target=lambda: server.send_sync("studio.thread", {}, sid))
        thread.start()
        thread.join()
        return (value,)


NODES = {"StudioNumber": StudioNumber, "StudioSay": StudioSay}
