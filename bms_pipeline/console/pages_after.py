"""After a sync: how everything stands, what ran and how far it is, one record's story, and taking a load back."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from bms_pipeline import reports, review
from bms_pipeline.console.charts import Chart, chart
from bms_pipeline.console.security import Form
from bms_pipeline.console.shell import Console, console_of, entity_of, form_of, is_own, number_in, one_page, see
from bms_pipeline.entities import ENTITIES
from bms_pipeline.warehouse import sql

router = APIRouter()

Here = Annotated[Console, Depends(console_of)]
Sent = Annotated[Form, Depends(form_of)]

STANDINGS: dict[str, str] = {
    "in sync": "o.outcome IN ('created', 'adopted', 'updated', 'unchanged')",
    "excluded": "o.outcome = 'excluded'",
    "waiting": "o.outcome IN ('unmatched', 'ambiguous')",
    "to load": "o.outcome = 'pending'",
    "blocked": "o.outcome = 'blocked'",
    "failing": "o.outcome = 'failed'",
}
"""How a record stands → SQL over ``sync.outcomes o``; ``out of scope`` is left out."""
OUTCOMES_OF = {
    "in sync": ("created", "adopted", "updated", "unchanged"),
    "excluded": ("excluded",),
    "waiting": ("unmatched", "ambiguous"),
    "to load": ("pending",),
    "blocked": ("blocked",),
    "failing": ("failed",),
    "out of scope": ("out_of_scope",),
}
LOADS = 50
RUNS = 30
POINTS = 60
"""A chart shows so many plans, the last ones."""


@router.get("/")
def overview(request: Request, console: Here) -> Response:
    """How everything stands: per entity and per client, the last sync, orphans, details, calls left."""
    copy, settings = console.reading.copy, console.settings
    counts = ", ".join(f'count(*) FILTER ({where}) AS "{name.replace(" ", "_")}"' for name, where in STANDINGS.items())
    clients = copy.kept("standings", lambda: console.rows(sql.read("client_standings").format(counted=counts)))
    shown, paging = one_page(request, clients)
    status = reports.status(settings, copy)
    return console.page(
        request,
        "overview.html.j2",
        status=status,
        standings={name: _standing(counted) for name, counted in status["entities"].items()},
        kinds=tuple(OUTCOMES_OF),
        columns=tuple(STANDINGS),
        clients=shown,
        number_of_clients=len(clients),
        **paging,
        last_read=console.rows("SELECT max(landed_at) AS landed_at FROM sync.sweeps")[0]["landed_at"],
        loads=reports.loads(copy, 1),
        failing=console.rows(sql.read("check_failing") + " LIMIT 20"),
        charts=copy.kept("charts", lambda: _charts(console)),
    )


@router.get("/runs")
def runs(request: Request, console: Here) -> Response:
    """The run at work and how far it is, or how the last one ended; the last runs; loads, which can be taken back."""
    then, run = request.query_params.get("then", ""), console.runs.current()
    history = reports.runs(console.reading.copy, RUNS)
    return console.page(
        request,
        "runs.html.j2",
        history=[each | {"dagster": _dagster_run(console, each["what"])} for each in history],
        loads=reports.loads(console.reading.copy, LOADS),
        then=then if is_own(then) else "",
        paused="paused" in request.query_params,
        dagster=_dagster(console),
        dagster_run=_dagster_run(console, run.what if run else ""),
    )


@router.post("/runs/sync")
def start_sync(request: Request, console: Here) -> Response:
    """Start a whole sync, as a run of its own; it loads no more than the rules allow."""
    console.runs.start("sync")
    return see(request, "/runs?then=/")


@router.post("/runs/undo")
def undo(request: Request, console: Here, form: Sent) -> Response:
    """Plan to take back what a load wrote; a person finishes it like any other plan."""
    with console.reading.writing(request.state.name) as warehouse:
        plan = review.plan_undo(warehouse, number_in(form.get("plan")))
    shown = reports.undo(console.reading.copy, plan)
    return see(
        request,
        "/preview",
        f"Plan {plan.hash[:12]} takes back plan {plan.undoes}: {plan.operations:,} records. Nothing is changed before"
        " somebody finishes it.",
        f"{shown['created']:,} created records stay in Passportal; {shown['kept']:,} fields changed there since and are"
        f" left alone; {shown['gone']:,} records are gone from BMS and left alone too.",
    )


@router.get("/orphans")
def orphans(request: Request, console: Here) -> Response:
    """What is gone from BMS and kept in Passportal, longest gone first."""
    found = reports.orphans(console.reading.copy)
    shown, paging = one_page(request, found)
    return console.page(request, "orphans.html.j2", records=shown, number_of_records=len(found), **paging)


@router.get("/hand-overs")
def hand_overs(request: Request, console: Here) -> Response:
    """What went into files for an import into Passportal, oldest first, and how each record stands."""
    found = reports.hand_overs(console.reading.copy)
    shown, paging = one_page(request, found)
    folder = console.settings.import_folder
    return console.page(
        request, "hand_overs.html.j2", records=shown, number_of_records=len(found), folder=folder, **paging
    )


@router.post("/hand-overs/again")
def hand_over_again(request: Request, console: Here, form: Sent) -> Response:
    """Let the next plan hand a record over in a new file, because its file was lost before the import."""
    entity, bms_id = entity_of(form.get("entity")), number_in(form.get("bms_id"))
    with console.reading.writing(request.state.name) as warehouse:
        review.hand_over_again(warehouse, entity, [bms_id], request.state.name)
    return see(request, "/hand-overs", f"The next plan hands {entity.singular} {bms_id} over in a new file.")


@router.get("/duplicates")
def duplicates(request: Request, console: Here) -> Response:
    """The records of Passportal that carry the same BMS id; one of them keeps it."""
    found = reports.duplicate_records(console.reading.copy)
    shown, paging = one_page(request, found)
    return console.page(request, "duplicates.html.j2", records=shown, number_of_records=len(found), **paging)


@router.post("/duplicates/keep")
def keep(request: Request, console: Here, form: Sent) -> Response:
    """Let one record keep the id; the others lose it with the next finish."""
    entity, bms_id, keeper = entity_of(form.get("entity")), number_in(form.get("bms_id")), form.get("passportal_id")
    with console.reading.writing(request.state.name) as warehouse:
        losing = review.keep(warehouse, entity, bms_id, keeper, request.state.name)
    return see(
        request,
        "/duplicates",
        f"{keeper} keeps the id of {entity.singular} {bms_id}."
        f" With the next finish it is taken off {', '.join(losing)}.",
    )


@router.get("/records/{name}/{bms_id:int}")
def explain(request: Request, console: Here, name: str, bms_id: int) -> Response:
    """One record's story: what BMS says, what was decided and why, and what was done to it."""
    entity = entity_of(name)
    story = reports.explain(console.reading.copy, entity.name, bms_id)
    return console.page(request, "explain.html.j2", entity=entity, story=story)


