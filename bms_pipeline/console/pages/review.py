"""Pages for decisions: User Sync, Client Sync and the other three lists, and their forms."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from operator import xor
from typing import Any, Literal

from fastapi import APIRouter, Request, Response

from bms_pipeline.console.context import (
    PER_PAGE,
    Console,
    ConsoleDep,
    FormDep,
    entity_of,
    is_own,
    number_in,
    redirect_with_flash,
)
from bms_pipeline.console.lists import (
    BULK_VERBS,
    DISPOSITIONS,
    LOOK_ALIKES,
    Candidates,
    RecordList,
    client_name,
    details_of,
    found_records,
    read_candidates,
    selection_in,
    shown_records,
    verbs_for,
    version_of,
)
from bms_pipeline.console.security import Done, Session, SubmittedForm
from bms_pipeline.core.entities import ENTITIES, Entity
from bms_pipeline.core.errors import DecisionError
from bms_pipeline.core.reasons import Reason
from bms_pipeline.core.vocabulary import LINKS, WAITS_FOR_DECISION, Disposition, Verb, words
from bms_pipeline.reconcile import decisions
from bms_pipeline.reconcile.comparison import DispositionChange
from bms_pipeline.reconcile.decisions import DecisionResult, Selection, ViewedVersion
from bms_pipeline.reconcile.matching import Scope
from bms_pipeline.reconcile.undo import Undo
from bms_pipeline.sync import deciding
from bms_pipeline.warehouse import sql
from bms_pipeline.warehouse.connection import Warehouse

router = APIRouter(prefix="/review")

ACCEPTED_FROM = 0.95
"""The least score of *Accept all* unless a person chooses another one."""
SHOWN_FROM = 0.4
"""A row shows its best candidate from this score on: below, the two are more likely not the same."""
NAMED = 10
"""A question about many records names the first of them."""
FREED = (Reason.CLIENT_UNMATCHED, Reason.CLIENT_AMBIGUOUS, Reason.CLIENT_EXCLUDED, Reason.CLIENT_BLOCKED)
"""Reasons of a blocked record with no effect once its client is decided about; the next plan looks at it."""
DONE_AT_MOST = 200
"""A session can undo its last decisions, up to this many."""
SEVERAL_SHOWN = 5
PAST: dict[str, str] = {
    Verb.MATCH: "Matched {}",
    Verb.BRANCH: "Linked {} as a branch",
    Verb.UNMATCH: "Unmatched {}",
    Verb.CREATE: "Approved creating {}",
    Verb.EXCLUDE: "Excluded {}",
    Verb.INCLUDE: "Included {} again",
}
"""Verb → what a message says about it."""


@dataclass(frozen=True)
class Act:
    """One button of a form: a verb, and for one record its BMS id with what the verb needs."""

    verb: Verb
    bms_id: int = 0
    passportal_id: str = ""
    allow_duplicate: bool = False

    @classmethod
    def of(cls, text: str) -> Act:
        """Read ``verb``, ``verb:id``, ``match:id:partner``, ``branch:id:partner`` or ``create:id:allow_duplicate``.

        Raises ``DecisionError``.
        """
        verb, bms_id, more = [*text.split(":", 2), "", ""][:3]
        is_link = verb in LINKS
        if verb not in tuple(Verb) or (is_link and not more):
            raise DecisionError("This is no decision.", "Go back and choose one of the buttons.")
        return cls(Verb(verb), number_in(bms_id), more if is_link else "", more == "allow_duplicate" and not is_link)

    def verdict(self, form: SubmittedForm) -> deciding.BulkDecision:
        """Return the decision, with what the form says about it."""
        return deciding.BulkDecision(
            self.verb,
            self.passportal_id or None,
            allow_duplicate=self.allow_duplicate or "allow_duplicate" in form,
            why=form.get("why")[:500],
        )


@router.get("/{name}")
def show(request: Request, console: ConsoleDep, name: str) -> Response:
    """Show one page of a list: search, facets, and each record with its best candidate and its verbs."""
    entity, listed = entity_of(name), RecordList.of(request)
    facets = found_records(console, entity, Selection(client=listed.selection.client, name=listed.selection.name,
                                                      bms_ids=listed.selection.bms_ids))  # fmt: skip
    found = [row for row in facets if _is_in(row, listed.shown)]
    records = sum(row["records"] for row in found)
    pages = max(1, -(-records // PER_PAGE))
    page = min(listed.page, pages)
    shown = shown_records(console, entity, listed.shown, listed.order(), page)
    waiting = [record["bms_id"] for record in shown if record["disposition"] in WAITS_FOR_DECISION]
    candidates = read_candidates(console, entity, waiting) if waiting else Candidates({}, {})
    disposition = listed.selection.disposition
    return console.page(
        request,
        "review.html.j2",
        entity=entity,
        listed=listed,
        number_of_records=records,
        pages=pages,
        this_page=page,
        shown=shown,
        best={bms_id: best for bms_id, best in candidates.best.items() if best.suggestion.score >= SHOWN_FROM},
        ranked=candidates.records.keys(),
        details=details_of(entity),
        seen=version_of(console, found),
        reasons=[row for row in facets if not disposition or row["disposition"] == disposition],
        counts=_counted(facets),
        is_anything_read=bool(console.dispositions()[entity.name]),
        dispositions=DISPOSITIONS,
        verbs_for=verbs_for,
        look_alikes=LOOK_ALIKES,
        bulk=BULK_VERBS.get(disposition, ()),
        here=f"{request.url.path}{listed.address(page=page if page > 1 else '')}",
        client_name=client_name(console, listed.selection.client),
        to_accept=len(deciding.acceptable(candidates.records, candidates.best, ACCEPTED_FROM)),
        accepted_from=ACCEPTED_FROM,
        to_create=len(unmatched(console, entity)),
        blocking=blocking_clients(console, entity)
        if entity.has_client and disposition in ("", Disposition.BLOCKED)
        else [],
        freed=FREED,
        waits_for_client=_waits_for(console) if entity.name == "clients" else {},
        **news_of(request.state.session),
    )


@router.post("/{name}/decide")
def decide(request: Request, console: ConsoleDep, name: str, form: FormDep) -> Response:
    """Take decisions: one, several about a record each, or one about the ticked records or all records found."""
    entity = entity_of(name)
    texts = form.all("act") or [""]
    if texts[0].startswith("page:"):
        return redirect_with_flash(request, _turned(entity, form, number_in(texts[0][5:], 1)))
    acts = [Act.of(text) for text in texts]
    if len(acts) == 1 and not acts[0].bms_id and "sure" not in form and _is_about_many(form):
        return redirect_with_flash(request, _question(entity, acts[0].verb, form))
    with console.reading.writing(request.state.name) as warehouse:
        done = _decided(warehouse, entity, acts, form, request.state.name)
    return redirect_with_news(request, form, entity, [_told(console, entity, *entry) for entry in done])


def _decided(
    warehouse: Warehouse, entity: Entity, acts: list[Act], form: SubmittedForm, by: str
) -> list[tuple[Act, deciding.Taken | DecisionError]]:
    """Take the decisions together where nothing stands against it, else each by itself.

    Raises ``DecisionError`` for a page unable to show a refusal among its messages (without ``stay``).
    """
    if len(acts) > 1:
        with contextlib.suppress(DecisionError):
            verdicts = {act.bms_id: act.verdict(form) for act in acts}
            taken = deciding.decide_each(warehouse, entity, verdicts, version_in(form, verdicts), by)
            return [(act, taken.of_record(act.bms_id)) for act in acts]
    done: list[tuple[Act, deciding.Taken | DecisionError]] = []
    for act in acts:
        try:
            selection, seen = _meant(form, act.bms_id)
            done.append((act, deciding.decide_seen(warehouse, entity, selection, act.verdict(form), seen, by)))
        except DecisionError as error:
            if "stay" not in form:
                raise
            done.append((act, error))
    return done


@router.post("/{name}/undo")
def undo(request: Request, console: ConsoleDep, name: str, form: FormDep) -> Response:
    """Take back one decision of this session."""
    entity, session = entity_of(name), request.state.session
    wanted = number_in(form.get("batch")), number_in(form.get("record"))
    found = next((done for done in session.done if done.undo and _key(done.undo) == wanted), None)
    if found is None or found.undo is None:
        raise DecisionError(
            "This decision cannot be undone here: another browser took it, or the console was started again since.",
            "Decide about the record once more.",
        )
    with console.reading.writing(request.state.name) as warehouse:
        taken = deciding.undo_decision(warehouse, found.undo, request.state.name)
    session.done.remove(found)
    told = Done(f"Undone: {found.text}", tuple(_changes(entity, found.undo.bms_ids, taken)))
    return redirect_with_news(request, form, entity, [told])


def _key(undo: Undo) -> tuple[int, int]:
    return undo.batch, undo.bms_ids[0]


@router.get("/{name}/confirm")
def confirm(request: Request, console: ConsoleDep, name: str) -> Response:
    """Ask once about a decision over many records, with figures and the first names."""
    entity, said = entity_of(name), request.query_params
    verb = said.get("verb", "")
    if verb not in PAST or verb in LINKS:
        raise DecisionError("This is no decision about several records.", "Go back and choose one of the buttons.")
    selection = selection_in(dict(said))
    return _ask(
        request, console, entity, Verb(verb), selection, f"/review/{entity.name}/decide", why=said.get("why", "")
    )


@router.get("/{name}/create-unmatched")
def create_unmatched(request: Request, console: ConsoleDep, name: str) -> Response:
    """Ask once before Create Unmatched, with figures and the first names."""
    entity = entity_of(name)
    selection = Selection(bms_ids=tuple(unmatched(console, entity)))
    return _ask(request, console, entity, Verb.CREATE, selection, f"/review/{entity.name}/create-unmatched")


@router.post("/{name}/{verb}")
def decide_all(
    request: Request, console: ConsoleDep, name: str, verb: Literal["auto-match", "create-unmatched"], form: FormDep
) -> Response:
    """Run Auto-Match All, or Create Unmatched about the records a person was asked about."""
    entity, by = entity_of(name), request.state.name
    call: Literal["auto_match", "create_unmatched"] = "auto_match" if verb == "auto-match" else "create_unmatched"
    seen = None if call == "auto_match" else _viewed(form)
    with console.reading.writing(by) as warehouse:
        taken = deciding.decide_all(warehouse, call, [entity], by, seen=seen)[entity.name]
    act = Act(Verb.MATCH if call == "auto_match" else Verb.CREATE)
    return redirect_with_news(request, form, entity, [_told(console, entity, act, taken)])


def redirect_with_news(request: Request, form: SubmittedForm, entity: Entity, told: list[Done]) -> Response:
    """Go back to where the form was, and show there what was done."""
    session: Session = request.state.session
    back = form.get("back") or f"/review/{entity.name}"
    session.done = [*session.done, *(done for done in told if done.undo)][-DONE_AT_MOST:]
    if is_own(back) and back.startswith("/review/"):
        session.news += told
        return redirect_with_flash(request, back)
    return redirect_with_flash(request, back, *(text for done in told for text in (done.text, *done.changes)))


def news_of(session: Session) -> dict[str, Any]:
    """Return what a list shows of the decisions of this session: the new ones once, and the last one to undo."""
    news, session.news = session.news, []
    return {"news": news[-SEVERAL_SHOWN:], "more_news": max(0, len(news) - SEVERAL_SHOWN),
            "last_done": session.done[-1] if session.done else None}  # fmt: skip


def unmatched(console: Console, entity: Entity) -> list[int]:
    """Return the records for Create Unmatched to decide about."""

    def ask() -> list[int]:
        with console.reading.copy.open() as connection:
            return decisions.unmatched_ids(connection, entity, Scope())

    return console.reading.copy.cached(f"unmatched {entity.name}", ask)


def blocking_clients(console: Console, entity: Entity) -> list[dict[str, Any]]:
    """Return the clients for which records of ``entity`` wait, and how many do."""
    query = sql.read("console/blocking_clients").format(entity=entity.name)
    return console.reading.copy.cached(f"blocking {entity.name}", lambda: console.rows(query))


def _waits_for(console: Console) -> dict[int, list[str]]:
    """Return BMS account → the records waiting for it, in words."""
    found: dict[int, list[str]] = {}
    for entity in ENTITIES:
        if entity.has_client:
            for row in blocking_clients(console, entity):
                what = entity.singular if row["records"] == 1 else entity.name
                found.setdefault(row["client"], []).append(f"{row['records']:,} {what}")
    return found


def _is_in(row: dict[str, Any], selection: Selection) -> bool:
    return (not selection.disposition or row["disposition"] == selection.disposition) and (
        not selection.reason or row["reason"] == selection.reason
    )


def _counted(facets: Iterable[dict[str, Any]]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for row in facets:
        counts[row["disposition"]] = counts.get(row["disposition"], 0) + row["records"]
    return counts


def _viewed(form: SubmittedForm) -> ViewedVersion:
    return ViewedVersion(
        number_in(form.get("records")), number_in(form.get("stamp"), most=2**64), number_in(form.get("batch"))
    )


def _selected(form: SubmittedForm) -> Selection:
    """Return the filter of a form about everything found, without the records unticked on any page."""
    selection = selection_in({name: form.get(name) for name in ("disposition", "reason", "client", "q", "but")})
    shown, ticked = set(map(number_in, form.all("shown"))), set(map(number_in, form.all("ticked")))
    but = (set(selection.but) - shown) | (shown - ticked)
    record = number_in(form.get("record"))
    return Selection(
        (record,) if record else (),
        selection.disposition,
        selection.reason,
        selection.client,
        selection.name,
        tuple(sorted(but)),
    )


def _is_about_many(form: SubmittedForm) -> bool:
    """Return whether a person has to be asked once more: about more than a page, or with unticked records."""
    return form.get("of") == "all" and bool(number_in(form.get("records")) > PER_PAGE or _selected(form).but)


def _address(selection: Selection, **more: object) -> str:
    listed = RecordList(selection, "state", is_descending=False, page=1)
    return listed.address(**more)


def _question(entity: Entity, verb: Verb, form: SubmittedForm) -> str:
    more = {"verb": verb.value, "why": form.get("why")[:500], "back": form.get("back")}
    return f"/review/{entity.name}/confirm{_address(_selected(form), **more)}"


def _turned(entity: Entity, form: SubmittedForm, page: int) -> str:
    """Return the address of another page of a list on which everything is ticked but some records."""
    sorted_so = {"sort": form.get("sort"), "way": form.get("way")}
    return f"/review/{entity.name}{_address(_selected(form), all=1, page=page, **sorted_so)}"


def _ask(
    request: Request, console: Console, entity: Entity, verb: Verb, selection: Selection, action: str, why: str = ""
) -> Response:
    found = found_records(console, entity, selection) if selection.restricting else []
    seen = version_of(console, found)
    back = request.query_params.get("back", "")
    return console.page(
        request,
        "confirm.html.j2",
        entity=entity,
        verb=verb,
        selection=selection,
        found=found,
        seen=seen,
        names=shown_records(console, entity, selection, "name", most=NAMED) if found else [],
        action=action,
        why=why,
        back=back if is_own(back) else f"/review/{entity.name}",
    )


def _meant(form: SubmittedForm, one: int) -> tuple[Selection, ViewedVersion]:
    """Return the records the form refers to, with their version on its page.

    Raises ``DecisionError`` where no record is chosen.
    """
    if form.get("of") == "all" and not one:
        return _selected(form), _viewed(form)
    ids = tuple(dict.fromkeys([one] if one else map(number_in, form.all("ticked"))))
    if not ids:
        raise DecisionError("No record was ticked.", "Go back and tick the records that you mean.")
    return Selection(bms_ids=ids), version_in(form, ids)


def version_in(form: SubmittedForm, bms_ids: Iterable[int]) -> ViewedVersion:
    """Return the version of these records, from the form's stamps of each."""
    stamps = [number_in(form.get(f"stamp.{bms_id}"), most=2**64) for bms_id in bms_ids]
    return ViewedVersion(len(stamps), reduce(xor, stamps, 0), number_in(form.get("batch")))


