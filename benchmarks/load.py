"""The load's own cost, without Passportal: of a call of 50 operations, of a portion, and how it grows with the tenant.

Passportal answers at once here, and the time inside it does not count. The counts are the same on every machine;
CPU time is compared within one run only.
"""

from __future__ import annotations

import json
import math
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from benchmarks.counts import counting
from benchmarks.whole_tenant import Figure, running
from bms_pipeline.core.entities import ASSETS, CLIENTS, ENTITIES, Entity
from bms_pipeline.core.settings import Settings
from bms_pipeline.core.vocabulary import Outcome
from bms_pipeline.load import apply
from bms_pipeline.passportal.target import Leaving, Write, Written, unmarked
from bms_pipeline.sync import planning, services, whole_sync
from bms_pipeline.warehouse.connection import open_warehouse
from bms_sandbox.tenant import Size

CALL_SIZE = 50


class Instant:
    """A Passportal that does everything at once and keeps nothing."""

    name = "embedded"
    can_write = can_list = frozenset(entity.name for entity in ENTITIES)
    can_link = False
    unknown_seconds = 0.0

    def __init__(self, batch_size: int = CALL_SIZE) -> None:
        self.batch_size = batch_size
        self.calls = 0

    def close(self) -> None:
        """See ``Target.close``."""

    def last_write_at(self) -> datetime | None:
        """See ``Target.last_write_at``."""
        return None

    def snapshot(self, entity: Entity, file: Path) -> None:
        """See ``Target.snapshot``."""
        raise NotImplementedError

    def create(self, entity: Entity, writes: Sequence[Write], leaving: Leaving = unmarked) -> list[Written]:
        """See ``Target.create``."""
        leaving([write.bms_id for write in writes])
        self.calls += 1
        return [Written(write.bms_id, Outcome.DONE) for write in writes]

    update = create

    def find(self, entity: Entity, writes: Sequence[Write]) -> dict[int, str]:
        """See ``Target.find``."""
        return {write.bms_id: f"{entity.singular}-{write.bms_id}" for write in writes}


def measured(size: Size) -> Iterator[Figure]:
    """The figures: what, how much, the target. ``large`` is measured next to ``typical``."""
    sizes: tuple[Size, ...] = ("small", "typical", "large") if size == "large" else ("small", "typical")
    found = {each: _alone(each) for each in sizes}
    for each, figures in found.items():
        yield f"{each} tenant: operations on assets", figures["operations"], "none"
        yield f"{each} tenant: calls of {CALL_SIZE}", figures["calls"], "none"
        yield f"{each} tenant: portions", figures["portions"], f"≤ {apply.MOST_PORTIONS + 1}"
        yield f"{each} tenant: statements a portion", figures["statements"] / figures["portions"], "≤ 60"
        yield f"{each} tenant: openings a portion", figures["openings"] / figures["portions"], "≤ 1.5 and 2 a load"
        yield f"{each} tenant: own CPU ms a call of {CALL_SIZE}", _a_call(figures), "≤ 20 from typical on"
        yield f"{each} tenant: peak memory, MiB", figures["peak_mib"], "< 1024"
    if "large" in found:
        typical, large = found["typical"], found["large"]
        yield "own cost of a call, large ÷ typical", _a_call(large) / _a_call(typical), "≤ 1.5"
        grown = math.log(large["cpu"] / typical["cpu"]) / math.log(large["operations"] / typical["operations"])
        yield "growth exponent of the load, typical to large", grown, "≤ 1.05"


def _a_call(figures: dict[str, float]) -> float:
    return figures["cpu"] / figures["calls"] * 1000


def _alone(size: Size) -> dict[str, float]:
    """Measure in a process of its own, so that its peak memory is its own."""
    command = [sys.executable, "-m", "benchmarks.load", size]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"The load of {size} failed:\n{done.stderr}")
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def _load(settings: Settings) -> dict[str, float]:
    warehouse, target = open_warehouse(settings), Instant()
    plan = whole_sync.prepare(settings, create_unmatched_by="benchmark")
    planning.approve(settings, warehouse, services.open_target(settings), plan.hash, "benchmark")
    plan = planning.current_plan(warehouse)
    apply.load_entity(warehouse, target, CLIENTS, plan)
    target.calls = 0
    with counting() as counted:
        began = time.process_time()
        loaded = apply.load_entity(warehouse, target, ASSETS, plan)
        cpu = time.process_time() - began
    with warehouse.open() as connection:
        row = connection.execute("SELECT count(DISTINCT portion) FROM sync.journal WHERE entity = 'assets'").fetchone()
    return {
        "operations": loaded.done,
        "calls": target.calls,
        "portions": row[0] if row else 0,
        "cpu": cpu,
        "openings": counted.openings,
        "statements": counted.statements,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


if __name__ == "__main__":
    with running(sys.argv[1]) as prepared:  # type: ignore[arg-type]
        print(json.dumps(_load(prepared)))
