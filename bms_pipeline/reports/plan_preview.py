"""Previews of the current plan for its approval: an overview, a spreadsheet of every change, and an HTML page.

Read-only. The command line and Dagster show the overview. The files hold the plan record by record, for a person to
check before a finish. Values from BMS and Passportal are hostile here: they reach a browser and a spreadsheet.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import asdict
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import jinja2
import jinja2.ext
from markupsafe import Markup, escape

from bms_pipeline.core.entities import BY_NAME, ENTITIES, EntityName, chosen
from bms_pipeline.core.files import atomic_write
from bms_pipeline.core.reasons import Reason, reason_in_words
from bms_pipeline.core.vocabulary import WAITS_FOR_DECISION, Disposition, words
from bms_pipeline.plan.breakers import vanished
from bms_pipeline.plan.operations import Plan, read_plan
from bms_pipeline.plan.standings import NOT_CREATED
from bms_pipeline.reconcile.scope_ids import scope_warnings
from bms_pipeline.reconcile.sync_settings import read_sync_settings
from bms_pipeline.reports import links
from bms_pipeline.reports.figures import values_without_place
from bms_pipeline.reports.inactive import count_inactive
from bms_pipeline.reports.read_models import Example, HeldBack, Needed, PlanOverview, ReasonCount
from bms_pipeline.warehouse import sql
from bms_pipeline.warehouse.connection import Warehouse, named_rows
from bms_pipeline.warehouse.stored_mapping import read_mapping

Row = dict[str, Any]

COUNTED: dict[str, str] = {
    "to create": "operation = 'create'",
    "to match": "operation = 'adopt'",
    "to update": "operation = 'update'",
    "excluded": "disposition = 'excluded'",
    "handed over": "operation = 'skip' AND disposition = 'to_create' AND reason = 'handed_over'",
    "needs a decision": (
        f"(disposition IN ('unmatched', 'ambiguous') OR list_contains({list(map(str, NOT_CREATED))}, reason))"
    ),
    "blocked": "disposition = 'blocked'",
    "out of scope": "disposition = 'out_of_scope' AND operation = 'skip' AND reason <> 'refused_before'",
    "refused": "reason = 'refused_before'",
    "unchanged": "disposition = 'matched' AND operation = 'skip' AND reason <> 'refused_before'",
    "conflicts": "kept IS NOT NULL",
}
"""Label of a count → SQL over ``sync.operations``.

All counts except the conflicts add up to the records read. One kind of record counts twice: a record a person
unmatched, whose old counterpart loses its marker, counts as an update and under its disposition.
"""


TITLES = {"conflicts": "kept in Passportal", "out of scope": "left out by settings"}
"""Label of a count → its title for people, where that is another one."""

MEANS: dict[str, str] = {
    "to create": "a new record in Passportal",
    "to match": "linked with a record that Passportal has, whose empty fields are filled",
    "to update": "what changed in BMS is written into a matched record",
    "excluded": "a person decided not to sync it",
    "handed over": "it is in a file for the import into Passportal",
    "needs a decision": "a person matches, creates or excludes it",
    "blocked": "waits until its client is matched or created",
    "out of scope": "inactive, of another account type, its sync is off, or not selected",
    "refused": "Passportal refused exactly this before; not sent again until something changes",
    "unchanged": "matched, and nothing is to be written",
    "conflicts": "both sides have a value and they differ; Passportal's stays",
}
"""Label of a count → what it means, in one line."""


class PlanState(StrEnum):
    """The state of a plan, in words for people.

    ``STALE``: an input of the plan changed before any of it was loaded. ``DISCARDED``: a person discarded it.
    """

    WAITING = "not approved"
    APPROVED = "approved, not loaded"
    PARTLY_LOADED = "partly loaded"
    LOADED = "loaded"
    STALE = "stale"
    DISCARDED = "discarded"
    EMPTY = "nothing to load"


WORK = ("to create", "to match", "to update", "needs a decision", "conflicts")
"""The counts of a client's work to do or to decide."""

LONGEST_SHOWN = 300
"""A page shows this many characters of a value. Nobody reads more, and a hostile value has a million."""

_PLAIN = (
    "operation = 'skip' AND reason <> 'refused_before'"
    " AND disposition IN ('out_of_scope', 'matched') AND kept IS NULL AND no_place IS NULL AND unlinked IS NULL"
)

_EXAMPLES = """
SELECT entity, bms_id, name, operation, reason, passportal_id, changes, kept, unmark_id FROM sync.operations
WHERE operation <> 'skip' OR kept IS NOT NULL
QUALIFY row_number() OVER (PARTITION BY entity, operation ORDER BY bms_id) <= $examples
ORDER BY entity, operation, bms_id
"""
_REASON_COUNTS = """
SELECT entity, disposition, operation, reason, count(*) AS records FROM sync.operations
GROUP BY ALL ORDER BY entity, operation, records DESC, reason
"""
_OPERATIONS_BY_CLIENT = """
SELECT account_id, count(*) AS records FROM to_show WHERE kind NOT IN ('decide', 'excluded') GROUP BY account_id
"""


