# mypy: ignore-errors
import os

from aiohttp import web

from server import PromptServer

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
server = PromptServer.instance
server.app.router.add_static("/studio/files", os.path.join(ROOT, "js"))
server.routes.static("/studio/js", os.path.join(ROOT, "js"))
SEEN = []


@server.routes.get("/studio/state")
async def state(request):
    return web.json_response(
        {
            "seen": len(SEEN),
            "remaining": server.prompt_queue.get_tasks_remaining(),
            "is_known": request.query.get("sid") in server.sockets,
            "has_loop": server.loop.is_running(),
            "number": server.number,
        }
    )


@server.routes.post("/studio/tell")
async def tell(request):
    body = await request.json()
    await server.send("studio.told", body["data"], body.get("sid"))
    return web.Response()


@web.middleware
async def mark(request, handler):
    response = await handler(request)
    response.headers["X-Studio"] = "1"
    return response


server.app.middlewares.append(mark)


def rewrite(json_data):
    SEEN.append(json_data.get("client_id"))
    for node in json_data["prompt"].values():
        if node.get("class_type") == "StudioRenamed":
            node["class_type"] = "StudioNumber"
    return json_data


def broken(json_data):
    raise RuntimeError("this handler is broken")


server.add_on_prompt_handler(broken)
server.add_on_prompt_handler(rewrite)
