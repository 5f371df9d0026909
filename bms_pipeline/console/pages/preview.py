"""Pages for the plan before its load: an overview, record by record, and Finish for exactly the plan shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request, Response

from bms_pipeline.console.context import (
    PER_PAGE,
    Console,
    ConsoleDep,
    FormDep,
    NotFound,
    number_in,
    one_page,
    redirect_with_flash,
)
from bms_pipeline.core.entities import BY_NAME
from bms_pipeline.core.errors import BreakerOpen, PipelineError, PlanError, PlanStale, SweepIncomplete
from bms_pipeline.core.vocabulary import words
from bms_pipeline.plan import operations as plans
from bms_pipeline.plan.breakers import check_breakers
from bms_pipeline.plan.operations import Plan
from bms_pipeline.reconcile.sync_settings import read_sync_settings
from bms_pipeline.reports import links, plan_preview
from bms_pipeline.reports.plan_preview import PlanState
from bms_pipeline.reports.read_models import PlanOverview
from bms_pipeline.sync import deciding, planning
from bms_pipeline.warehouse import sql

router = APIRouter()


EXAMPLES = 1
DECISIONS_SHOWN = 10
FINISHABLE = (PlanState.WAITING, PlanState.APPROVED, PlanState.PARTLY_LOADED)
"""The states of a plan that a person may finish."""
SIDES = {"bms": "BMS", "passportal": "Passportal"}


@router.get("/preview")
def show(request: Request, console: ConsoleDep) -> Response:
    """Show the plan: how many records it would change, client by client, and why it may be stopped."""
    plan = _plan(console)
    if plan is None:
        return console.page(request, "no_plan.html.j2")
    overview = _overview(console)
    shown, paging = one_page(request, overview.clients)
    return console.page(
        request,
        "preview_page.html.j2",
        plan=plan,
        overview=overview,
        totals=_totals(plan, overview),
        clients=shown,
        number_of_clients=len(overview.clients),
        **paging,
        is_open=overview.state in FINISHABLE,
        is_replaced=overview.state in (PlanState.STALE, PlanState.DISCARDED),
        stopped=_stopped(console, plan),
        finished=_finished(console),
        to_link=planning.clients_to_link(console.reading.copy),
        **_changes(console, plan),
    )


@router.get("/preview/records")
def records(request: Request, console: ConsoleDep) -> Response:
    """Show the plan's records before and after, for one number of the overview."""
    plan, said = _plan(console), request.query_params
    if plan is None:
        return console.page(request, "no_plan.html.j2")
    what, entity = said.get("what", ""), said.get("entity", "")
    counted = plan_preview.COUNTED.get(what) or " OR ".join(plan_preview.COUNTED[label] for label in plan_preview.WORK)
    page = number_in(said.get("page", ""), 1, 1_000_000)
    client = said.get("client")
    if client is not None and not (client.isascii() and client.isdigit()):
        raise NotFound(f"{client!r} is no client's BMS id.", "Choose a client on the page Preview.")
    rows = console.rows(
        sql.read("console/plan_records").format(counted=f"({counted})"),
        {
            "entity": entity if entity in BY_NAME else None,
            "client": None if client is None else number_in(client),
            "most": PER_PAGE + 1,
            "skipped": (page - 1) * PER_PAGE,
        },
    )
    with console.reading.copy.open() as connection:
        links.show_titles(connection, rows)
    return console.page(
        request,
        "plan_records.html.j2",
        plan=plan,
        what=what if what in plan_preview.COUNTED else "",
        entity=entity if entity in BY_NAME else "",
        client=client,
        client_name=rows[0]["client"] if rows and client else None,
        records=rows[:PER_PAGE],
        this_page=page,
        has_more=len(rows) > PER_PAGE,
        said={name: value for name, value in said.items() if name in ("what", "entity", "client")},
    )


@router.post("/preview/make")
def make(request: Request, console: ConsoleDep, form: FormDep) -> Response:
    """Make a new plan: from the stored data, or after reading both sides. An undo is planned as an undo again."""
    plan = _plan(console)
    if form.get("from") == "both sides":
        console.runs.start("preview")
    elif plan is not None and plan.undoes is not None and not plan.loaded and not plan.discarded:
        with console.reading.writing(request.state.name) as warehouse:
            made = deciding.plan_undo(warehouse, plan.undoes)
        return redirect_with_flash(request, "/preview", f"Plan {made.hash[:12]} takes back plan {made.undoes}.")
    else:
        console.runs.start("preview", "--saved")
    return redirect_with_flash(request, "/runs?then=/preview")