def overview(warehouse: Warehouse, examples: int = 20) -> PlanOverview:
    """Return the current plan: its hash, operations and reasons per entity, and some operations with before and after.

    ``totals`` is entity → the counts of ``COUNTED``. ``clients`` has the same counts for each client with anything to
    do or to decide, most first. Records of no client, such as users, are under the BMS id None. ``needs_approval``
    counts the operations based on people's decisions, ``left`` those not loaded, ``refused`` those Passportal refused.
    ``held_back`` has a row (entity, client_bms_id, client, updates) for each client with too many changes at once.
    ``no_place`` has a row (entity, template, field, records) for each field with values in BMS and no place in a
    template, ``needs`` one for each label that a template requires and new records lack, ``vanished`` one for each
    breaker that Passportal's side opens, ``inactive`` one for each entity with documented records that are inactive in
    BMS. ``warnings`` are sentences about the scope and the records. ``state`` is a ``PlanState``, ``undoes`` the plan
    whose load this one takes back. Raises ``PlanError`` where there is no plan.
    """
    with warehouse.open() as connection:
        return _overview(connection, read_plan(connection), examples)


def write_plan_csv(warehouse: Warehouse, file: Path, everything: bool = False) -> int:
    """Write a CSV row for each field the plan writes or keeps, and for each record without any.

    Returns the number of rows. Without ``everything``, unchanged and out-of-scope records are left out. ``before`` is
    the value a load replaces, ``after`` the value it writes. A conflict has Passportal's value in
    ``kept_in_passportal`` and BMS's in ``not_written``. A value without a place in Passportal has only ``not_written``.

    Raises ``PlanError`` where there is no plan, ``PipelineError`` where ``file`` cannot be written.
    """
    with atomic_write(file) as unfinished, warehouse.open() as connection:
        read_plan(connection)
        mapping = read_mapping(connection)
        query = sql.read("reports/plan_rows").format(
            wanted="true" if everything else f"NOT ({_PLAIN})",
            # The mark by which spreadsheets know UTF-8: DuckDB writes none by itself.
            first_heading="\N{BYTE ORDER MARK}entity",
            client=sql.escape_formula_sql("c.name"),
            name=sql.escape_formula_sql("line.name"),
            passportal_id=sql.escape_formula_sql("line.passportal_id"),
            **{
                column: sql.escape_formula_sql(links.title_sql(mapping, f"change.{column}"))
                for column in ("before", "after", "kept", "refused")
            },
        )
        options = "FORMAT csv, HEADER true, USE_TMP_FILE false"
        row = connection.execute(f"COPY ({query}) TO {sql.quoted(str(unfinished))} ({options})").fetchone()
    return int(row[0]) if row else 0


def write_html(warehouse: Warehouse, file: Path, most_records: int = 5000) -> int:
    """Write the plan as one self-contained page with up to ``most_records`` records.

    Returns the number of records shown. Raises ``PlanError`` where there is no plan, ``PipelineError`` where ``file``
    cannot be written.
    """
    with warehouse.transaction() as connection:  # so that all of it is of one plan
        content = _content(connection, most_records)
        content["labels"] = labels_by_entity(connection)
    with atomic_write(file) as unfinished:
        _template().stream(content).dump(str(unfinished), encoding="utf-8")
    return int(content["records_shown"])


def labels_by_entity(connection: duckdb.DuckDBPyConnection) -> dict[str, dict[str, str]]:
    """Return entity → field → its label in Passportal, by the stored mapping."""
    mapping = read_mapping(connection)
    return {entity.name: mapping.shown_labels(entity) for entity in ENTITIES}


def visible(value: object) -> Markup:
    """Return ``value`` for the page: escaped, cut, and with a box for each character able to hide or reorder others."""
    text = str(value)
    shown = Markup(_NOT_ASCII.sub(_boxed, str(escape(text[:LONGEST_SHOWN]))))  # noqa: S704  # escaped before the boxes
    if len(text) > LONGEST_SHOWN:
        shown += Markup(' <span class="cut">… cut here, {} characters in all</span>').format(f"{len(text):,}")
    return shown


def plain_text(value: object) -> str:
    """Return ``value`` like ``visible``, for places which take only text, such as a label to read aloud."""
    text = str(value)[:LONGEST_SHOWN]
    return _NOT_ASCII.sub(
        lambda found: f"[U+{ord(found.group()):04X}]" if _hides(found.group()) else found.group(), text
    )


