"""Pages about what loads did: one load operation by operation, and one client with its records and its last load."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response

from bms_pipeline.console.context import PER_PAGE, Console, ConsoleDep, NotFound, number_in, one_page
from bms_pipeline.core.entities import BY_NAME, ENTITIES
from bms_pipeline.core.vocabulary import Operation, Outcome
from bms_pipeline.plan.standings import MEANS, Standing
from bms_pipeline.reports import client_records, loads
from bms_pipeline.reports.loads import Load, Wanted
from bms_pipeline.reports.read_models import RunWrites
from bms_pipeline.warehouse import sql

router = APIRouter()

TABS = ("records", "load", "waiting")
"""The tabs of a client's page."""
OPERATIONS = {Operation.CREATE: "created", Operation.ADOPT: "matched", Operation.UPDATE: "updated"}
"""Operation → what it did, in words."""
OUTCOMES = {
    Outcome.DONE: "done",
    Outcome.REFUSED: "refused",
    Outcome.UNKNOWN: "no answer yet",
    Outcome.HANDED_OVER: "handed over in a file",
}
"""Outcome → the words for it."""


@router.get("/loads/{plan_id:int}")
def load(request: Request, console: ConsoleDep, plan_id: int) -> Response:
    """Show what one load did: counts by entity, and every operation field by field, filtered and paged."""
    copy, asked = console.reading.copy, request.query_params
    found = copy.cached(f"load {plan_id}", lambda: loads.find_load(copy, plan_id))
    if found is None:
        raise NotFound(f"Nothing was loaded by plan {plan_id}.", "The page Runs lists the loads.")
    wanted = _wanted(dict(asked))
    counts: dict[str, RunWrites] = copy.cached(f"counts of load {plan_id}", lambda: loads.count_writes(copy, plan_id))
    return console.page(
        request,
        "load.html.j2",
        load=found,
        counts=counts,
        asked={name: asked.get(name, "") for name in ("entity", "operation", "outcome", "client", "q")},
        words_of={"operation": OPERATIONS, "outcome": OUTCOMES},
        entity_choices=[(entity.name, entity.name) for entity in ENTITIES],
        link=lambda **filters: f"/loads/{plan_id}?{urlencode(filters)}",
        can_be_undone=_can_be_undone(found, counts),
        **_operations(console, request, plan_id, wanted),
    )


@router.get("/clients/{bms_id:int}")
def client(request: Request, console: ConsoleDep, bms_id: int) -> Response:
    """Show one client: how its records stand, what the last load changed in it, and what waits for what."""
    copy, asked = console.reading.copy, request.query_params
    by_client = copy.cached("records by client", lambda: client_records.records_by_client(copy))
    records = client_records.client_records(by_client, bms_id)
    names = console.rows("SELECT name FROM bms.clients WHERE bms_id = ?", [bms_id])
    if not names:
        raise NotFound(f"BMS has listed no client with id {bms_id} so far.", "The page Overview lists the clients.")
    tab = asked.get("tab", "records")
    entity = asked.get("entity", "")
    waiting = [record for record in records if record.standing in client_records.WAITING]
    waiting.sort(key=lambda record: client_records.WAITING.index(record.standing))
    content: dict[str, Any]
    if tab == "load":
        content = _last_load(console, request, bms_id)
    else:
        listed = waiting if tab == "waiting" else records
        standing = asked.get("standing", "")
        shown = [record for record in listed if entity in ("", record.entity) and standing in ("", record.standing)]
        of_page, paging = one_page(request, shown)
        content = {"records": of_page, "number_of_records": len(shown), **paging}
    return console.page(
        request,
        "client.html.j2",
        client={"bms_id": bms_id, "name": names[0]["name"]},
        accounts=console.rows(sql.read("reports/linked_accounts"), {"account_id": bms_id}),
        own=next((record for record in records if record.entity == "clients"), None),
        counts=client_records.counted(records),
        standings=[standing for standing in Standing if any(record.standing is standing for record in records)],
        means=MEANS,
        tab=tab if tab in TABS else TABS[0],
        asked={"entity": entity, "standing": asked.get("standing", "")},
        number_waiting=len(waiting),
        words_of={"operation": OPERATIONS, "outcome": OUTCOMES},
        **content,
    )


def _last_load(console: Console, request: Request, bms_id: int) -> dict[str, Any]:
    """Return what the last load that wrote anything in a client did there; ``newer`` is a later load elsewhere."""
    copy = console.reading.copy
    last_loads = copy.cached("last loads", lambda: loads.last_loads(copy))
    plan_id, last = last_loads.get(bms_id), last_loads.get(None)
    if plan_id is None:
        return {"load": None, "newer": last}
    return {
        "load": loads.find_load(copy, plan_id),
        "newer": last if last != plan_id else None,
        **_operations(console, request, plan_id, Wanted(client=bms_id)),
    }


def _operations(console: Console, request: Request, plan_id: int, wanted: Wanted) -> dict[str, Any]:
    """Return the operations of the page in the address, and how many there are in all."""
    page = number_in(request.query_params.get("page", ""), 1, 1_000_000)
    copy = console.reading.copy
    rows, found = loads.list_operations(copy, plan_id, wanted, PER_PAGE, (page - 1) * PER_PAGE)
    if not rows and page > 1:
        page = 1
        rows, found = loads.list_operations(copy, plan_id, wanted, PER_PAGE, 0)
    return {"operations": rows, "found": found, "this_page": page, "pages": max(1, -(-found // PER_PAGE))}


def _wanted(asked: dict[str, str]) -> Wanted:
    """Return the filter in an address; what it does not know filters nothing."""
    entity, operation, outcome = asked.get("entity"), asked.get("operation"), asked.get("outcome")
    client, text = asked.get("client", "").strip(), asked.get("q", "").strip()
    is_id = client.isascii() and client.isdigit()
    return Wanted(
        entity=BY_NAME[entity].name if entity in BY_NAME else None,
        operation=operation if operation in list(OPERATIONS) else None,
        outcome=outcome if outcome in list(OUTCOMES) else None,
        client=number_in(client) if is_id else None,
        client_text=client if client and not is_id else None,
        text=text or None,
    )


def _can_be_undone(found: Load, counts: dict[str, RunWrites]) -> bool:
    did_anything = any(writes.created + writes.matched + writes.updated for writes in counts.values())
    return found.undoes is None and found.undone_by is None and did_anything
