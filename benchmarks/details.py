"""The details of a whole tenant inside the hourly limit, on a virtual clock, killed again and again.

A day and a half passes in minutes: one moment, shared by sandbox, budget and runs, moves with each detail that is
served, with each pause of a run, and from tick to tick. Each minute's tick starts a run, a process of its own, when
calls are left and something waits; each hour's lists all assets again next to it. Some runs die by a real SIGKILL.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import random
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import msgspec

from bms_pipeline.bms.asset_detail import Patience
from bms_pipeline.bms.budget import Budget
from bms_pipeline.bms.client import BmsClient
from bms_pipeline.core.entities import ASSETS_LIST
from bms_pipeline.core.errors import PipelineError
from bms_pipeline.core.settings import Settings, read_settings
from bms_pipeline.sync import extraction, fetch_details, loading, planning, run_lock, services, whole_sync
from bms_pipeline.sync.enrichment import DETAILED
from bms_pipeline.warehouse.connection import open_warehouse
from bms_sandbox import bms_service
from bms_sandbox.asset_detail import asset_detail
from bms_sandbox.behaviour import Behaviour
from bms_sandbox.bms_server import serve
from bms_sandbox.population.clients import ACCOUNT_TYPES
from bms_sandbox.process import Sandbox
from bms_sandbox.records import Account, Asset, AssetDetail
from bms_sandbox.security import PASSWORD, TENANT, USER
from bms_sandbox.tenant import Tenant, generate

SECONDS_A_CALL = 0.025
"""What one of eight calls in flight, each of 0.2 s, adds to the time that a run takes."""
CLIENTS = 10
TICK = 60.0


class VirtualClock:
    """A moment in a file, the same for every process that opens it."""

    def __init__(self, file: Path) -> None:
        if not file.exists():
            file.write_bytes(struct.pack("d", time.time()))
        with file.open("r+b") as opened:
            self._memory = mmap.mmap(opened.fileno(), 8)

    def __call__(self) -> float:
        """Seconds since the epoch."""
        (moment,) = struct.unpack("d", self._memory[:8])
        return float(moment)

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._memory[:8] = struct.pack("d", self() + seconds)


@dataclass
class Figures:
    """What it came to. ``hours`` are virtual, to the last detail read; ``disturbed``: why a list is not whole."""

    assets: int
    hours: float = 0.0
    runs: int = 0
    kills: int = 0
    calls: int = 0
    lists: int = 0
    disturbed: list[str] = field(default_factory=list)
    landed: int = 0
    in_passportal: int = 0
    seconds: float = 0.0


def measured(assets: int, limit: int, kills: int, seed: int = 1) -> Figures:
    """Read the details of ``assets`` assets at ``limit`` calls an hour, interrupted ``kills`` times."""
    began = time.perf_counter()
    figures = Figures(assets)
    with tempfile.TemporaryDirectory() as name, _served(assets, limit, Path(name) / "clock") as url:
        clock = VirtualClock(Path(name) / "clock")
        environment = {
            "BMS_URL": url,
            "BMS_TENANT": TENANT,
            "BMS_USERNAME": USER,
            "BMS_PASSWORD": PASSWORD,
            "BMS_CALLS_PER_HOUR": str(limit),
            "BMS_PIPELINE_HOME": str(Path(name) / "home"),
        }
        values = {each.lower(): value for each, value in environment.items()}
        settings = Settings(_env_file=None, **values)  # type: ignore[call-arg, arg-type]
        ample = settings.model_copy(update={"bms_calls_per_hour": 10**6})
        plan = whole_sync.prepare(ample, create_unmatched_by="benchmark")
        planning.approve(ample, open_warehouse(ample), services.open_target(ample), plan.hash, "benchmark")
        loading.finish(ample)

        clock.advance(3600 + TICK)  # the first sync has used calls of the list too
        _let_hours_pass(settings, environment, clock, figures, random.Random(seed), kills)
        calls = Sandbox(url, Path(name), 0, {}, {}).calls()
        figures.calls = calls["GET /v2/servicedesk/hardwareasset/{assetId}"]

        clock.advance(3600)
        whole_sync.prepare(ample)
        loading.finish(ample)
        with duckdb.connect(str(settings.warehouse_file), read_only=True) as connection:
            figures.landed = _count(connection, "SELECT count(details_read_at) FROM bms.assets")
        with duckdb.connect(str(settings.passportal_file), read_only=True) as connection:
            figures.in_passportal = _count(connection, "SELECT count(*) FROM records WHERE details['Asset Tag'] <> ''")
    figures.seconds = time.perf_counter() - began
    return figures


def _let_hours_pass(
    settings: Settings,
    environment: dict[str, str],
    clock: VirtualClock,
    figures: Figures,
    chance: random.Random,
    kills: int,
) -> None:
    """Tick until nothing waits any more."""
    ((_, call),) = DETAILED
    budget = Budget.of(settings, clock)
    began = clock()
    waiting, minute = figures.assets, 0
    while waiting:
        listing = threading.Thread(target=_list_assets, args=(settings, clock, figures))
        if minute % 60 == 0:
            listing.start()
        left = budget.left(call.endpoint)
        if left:
            dies = figures.kills < kills and chance.random() < 0.5
            dies_at = clock() + chance.uniform(0.1, 0.9) * min(left, waiting) * SECONDS_A_CALL if dies else None
            after = _run(environment, clock, dies_at, figures)
            waiting = waiting if after is None else after
            figures.hours = (clock() - began) / 3600
        if minute % 60 == 0:
            listing.join()
        passed = int((clock() - began) // TICK) + 1
        clock.advance(began + passed * TICK - clock())
        minute = passed if passed // 60 == minute // 60 else passed // 60 * 60
    budget.close()


def _run(environment: dict[str, str], clock: VirtualClock, dies_at: float | None, figures: Figures) -> int | None:
    """One run that reads details; what waits after it, None if it was killed."""
    figures.runs += 1
    command = [sys.executable, "-m", "benchmarks.details", "read", str(clock_file(environment))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, **environment}) as process:
        while process.poll() is None:
            if dies_at is not None and clock() >= dies_at:
                process.send_signal(signal.SIGKILL)
                process.wait()
            time.sleep(0.005)
        printed = process.stdout.read() if process.stdout else b""
    if process.returncode == -signal.SIGKILL:
        figures.kills += 1
        return None
    if process.returncode:
        raise SystemExit(f"reading details ended with {process.returncode}")
    return int(json.loads(printed)["waiting"])


def _list_assets(settings: Settings, clock: VirtualClock, figures: Figures) -> None:
    """The hourly list of all assets, which also lands the details that were read."""
    figures.lists += 1
    try:
        with run_lock.running(settings), BmsClient(settings, clock=clock) as client:
            extracted = extraction.extract(settings, open_warehouse(settings), client, ASSETS_LIST)
        if isinstance(extracted, extraction.Unfinished):
            figures.disturbed.append(extracted.why)
        elif not extracted.manifest.complete:
            figures.disturbed.append(extracted.manifest.reason)
    except PipelineError as error:
        figures.disturbed.append(error.message)


def clock_file(environment: dict[str, str]) -> Path:
    """Where the moment is kept."""
    return Path(environment["BMS_PIPELINE_HOME"]).with_name("clock")


def _count(connection: duckdb.DuckDBPyConnection, query: str) -> int:
    row = connection.execute(query).fetchone()
    return int(row[0]) if row else 0


@contextmanager
def _served(assets: int, limit: int, clock: Path) -> Iterator[str]:
    """The address of a process that serves a tenant of so many assets, all of them in scope."""
    command = [sys.executable, "-m", "benchmarks.details", "serve", str(clock), str(assets), str(limit)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield json.loads(process.stdout.readline() if process.stdout else "")["url"]
        finally:
            process.terminate()


def _tenant(assets: int) -> Tenant:
    """Ten clients with all the assets."""
    small = generate("small", 1)
    types = {each.id for each in ACCOUNT_TYPES if each.is_client}
    accounts = [msgspec.json.decode(row, type=Account) for row in small.rows["accounts"]]
    clients = {each.account_name: each for each in accounts if each.is_active and each.account_type_id in types}
    chosen = list(clients.values())[:CLIENTS]
    rows = [
        Asset(
            id=number,
            asset_name=f"PC-{number}",
            category_id=1,
            category_name="Computer",
            contact_id=0,
            account_id=chosen[number % len(chosen)].id,
            account_name=chosen[number % len(chosen)].account_name,
            is_active=True,
        ).encode()
        for number in range(1, assets + 1)
    ]
    lists = {**small.rows, "accounts": [each.encode() for each in chosen], "assets": rows}
    return Tenant(lists, small.account_types, small.passportal, small.truth)


def _serve(clock: VirtualClock, assets: int, limit: int) -> None:
    def paced(row: bytes, location_ids: Mapping[str | None, int]) -> AssetDetail:
        clock.advance(SECONDS_A_CALL)
        return asset_detail(row, location_ids)

    bms_service.asset_detail = paced  # type: ignore[attr-defined]  # not exported, replaced on purpose
    serve(
        _tenant(assets),
        Behaviour(hourly_limit=limit, token_lifetime_seconds=86_400),
        ready=lambda url: print(json.dumps({"url": url}), flush=True),
        parent=os.getppid(),
        clock=clock,
    )


def _read(clock: VirtualClock) -> None:
    done = fetch_details.read_details(read_settings(None), patience=Patience(clock=clock, sleep=clock.advance))
    print(json.dumps({"waiting": done.waiting}))


def main() -> None:
    """What the processes of this benchmark do."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.details", description=__doc__)
    parser.add_argument("verb", choices=("serve", "read"))
    parser.add_argument("clock", type=Path)
    parser.add_argument("numbers", type=int, nargs="*")
    options = parser.parse_args()
    clock = VirtualClock(options.clock)
    if options.verb == "serve":
        _serve(clock, *options.numbers)
    else:
        _read(clock)


if __name__ == "__main__":
    main()
