"""Calls to Passportal's Documents API: of a first sync, and of the syncs after it as a share of that."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from benchmarks.whole_tenant import Figure
from bms_pipeline.core.settings import Settings
from bms_pipeline.sync import loading, planning, services, whole_sync
from bms_pipeline.warehouse.connection import open_warehouse
from bms_sandbox.process import Sandbox, SandboxPassportal, running_passportal, running_sandbox
from bms_sandbox.tenant import Size

CHANGED = 0.01


def measured(size: Size) -> Iterator[Figure]:
    """The figures: what, how much, the target."""
    with _running(size) as (settings, bms, passportal):
        began = time.perf_counter()
        plan = whole_sync.prepare(settings)
        with closing(services.open_target(settings)) as target:
            planning.approve(settings, open_warehouse(settings), target, plan.hash, "benchmark")
        loading.finish(settings)
        first = _calls(passportal)
        yield f"{size} tenant: operations of the first sync", plan.operations, "none"
        yield f"{size} tenant: first sync, seconds", time.perf_counter() - began, "none"
        yield f"{size} tenant: calls of the first sync", first, "none"
        yield f"{size} tenant: calls of the sync after it ÷ first sync", _next(settings, passportal) / first, "none"
        yield f"{size} tenant: calls where nothing changed ÷ first sync", _next(settings, passportal) / first, "none"

        documents = [each["id"] for each in passportal.records() if each["type"] in ("asset", "contact", "location")]
        edited = documents[:: round(1 / CHANGED)]
        for each in edited:
            passportal.edit(each, description="Seen by a person.")
        yield f"{size} tenant: documents edited in Passportal ÷ all", len(edited) / len(documents), "0.01"
        yield f"{size} tenant: calls where 1 % was edited ÷ first sync", _next(settings, passportal) / first, "≤ 0.05"

        bms.mutate(1)
        plan = whole_sync.prepare(settings)
        _calls(passportal)
        yield f"{size} tenant: operations after a day in BMS", plan.operations, "none"
        yield f"{size} tenant: calls after a day in BMS ÷ first sync", _next(settings, passportal) / first, "none"


def _next(settings: Settings, passportal: SandboxPassportal) -> int:
    """The calls of a scheduled sync, an hour after what happened before."""
    passportal.set_clock(time.time() + 3600 * next(_HOURS))
    whole_sync.incremental(settings)
    return _calls(passportal)


_HOURS = iter(range(1, 100))


def _calls(passportal: SandboxPassportal) -> int:
    """Calls since the last time."""
    made = sum(passportal.calls().values())
    passportal.reset_calls()
    return made


@contextmanager
def _running(size: Size) -> Iterator[tuple[Settings, Sandbox, SandboxPassportal]]:
    """Settings of a fresh home folder with both services behind it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (
            running_sandbox(size, 1, folder / "tenant", {"hourly_limit": None}, start_seconds=600) as bms,
            running_passportal(folder / "passportal", bms.folder) as passportal,
        ):
            environment = {each.lower(): value for each, value in passportal.environment().items()}
            settings = Settings(
                _env_file=None,  # type: ignore[call-arg]
                bms_url=bms.url,
                bms_tenant=bms.login["tenant"],
                bms_username=bms.login["username"],
                bms_password=bms.login["password"],  # type: ignore[arg-type]
                bms_pipeline_home=folder / "home",
                bms_calls_per_hour=10**9,
                **environment,  # type: ignore[arg-type]
            )
            yield settings, bms, passportal