@router.post("/preview/client/{bms_id:int}")
def import_client(request: Request, console: ConsoleDep, bms_id: int) -> Response:
    """Read one client alone, plan it, and load what needs no finish; the rest of its plan is shown then."""
    console.runs.start("sync", "--client", str(bms_id))
    return redirect_with_flash(request, "/runs?then=/preview")


@router.get("/preview/finish")
def confirm(request: Request, console: ConsoleDep) -> Response:
    """Ask for the last confirmation: the figures of exactly this plan, its warnings, and who finishes it."""
    plan = _plan(console)
    if plan is None or plan.hash != request.query_params.get("hash") or _overview(console).state not in FINISHABLE:
        return redirect_with_flash(request, "/preview", "That plan cannot be finished; this is the current one.")
    overview = _overview(console)
    return console.page(
        request,
        "finish.html.j2",
        plan=plan,
        overview=overview,
        totals=_totals(plan, overview),
        stopped=_stopped(console, plan),
        look_alikes=console.rows(sql.read("console/look_alikes")),
        undecided=sum(counts["needs a decision"] for counts in overview.totals.values()),
        finished=_finished(console),
    )


@router.post("/preview/finish")
def finish(request: Request, console: ConsoleDep, form: FormDep) -> Response:
    """Approve the plan whose hash the form shows, and load it in a run of its own."""
    plan = _shown_plan(console, form.get("hash"))
    plans.check_not_discarded(plan)
    if _overview(console).state is PlanState.STALE:
        changed = _listed(_changes(console, plan)["moved"])
        raise PlanStale(
            f"Since plan {plan.hash[:12]} was made, {changed} changed.", "Re-plan, then look at the new one."
        )
    console.runs.start("finish", plan.hash, "--by", request.state.name)
    return redirect_with_flash(request, "/runs?then=/")


@router.post("/preview/discard")
def discard(request: Request, console: ConsoleDep, form: FormDep) -> Response:
    """Discard the plan whose hash the form shows: nobody can load it any more."""
    plan = _shown_plan(console, form.get("hash"))
    with console.reading.writing(request.state.name) as warehouse:
        deciding.discard_plan(warehouse, plan.hash, request.state.name)
    return redirect_with_flash(request, "/preview", f"Plan {plan.hash[:12]} is discarded. The next sync plans again.")


def _shown_plan(console: Console, shown: str) -> Plan:
    """Return the current plan if it is the one that a form shows. Raises ``PlanStale``."""
    plan = _plan(console)
    if plan is None or plan.hash != shown:
        other = f"that is {plan.hash[:12]} of {plan.made_at:%Y-%m-%d %H:%M} UTC" if plan else "there is none"
        raise PlanStale(f"Plan {shown[:12]} is not the current plan any more; {other}.", "Look at that one first.")
    return plan


def _overview(console: Console) -> PlanOverview:
    copy = console.reading.copy
    return copy.cached("overview", lambda: plan_preview.overview(copy, EXAMPLES))


def _totals(plan: Plan, overview: PlanOverview) -> dict[str, dict[str, int]]:
    return {name: counts for name, counts in overview.totals.items() if name in plan.entities}


def _changes(console: Console, plan: Plan) -> dict[str, Any]:
    """Return what changed since the plan was made: inputs in words, and people's decisions."""
    if not plan.stale or plan.loaded:
        return {"moved": [], "decided": []}
    moved = [_input_in_words(name) for name in planning.changed_inputs(console.reading.copy)]
    query = sql.read("console/decided_since_plan")
    return {"moved": moved, "decided": console.rows(query, {"made_at": plan.made_at, "most": DECISIONS_SHOWN})}


def _input_in_words(name: str) -> str:
    """Return an input of plans as people call it: ``bms.clients`` as ``clients in BMS``."""
    side, _, entity = name.partition(".")
    return f"{entity} in {SIDES[side]}" if side in SIDES else words(name)


def _listed(names: Sequence[str]) -> str:
    return " and ".join([*([", ".join(names[:-1])] if names[:-1] else []), *names[-1:]]) or "its inputs"


def _plan(console: Console) -> Plan | None:
    try:
        return planning.current_plan(console.reading.copy)
    except PlanError:
        return None


def _finished(console: Console) -> bool:
    with console.reading.copy.open() as connection:
        return read_sync_settings(connection).initial_sync_finished


def _stopped(console: Console, plan: Plan) -> PipelineError | None:
    """Return the error that would stop a load without an approval."""

    def check() -> PipelineError | None:
        with console.reading.copy.open() as connection:
            try:
                check_breakers(connection, plan, read_sync_settings(connection))
            except (BreakerOpen, SweepIncomplete) as error:
                return error
        return None

    return console.reading.copy.cached("breakers", check)
