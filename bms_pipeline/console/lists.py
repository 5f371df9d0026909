"""The lists of records: their addresses, the records on a page, and the candidates of waiting ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import xor
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from fastapi import Request

from bms_pipeline.console.context import PER_PAGE, Console, NotFound, number_in
from bms_pipeline.core.entities import ENTITIES, Entity
from bms_pipeline.core.reasons import Reason
from bms_pipeline.core.vocabulary import LINKS, WAITS_FOR_DECISION, Disposition, Verb
from bms_pipeline.reconcile.decisions import VERSION, Selection, ViewedVersion
from bms_pipeline.sync import deciding
from bms_pipeline.warehouse import sql

if TYPE_CHECKING:
    from bms_pipeline.reconcile.suggestions import Best

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
    "waiting": "({waiting}) {way}, lower(name)",
}
_WAITING = " + ".join(
    f"(SELECT count(*) FROM sync.reconciled_{entity.name} w WHERE w.disposition = 'blocked'"
    " AND w.account_id = record.bms_id)"
    for entity in ENTITIES
    if entity.has_client
)
"""SQL over a client as ``record``: the number of records waiting for it."""
VERBS: dict[str, tuple[Verb, ...]] = {
    Disposition.UNMATCHED: (Verb.MATCH, Verb.CREATE, Verb.EXCLUDE),
    Disposition.AMBIGUOUS: (Verb.MATCH, Verb.CREATE, Verb.EXCLUDE),
    Disposition.TO_CREATE: (Verb.MATCH, Verb.EXCLUDE),
    Disposition.MATCHED: (Verb.UNMATCH, Verb.EXCLUDE),
    Disposition.EXCLUDED: (Verb.INCLUDE, Verb.CREATE, Verb.MATCH),
    Disposition.BLOCKED: (),
    Disposition.OUT_OF_SCOPE: (),
}
"""Disposition → the verbs the rules may accept for such a record. A blocked one waits for its client."""
BULK_VERBS: dict[str, tuple[Verb, ...]] = {
    **{
        disposition: tuple(verb for verb in verbs if verb is not Verb.MATCH)
        for disposition, verbs in VERBS.items()
        if disposition != Disposition.AMBIGUOUS
    },
    Disposition.AMBIGUOUS: (Verb.EXCLUDE,),
    Disposition.BLOCKED: (Verb.EXCLUDE,),
    "": (Verb.CREATE, Verb.EXCLUDE, Verb.UNMATCH, Verb.INCLUDE),
}
"""Tab → the verbs for several records at once."""
NEVER_CREATED = (Reason.NO_NAME, Reason.SEVERAL_WITH_MARKER)
"""Reasons for which a create is always refused."""
LOOK_ALIKES: dict[str, str] = {
    Reason.COMPANY_VAULT: "Passportal's Company Vault has this name",
    Reason.NAME_IN_OTHER_ACCOUNT: "another account of its client has a record of this name",
    Reason.NEAR_IDENTICAL_NAME: "Passportal has a record of nearly the same name",
    Reason.SEVERAL_IN_PASSPORTAL: "Passportal has several records of this name",
    Reason.SAME_NAME_OTHER_EVIDENCE: "Passportal has a record of this name",
    Reason.PLACEHOLDER_ON_BOTH_SIDES: "Passportal has a record of this name",
    Reason.SEVERAL_IN_BMS: "BMS has another record of this name",
    Reason.NAME_OF_GONE_RECORD: "Passportal has a record of this name, whose BMS record is gone",
    Reason.DOUBTFUL_SERIAL: "Passportal has a record with this serial number",
}
"""Reason → the look-alike next to a create. A person confirms it once."""
UNTICKED_AT_MOST = 1_000
SUGGESTED_AT_ONCE = 5_000
"""Up to this many waiting records, a list ranks the suggestions for all of them at once and keeps them."""


@dataclass(frozen=True)
class RecordList:
    """One page of a list, as its address describes it.

    ``all_but``: all that is found is ticked, except the records of ``selection.but``.
    """

    selection: Selection
    sort: str
    is_descending: bool
    page: int
    all_but: bool = False

    @classmethod
    def of(cls, request: Request) -> RecordList:
        """Read the list from the address of ``request``. Invalid parts are ignored."""
        said = request.query_params
        sort, record = said.get("sort", "state"), number_in(said.get("record", ""))
        return cls(
            selection_in(
                {name: said.get(name, "") for name in ("disposition", "reason", "client", "q", "but")},
                (record,) if record else (),
            ),
            sort if sort in ORDERS else "state",
            said.get("way") == "down",
            number_in(said.get("page", ""), 1, 1_000_000),
            said.get("all") == "1",
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
            "record": self.selection.bms_ids[0] if self.selection.bms_ids else "",
            "sort": "" if self.sort == "state" else self.sort,
            "way": "down" if self.is_descending else "",
            "all": "1" if self.all_but else "",
            "but": ",".join(map(str, self.selection.but)),
        }
        return "?" + urlencode({name: value for name, value in (said | other).items() if value not in ("", None)})

    def order(self) -> str:
        """Return SQL for the order of the list."""
        is_up = self.is_descending if self.sort == "waiting" else not self.is_descending
        return ORDERS[self.sort].format(way="ASC" if is_up else "DESC", waiting=_WAITING)

    @property
    def shown(self) -> Selection:
        """The records of the list, the unticked ones among them."""
        return replace(self.selection, but=())


def selection_in(said: dict[str, str], bms_ids: tuple[int, ...] = ()) -> Selection:
    """Return the filter in an address or a form. Invalid parts are ignored."""
    disposition = said.get("disposition", "")
    but = [number_in(text) for text in said.get("but", "").split(",") if text][:UNTICKED_AT_MOST]
    return Selection(
        bms_ids=bms_ids,
        disposition=disposition if disposition in DISPOSITIONS else "",
        reason=said.get("reason", "")[:100],
        client=number_in(said.get("client", "")),
        name=said.get("q", "")[:200],
        but=tuple(dict.fromkeys(but)),
    )


def details_of(entity: Entity) -> list[str]:
    """Return the few fields to distinguish a record of this entity from its namesakes."""
    return [field.name for field in entity.listed_fields if field.name not in ("first_name", "last_name")][:4]


def columns(entity: Entity, alias: str = "b") -> str:
    """Return SQL for ``details_of``."""
    return ", ".join(f"{alias}.{column}" for column in details_of(entity)) or "NULL AS nothing"


def shown_records(
    console: Console, entity: Entity, selection: Selection, order: str, page: int = 1, most: int = PER_PAGE
) -> list[dict[str, Any]]:
    """Return the records on one page of a list, each with its version."""
    query = sql.read("console/records_listed").format(
        entity=entity.name,
        stamp=VERSION,
        columns=columns(entity),
        where=selection.where,
        order=order,
        most=most,
        skipped=(page - 1) * most,
    )
    return console.rows(query, list(selection.restricting.values()))


def one_record(console: Console, entity: Entity, bms_id: int) -> dict[str, Any]:
    """Return one record as a list shows it. Raises ``NotFound``."""
    is_an_id = bms_id < 2**63
    rows = shown_records(console, entity, Selection(bms_ids=(bms_id,)), "name", most=1) if is_an_id else []
    if not rows:
        raise NotFound(f"BMS lists no {entity.singular} {bms_id} now.", "Go back to the list.")
    return rows[0]


def found_records(console: Console, entity: Entity, selection: Selection) -> list[dict[str, Any]]:
    """Count the records the filter finds, by disposition and reason."""
    query = sql.read("console/records_found").format(entity=entity.name, stamp=VERSION, where=selection.where)
    return console.rows(query, list(selection.restricting.values()))


def version_of(console: Console, found: Sequence[dict[str, Any]]) -> ViewedVersion:
    """Return the version of found records, for a form about all of them."""
    stamp = reduce(xor, (row["stamp"] for row in found), 0)
    return ViewedVersion(sum(row["records"] for row in found), stamp, newest_batch(console))


def newest_batch(console: Console) -> int:
    """Return the ledger's newest batch, as of the copy."""
    return int(console.rows("SELECT coalesce(max(batch), 0) AS batch FROM sync.decisions")[0]["batch"])


