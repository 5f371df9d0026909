"""Load: the saved plan, entity by entity, if it may be; then the books are closed."""

import time
from dataclasses import dataclass

import dagster as dg

from bms_pipeline import reports, sync
from bms_pipeline.defs.extract import POOL
from bms_pipeline.defs.metadata import OWNERS, SAMPLE, Metadata, column_schema, count, facts, sample, table
from bms_pipeline.defs.reconcile import PLAN_KEY, what_next
from bms_pipeline.defs.resources import Approval, Home, Pipeline
from bms_pipeline.entities import ENTITIES, Entity, EntityName
from bms_pipeline.load import apply
from bms_pipeline.load.hand_over import HandedOver
from bms_pipeline.reconcile import plan as plans
from bms_pipeline.reconcile.plan import OUTCOMES, Plan
from bms_pipeline.warehouse import schema

GROUP = "load"
RESULT_KEY = "sync_result"
BY_CLIENT_KEY = "loaded_by_client"
RESULT_COLUMNS = {
    "plan_id": "BIGINT",
    "entity": "VARCHAR",
    "counted_at": "TIMESTAMP",
    "read": "BIGINT",
    **dict.fromkeys(OUTCOMES, "BIGINT"),
}


@dataclass(frozen=True)
class PlanAtHand:
    """The current plan, and whether it still waits for a person."""

    plan: Plan
    waits: bool


def loaded_key(name: EntityName) -> str:
    """The key of the Dagster asset that stands for the records as loaded."""
    return f"loaded_{name}"


def build_loaded(entity: Entity) -> dg.AssetsDefinition:
    """The plan's operations on ``entity``, applied to Passportal."""

    @dg.asset(
        name=loaded_key(entity.name),
        group_name=GROUP,
        deps=[PLAN_KEY, loaded_key("clients")] if entity.has_client else [PLAN_KEY],
        description=(
            f"One row for each {entity.singular} that is linked: both sides' values as of the last load.\n\n"
            + facts(
                source=f"the plan's operations on {entity.name}, applied to the target that `PASSPORTAL_TARGET` names",
                table=f"`sync.loaded_{entity.name}`; each call's intent and outcome is in `sync.journal`",
                approval="until the initial sync is finished: a plan hash, named by a person; afterwards the settings",
            )
        ),
        metadata={
            "dagster/table_name": f"sync.loaded_{entity.name}",
            "dagster/column_schema": column_schema(schema.loaded_columns(entity)),
        },
        kinds={"sql", "duckdb"},
        owners=OWNERS,
        pool=POOL,
    )
    def loaded(context: dg.AssetExecutionContext, pipeline: Pipeline, approval: Approval) -> dg.MaterializeResult[None]:
        with pipeline.at_work() as home:
            at_hand = _plan_at_hand(home, pipeline, approval)
            if at_hand.waits or entity.name not in at_hand.plan.entities:
                return dg.MaterializeResult(metadata=_not_loaded(context, entity, at_hand))
            started = time.monotonic()
            progress = pipeline.progress(context.log)
            done = sync.load(home.settings, home.warehouse, home.target, entity, at_hand.plan, progress)
            return dg.MaterializeResult(
                metadata={
                    "state": "loaded",
                    "operations done": done.done,
                    "operations refused": done.refused,
                    **_handed_over(done.handed_over),
                    "seconds": time.monotonic() - started,
                    **_outcomes(home, entity, at_hand.plan),
                }
            )

    return loaded


@dg.asset(
    name=RESULT_KEY,
    group_name=GROUP,
    deps=[loaded_key(each.name) for each in ENTITIES],
    description=(
        "One row for each entity and plan: under which outcome every record read counts.\n\n"
        + facts(
            source="`sync.operations` and `sync.journal`",
            table="`sync.results`, one set for each plan",
            also="closes a plan that was loaded whole; the first unrestricted one ends the initial sync",
        )
    ),
    metadata={"dagster/table_name": "sync.results", "dagster/column_schema": column_schema(RESULT_COLUMNS)},
    kinds={"sql", "duckdb"},
    owners=OWNERS,
    pool=POOL,
)
def sync_result(
    context: dg.AssetExecutionContext, pipeline: Pipeline, approval: Approval
) -> dg.MaterializeResult[None]:
    """Count the outcomes, and close the plan if nothing of it is left to do."""
    with pipeline.at_work() as home:
        at_hand = _plan_at_hand(home, pipeline, approval)
        results = sync.count_results(home.warehouse)
        pending = sum(each["pending"] for each in results.values())
        if not at_hand.waits and not pending:
            results = apply.close_plan(home.warehouse, at_hand.plan)
        context.log.info(_state(at_hand, pending))
        for each in apply.clients_changed(home.warehouse):
            context.log_event(client_event(each))
        return dg.MaterializeResult(metadata=_closed(home, at_hand, results, pending))


