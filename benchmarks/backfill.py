"""The initial bulk import client by client, as a backfill's run does it, against the same plan in one plain run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.whole_tenant import Figure, running
from bms_pipeline.core.settings import Settings
from bms_pipeline.sync import whole_sync
from bms_pipeline.warehouse.connection import open_warehouse
from bms_sandbox.tenant import Size

ROOT = Path(__file__).parents[1]


def measured(size: Size) -> Iterator[Figure]:
    """The figures: what, how much, the target."""
    with running(size) as settings, tempfile.TemporaryDirectory() as name:
        plan = whole_sync.prepare(settings, create_unmatched_by="benchmark")
        plain, by_client = Path(name, "plain"), Path(name, "by client")
        for home in (plain, by_client):
            shutil.copytree(settings.bms_pipeline_home, home)
            # Once and alone, as `bms-pipeline dev` does it.
            _dagster(home, "instance", "info")
        approval = Path(name, "approval.json")  # JSON is YAML
        approval.write_text(json.dumps({"resources": {"approval": {"config": {"plan_hash": plan.hash}}}}))
        yield f"{size} tenant: operations of the plan", plan.operations, "none"
        seconds = _timed(plain, "job", "execute", "-j", "finish", "-c", str(approval))
        yield f"{size} tenant: the plan in one plain run, seconds", seconds, "none"

        began = time.perf_counter()
        _dagster(by_client, "job", "execute", "-j", "finish_clients", "-c", str(approval))
        clients = _linked(by_client)
        _add_partitions(by_client, clients)
        span = f"{clients[0]}...{clients[-1]}"
        _dagster(by_client, "asset", "materialize", "--select", "loaded_by_client", "--partition-range", span)
        by_clients = time.perf_counter() - began
        yield f"{size} tenant: clients", len(clients), "none"
        yield f"{size} tenant: client by client, seconds", by_clients, "none"
        yield f"{size} tenant: client by client ÷ one plain run", by_clients / seconds, "≤ 2.5"
        yield f"{size} tenant: operations left after the backfill", _left(by_client), "0"


def _timed(home: Path, *arguments: str) -> float:
    began = time.perf_counter()
    _dagster(home, *arguments)
    return time.perf_counter() - began


def _dagster(home: Path, *arguments: str) -> None:
    """Run `dagster` on a home folder, as a terminal does."""
    folder = home / "dagster"
    folder.mkdir(exist_ok=True)
    shutil.copyfile(ROOT / "dagster.yaml", folder / "dagster.yaml")
    module = [] if arguments[0] == "instance" else ["-m", "bms_pipeline.definitions"]
    command = [str(Path(sys.executable).with_name("dagster")), *arguments[:2], *module, *arguments[2:]]
    environment = {**os.environ, "DAGSTER_HOME": str(folder), "BMS_PIPELINE_HOME": str(home)}
    environment["BMS_PIPELINE_TRUSTED_PROXY"] = "1"  # a launch by command counts as the approval
    done = subprocess.run(command, env=environment, cwd=home, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"dagster {' '.join(arguments[:4])} failed:\n{done.stderr[-3000:]}")


def _linked(home: Path) -> list[int]:
    with open_warehouse(_settings(home)).open() as connection:
        rows = connection.execute("SELECT bms_id FROM sync.matches WHERE entity = 'clients' ORDER BY 1").fetchall()
    return [row[0] for row in rows]


def _left(home: Path) -> int:
    with open_warehouse(_settings(home)).open() as connection:
        row = connection.execute("SELECT count(*) FROM sync.outcomes WHERE outcome = 'pending'").fetchone()
    return int(row[0]) if row else 0


def _settings(home: Path) -> Settings:
    return Settings(_env_file=None, bms_pipeline_home=home)  # type: ignore[call-arg]


def _add_partitions(home: Path, clients: list[int]) -> None:
    """What the sensor `client_partitions` does."""
    code = (
        "import json, sys, dagster as dg\n"
        "with dg.DagsterInstance.get() as instance:\n"
        "    instance.add_dynamic_partitions('clients', json.load(sys.stdin))\n"
    )
    environment = {**os.environ, "DAGSTER_HOME": str(home / "dagster")}
    given = json.dumps([str(each) for each in clients])
    subprocess.run([sys.executable, "-c", code], env=environment, input=given, text=True, check=True)
