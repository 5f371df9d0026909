"""Pages for the plan before its load: an overview, record by record, and Finish for exactly the plan shown."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from bms_pipeline.console.context import (
    PER_PAGE,
    Console,
    ConsoleDep,
    FormDep,
    number_in,
    one_page,
    redirect_with_flash,
)
from bms_pipeline.core.entities import BY_NAME
from bms_pipeline.core.errors import BreakerOpen, PipelineError, PlanError, PlanStale, SweepIncomplete
from bms_pipeline.plan.breakers import check_breakers
from bms_pipeline.plan.operations import Plan
from bms_pipeline.reconcile.sync_settings import read_sync_settings
from bms_pipeline.reports import plan_preview
from bms_pipeline.sync import planning
from bms_pipeline.warehouse import sql

router = APIRouter()


EXAMPLES = 1


@router.get("/preview")
def show(request: Request, console: ConsoleDep) -> Response:
    """Show the plan: how many records it would change, client by client, and why it may be stopped."""
    plan = _plan(console)
    if plan is None:
        return console.page(request, "no_plan.html.j2")
    copy = console.reading.copy
    overview = copy.cached("overview", lambda: plan_preview.overview(copy, EXAMPLES))
    shown, paging = one_page(request, overview.clients)
    return console.page(
        request,
        "preview_page.html.j2",
        plan=plan,
        overview=overview,
        totals={name: counts for name, counts in overview.totals.items() if name in plan.entities},
        clients=shown,
        number_of_clients=len(overview.clients),
        **paging,
        moved=planning.changed_inputs(copy) if plan.stale else [],
        stopped=copy.cached("breakers", lambda: _stopped(console, plan)),
        finished=_finished(console),
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
    rows = console.rows(
        sql.read("console/plan_records").format(counted=f"({counted})"),
        {
            "entity": entity if entity in BY_NAME else None,
            "client": None if client is None else number_in(client),
            "most": PER_PAGE + 1,
            "skipped": (page - 1) * PER_PAGE,
        },
    )
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
    """Make a new plan: from the stored data, or after reading both sides."""
    console.runs.start(*(["preview"] if form.get("from") == "both sides" else ["preview", "--saved"]))
    return redirect_with_flash(request, "/runs?then=/preview")


@router.post("/preview/client/{bms_id:int}")
def import_client(request: Request, console: ConsoleDep, bms_id: int) -> Response:
    """Read one client alone, plan it, and load what needs no finish; the rest of its plan is shown then."""
    console.runs.start("sync", "--client", str(bms_id))
    return redirect_with_flash(request, "/runs?then=/preview")


@router.post("/preview/finish")
def finish(request: Request, console: ConsoleDep, form: FormDep) -> Response:
    """Approve the plan whose hash the form shows, and load it in a run of its own."""
    shown, plan = form.get("hash"), _plan(console)
    if plan is None or plan.hash != shown:
        other = f"that is {plan.hash[:12]} of {plan.made_at:%Y-%m-%d %H:%M} UTC" if plan else "there is none"
        raise PlanStale(
            f"Plan {shown[:12]} is not the current plan any more; {other}.", "Look at that one, then finish."
        )
    console.runs.start("finish", shown, "--by", request.state.name)
    return redirect_with_flash(request, "/runs?then=/")


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
    with console.reading.copy.open() as connection:
        try:
            check_breakers(connection, plan, read_sync_settings(connection))
        except (BreakerOpen, SweepIncomplete) as error:
            return error
    return None
