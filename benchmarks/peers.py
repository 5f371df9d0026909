"""Reconcile and plan a stored tenant, as the product does it and as a user might instead: a pandas merge, and DiffSync.

The peers do the smallest thing with the same name: match by folded name inside the client, and list differing values.
They know no rules, twins, near names, evidence, reasons or breakers, and store nothing.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb

from benchmarks.whole_tenant import Figure, running
from bms_pipeline.bms.client import BmsClient
from bms_pipeline.core.entities import CLIENTS, ENTITIES, Entity
from bms_pipeline.core.settings import Settings, read_settings
from bms_pipeline.reconcile.matching import Scope
from bms_pipeline.sync import extraction, passportal_snapshot, planning, services
from bms_pipeline.warehouse.connection import open_warehouse
from bms_sandbox.tenant import Size


def ours(settings: Settings) -> int:
    """Reconcile and plan, all of it stored; return the number of operations."""
    warehouse = open_warehouse(settings)
    for entity in ENTITIES:
        planning.reconcile(warehouse, entity, Scope(), create_unmatched_by="benchmark")
    return planning.make_plan(warehouse, ENTITIES, Scope()).operations


def pandas(settings: Settings) -> int:
    """Merge both sides by name key inside the client, and compare; return the number of records that differ or lack."""
    found = 0
    with contextlib.closing(duckdb.connect(str(settings.warehouse_file), read_only=True)) as connection:
        clients = connection.execute(_bms(CLIENTS)).df()
        there = connection.execute(_passportal(CLIENTS)).df()
        linked = clients.merge(there, on="name_key", suffixes=("", "_there"))[["bms_id", "passportal_id"]]
        for entity in ENTITIES:
            bms = connection.execute(_bms(entity)).df()
            passportal = connection.execute(_passportal(entity)).df()
            keys = ["name_key"]
            if entity.has_client:
                bms = bms.merge(linked.rename(columns={"bms_id": "account_id", "passportal_id": "client_id"}))
                keys.append("client_id")
            both = bms.merge(passportal, on=keys, how="left", suffixes=("", "_there"))
            is_other = both["passportal_id"].isna()
            for column in _columns(entity):
                is_other |= both[column].fillna("") != both[f"{column}_there"].fillna("")
            found += int(is_other.sum())
    return found


def diffsync(settings: Settings) -> int:
    """Let DiffSync compare two adapters; return the number of records that differ or lack."""
    found = 0
    with contextlib.closing(duckdb.connect(str(settings.warehouse_file), read_only=True)) as connection:
        linked = dict(
            connection.execute(
                f"SELECT b.bms_id, p.passportal_id FROM ({_bms(CLIENTS)}) b"
                f" JOIN ({_passportal(CLIENTS)}) p USING (name_key)"
            ).fetchall()
        )
        for entity in ENTITIES:
            sides = _adapter(entity), _adapter(entity)
            _fill(sides[0], _records(connection, _bms(entity)), entity, lambda row: linked.get(row["account_id"]))
            _fill(sides[1], _records(connection, _passportal(entity)), entity, lambda row: row["client_id"])
            summary = sides[1].diff_from(sides[0]).summary()
            found += summary["create"] + summary["update"]
    return found


def _adapter(entity: Entity) -> Any:
    """Return an empty DiffSync adapter for records of ``entity``."""
    from diffsync import Adapter, DiffSyncModel

    columns = _columns(entity)
    described = {
        "__annotations__": {"client": str, "key": str} | dict.fromkeys(columns, "str | None"),
        "_modelname": "record",
        "_identifiers": ("client", "key"),
        "_attributes": columns,
    }
    model = type("Record", (DiffSyncModel,), described)
    return type("Side", (Adapter,), {"record": model, "top_level": ["record"]})()


def _fill(
    side: Any, records: Iterator[dict[str, Any]], entity: Entity, client_of: Callable[[dict[str, Any]], str | None]
) -> None:
    """Put the records inside linked clients into the adapter; of twins it keeps the first."""
    for row in records:
        client = client_of(row) if entity.has_client else ""
        if client is not None and row["name_key"] is not None:
            values = {column: row[column] for column in _columns(entity)}
            side.get_or_instantiate(side.record, {"client": client, "key": row["name_key"]}, values)


def _records(connection: duckdb.DuckDBPyConnection, query: str) -> Iterator[dict[str, Any]]:
    result = connection.execute(query)
    names = [column[0] for column in result.description]
    for values in result.fetchall():
        yield dict(zip(names, values, strict=True))


WAYS: dict[str, Callable[[Settings], int]] = {"ours": ours, "pandas": pandas, "diffsync": diffsync}


def measured(size: Size) -> Iterator[Figure]:
    """The figures: what, how much, the target. Each way runs in a process of its own, on the same stored records."""
    with running(size) as settings:
        warehouse, target = open_warehouse(settings), services.open_target(settings)
        with BmsClient(settings) as client:
            for list_call in extraction.list_calls(ENTITIES):
                extraction.extract(settings, warehouse, client, list_call)
        for entity in ENTITIES:
            passportal_snapshot.snapshot(settings, warehouse, target, entity)
        found = {way: _alone(way, settings.bms_pipeline_home) for way in ("pandas", "diffsync", "ours")}
    for way, figures in found.items():
        yield f"{size} tenant, {way}: CPU seconds", figures["cpu"], "none"
        yield f"{size} tenant, {way}: seconds", figures["seconds"], "none"
        yield f"{size} tenant, {way}: peak memory, MiB", figures["peak_mib"], "none"
        yield f"{size} tenant, {way}: records to create, match or change", figures["found"], "none"
    yield "DiffSync ÷ ours, CPU", found["diffsync"]["cpu"] / found["ours"]["cpu"], "≥ 1"
    yield "ours ÷ pandas merge, CPU", found["ours"]["cpu"] / found["pandas"]["cpu"], "none"


def _alone(way: str, home: Path) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.peers", way, str(home)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{way} failed:\n{done.stderr}")
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def _columns(entity: Entity) -> tuple[str, ...]:
    return tuple(field.name for field in entity.fields)


def _bms(entity: Entity) -> str:
    return f"SELECT bms_id, account_id, name_key, {', '.join(_columns(entity))} FROM bms.{entity.name} WHERE is_active"


def _passportal(entity: Entity) -> str:
    return f"SELECT passportal_id, client_id, name_key, {', '.join(_columns(entity))} FROM passportal.{entity.name}"


if __name__ == "__main__":
    prepared = read_settings(None).model_copy(update={"bms_pipeline_home": Path(sys.argv[2])})
    if sys.argv[1] != "ours":
        importlib.import_module(sys.argv[1])  # what a library takes to load is no part of its work
    began, cpu_began = time.perf_counter(), time.process_time()
    records = WAYS[sys.argv[1]](prepared)
    print(
        json.dumps(
            {
                "found": records,
                "seconds": time.perf_counter() - began,
                "cpu": time.process_time() - cpu_began,
                "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            }
        )
    )
