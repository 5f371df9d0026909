"""One client of a typical tenant, read alone: the calls and seconds of a preview and of a load.

The client has about a hundred assets and nothing of the tenant was read before. Seconds are those of the use cases;
starting a process adds about one.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing

import msgspec

from benchmarks.whole_tenant import Figure, running
from bms_pipeline.core.http import calls_made
from bms_pipeline.core.settings import Settings
from bms_pipeline.core.vocabulary import Verb
from bms_pipeline.reconcile.decisions import Decision
from bms_pipeline.reconcile.matching import Scope
from bms_pipeline.sync import deciding, loading, planning, services, whole_sync
from bms_pipeline.warehouse.connection import open_warehouse
from bms_sandbox.tenant import Size, generate

ASSETS = 100
MOST_CALLS, MOST_SECONDS = "≤ 12", "≤ 5"


class _Asset(msgspec.Struct):
    id: int
    accountId: int


def measured(size: Size) -> Iterator[Figure]:
    """The figures: what, how much, the target."""
    assets = msgspec.json.decode(b"[%b]" % b",".join(generate(size, 1).rows["assets"]), type=list[_Asset])
    held = Counter(asset.accountId for asset in assets)
    client = min(held, key=lambda account: (abs(held[account] - ASSETS), account))
    with running(size) as settings:
        yield f"{size} tenant: assets of the client", held[client], f"about {ASSETS}"
        yield from _previewed_and_loaded(settings, size, client)


def _previewed_and_loaded(settings: Settings, size: str, client: int) -> Iterator[Figure]:
    scope = Scope(clients=(client,))
    yield from _timed(f"{size} tenant: preview of one client", lambda: whole_sync.prepare(settings, scope=scope))
    _link(settings, client)

    def sync_and_finish() -> None:
        plan = whole_sync.prepare(settings, scope=scope)
        with closing(services.open_target(settings)) as target:
            planning.approve(settings, open_warehouse(settings), target, plan.hash, "benchmark")
        loading.finish(settings)

    yield from _timed(f"{size} tenant: sync and finish of one client", sync_and_finish)
    plan = whole_sync.prepare(settings, scope=scope)
    yield f"{size} tenant: operations of one client planned again", plan.operations, "0"


def _link(settings: Settings, client: int) -> None:
    """Decide what a person decides: the client of Passportal with the account's name, else a new one."""
    warehouse = open_warehouse(settings)
    with warehouse.open() as connection:
        row = connection.execute(
            "SELECT p.passportal_id FROM bms.clients b JOIN passportal.clients p USING (name_key) WHERE b.bms_id = ?",
            [client],
        ).fetchone()
    decision = (
        Decision(Verb.MATCH, "clients", client, str(row[0]))
        if row
        else Decision(Verb.CREATE, "clients", client, allow_duplicate=True)
    )
    deciding.decide(warehouse, [decision], "benchmark")


def _timed(what: str, work: Callable[[], object]) -> Iterator[Figure]:
    before, began, worked = calls_made(), time.perf_counter(), time.process_time()
    work()
    seconds, processor = time.perf_counter() - began, time.process_time() - worked
    made = Counter(calls_made()) - Counter(before)
    yield f"{what}, seconds", seconds, MOST_SECONDS
    yield f"{what}, processor seconds", processor, "none"
    yield f"{what}, calls to BMS", made["BMS"], MOST_CALLS
    yield f"{what}, calls to Passportal", made["Passportal"], "none: a file"
