"""A change of the mapping on a loaded tenant: what the try foretells and what the next plan does, and their seconds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing

from benchmarks.whole_tenant import Figure, running
from bms_pipeline.core.mapping_parsing import parse_mapping
from bms_pipeline.core.settings import Settings
from bms_pipeline.sync import loading, mapping, planning, services, whole_sync
from bms_pipeline.warehouse.connection import open_warehouse
from bms_sandbox.tenant import Size

WANTED = parse_mapping(
    {
        "assets": {
            "fields": {
                "primary_ip": "IP-Adresse",
                "type": {"words": {"Server": "Serveur", "Laptop": "Portable"}, "other": "keep"},
                "platform": {"constant": "Managed"},
            }
        }
    }
)
PLANNED = """
SELECT count(*) FILTER (change.before IS NULL), count(*) FILTER (change.before IS NOT NULL)
FROM (
    SELECT unnest(changes) AS change FROM sync.operations WHERE entity = 'assets' AND operation IN ('update', 'adopt')
)
WHERE change.field IN ('primary_ip', 'type', 'platform')
"""


def measured(size: Size) -> Iterator[Figure]:
    """The figures: what, how much, the target."""
    with running(size) as settings:
        plan = whole_sync.prepare(settings, create_unmatched_by="benchmark")
        _finish(settings, plan.hash)
        plan_seconds = _seconds_of_plan(settings)
        began = time.perf_counter()
        foretold = mapping.try_mapping(settings, open_warehouse(settings), WANTED)
        tried = time.perf_counter() - began
        mapping.store_mapping(settings, open_warehouse(settings), WANTED, "benchmark", anyway=True)
        plan = whole_sync.prepare(settings)
        with open_warehouse(settings).open() as connection:
            filled, followed = connection.execute(PLANNED).fetchone() or (0, 0)
        yield f"{size} tenant: values filled, foretold", sum(change.filled for change in foretold.changes), f"{filled}"
        yield (
            f"{size} tenant: values renewed, foretold",
            sum(change.followed for change in foretold.changes),
            f"{followed}",
        )
        yield (
            f"{size} tenant: values overwritten, foretold",
            sum(change.overwritten for change in foretold.changes),
            "0",
        )
        yield f"{size} tenant: a try of a mapping, seconds", tried, "none"
        yield f"{size} tenant: a whole plan without a mapping, seconds", plan_seconds, "none"
        yield f"{size} tenant: a whole plan with a mapping, seconds", _seconds_of_plan(settings), "none"
        _finish(settings, plan.hash)
        yield f"{size} tenant: operations planned again", whole_sync.prepare(settings).operations, "0"


def _seconds_of_plan(settings: Settings) -> float:
    """Plan from what is stored, from the beginning."""
    warehouse = open_warehouse(settings)
    with warehouse.transaction() as connection:
        connection.execute("DELETE FROM sync.made_from WHERE name LIKE 'planned.%' OR name LIKE 'reconciled.%'")
    began = time.perf_counter()
    planning.plan_from_stored(warehouse)
    return time.perf_counter() - began


def _finish(settings: Settings, plan_hash: str) -> None:
    with closing(services.open_target(settings)) as target:
        planning.approve(settings, open_warehouse(settings), target, plan_hash, "benchmark")
    loading.finish(settings)