def client_name(console: Console, client: int | None) -> str | None:
    """Return the name of a BMS account, or None."""
    rows = console.rows("SELECT name FROM bms.clients WHERE bms_id = ?", [client]) if client else []
    return rows[0]["name"] if rows else None


def verbs_for(record: dict[str, Any], entity: Entity) -> tuple[Verb, ...]:
    """Return the verbs offered for one record: none the rules always refuse."""
    verbs = VERBS[record["disposition"]]
    if record["reason"] in NEVER_CREATED:
        verbs = tuple(verb for verb in verbs if verb is not Verb.CREATE)
    if entity.has_client and record["client_id"] is None:  # its client is still to be created: it holds nothing
        verbs = tuple(verb for verb in verbs if verb is not Verb.MATCH)
    return verbs


@dataclass(frozen=True)
class Candidates:
    """The waiting records of an entity with their suggestions, and the best candidate of each."""

    records: dict[int, deciding.RecordSuggestions]
    best: dict[int, Best]


@dataclass(frozen=True)
class _Ranked:
    """The suggestions of all waiting records, with the versions of what they were made from, and the ledger's end."""

    records: dict[int, deciding.RecordSuggestions]
    inputs: str
    batch: int


def read_candidates(console: Console, entity: Entity, bms_ids: Sequence[int] | None = None) -> Candidates:
    """Return the suggestions of these records (default: all), and of all competing with them for a candidate."""
    if bms_ids is None or console.waiting()[entity.name] <= SUGGESTED_AT_ONCE:
        return console.reading.copy.cached(f"suggestions {entity.name}", lambda: _all_candidates(console, entity))
    if not bms_ids:
        return Candidates({}, {})
    waits = ", ".join(f"'{disposition}'" for disposition in WAITS_FOR_DECISION)
    rivals = console.rows(
        f"SELECT bms_id FROM sync.reconciled_{entity.name} WHERE disposition IN ({waits}) AND ({not entity.has_client}"
        f" OR account_id IN (SELECT account_id FROM sync.reconciled_{entity.name}"
        " WHERE bms_id IN (SELECT unnest(?::BIGINT[]))))",
        [list(bms_ids)],
    )
    return _judged(console, entity, _suggested(console, entity, [row["bms_id"] for row in rivals]))


