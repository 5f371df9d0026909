"""Pages for decisions: User Sync, Client Sync, the other three lists, and the match picker."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import xor
from typing import Any, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response

from bms_pipeline.console.context import (
    PER_PAGE,
    Console,
    ConsoleDep,
    FormDep,
    NotFound,
    entity_of,
    number_in,
    redirect_with_flash,
)
from bms_pipeline.console.security import SubmittedForm
from bms_pipeline.core.entities import Entity
from bms_pipeline.core.errors import DecisionError
from bms_pipeline.core.vocabulary import Disposition, Verb, words
from bms_pipeline.reconcile.comparison import DispositionChange
from bms_pipeline.reconcile.decisions import VERSION, DecisionResult, Selection, ViewedVersion
from bms_pipeline.sync import deciding
from bms_pipeline.warehouse import names, sql

router = APIRouter(prefix="/review")


DISPOSITIONS = (
    Disposition.UNMATCHED,
    Disposition.AMBIGUOUS,
    Disposition.TO_CREATE,
    Disposition.MATCHED,
    Disposition.EXCLUDED,
    Disposition.BLOCKED,
    Disposition.OUT_OF_SCOPE,
)
"""The dispositions in the order of the tabs and of the unsorted list. Those waiting for a person come first."""
ORDERS = {
    "state": f"list_position({list(map(str, DISPOSITIONS))}, disposition) {{way}}, reason, name",
    "name": "lower(name) {way} NULLS LAST",
    "client": "lower(client) {way} NULLS LAST, lower(name)",
    "id": "bms_id {way}",
}
VERBS: dict[str, tuple[Verb, ...]] = {
    Disposition.UNMATCHED: (Verb.MATCH, Verb.CREATE, Verb.EXCLUDE),
    Disposition.AMBIGUOUS: (Verb.MATCH, Verb.EXCLUDE),
    Disposition.TO_CREATE: (Verb.MATCH, Verb.EXCLUDE),
    Disposition.MATCHED: (Verb.UNMATCH, Verb.EXCLUDE),
    Disposition.EXCLUDED: (Verb.INCLUDE, Verb.CREATE, Verb.MATCH),
    Disposition.BLOCKED: (Verb.EXCLUDE,),
    Disposition.OUT_OF_SCOPE: (),
}
"""Disposition → the verbs a person may use on such a record. ``match`` leads to the picker."""
BULK = (Verb.CREATE, Verb.EXCLUDE, Verb.UNMATCH, Verb.INCLUDE)
SEARCHED = 50
"""A search shows up to this many Passportal records."""
SUGGESTED_AT_ONCE = 5_000
"""Up to this many waiting records, a list ranks the suggestions for all of them at once and keeps them."""


@dataclass(frozen=True)
class RecordList:
    """One page of a list, as its address describes it."""

    selection: Selection
    sort: str
    is_descending: bool
    page: int

    @classmethod
    def of(cls, request: Request) -> RecordList:
        """Read the list from the address of ``request``. Invalid parts are ignored."""
        said = request.query_params
        disposition, sort = said.get("disposition", ""), said.get("sort", "state")
        return cls(
            Selection(
                disposition=disposition if disposition in DISPOSITIONS else "",
                reason=said.get("reason", "")[:100],
                client=number_in(said.get("client", "")),
                name=said.get("q", "")[:200],
            ),
            sort if sort in ORDERS else "state",
            said.get("way") == "down",
            number_in(said.get("page", ""), 1, 1_000_000),
        )

    def address(self, **other: object) -> str:
        """Return the query for this list with some parts changed.

        It asks for the first page unless ``page`` is given.
        """
        said = {
            "disposition": self.selection.disposition,
            "reason": self.selection.reason,
            "client": self.selection.client or "",
            "q": self.selection.name,
            "sort": "" if self.sort == "state" else self.sort,
            "way": "down" if self.is_descending else "",
        }
        return "?" + urlencode({name: value for name, value in (said | other).items() if value not in ("", None)})

    def order(self) -> str:
        """Return SQL for the order of the list."""
        return ORDERS[self.sort].format(way="DESC" if self.is_descending else "ASC")


@router.get("/{name}")
def show(request: Request, console: ConsoleDep, name: str) -> Response:
    """Show one page of a list: search, filter, sort, and the verbs for each record."""
    entity, listed = entity_of(name), RecordList.of(request)
    found = _found(console, entity, listed.selection)
    of_all = Selection(disposition=listed.selection.disposition)
    records = sum(row["records"] for row in found)
    pages = max(1, -(-records // PER_PAGE))
    shown = _shown(console, entity, listed, min(listed.page, pages))
    return console.page(
        request,
        "review.html.j2",
        entity=entity,
        listed=listed,
        number_of_records=records,
        pages=pages,
        shown=shown,
        details=_details(entity),
        seen=_seen(console, found),
        reasons=found if listed.selection == of_all else _found(console, entity, of_all),
        counts=console.dispositions()[entity.name],
        dispositions=DISPOSITIONS,
        verbs=VERBS,
        bulk=[verb for verb in BULK if verb in VERBS.get(listed.selection.disposition, BULK)],
        here=f"{request.url.path}{listed.address(page=listed.page if listed.page > 1 else '')}",
        client_name=_client_name(console, listed.selection.client),
    )


@router.post("/{name}/decide")
def decide(request: Request, console: ConsoleDep, name: str, form: FormDep) -> Response:
    """Take one decision about one record, the ticked records, or every record the filter finds."""
    entity = entity_of(name)
    verb, one, passportal_id = [*form.get("act").split(":", 2), "", ""][:3]
    if verb not in (*BULK, "match") or (verb == "match" and not passportal_id):
        raise DecisionError("This is no decision.", "Go back and choose one of the buttons.")
    selection, seen = _meant(form, one)
    verdict = deciding.BulkDecision(
        verb, passportal_id or None, allow_duplicate="allow_duplicate" in form, why=form.get("why")[:500]
    )
    by = request.state.name
    with console.reading.writing(by) as warehouse:
        taken = deciding.decide_seen(warehouse, entity, selection, verdict, seen, by)
    return redirect_with_flash(request, form.get("back") or f"/review/{entity.name}", *_told(taken))


@router.post("/{name}/{verb}")
def decide_all(
    request: Request, console: ConsoleDep, name: str, verb: Literal["auto-match", "create-unmatched"], form: FormDep
) -> Response:
    """Run Auto-Match All or Create Unmatched."""
    entity, by = entity_of(name), request.state.name
    call: Literal["auto_match", "create_unmatched"] = "auto_match" if verb == "auto-match" else "create_unmatched"
    with console.reading.writing(by) as warehouse:
        taken = deciding.decide_all(warehouse, call, [entity], by)[entity.name]
    said = "matched" if call == "auto_match" else "to be created"
    return redirect_with_flash(
        request, form.get("back") or f"/review/{entity.name}", f"{taken.taken:,} {said} by this.", *_changes(taken)
    )


@router.get("/{name}/{bms_id:int}/match")
def pick(request: Request, console: ConsoleDep, name: str, bms_id: int) -> Response:
    """Show possible matches for a record: ranked suggestions with their evidence, and a search in Passportal."""
    entity = entity_of(name)
    rows = console.rows(
        sql.read("console/records_listed").format(
            entity=entity.name,
            stamp=VERSION,
            columns=_columns(entity),
            where="r.bms_id = ?",
            order="name",
            most=1,
            skipped=0,
        ),
        [bms_id],
    )
    if not rows:
        raise NotFound(f"BMS lists no {entity.singular} {bms_id} now.", "Go back to the list.")
    searched = request.query_params.get("q", "")[:200]
    return console.page(
        request,
        "match.html.j2",
        entity=entity,
        record=rows[0],
        details=_details(entity),
        batch=_batch(console),
        suggestions=_suggestions(console, entity, bms_id),
        q=searched,
        found=_searched(console, entity, bms_id, searched),
        most=SEARCHED,
        back=request.query_params.get("back") or f"/review/{entity.name}",
    )


def _meant(form: SubmittedForm, one: str) -> tuple[Selection, ViewedVersion]:
    """Return the records the form refers to, with their version on its page.

    Raises ``DecisionError`` where no record is chosen.
    """
    batch = number_in(form.get("batch"))
    if form.get("of") == "all" and not one:
        selection = Selection(
            disposition=form.get("disposition"),
            reason=form.get("reason"),
            client=number_in(form.get("client")),
            name=form.get("q"),
        )
        return selection, ViewedVersion(number_in(form.get("records")), number_in(form.get("stamp"), most=2**64), batch)
    ids = tuple(dict.fromkeys(number_in(text) for text in ([one] if one else form.all("ticked"))))
    if not ids:
        raise DecisionError("No record was ticked.", "Go back and tick the records that you mean.")
    stamps = (number_in(form.get(f"stamp.{bms_id}"), most=2**64) for bms_id in ids)
    return Selection(bms_ids=ids), ViewedVersion(len(ids), reduce(xor, stamps), batch)


def _columns(entity: Entity) -> str:
    return ", ".join(f"b.{column}" for column in _details(entity)) or "NULL AS nothing"


def _details(entity: Entity) -> list[str]:
    """Return the few fields that distinguish a record of this entity from its namesakes."""
    return [field.name for field in entity.listed_fields if field.name not in ("first_name", "last_name")][:4]


def _shown(console: Console, entity: Entity, listed: RecordList, page: int) -> list[dict[str, Any]]:
    query = sql.read("console/records_listed").format(
        entity=entity.name,
        stamp=VERSION,
        columns=_columns(entity),
        where=listed.selection.where,
        order=listed.order(),
        most=PER_PAGE,
        skipped=(page - 1) * PER_PAGE,
    )
    return console.rows(query, list(listed.selection.restricting.values()))


def _found(console: Console, entity: Entity, selection: Selection) -> list[dict[str, Any]]:
    """Count the records the filter finds, by disposition and reason."""
    query = sql.read("console/records_found").format(entity=entity.name, stamp=VERSION, where=selection.where)
    return console.rows(query, list(selection.restricting.values()))


def _seen(console: Console, found: list[dict[str, Any]]) -> ViewedVersion:
    """Return the version of the found records, for a form that decides about all of them."""
    stamp = reduce(xor, (row["stamp"] for row in found), 0)
    return ViewedVersion(sum(row["records"] for row in found), stamp, _batch(console))


def _batch(console: Console) -> int:
    """Return the ledger's newest batch, as of the copy."""
    return int(console.rows("SELECT coalesce(max(batch), 0) AS batch FROM sync.decisions")[0]["batch"])


