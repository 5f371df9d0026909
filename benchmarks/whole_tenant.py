"""A whole sandbox tenant through every stage up to the plan, and a second sync of a typical one."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import SecretStr

from bms_pipeline.bms.budget import Budget
from bms_pipeline.bms.client import BmsClient
from bms_pipeline.core.entities import ENTITIES
from bms_pipeline.core.settings import Settings
from bms_pipeline.reconcile.matching import Scope
from bms_pipeline.sync import extraction, loading, passportal_snapshot, planning, services, whole_sync
from bms_pipeline.warehouse.connection import open_warehouse
from bms_sandbox.passportal import fill_passportal
from bms_sandbox.process import Sandbox, running_sandbox
from bms_sandbox.tenant import Size

Figure = tuple[str, float, str]


def measured(size: Size) -> Iterator[Figure]:
    """The figures: what, how much, the target."""
    with running(size) as settings:
        yield from _stages(settings, size)
    with running("typical") as settings:
        yield from _syncs_after_the_first(settings)


@contextmanager
def running(size: Size) -> Iterator[Settings]:
    """Settings of a fresh home folder with a sandbox of ``size`` behind it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with running_sandbox(size, 1, folder / "tenant", {"hourly_limit": None}, start_seconds=600) as sandbox:
            yield settings_of(sandbox, folder / "home")


def settings_of(sandbox: Sandbox, home: Path) -> Settings:
    """Settings of a new home folder with ``sandbox`` behind it."""
    settings = Settings(
        _env_file=None,  # type: ignore[call-arg]  # pydantic adds it
        bms_url=sandbox.url,
        bms_tenant=sandbox.login["tenant"],
        bms_username=sandbox.login["username"],
        bms_password=SecretStr(sandbox.login["password"]),
        bms_pipeline_home=home,
        bms_calls_per_hour=10**9,
    )
    home.mkdir(parents=True)
    fill_passportal(settings.passportal_file, sandbox.folder)
    return settings


def _stages(settings: Settings, size: str) -> Iterator[Figure]:
    warehouse, target = open_warehouse(settings), services.open_target(settings)
    began = time.perf_counter()
    with BmsClient(settings) as client:
        for list_call in extraction.list_calls(ENTITIES):
            extraction.extract(settings, warehouse, client, list_call)
    extract_and_land = time.perf_counter() - began
    yield f"{size} tenant: extract + land, seconds", extract_and_land, "none"
    began = time.perf_counter()
    for entity in ENTITIES:
        passportal_snapshot.snapshot(settings, warehouse, target, entity)
    yield f"{size} tenant: snapshot of Passportal, seconds", time.perf_counter() - began, "none"
    began = time.perf_counter()
    for entity in ENTITIES:
        planning.reconcile(warehouse, entity, Scope(), create_unmatched_by="benchmark")
    planning.make_plan(warehouse, ENTITIES, Scope())
    seconds = time.perf_counter() - began
    yield f"{size} tenant: reconcile + plan, seconds", seconds, "none"
    yield f"{size} tenant: reconcile + plan ÷ extract + land", seconds / extract_and_land, "none"


def _syncs_after_the_first(settings: Settings) -> Iterator[Figure]:
    began = time.perf_counter()
    plan = whole_sync.prepare(settings, create_unmatched_by="benchmark")
    planning.approve(settings, open_warehouse(settings), services.open_target(settings), plan.hash, "benchmark")
    loading.finish(settings)
    first = time.perf_counter() - began
    yield "typical tenant: first sync, load included, seconds", first, "none"
    whole_sync.incremental(settings)  # the first finish is itself something new
    began, before = time.perf_counter(), _calls(settings)
    plan = whole_sync.incremental(settings)
    seconds = time.perf_counter() - began
    yield "typical tenant: a scheduled sync with nothing new ÷ first sync, seconds", seconds / first, "≤ 0.15"
    for endpoint, made in _calls(settings).items():
        yield f"typical tenant: calls of a sync with nothing new, {endpoint}", made - before.get(endpoint, 0), "none"
    began = time.perf_counter()
    plan = whole_sync.prepare(settings)
    yield "typical tenant: planned again all the same, operations", plan.operations, "0"
    yield (
        "typical tenant: planned again all the same ÷ first sync, seconds",
        (time.perf_counter() - began) / first,
        "none",
    )


def _calls(settings: Settings) -> dict[str, int]:
    with contextlib.closing(Budget.of(settings)) as budget:
        return {endpoint: usage["used"] for endpoint, usage in budget.usage().items()}