def _all_candidates(console: Console, entity: Entity) -> Candidates:
    """Rank all waiting records; after a decision, and while a run writes, go on from the last ranking.

    Ranking reads every record of both sides, which takes up to a second. A decision only takes records and candidates
    away. While a run is at work its changes are not ranked yet, and nobody can decide.
    """
    rows = console.rows(
        "SELECT (SELECT string_agg(concat_ws(' ', name, version), ',' ORDER BY name) FROM sync.input_versions"
        " WHERE name <> 'decisions') AS inputs, (SELECT coalesce(max(batch), 0) FROM sync.decisions) AS batch"
    )
    inputs, batch = str(rows[0]["inputs"]), int(rows[0]["batch"])
    kept: _Ranked | None = console.kept.get(f"ranked {entity.name}")
    if kept is not None and (console.reading.is_run_active or _only_took_away(console, entity, kept, inputs)):
        still = _still_open(console, entity, kept)
        if still is not None:
            return _judged(console, entity, still)
    found = _suggested(console, entity, None)
    console.kept[f"ranked {entity.name}"] = _Ranked(found, inputs, batch)
    return _judged(console, entity, found)


def _suggested(console: Console, entity: Entity, ids: list[int] | None) -> dict[int, deciding.RecordSuggestions]:
    with console.reading.copy.open() as connection:
        return deciding.suggested(connection, entity, ids)


def _judged(console: Console, entity: Entity, found: dict[int, deciding.RecordSuggestions]) -> Candidates:
    with console.reading.copy.open() as connection:
        return Candidates(found, deciding.candidates_of(connection, entity, found))


def _only_took_away(console: Console, entity: Entity, kept: _Ranked, inputs: str) -> bool:
    """Return whether all that happened since are decisions about records that were waiting: they free no candidate."""
    since = console.rows(
        "SELECT DISTINCT verb, entity, bms_id FROM sync.decisions WHERE batch > ? AND entity IN ('clients', ?)",
        [kept.batch, entity.name],
    )
    return kept.inputs == inputs and all(
        row["entity"] == entity.name
        and row["verb"] in (*LINKS, Verb.CREATE, Verb.EXCLUDE)
        and row["bms_id"] in kept.records
        for row in since
    )


def _still_open(console: Console, entity: Entity, kept: _Ranked) -> dict[int, deciding.RecordSuggestions] | None:
    """Return what still waits of the last ranking, without the candidates taken since.

    None where a record waits that it lacks, unless a run is at work.
    """
    waits = ", ".join(f"'{disposition}'" for disposition in WAITS_FOR_DECISION)
    rows = console.rows(
        f"SELECT bms_id, disposition, reason FROM sync.reconciled_{entity.name} WHERE disposition IN ({waits})"
    )
    now = {row["bms_id"]: row for row in rows}
    if not now.keys() <= kept.records.keys() and not console.reading.is_run_active:
        return None
    wanted = {found.passportal_id for record in kept.records.values() for found in record.suggestions}
    taken = {
        row["passportal_id"]
        for row in console.rows(
            f"SELECT passportal_id FROM sync.reconciled_{entity.name} WHERE disposition = 'matched'"
            " AND passportal_id IN (SELECT unnest(?::VARCHAR[]))",
            [list(wanted)],
        )
    }
    return {
        bms_id: replace(
            record,
            disposition=now[bms_id]["disposition"],
            reason=now[bms_id]["reason"],
            suggestions=[found for found in record.suggestions if found.passportal_id not in taken],
        )
        for bms_id, record in kept.records.items()
        if bms_id in now
    }