def visible_lines(text: str) -> Markup:
    """Return a message of ours like ``visible``: it has several lines, may quote the services, and is not cut."""
    shown = [_NOT_ASCII.sub(_boxed, str(escape(line))) for line in text.split("\n")]
    return Markup("\n".join(shown))  # noqa: S704  # escaped before the boxes


_NOT_ASCII = re.compile(r"[^ -~]")
_HIDDEN_CATEGORIES = ("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp")
_BLANK_LETTERS = "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"
"""Letters and marks in Unicode, invisible to the eye."""


def _hides(character: str) -> bool:
    return unicodedata.category(character) in _HIDDEN_CATEGORIES or character in _BLANK_LETTERS


def _boxed(found: re.Match[str]) -> str:
    character = found.group()
    if not _hides(character):
        return character
    name = unicodedata.name(character, "a control character")
    return f'<span class="hidden" title="{name}">U+{ord(character):04X}</span>'


class _Unindented(jinja2.ext.Extension):
    """Sends a page without the indentation of its template, which is a third of the bytes of a large plan."""

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
        return _INDENTATION.sub(" ", source)


_INDENTATION = re.compile(r"^[ \t]+", re.MULTILINE)
"""One space of it stays: after a tag of Jinja, which takes its line's end along, that alone keeps two words apart."""


def add_words(pages: jinja2.Environment) -> None:
    """Give ``pages`` the filters and names ``record.html.j2`` needs, and leave out the templates' indentation."""
    pages.add_extension(_Unindented)
    pages.filters |= {
        "visible": visible,
        "visible_lines": visible_lines,
        "plain": plain_text,
        "why": reason_in_words,
        "words": words,
        "sentence": lambda text: text[:1].upper() + text[1:],
        "count_title": lambda label: TITLES.get(label, label),
    }
    pages.globals |= {"counted": tuple(COUNTED), "work": WORK, "means": MEANS, "taken_back": Reason.TAKEN_BACK}
    pages.globals |= {"singular": {entity.name: entity.singular for entity in ENTITIES}}


