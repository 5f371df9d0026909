"""One small tenant for all tests that only read it, and one sandbox process for each module that needs a socket."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bms_pipeline.sandbox.process import Sandbox, running_sandbox
from bms_pipeline.sandbox.tenant import Tenant, generate


@pytest.fixture(scope="session")
def small() -> Tenant:
    return generate("small", 1)


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with running_sandbox("small", 1, tmp_path_factory.mktemp("tenant")) as running:
        yield running