def client_event(loaded: apply.ClientLoaded) -> dg.AssetMaterialization:
    """The event that tells one client as loaded, with the number of records inside it for each outcome."""
    return dg.AssetMaterialization(
        BY_CLIENT_KEY,
        partition=str(loaded.client),
        metadata={"dagster/row_count": sum(loaded.counts.values()), **loaded.counts},
    )


def _plan_at_hand(home: Home, pipeline: Pipeline, approval: Approval) -> PlanAtHand:
    """The plan of this run, approved if a person named its hash. Raises ``PlanError`` when it must not be loaded."""
    if approval.plan_hash:
        _approve(home, pipeline, approval)
    waits = sync.waits_for_person(home.warehouse)
    plan = sync.current_plan(home.warehouse) if waits else apply.check_approved(home.warehouse)
    pipeline.keep_to(plan)
    return PlanAtHand(plan, waits)


def _approve(home: Home, pipeline: Pipeline, approval: Approval) -> None:
    """Take the launch as an approval of the plan that it names, unless that plan is approved already."""
    plan = sync.current_plan(home.warehouse)
    if plan.approved and plans.is_named(plan, approval.plan_hash):
        return
    instead = f"Or approve the plan first: `bms-pipeline approve {approval.plan_hash}`, then launch this again."
    with pipeline.vouched(home, approval.by, instead) as by:
        sync.approve(home.settings, home.warehouse, home.target, approval.plan_hash, by)


def _not_loaded(context: dg.AssetExecutionContext, entity: Entity, at_hand: PlanAtHand) -> Metadata:
    if not at_hand.waits:
        return {"state": f"plan {at_hand.plan.hash[:12]} does not cover {entity.name}"}
    context.log.info(_state(at_hand, 0))
    return {
        "state": "waits for a person",
        "next": dg.MetadataValue.md(what_next(at_hand.plan, waits=True)),
        "plan hash": at_hand.plan.hash,
        "operations done": 0,
    }


def _handed_over(handed_over: HandedOver | None) -> Metadata:
    if handed_over is None or handed_over.file is None:
        return {}
    return {
        "handed over": handed_over.records,
        "file to import": dg.MetadataValue.path(str(handed_over.file)),
        "next": dg.MetadataValue.md(
            "Import that file once in Passportal (Settings > Import / Export); the next sync adopts what it lists then."
        ),
    }


def _outcomes(home: Home, entity: Entity, plan: Plan) -> Metadata:
    counts = sync.count_results(home.warehouse).get(entity.name, {})
    with home.warehouse.open() as connection:
        linked = count(connection, f"SELECT count(*) FROM sync.loaded_{entity.name}")
        _, refused = sample(
            connection,
            "SELECT bms_id, operation, client_id, passportal_id, detail FROM sync.journal"
            " WHERE entity = $entity AND plan_id = $plan_id AND outcome = 'refused' ORDER BY bms_id",
            {"entity": entity.name, "plan_id": plan.plan_id},
        )
    return {"dagster/row_count": linked, **counts, "refused": refused}


def _state(at_hand: PlanAtHand, pending: int) -> str:
    if at_hand.waits:
        return (
            f"Plan {at_hand.plan.hash[:12]} waits for a person; nothing was loaded. Launch again with"
            f" plan_hash={at_hand.plan.hash[:12]} or run `bms-pipeline finish {at_hand.plan.hash[:12]}`."
        )
    if pending:
        return f"{pending:,} operations of plan {at_hand.plan.hash[:12]} are still to be loaded; it stays open."
    if not at_hand.plan.operations:
        return "There was nothing to do."
    return f"Plan {at_hand.plan.hash[:12]} is loaded."


def _closed(home: Home, at_hand: PlanAtHand, results: dict[EntityName, dict[str, int]], pending: int) -> Metadata:
    status = reports.status(home.settings, home.warehouse)
    totals = {name: sum(each[name] for each in results.values()) for name in ("read", *OUTCOMES)}
    return {
        "state": _state(at_hand, pending),
        "next": dg.MetadataValue.md(
            what_next(at_hand.plan, waits=True) if at_hand.waits else "`bms-pipeline status` shows the same."
        ),
        "plan hash": at_hand.plan.hash,
        "initial sync finished": status["initial_sync_finished"],
        **totals,
        "orphaned": sum(each["orphaned"] for each in status["entities"].values()),
        "results": table(
            ("entity", "read", *OUTCOMES, "orphaned"),
            [
                (name, *(counts[each] for each in ("read", *OUTCOMES)), status["entities"][name]["orphaned"])
                for name, counts in results.items()
            ],
        ),
        "gone from BMS": table(
            ("entity", "bms_id", "name", "client", "passportal_id", "days"),
            [
                tuple(each[column] for column in ("entity", "bms_id", "name", "client", "passportal_id", "days"))
                for each in reports.orphans(home.warehouse)[:SAMPLE]
            ],
        ),
        "calls this hour": table(
            ("endpoint", "used", "left"),
            [(endpoint, usage["used"], usage["left"]) for endpoint, usage in status["budget"].items()],
        ),
    }


ASSETS = (*(build_loaded(each) for each in ENTITIES), sync_result)
