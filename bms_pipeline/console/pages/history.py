"""Pages for after a sync: the overview, the runs, one record's history, and undoing a load."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.responses import RedirectResponse

from bms_pipeline.console import run_progress
from bms_pipeline.console.charts import Chart, chart
from bms_pipeline.console.context import (
    Console,
    ConsoleDep,
    FormDep,
    NotFound,
    entity_of,
    is_own,
    number_in,
    one_page,
    redirect_with_flash,
)
from bms_pipeline.console.walk import SET_UP
from bms_pipeline.core.entities import BY_NAME, ENTITIES
from bms_pipeline.core.errors import RecordNotFound
from bms_pipeline.plan import standings
from bms_pipeline.plan.standings import Standing
from bms_pipeline.reports import figures, inactive, same_names, stories
from bms_pipeline.reports.read_models import Inactive
from bms_pipeline.state.opening import open_state
from bms_pipeline.sync import deciding
from bms_pipeline.warehouse.stored_mapping import read_mapping

router = APIRouter()


COLUMNS: dict[str, tuple[Standing, ...]] = {
    "in sync": (Standing.IN_SYNC,),
    "waiting": standings.WAITS_FOR_PERSON,
    "to load": standings.TO_LOAD,
    "to plan": (Standing.TO_PLAN,),
    "blocked": (Standing.BLOCKED,),
    "handed over": (Standing.HANDED_OVER,),
    "failing": (Standing.REFUSED,),
    "unknown": (Standing.UNKNOWN,),
    "excluded": (Standing.EXCLUDED,),
    "left out by settings": (Standing.OUT_OF_SCOPE,),
    "gone from BMS": (Standing.GONE,),
}
"""Column of the overview → the standings added up in it. Every standing belongs to exactly one column."""
ONLY_WHERE_ANY = ("to plan", "handed over", "unknown")
"""Columns to leave out while they are empty."""
CHARTED = ("in sync", "waiting", "blocked", "excluded", "failing")
FAILING = 20
LOADS = 50
RUNS = 30
POINTS = 60
"""A chart shows up to this many of the last counts."""


@router.get("/")
def overview(request: Request, console: ConsoleDep) -> Response:
    """Show the overview: standings by entity and client, the last sync, orphans, details, calls left."""
    if not console.walk_state().has_read:
        return RedirectResponse(SET_UP.address, status_code=303)
    copy, settings = console.reading.copy, console.settings
    clients = copy.cached("standings", lambda: _by_client(console))
    shown, paging = one_page(request, clients)
    status = copy.cached("status", lambda: figures.status(settings, copy))
    stands = {name: _added_up(counted) for name, counted in status.standings.items()}
    columns = [
        column for column in COLUMNS if column not in ONLY_WHERE_ANY or any(row[column] for row in stands.values())
    ]
    return console.page(
        request,
        "overview.html.j2",
        status=status,
        standings=stands,
        columns=columns,
        means={name: "; ".join(standings.MEANS[standing] for standing in added) for name, added in COLUMNS.items()},
        clients=shown,
        number_of_clients=len(clients),
        **paging,
        last_read=console.rows("SELECT max(landed_at) AS landed_at FROM sync.sweeps")[0]["landed_at"],
        budget=figures.calls_this_hour(settings),
        loads=copy.cached("last load", lambda: figures.loads(copy, 1)),
        failing=copy.cached("failing", lambda: _refused(console)),
        number_failing=sum(counted["failing"] for counted in stands.values()),
        inactive=copy.cached("inactive", lambda: _inactive(console)),
        charts=copy.cached("charts", lambda: _charts(console)),
    )


@router.get("/runs")
def runs(request: Request, console: ConsoleDep) -> Response:
    """Show the active run and its progress, or how the last one ended, and the last runs and loads to undo."""
    then, run = request.query_params.get("then", ""), console.runs.current()
    copy = console.reading.copy
    history = copy.cached("runs", lambda: figures.runs(copy, RUNS))
    has_ended_well = run is not None and run.ended_at is not None and not run.message
    return console.page(
        request,
        "runs.html.j2",
        run=run,  # read once: it may end while the page is made
        history=[(past_run, _dagster_run(console, past_run.run_id)) for past_run in history],
        loads=copy.cached("loads", lambda: figures.loads(copy, LOADS)),
        then=then if is_own(then) else "",
        next=run_progress.next_page(console, then if is_own(then) else ""),
        ended=run_progress.ended_stages(run) if run else [],
        active=run_progress.active_stage(run, datetime.now(UTC)) if run else None,
        end=run_progress.run_end(console, run) if run and has_ended_well else None,
        left=run_progress.read_pending_plan(console) if run and run.was_killed else None,
        duration=run_progress.duration,
        paused="paused" in request.query_params,
        dagster=_dagster(console),
        dagster_run=_dagster_run(console, run.run_id if run else None),
    )


@router.post("/runs/sync")
def start_sync(request: Request, console: ConsoleDep) -> Response:
    """Start a whole sync as a run of its own. It loads only what the rules allow."""
    console.runs.start("sync")
    return redirect_with_flash(request, "/runs?then=/")


@router.post("/runs/undo")
def undo(request: Request, console: ConsoleDep, form: FormDep) -> Response:
    """Plan to undo a load. A person finishes this plan like any other."""
    with console.reading.writing(request.state.name) as warehouse:
        plan = deciding.plan_undo(warehouse, number_in(form.get("plan")))
    shown = figures.undo_preview(console.reading.copy, plan)
    return redirect_with_flash(
        request,
        "/preview",
        f"Plan {plan.hash[:12]} takes back plan {plan.undoes}: {plan.operations:,} records. Nothing is changed before"
        " somebody finishes it.",
        f"{shown['created']:,} created records stay in Passportal; {shown['kept']:,} fields changed there since and are"
        f" left alone; {shown['gone']:,} records are gone from BMS and left alone too.",
    )


@router.get("/orphans")
def orphans(request: Request, console: ConsoleDep) -> Response:
    """Show the records gone from BMS but kept in Passportal, longest gone first."""
    found = figures.orphans(console.reading.copy)
    shown, paging = one_page(request, found)
    clients = _clients_of(console, shown)
    return console.page(
        request, "orphans.html.j2", records=shown, clients=clients, number_of_records=len(found), **paging
    )


@router.get("/inactive")
def show_inactive(request: Request, console: ConsoleDep) -> Response:
    """Show the documented records that are inactive in BMS, by client."""
    copy = console.reading.copy
    shown, paging = one_page(request, found := inactive.inactive(copy))
    with copy.open() as connection:
        mapping = read_mapping(connection)
    follows = [
        f"{mapping.shown_labels(entity)[column]} of {entity.name}"
        for entity in ENTITIES
        for column in mapping.says_inactive(entity)
    ]
    return console.page(
        request, "inactive.html.j2", records=shown, follows=follows, number_of_records=len(found), **paging
    )


@router.get("/inactive.csv")
def inactive_file(console: ConsoleDep) -> Response:
    """Send the documented records that are inactive in BMS as a spreadsheet."""
    return _spreadsheet(inactive.inactive_csv(console.reading.copy), "inactive.csv")


@router.get("/hand-overs")
def hand_overs(request: Request, console: ConsoleDep) -> Response:
    """Show the records exported for a manual import into Passportal, oldest first, with their states."""
    found = figures.pending_imports(console.reading.copy)
    shown, paging = one_page(request, found)
    folder = open_state(console.settings).import_files.place
    return console.page(
        request, "hand_overs.html.j2", records=shown, number_of_records=len(found), folder=folder, **paging
    )


@router.get("/hand-overs/files/{name}")
def import_file(console: ConsoleDep, name: str) -> Response:
    """Send a file for a manual import into Passportal."""
    known = {record["file"] for record in figures.pending_imports(console.reading.copy)}
    content = open_state(console.settings).import_files.read(name) if name in known else None
    if content is None:
        raise NotFound(f"There is no file {name} for an import.", "The page Handed over lists the files.")
    return _spreadsheet(content, name)


@router.post("/hand-overs/again")
def hand_over_again(request: Request, console: ConsoleDep, form: FormDep) -> Response:
    """Let the next plan export a record in a new file, because its file was lost before the import."""
    entity, bms_id = entity_of(form.get("entity")), number_in(form.get("bms_id"))
    with console.reading.writing(request.state.name) as warehouse:
        deciding.reissue_import(warehouse, entity, [bms_id], request.state.name)
    return redirect_with_flash(
        request, "/hand-overs", f"The next plan hands {entity.singular} {bms_id} over in a new file."
    )


@router.get("/duplicates")
def duplicates(request: Request, console: ConsoleDep) -> Response:
    """Show the Passportal records with the same BMS id. Only one of them can keep it."""
    found = figures.duplicate_records(console.reading.copy)
    shown, paging = one_page(request, found)
    return console.page(request, "duplicates.html.j2", records=shown, number_of_records=len(found), **paging)


@router.get("/duplicates/names")
def show_same_names(request: Request, console: ConsoleDep) -> Response:
    """Show the records of Passportal with the same name in their client, and which one would be kept."""
    found = same_names.same_names(console.reading.copy)
    shown, paging = one_page(request, found)
    return console.page(request, "same_names.html.j2", records=shown, number_of_records=len(found), **paging)


@router.get("/duplicates/names.csv")
def same_names_file(console: ConsoleDep) -> Response:
    """Send the records of Passportal with the same name in their client as a spreadsheet."""
    return _spreadsheet(same_names.same_names_csv(console.reading.copy), "same_names.csv")


@router.post("/duplicates/keep")
def keep(request: Request, console: ConsoleDep, form: FormDep) -> Response:
    """Let one record keep the id. The others lose it with the next finish."""
    entity, bms_id, keeper = entity_of(form.get("entity")), number_in(form.get("bms_id")), form.get("passportal_id")
    with console.reading.writing(request.state.name) as warehouse:
        losing = deciding.keep(warehouse, entity, bms_id, keeper, request.state.name)
    return redirect_with_flash(
        request,
        "/duplicates",
        f"{keeper} keeps the id of {entity.singular} {bms_id}."
        f" With the next finish it is taken off {', '.join(losing)}.",
    )


@router.get("/records/{name}/{bms_id:int}")
def explain(request: Request, console: ConsoleDep, name: str, bms_id: int) -> Response:
    """Show one record's history: its values in BMS, the decisions and their reasons, and its operations."""
    entity = entity_of(name)
    try:
        story = stories.tell(console.reading.copy, entity.name, bms_id, console.settings.landing_folder)
    except RecordNotFound as error:
        raise NotFound(error.message, error.next_step) from None
    codes = {
        "In BMS": story.record.in_bms,
        "In Passportal": story.counterpart,
        "Decided by the rules": story.record.decided and asdict(story.record.decided),
        "Match": story.record.match and asdict(story.record.match),
        "Plan": story.record.plan and asdict(story.record.plan),
    }
    return console.page(request, "explain.html.j2", entity=entity, story=story, codes=codes)


