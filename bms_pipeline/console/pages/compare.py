"""Pages that compare records before a decision: the match picker, twins side by side, and accepting many matches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from fastapi import APIRouter, Request, Response

from bms_pipeline.console.context import Console, ConsoleDep, FormDep, entity_of, is_own, number_in
from bms_pipeline.console.lists import (
    LOOK_ALIKES,
    client_name,
    columns,
    details_of,
    newest_batch,
    one_record,
    read_candidates,
    shown_records,
    verbs_for,
)
from bms_pipeline.console.pages.review import ACCEPTED_FROM, PAST, news_of, redirect_with_news, version_in
from bms_pipeline.console.security import Done
from bms_pipeline.core.entities import ENTITIES, Entity
from bms_pipeline.core.errors import DecisionError
from bms_pipeline.core.vocabulary import WAITS_FOR_DECISION, Verb
from bms_pipeline.reconcile.decisions import VERSION, Selection
from bms_pipeline.sync import deciding
from bms_pipeline.warehouse import names, sql

router = APIRouter(prefix="/review")

SEARCHED = 50
"""A search shows up to this many Passportal records."""
GROUPS = 20
"""A page shows up to this many groups of twins."""
ACCEPTED_AT_ONCE = 1_000
"""*Accept all* shows and matches up to this many pairs at a time."""
LEAST_SCORES = (0.75, 0.9, 0.95, 0.99)
"""The scores a person can choose for *Accept all*."""


@router.get("/{name}/{bms_id:int}/match")
def pick(request: Request, console: ConsoleDep, name: str, bms_id: int) -> Response:
    """Show possible matches for a record: ranked suggestions with their evidence, and a search in Passportal."""
    entity = entity_of(name)
    record = one_record(console, entity, bms_id)
    searched = request.query_params.get("q", "")[:200]
    waits = record["disposition"] in WAITS_FOR_DECISION
    found = read_candidates(console, entity, [bms_id]) if waits else None
    back = request.query_params.get("back", "")
    return console.page(
        request,
        "match.html.j2",
        entity=entity,
        record=record,
        details=details_of(entity),
        batch=newest_batch(console),
        suggestions=found.records.get(bms_id) if found else None,
        best=found.best.get(bms_id) if found else None,
        verbs=verbs_for(record, entity),
        look_alike=LOOK_ALIKES.get(record["reason"]),
        account=client_name(console, record["account_id"]) if entity.has_client else None,
        q=searched,
        found=_searched(console, entity, bms_id, searched),
        most=SEARCHED,
        back=back if is_own(back) else f"/review/{entity.name}",
    )


@router.get("/{name}/accept")
def accept_which(request: Request, console: ConsoleDep, name: str) -> Response:
    """Show the pairs that *Accept all* would match, each with a tick to take away."""
    entity, least = entity_of(name), _least_score(request.query_params.get("least", ""))
    found = read_candidates(console, entity)
    chosen = deciding.acceptable(found.records, found.best, least)
    first = sorted(chosen, key=lambda bms_id: (-chosen[bms_id].suggestion.score, bms_id))[:ACCEPTED_AT_ONCE]
    rows = shown_records(console, entity, Selection(bms_ids=tuple(first)), "name", most=len(first)) if first else []
    return console.page(
        request,
        "accept.html.j2",
        entity=entity,
        records=rows,
        best=chosen,
        number_of_records=len(chosen),
        least=least,
        least_scores=LEAST_SCORES,
        batch=newest_batch(console),
        details=details_of(entity),
    )


@router.post("/{name}/accept")
def accept(request: Request, console: ConsoleDep, name: str, form: FormDep) -> Response:
    """Match the ticked pairs, if their records stand as the page showed them and each is still the only candidate."""
    entity, by = entity_of(name), request.state.name
    pairs = {number_in(bms_id): partner for bms_id, _, partner in (pair.partition(":") for pair in form.all("pair"))}
    if not pairs:
        raise DecisionError("No pair was ticked.", "Go back and tick the pairs that you mean.")
    seen = version_in(form, pairs)
    with console.reading.writing(by) as warehouse:
        taken = deciding.accept(warehouse, entity, pairs, _least_score(form.get("least")), seen, by)
    text = f"Matched {taken.taken:,} {entity.name} with the only candidate of each."
    return redirect_with_news(request, form, entity, [Done(text, undo=taken.undo)])


@dataclass(frozen=True)
class Twins:
    """Records of both sides that share a name, inside one client. ``differing``: the fields in which they differ."""

    name: str
    client: str | None
    account: int | None
    bms: list[dict[str, Any]]
    passportal: list[dict[str, Any]]
    differing: frozenset[str]

    @property
    def waiting(self) -> list[dict[str, Any]]:
        """The records of BMS that wait for a decision."""
        return [record for record in self.bms if record["disposition"] in WAITS_FOR_DECISION]

    @property
    def free(self) -> list[dict[str, Any]]:
        """The records of Passportal that no BMS record is matched to."""
        return [record for record in self.passportal if record["bms_id"] is None]


@router.get("/{name}/twins")
def twins(request: Request, console: ConsoleDep, name: str) -> Response:
    """Show the records that share a name side by side, with one decision for each group."""
    entity = entity_of(name)
    page = number_in(request.query_params.get("page", ""), 1)
    groups, number_of_groups = _twins(console, entity, page)
    waiting = [record["bms_id"] for group in groups for record in group.waiting]
    best = read_candidates(console, entity, waiting).best
    return console.page(
        request,
        "twins.html.j2",
        entity=entity,
        groups=groups,
        number_of_groups=number_of_groups,
        pages=max(1, -(-number_of_groups // GROUPS)),
        this_page=page,
        best=best,
        undoubted={bms_id for bms_id, found in best.items() if found.doubt is None},
        details=details_of(entity),
        batch=newest_batch(console),
        inside=[other.name for other in ENTITIES if other.has_client] if entity.name == "clients" else [],
        here=f"{request.url.path}{f'?page={page}' if page > 1 else ''}",
        **news_of(request.state.session),
    )


@router.post("/{name}/twins")
def decide_twins(request: Request, console: ConsoleDep, name: str, form: FormDep) -> Response:
    """Decide about a group: one record is matched or created, and the others are excluded or created."""
    entity, by = entity_of(name), request.state.name
    one, rest, partner = [*form.get("act").split(":", 2), "", ""][:3]
    ids = tuple(dict.fromkeys(map(number_in, form.all("member"))))
    if number_in(one) not in ids or rest not in (Verb.EXCLUDE, Verb.CREATE):
        raise DecisionError("This is no decision about the group.", "Go back and choose one of the buttons.")
    verdicts = {bms_id: deciding.BulkDecision(rest, allow_duplicate=rest == Verb.CREATE) for bms_id in ids}
    verdicts[number_in(one)] = (
        deciding.BulkDecision(Verb.MATCH, partner)
        if partner
        else deciding.BulkDecision(Verb.CREATE, allow_duplicate=True)
    )
    with console.reading.writing(by) as warehouse:
        taken = deciding.decide_each(warehouse, entity, verdicts, version_in(form, ids), by)
    first = f"{PAST[Verb.MATCH if partner else Verb.CREATE].format(form.get('name') or one)} ({entity.singular} {one})"
    others = [bms_id for bms_id in ids if bms_id != number_in(one)]
    text = first + (f", {PAST[rest].format(', '.join(map(str, others))).lower()}." if others else ".")
    return redirect_with_news(request, form, entity, [Done(text, undo=taken.undo)])


def _least_score(text: str) -> float:
    """Return the score in a form or an address, or the usual one."""
    return next((score for score in LEAST_SCORES if text == f"{score:g}"), ACCEPTED_FROM)


def _searched(console: Console, entity: Entity, bms_id: int, text: str) -> list[dict[str, Any]]:
    folded = names.fold_name(text)
    if not folded:
        return []
    query = sql.read("console/passportal_found").format(
        entity=entity.name, columns=columns(entity, "p"), anywhere=str(not entity.has_client).lower()
    )
    return console.rows(query, {"name": folded, "bms_id": bms_id, "most": SEARCHED})


def _twins(console: Console, entity: Entity, page: int) -> tuple[list[Twins], int]:
    """Return the groups on one page, and the number of all groups."""
    is_client = entity.name == "clients"
    query = sql.read("console/twins").format(
        entity=entity.name,
        has_client=str(entity.has_client).lower(),
        stamp=VERSION,
        most=GROUPS,
        skipped=(page - 1) * GROUPS,
        bms_inside=_inside("bms", "t.account_id = b.bms_id AND t.missing_since IS NULL") if is_client else "NULL",
        passportal_inside=_inside("passportal", "t.client_id = p.passportal_id") if is_client else "NULL",
        bms_columns=columns(entity, "b"),
        passportal_columns=columns(entity, "p"),
    )
    rows = console.rows(query)
    groups = [_group(entity, list(group)) for _, group in groupby(rows, lambda row: (row["name_key"], row["account"]))]
    return groups, rows[0]["number_of_groups"] if rows else 0


def _inside(schema: str, condition: str) -> str:
    """Return SQL for a struct: entity → the number of records inside one client."""
    counts = (
        f"'{other.name}': (SELECT count(*) FROM {schema}.{other.name} t WHERE {condition})"
        for other in ENTITIES
        if other.has_client
    )
    return f"{{{', '.join(counts)}}}"


def _group(entity: Entity, rows: Sequence[dict[str, Any]]) -> Twins:
    differing = frozenset(
        field for field in ("name", *details_of(entity)) if len({row[field] for row in rows if row[field]}) > 1
    )
    return Twins(
        rows[0]["name"],
        rows[0]["client"],
        rows[0]["account"],
        [row for row in rows if row["side"] == "bms"],
        [row for row in rows if row["side"] == "passportal"],
        differing,
    )
