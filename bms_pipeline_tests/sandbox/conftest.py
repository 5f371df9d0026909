"""One small tenant for all tests that only read it, and one sandbox process for those that need a socket."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bms_sandbox.documents_api import seed
from bms_sandbox.documents_api.store import Store
from bms_sandbox.process import Sandbox, running_sandbox
from bms_sandbox.tenant import Tenant, generate


@pytest.fixture(scope="session")
def small() -> Tenant:
    return generate("small", 1)


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with running_sandbox("small", 1, tmp_path_factory.mktemp("tenant")) as running:
        yield running


@pytest.fixture(scope="session")
def tenant_folder(small: Tenant, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small tenant, saved; nobody writes there."""
    folder = tmp_path_factory.mktemp("saved")
    replace(small).save(folder)
    return folder


@pytest.fixture
def passportal_file(tenant_folder: Path, tmp_path: Path) -> Path:
    """What the small tenant's Passportal holds, for one test alone."""
    file = tmp_path / "passportal.ndjson"
    Store.make(file, seed.records(tenant_folder, 1_700_000_000))
    return file
