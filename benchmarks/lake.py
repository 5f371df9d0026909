"""The same tenant twice, in the file and in a lake over PostgreSQL: seconds of two syncs, and whether both agree.

Needs the extra `scale` and PostgreSQL's programs: a server on loopback is started for it. Both ways read the same
sandbox, one after the other. Statements are those that PostgreSQL counted itself.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
from pydantic import SecretStr

from benchmarks.whole_tenant import Figure, settings_of
from bms_pipeline.core.settings import Settings
from bms_pipeline.sync import loading, planning, services, whole_sync
from bms_pipeline.warehouse.connection import open_warehouse
from bms_pipeline_tests.postgres import running_server
from bms_sandbox.process import running_sandbox
from bms_sandbox.tenant import Size

_COUNTED = "SELECT coalesce(sum(calls), 0)::BIGINT FROM pg_stat_statements"
_OUTCOMES = "SELECT entity, outcome, count(*) FROM sync.outcomes GROUP BY ALL ORDER BY ALL"
_MATCHES = "SELECT entity, bms_id, reason FROM sync.matches ORDER BY ALL"


def measured(size: Size) -> Iterator[Figure]:
    """The figures: what, how much, the target."""
    with tempfile.TemporaryDirectory() as name, running_server("pg_stat_statements") as server:
        folder, state = Path(name), f"postgresql://dagster@127.0.0.1:{server.port}/dagster"
        with (
            psycopg.connect(state, autocommit=True) as session,
            running_sandbox(size, 1, folder / "tenant", {"hourly_limit": None}, start_seconds=600) as sandbox,
        ):
            session.execute("CREATE EXTENSION pg_stat_statements")

            def statements() -> int:
                row = session.execute(_COUNTED).fetchone()
                return int(row[0]) if row else 0

            file = settings_of(sandbox, folder / "file")
            lake = settings_of(sandbox, folder / "home").model_copy(
                update={"bms_pipeline_state": SecretStr(state), "bms_pipeline_lake": str(folder / "lake")}
            )
            ways = {"file": _synced(file, statements), "lake": _synced(lake, statements)}
            for number, what in enumerate(("first", "second")):
                seconds = {way: found[number][0] for way, found in ways.items()}
                for way, taken in seconds.items():
                    yield f"{size} tenant: {what} sync in the {way}, seconds", taken, "none"
                yield f"{size} tenant: {what} sync, lake ÷ file", seconds["lake"] / seconds["file"], "≤ 2"
                yield f"{size} tenant: {what} sync, statements in PostgreSQL", ways["lake"][number][1], "none"
            yield f"{size} tenant: outcomes and matches that differ", len(_content(file) ^ _content(lake)), "0"
            yield f"{size} tenant: MiB of the file", _mebibytes(file.bms_pipeline_home / "warehouse.duckdb"), "none"
            yield f"{size} tenant: MiB of the lake's data", _mebibytes(folder / "lake"), "none"
            row = session.execute("SELECT pg_database_size('dagster') / 1048576.0").fetchone()
            yield f"{size} tenant: MiB of the lake's catalog", float(row[0]) if row else 0.0, "none"


def _synced(settings: Settings, statements: Callable[[], int]) -> list[tuple[float, int]]:
    """Sync twice; return the seconds of each and the statements in PostgreSQL."""
    with open_warehouse(settings).open():
        pass  # its first start makes the tables
    found = []
    for sync in (_first, whole_sync.prepare):
        began, before = time.perf_counter(), statements()
        sync(settings)
        found.append((time.perf_counter() - began, statements() - before))
    return found


def _first(settings: Settings) -> None:
    plan = whole_sync.prepare(settings, create_unmatched_by="benchmark")
    planning.approve(settings, open_warehouse(settings), services.open_target(settings), plan.hash, "benchmark")
    loading.finish(settings)


def _content(settings: Settings) -> set[tuple[object, ...]]:
    with open_warehouse(settings).open() as connection:
        return {*connection.execute(_OUTCOMES).fetchall(), *connection.execute(_MATCHES).fetchall()}


def _mebibytes(place: Path) -> float:
    files = [place] if place.is_file() else [file for file in place.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files) / 2**20
