"""What every test shares: no test reads or writes the user's own folders, none asks the network for a model."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="session")
def _own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEZZOTINT_HOME", str(tmp_path_factory.mktemp("home")))
        patch.delenv("MEZZOTINT_MODELS", raising=False)
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    on_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if on_gpu and not _cuda_is_available():
        for item in on_gpu:
            item.add_marker(pytest.mark.skip(reason="no CUDA device here"))


def _cuda_is_available() -> bool:
    import torch

    return torch.cuda.is_available()