def _overview(connection: duckdb.DuckDBPyConnection, plan: Plan, examples: int) -> PlanOverview:
    left, refused = connection.execute(
        "SELECT count(*) FILTER (outcome = 'pending'), count(*) FILTER (outcome = 'failed') FROM sync.outcomes"
    ).fetchone() or (0, 0)
    left = 0 if plan.discarded else left
    settings = read_sync_settings(connection)
    return PlanOverview(
        hash=plan.hash,
        made_at=f"{plan.made_at:%Y-%m-%dT%H:%M:%S}",
        operations=plan.operations,
        stale=plan.stale,
        loaded=plan.loaded,
        state=_state(plan, left),
        left=left,
        discarded_by=plan.discarded_by,
        refused=refused,
        undoes=plan.undoes,
        needs_approval=plan.needs_approval,
        held_back=[HeldBack(**row) for row in named_rows(connection, sql.read("reports/held_back_clients"))],
        no_place=values_without_place(connection),
        needs=[Needed(**row) for row in named_rows(connection, sql.read("reports/needs"))],
        vanished=vanished(connection, chosen(plan.entities), settings),
        inactive=count_inactive(connection),
        warnings=[
            *scope_warnings(connection, settings),
            *_notes_with_passwords(connection),
            *links.links_left(connection),
        ],
        totals=_totals(connection),
        clients=_clients(connection),
        reasons=[ReasonCount(**row) for row in named_rows(connection, _REASON_COUNTS)],
        examples=_examples(connection, max(1, examples // 5)),
    )


def _examples(connection: duckdb.DuckDBPyConnection, most: int) -> list[Example]:
    rows = named_rows(connection, _EXAMPLES, {"examples": most})
    links.show_titles(connection, rows)
    return [Example(**row) for row in rows]


def _notes_with_passwords(connection: duckdb.DuckDBPyConnection) -> Iterator[str]:
    """Yield a sentence for each entity with notes that look as if they held a password."""
    for entity in ENTITIES:
        if "notes" not in entity.columns:
            continue
        query = sql.read("reports/notes_with_passwords").format(entity=entity.name)
        (records,) = connection.execute(query).fetchone() or (0,)
        if records:
            yield (
                f"{records:,} notes of {entity.name} that this plan writes look as if they held a password. Everybody"
                " who may read the document in Passportal reads them. Move them in BMS first, or leave the field out."
            )


def _counts() -> str:
    return ", ".join(f'count(*) FILTER ({condition}) AS "{name}"' for name, condition in COUNTED.items())


def _totals(connection: duckdb.DuckDBPyConnection) -> dict[EntityName, dict[str, int]]:
    totals: dict[EntityName, dict[str, int]] = {entity.name: dict.fromkeys(COUNTED, 0) for entity in ENTITIES}
    for row in named_rows(connection, f"SELECT entity, {_counts()} FROM sync.operations GROUP BY entity"):
        totals[row.pop("entity")] = row
    return totals


def _clients(connection: duckdb.DuckDBPyConnection) -> list[Row]:
    work = " + ".join(f'"{label}"' for label in WORK)
    return named_rows(
        connection,
        f"WITH counted AS (SELECT account_id, {_counts()} FROM sync.operations GROUP BY account_id)"
        " SELECT counted.account_id AS bms_id,"
        " CASE WHEN counted.account_id IS NULL THEN '(users)' ELSE c.name END AS name,"
        " counted.* EXCLUDE (account_id) FROM counted LEFT JOIN bms.clients c ON c.bms_id = counted.account_id"
        f" WHERE {work} > 0 ORDER BY {work} DESC, blocked DESC, counted.account_id",
    )


def _content(connection: duckdb.DuckDBPyConnection, most_records: int) -> dict[str, Any]:
    """Return the whole content of the page."""
    plan = read_plan(connection)
    shown = _overview(connection, plan, examples=1)
    connection.execute(sql.read("reports/records_to_show"))
    planned = {row["account_id"]: row["records"] for row in named_rows(connection, _OPERATIONS_BY_CLIENT)}
    (in_all,) = connection.execute("SELECT count(*) FROM to_show").fetchone() or (0,)
    records = named_rows(connection, sql.read("reports/fair_choice"), {"most": max(0, most_records)})
    links.show_titles(connection, records)
    operations = _operations_by_client(records)
    clients = [
        client | {"records": operations.get(client["bms_id"], []), "planned": planned.get(client["bms_id"], 0)}
        for client in shown.clients
    ]
    blocked_by = {client["bms_id"]: client["blocked"] for client in clients}
    return {
        "plan": plan,
        "short_hash": plan.hash[:12],
        "state": shown.state,
        "left": shown.left,
        "refused": shown.refused,
        "waiting": sum(counts["needs a decision"] + counts["blocked"] for counts in shown.totals.values()),
        "held_back": shown.held_back,
        "no_place": shown.no_place,
        "needs": shown.needs,
        "inactive": shown.inactive,
        "vanished": shown.vanished,
        "warnings": shown.warnings,
        "totals": {name: counts for name, counts in shown.totals.items() if name in plan.entities},
        "clients": [client for client in clients if client["bms_id"] is not None],
        "without_client": [client for client in clients if client["bms_id"] is None],
        "undecided": _groups(shown.reasons, records, blocked_by, *WAITS_FOR_DECISION),
        "excluded": _groups(shown.reasons, records, blocked_by, Disposition.EXCLUDED),
        "records_shown": len(records),
        "records_in_all": in_all,
    }


def _groups(
    reasons: list[ReasonCount], records: list[Row], blocked_by: dict[int, int], *dispositions: str
) -> list[Row]:
    """Group the records of these dispositions by entity, disposition and reason.

    In a group, the records blocking most others come first.
    """
    shown: dict[tuple[str, ...], list[Row]] = {}
    for record in records:
        waiting = blocked_by.get(record["account_id"], 0) if record["entity"] == "clients" else 0
        shown.setdefault(_common(record), []).append(record | {"waiting": waiting})
    groups: dict[tuple[str, ...], Row] = {}
    for row in map(asdict, reasons):
        if row["disposition"] in dispositions:
            group = groups.setdefault(_common(row), row | {"records": 0})
            group["records"] += row["records"]
    for key, group in groups.items():
        group["shown"] = sorted(shown.get(key, []), key=lambda record: -record["waiting"])
    return sorted(groups.values(), key=lambda group: (list(BY_NAME).index(group["entity"]), -group["records"]))


def _common(row: Row) -> tuple[str, ...]:
    return row["entity"], row["disposition"], row["reason"]


def _operations_by_client(records: list[Row]) -> dict[int | None, list[Row]]:
    found: dict[int | None, list[Row]] = {}
    for record in records:
        if record["kind"] not in ("decide", "excluded"):
            found.setdefault(record["account_id"], []).append(record)
    return found


def _state(plan: Plan, left: int) -> PlanState:
    if plan.loaded:
        return PlanState.LOADED
    if plan.discarded:
        return PlanState.DISCARDED
    if left < plan.operations:
        return PlanState.PARTLY_LOADED
    if plan.stale:
        return PlanState.STALE
    if not plan.operations:
        return PlanState.EMPTY
    return PlanState.APPROVED if plan.approved else PlanState.WAITING


@cache
def _template() -> jinja2.Template:
    page = jinja2.Environment(
        loader=jinja2.PackageLoader("bms_pipeline.reports"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    add_words(page)
    return page.get_template("preview.html.j2")
