"""A job as `/api/jobs` shows it (wire protocol §1.9)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Row

MEDIA = ("images", "gifs", "video", "audio", "3d")
"""What can be looked at, by the name of the list that shows it."""
FLAGS = frozenset({"animated"})
"""Lists that say something of others and are no outputs themselves."""
_PLAIN = {"content", "nodeId", "mediaType"}


def job_view(row: Row[Any]) -> dict[str, Any]:
    """The facts of a job that lists show; what is not known is left out."""
    shown = {
        "id": row.id,
        "status": row.status,
        "priority": int(row.number) if row.number.is_integer() else row.number,
        "create_time": row.create_time,
        "execution_start_time": row.start_time,
        "execution_end_time": row.end_time,
        "workflow_id": row.workflow_id,
        "retry_of": row.retry_of,
        **_error(row),
        **_outputs(row),
    }
    return {name: value for name, value in shown.items() if value is not None}


def job_details(row: Row[Any]) -> dict[str, Any]:
    """All that is known of a job."""
    status = {
        "status_str": "success" if row.status == "completed" else "error",
        "completed": row.status == "completed",
        "messages": json.loads(row.messages or "[]"),
    }
    return {
        **job_view(row),
        "outputs": json.loads(row.outputs or "{}"),
        **({"execution_status": status} if row.has_run else {}),
        "workflow": {"prompt": json.loads(row.prompt), "extra_data": json.loads(row.extra_data)},
    }


def _error(row: Row[Any]) -> dict[str, Any]:
    if row.status != "failed":
        return {}
    errors = [data for kind, data in json.loads(row.messages or "[]") if kind == "execution_error"]
    return {"execution_error": errors[-1]} if errors else {}


def _outputs(row: Row[Any]) -> dict[str, Any]:
    items = [*_items(json.loads(row.outputs or "{}"))]
    visual = [item for item in items if item["mediaType"] in MEDIA]
    texts = sorted((item for item in items if item["mediaType"] == "text"), key=lambda item: "filename" not in item)
    kept = [item for item in visual if item.get("type") == "output"]
    return {
        "outputs_count": sum(item.keys() != _PLAIN for item in items),
        "previewable_outputs_count": len(visual) + len(texts),
        "preview_output": next(iter([*kept, *visual, *texts]), None),
    }


def _items(outputs: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for node_id, shown in outputs.items():
        for kind, values in shown.items() if isinstance(shown, dict) else ():
            if kind in FLAGS or not isinstance(values, list):
                continue
            for value in values:
                if isinstance(value, dict):
                    yield {**value, "nodeId": node_id, "mediaType": kind}
                elif kind == "text" and isinstance(value, str):
                    yield {"content": value, "nodeId": node_id, "mediaType": "text"}