def _standing(counted: dict[str, Any]) -> dict[str, int]:
    return {name: sum(counted[each] for each in outcomes) for name, outcomes in OUTCOMES_OF.items()}


def _charts(console: Console) -> dict[str, Chart]:
    """Entity → its records over time, as the last plans counted them."""
    sums = {name: " + ".join(OUTCOMES_OF[name]) for name in ("in sync", "waiting", "blocked", "excluded", "failing")}
    columns = ", ".join(f'{total} AS "{name}"' for name, total in sums.items())
    return {
        each.name: chart(
            console.rows(
                f"SELECT counted_at, {columns} FROM sync.results WHERE entity = ? ORDER BY plan_id DESC LIMIT {POINTS}",
                [each.name],
            )[::-1],
            tuple(sums),
        )
        for each in ENTITIES
    }


def _dagster(console: Console) -> str | None:
    """Where Dagster's UI is, if that is known and safe to link to."""
    url = console.settings.dagster_url.rstrip("/")
    return url if url.startswith(("http://", "https://")) else None


def _dagster_run(console: Console, what: str) -> str | None:
    """Where Dagster shows a run of its own."""
    url, (_, is_run, run_id) = _dagster(console), what.partition("Dagster run ")
    return f"{url}/runs/{run_id}" if url and is_run and run_id.replace("-", "").isalnum() else None