def _clients_of(console: Console, records: Sequence[Mapping[str, Any]]) -> dict[tuple[str, int], int]:
    """Return entity and id of each record inside a client → the id of that client."""
    found: dict[tuple[str, int], int] = {}
    for name in {record["entity"] for record in records if BY_NAME[record["entity"]].has_client}:
        ids = [record["bms_id"] for record in records if record["entity"] == name]
        rows = console.rows(
            f"SELECT bms_id, account_id FROM bms.{name} WHERE bms_id IN (SELECT unnest($ids::BIGINT[]))", {"ids": ids}
        )
        found |= {(name, row["bms_id"]): row["account_id"] for row in rows if row["account_id"] is not None}
    return found


def _by_client(console: Console) -> list[dict[str, Any]]:
    """Return the records inside each client, counted by the columns of the overview."""
    with console.reading.copy.open() as connection:
        rows = standings.by_client(connection)
    return [{"bms_id": row["bms_id"], "name": row["name"], **_added_up(row)} for row in rows]


def _refused(console: Console) -> list[dict[str, Any]]:
    with console.reading.copy.open() as connection:
        return standings.refused_records(connection, FAILING)


def _spreadsheet(content: bytes, name: str) -> Response:
    attached = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(content, media_type="text/csv; charset=utf-8", headers=attached)


def _inactive(console: Console) -> list[Inactive]:
    with console.reading.copy.open() as connection:
        return inactive.count_inactive(connection)


def _added_up(counted: Mapping[Any, int]) -> dict[str, int]:
    """Turn a count by standing into column of the overview → records."""
    return {name: sum(counted[standing] for standing in added) for name, added in COLUMNS.items()}


def _charts(console: Console) -> dict[str, Chart]:
    """Return entity → a chart of its records, as counted at the end of the last runs."""
    with console.reading.copy.open() as connection:
        return {
            entity.name: chart(
                [
                    {"counted_at": row["counted_at"], **_added_up(row)}
                    for row in standings.history(connection, entity.name, POINTS)
                ],
                CHARTED,
            )
            for entity in ENTITIES
        }


def _dagster(console: Console) -> str | None:
    """Return the address of Dagster's UI, if it is known and safe to link to."""
    url = console.settings.dagster_url.rstrip("/")
    return url if url.startswith(("http://", "https://")) else None


def _dagster_run(console: Console, run_id: str | None) -> str | None:
    """Return the address of a run in Dagster's UI, if Dagster started it."""
    url = _dagster(console)
    return f"{url}/runs/{run_id}" if url and run_id and run_id.replace("-", "").isalnum() else None