def _client_name(console: Console, client: int) -> str | None:
    rows = console.rows("SELECT name FROM bms.clients WHERE bms_id = ?", [client]) if client else []
    return rows[0]["name"] if rows else None


def _suggestions(console: Console, entity: Entity, bms_id: int) -> deciding.RecordSuggestions | None:
    """Return the record with its suggestions, or None if it needs no decision."""
    copy = console.reading.copy

    def of(ids: list[int] | None) -> dict[int, deciding.RecordSuggestions]:
        with copy.open() as connection:
            return deciding.suggested(connection, entity, ids)

    if console.waiting()[entity.name] <= SUGGESTED_AT_ONCE:
        return copy.cached(f"suggestions {entity.name}", lambda: of(None)).get(bms_id)
    return of([bms_id]).get(bms_id)


def _searched(console: Console, entity: Entity, bms_id: int, text: str) -> list[dict[str, Any]]:
    folded = names.fold_name(text)
    if not folded:
        return []
    query = sql.read("console/passportal_found").format(
        entity=entity.name,
        columns=", ".join(f"p.{column}" for column in _details(entity)) or "NULL AS nothing",
        anywhere=str(not entity.has_client).lower(),
    )
    return console.rows(query, {"name": folded, "bms_id": bms_id, "most": SEARCHED})


def _told(taken: DecisionResult) -> list[str]:
    already = f", {taken.already:,} held already" if taken.already else ""
    return [f"{taken.taken:,} decided{already}.", *_changes(taken)]


def _changes(taken: DecisionResult) -> list[str]:
    return [_change(change) for change in taken.changes]


def _change(change: DispositionChange) -> str:
    return f"{change.records:,} {change.entity}: {words(change.was)} → {words(change.becomes)}"
