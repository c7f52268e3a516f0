"""Every endpoint of the protocol is there with and without `/api`; what is not there is 404, and not advertised."""

from __future__ import annotations

from typing import Any

import pytest

from .serving import Client

NO_JOB = "00000000-0000-4000-8000-000000000000"
PATHS = (
    "/prompt", "/queue", "/history", f"/history/{NO_JOB}", "/object_info", "/object_info/KSampler", "/system_stats",
    "/features", "/embeddings", "/models", "/models/checkpoints", "/experiment/models",
    "/experiment/models/checkpoints", "/extensions", "/i18n", "/workflow_templates", "/users", "/settings",
    "/settings/Comfy.Any",
    "/v2/userdata", "/jobs", "/queue/state", "/health", "/metrics",
)  # fmt: skip
ABSENT = (
    "/assets", "/api/assets", "/global_subgraphs", "/api/global_subgraphs", "/node_replacements", "/v2/manager/queue",
    "/docs/KSampler/en.md", "/api/internal/logs", "/api/internal/folder_paths", "/nothing", "/api",
)  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
async def test_an_endpoint_is_there_with_and_without_its_prefix(client: Client, path: str) -> None:
    kinds: list[Any] = []
    for prefix in ("", "/api"):
        async with client.session.get(prefix + path) as response:
            assert response.status == 200
            kinds.append((response.content_type, type(await response.json()) if path != "/metrics" else str))
    assert kinds[0] == kinds[1]


@pytest.mark.parametrize("path", ["/view", "/userdata/none.json", f"/jobs/{NO_JOB}", "/view_metadata/loras"])
async def test_what_an_endpoint_does_not_find_it_says_under_both(client: Client, path: str) -> None:
    assert [(await client.session.get(prefix + path)).status for prefix in ("", "/api")] == [404, 404]


@pytest.mark.parametrize("path", ABSENT)
async def test_what_is_not_there_is_404(client: Client, path: str) -> None:
    assert (await client.session.get(path)).status == 404


async def test_no_feature_is_advertised_that_would_have_an_editor_ask_for_what_is_not_there(client: Client) -> None:
    features = await client.get("/features")
    assert features.keys() & {"assets", "node_replacements", "extension"} == set()
    assert features["max_upload_size"] > 0