def _told(console: Console, entity: Entity, act: Act, taken: deciding.Taken | DecisionError) -> Done:
    """Return what a message says about one decision."""
    if isinstance(taken, DecisionError):
        return Done(f"{_named(console, entity, [act.bms_id])} was left as it is. {taken.message}", is_refused=True)
    ids = taken.undo.bms_ids if taken.undo else (act.bms_id,) if act.bms_id else ()
    if not taken.taken:
        return Done("Nothing to decide: no record waits for this." if not ids else "This was decided already.")
    # With a branch, the match of the account that owns the client may have been saved, too.
    text = PAST[act.verb].format(_named(console, entity, (act.bms_id,) if act.passportal_id else ids))
    if act.passportal_id:
        joined = "of" if act.verb is Verb.BRANCH else "with"
        text += f" {joined} {_partner(console, entity, act.passportal_id)}"
    return Done(f"{text}.", tuple(_changes(entity, ids, taken)), taken.undo)


def _named(console: Console, entity: Entity, bms_ids: Iterable[int]) -> str:
    """Return one record's name, or the number of several with the first names."""
    ids = list(bms_ids)
    rows = console.rows(
        f"SELECT bms_id, name FROM bms.{entity.name} WHERE bms_id IN (SELECT unnest(?::BIGINT[]))"
        " ORDER BY bms_id LIMIT 3",
        [ids],
    )
    names = [row["name"] or f"{entity.singular} {row['bms_id']}" for row in rows]
    if len(ids) <= 1:
        return names[0] if names else f"{entity.singular} {ids[0] if ids else ''}"
    more = f" and {len(ids) - len(names):,} more" if len(ids) > len(names) else ""
    return f"{len(ids):,} {entity.name}: {', '.join(names)}{more}"


def _partner(console: Console, entity: Entity, passportal_id: str) -> str:
    rows = console.rows(f"SELECT name FROM passportal.{entity.name} WHERE passportal_id = ?", [passportal_id])
    return f"{rows[0]['name'] or 'a record without a name'} ({passportal_id})" if rows else passportal_id


def _changes(entity: Entity, decided: Iterable[int], taken: DecisionResult) -> list[str]:
    """Return the changes of a decision about one record or several."""
    ids = set(decided)
    return [_change(change) for change in taken.changes if len(ids) > 1 or not _is_its_own(entity, ids, change)]


def _is_its_own(entity: Entity, ids: set[int], change: DispositionChange) -> bool:
    return change.entity == entity.name and change.records == 1 and change.bms_ids[:1] == tuple(ids)


def _change(change: DispositionChange) -> str:
    what = f"{change.records:,} {change.entity}" if change.records != 1 else f"Also {change.examples[0]}"
    return f"{what}: {words(change.was)} → {words(change.becomes)}"
