"""Load: apply the saved plan entity by entity, if it may be loaded, then close it."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import dagster as dg

from bms_pipeline.core.entities import ENTITIES, Entity, EntityName
from bms_pipeline.core.vocabulary import WAITS_FOR_DECISION
from bms_pipeline.defs import links, names
from bms_pipeline.defs.assets.extract import POOL
from bms_pipeline.defs.assets.reconcile import PLAN_KEY
from bms_pipeline.defs.metadata import (
    OWNERS,
    SAMPLE,
    Metadata,
    column_schema,
    count,
    facts,
    narrow,
    sample,
    seconds_since,
    table,
    tag_run,
)
from bms_pipeline.defs.resources import Approval, Home, Pipeline
from bms_pipeline.load import apply
from bms_pipeline.load.import_files import ImportFile
from bms_pipeline.load.journal import settles_at
from bms_pipeline.plan import operations as plans
from bms_pipeline.plan.operations import OUTCOMES, Plan
from bms_pipeline.reports import figures
from bms_pipeline.sync import loading, passportal_snapshot, planning
from bms_pipeline.warehouse import schema, sql
from bms_pipeline.warehouse.connection import now

GROUP = names.shared("load")
RESULT_KEY = "sync_result"
BY_CLIENT_KEY = "loaded_by_client"
MOST_NAMES = 5_000
"""Clients to list with their partitions."""
RESULT_COLUMNS = {
    "plan_id": "BIGINT",
    "entity": "VARCHAR",
    "counted_at": "TIMESTAMP",
    "read": "BIGINT",
    **dict.fromkeys(OUTCOMES, "BIGINT"),
}


@dataclass(frozen=True)
class PlanAtHand:
    """The current plan, and whether it still waits for a person's approval."""

    plan: Plan
    waits: bool


def loaded_key(name: EntityName) -> str:
    """Return the name of the Dagster asset for the records as loaded."""
    return f"loaded_{name}"


def build_loaded(entity: Entity) -> dg.AssetsDefinition:
    """Build the asset for the plan's operations on ``entity``, applied to Passportal."""
    clients = [loaded_key("clients")] if entity.has_client else []

    @dg.asset(
        key=names.asset_key(loaded_key(entity.name)),
        group_name=GROUP,
        deps=[names.asset_key(name) for name in (PLAN_KEY, *clients)],
        description=(
            f"One row for each {entity.singular} that is linked: both sides' values as of the last load.\n\n"
            + facts(
                source=f"the plan's operations on {entity.name}, applied to the target that `PASSPORTAL_TARGET` names",
                table=f"`sync.base_{entity.name}`; each call's intent and outcome is in `sync.journal`",
                approval="until the initial sync is finished: a plan hash, named by a person; afterwards the settings",
            )
        ),
        metadata={
            "dagster/table_name": f"sync.base_{entity.name}",
            "dagster/column_schema": column_schema(schema.base_columns(entity), entity),
        },
        kinds={"sql", "duckdb"},
        owners=OWNERS,
        pool=POOL,
        # An entity without a load materializes nothing: its plan waits for a person, or does not cover the entity.
        output_required=False,
    )
    def loaded(
        context: dg.AssetExecutionContext, pipeline: Pipeline, approval: Approval
    ) -> Iterator[dg.MaterializeResult[None]]:
        with pipeline.locked() as home:
            progress = pipeline.progress(context.log)
            at_hand = _plan_at_hand(context, home, pipeline, approval)
            if at_hand.waits or entity.name not in at_hand.plan.entities:
                context.log.info(_state(at_hand, 0))
                return
            started = time.monotonic()
            metadata: Metadata = {"state": _state(at_hand, 0)}
            if not at_hand.plan.loaded:
                done = loading.load(home.settings, home.warehouse, home.target, entity, at_hand.plan, progress)
                metadata = {
                    "state": "loaded",
                    "operations done": done.done,
                    "operations refused": done.refused,
                    **_handed_over(done.handed_over),
                }
            if entity.name == "clients":
                context.log_event(partition_names(home))
            metadata |= links.console_metadata(home.settings, f"/review/{entity.name}")
            metadata |= {"seconds": seconds_since(started), **_outcomes(home, entity, at_hand.plan)}
            # Dagster skips everything below an entity with nothing to materialize, even the step to close the plan.
            if RESULT_KEY not in selected(context) or len(at_hand.plan.entities) < len(ENTITIES):
                finished = loading.close(home.warehouse, at_hand.plan)
                wait_for_unknown(context, pipeline, home, finished)
                _check_loaded(entity, finished)
        yield dg.MaterializeResult(metadata=narrow(metadata))

    return loaded


def selected(context: dg.AssetExecutionContext) -> set[str]:
    """Return the names of the Dagster assets this run materializes."""
    return {names.asset_name(key) for key in context.job_def.asset_layer.executable_asset_keys}


def wait_for_unknown(
    context: dg.AssetExecutionContext, pipeline: Pipeline, home: Home, finished: loading.Finished
) -> None:
    """Run this step again when writes without an answer may be settled. Until then other runs may use the home folder.

    Returns where there are none, or where this step has waited as often as a load does. Then the next sync settles
    them.
    """
    if not finished.unknown or context.retry_number >= loading.LOOKS_FOR_UNKNOWN:
        return
    until = settles_at(finished.unknown, home.target.unknown_seconds)
    writes = sum(intent.writes for intent in finished.unknown)
    context.log.info(
        f"The answer to {writes:,} writes was lost. This step waits until {until:%H:%M:%S} UTC, looks them up, and goes"
        " on. Other runs may work meanwhile. You can cancel this run: nothing is lost."
    )
    pipeline.let_go()
    seconds = max(0.0, (until - now()).total_seconds())
    raise dg.RetryRequested(max_retries=loading.LOOKS_FOR_UNKNOWN, seconds_to_wait=seconds)


def still_unknown(finished: loading.Finished) -> dg.Failure:
    """Return the failure of a run that ends with unanswered writes."""
    writes = sum(intent.writes for intent in finished.unknown)
    return dg.Failure(
        f"The answer to {writes:,} writes was lost, and Passportal does not show yet whether they took effect."
        "\n→ Launch the same run again, or leave it to the next sync: they are looked up before anything is sent.",
        allow_retries=False,
    )


def _check_loaded(entity: Entity, finished: loading.Finished) -> None:
    """Raise where this run cannot do the rest of the operations on ``entity``, because their clients are not loaded."""
    if finished.unknown:
        raise still_unknown(finished)
    if finished.left.get(entity.name):
        short = finished.plan.hash[:12]
        raise dg.Failure(
            f"{finished.left[entity.name]:,} {entity.name} wait for their clients, which plan {short} has not loaded."
            f"\n→ Materialize `{loaded_key('clients')}` first, then this again."
            f" Or launch the job `finish` with `plan_hash: {short}`.",
            allow_retries=False,
        )


@dg.asset(
    key=names.asset_key(RESULT_KEY),
    group_name=GROUP,
    deps=[names.asset_key(loaded_key(entity.name)) for entity in ENTITIES],
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
    output_required=False,
)
def sync_result(
    context: dg.AssetExecutionContext, pipeline: Pipeline, approval: Approval
) -> Iterator[dg.MaterializeResult[None]]:
    """Count the outcomes, and close the plan if none of its operations is left.

    Where answers to writes were lost, look the writes up when their time has passed, and load the records waiting for
    them.
    """
    with pipeline.locked() as home:
        at_hand = _plan_at_hand(context, home, pipeline, approval)
        if at_hand.waits:
            context.log.info(_state(at_hand, 0))
            return
        finished = (
            loading.finish(home.settings, wait=False, progress=pipeline.progress(context.log))
            if context.retry_number
            else loading.close(home.warehouse, at_hand.plan)
        )
        wait_for_unknown(context, pipeline, home, finished)
        left = sum(finished.left.values())
        context.log.info(_state(at_hand, left))
        changed = [client for client in apply.clients_changed(home.warehouse) if not client.counts.get("pending")]
        known = client_names(home, [client.client for client in changed])
        for client in changed:
            context.log_event(client_event(home, client, known.get(client.client)))
        if finished.unknown:
            raise still_unknown(finished)
        if left:
            raise dg.Failure(
                f"{_state(at_hand, left)}"
                f"\n→ Launch the job `finish` with `plan_hash: {at_hand.plan.hash[:12]}`: it loads what is left.",
                allow_retries=False,
            )
        yield dg.MaterializeResult(metadata=narrow(_closed(home, at_hand, finished.results, left)))


def client_names(home: Home, clients: Sequence[int] | None = None) -> dict[int, str]:
    """Return BMS account id → name of these clients, of all linked ones without ``clients``; in order of the names."""
    with home.warehouse.open() as connection:
        values = {"clients": None if clients is None else list(clients)}
        return dict(connection.execute(sql.read("defs/client_names"), values).fetchall())


def client_event(home: Home, loaded: apply.ClientLoaded, name: str | None) -> dg.AssetMaterialization:
    """Return the event for one loaded client, with its name and the number of its records by outcome."""
    return dg.AssetMaterialization(
        names.asset_key(BY_CLIENT_KEY),
        partition=str(loaded.client),
        metadata=narrow(
            {
                "client": name,
                **links.console_metadata(home.settings, links.record_page("clients", loaded.client)),
                "dagster/row_count": sum(loaded.counts.values()),
                **loaded.counts,
            }
        ),
    )


def partition_names(home: Home) -> dg.AssetObservation:
    """Return the event that lists the name behind each partition of ``loaded_by_client``, which is a bare id."""
    rows = [(name, str(client)) for client, name in client_names(home).items()]
    return dg.AssetObservation(
        names.asset_key(BY_CLIENT_KEY),
        description=f"The partitions of the {len(rows):,} linked clients.",
        metadata={"partitions": table(("client", "partition"), rows[:MOST_NAMES])},
    )


def _plan_at_hand(context: dg.AssetExecutionContext, home: Home, pipeline: Pipeline, approval: Approval) -> PlanAtHand:
    """Return the plan of this run, approved if a person named its hash.

    Unknown writes of earlier loads are looked up first. Raises ``PlanError`` when the plan must not be loaded. This
    includes a plan waiting for a person in a run that did not make it: the person launched the run to have it loaded.
    """
    if approval.plan_hash and (when := loading.loaded_at(home.warehouse, approval.plan_hash)):
        tag_run(context, approval.plan_hash)
        return PlanAtHand(replace(planning.current_plan(home.warehouse), loaded_at=when), waits=False)
    if approval.plan_hash:
        _approve(home, pipeline, approval)
    elif PLAN_KEY not in selected(context) and planning.waits_for_person(home.warehouse):
        apply.check_approved(home.warehouse)  # raises, before anything is read
    passportal_snapshot.settle(home.settings, home.warehouse, home.target, pipeline.progress(context.log))
    plan = planning.current_plan(home.warehouse)
    waits = planning.waits_for_person(home.warehouse)
    if not plan.loaded and (not waits or PLAN_KEY not in selected(context)):
        plan = apply.check_approved(home.warehouse)
    pipeline.keep_to(plan)
    tag_run(context, plan.hash)
    return PlanAtHand(plan, waits)


def _approve(home: Home, pipeline: Pipeline, approval: Approval) -> None:
    """Take the launch as an approval of the plan it names, unless the plan is approved already."""
    plan = planning.current_plan(home.warehouse)
    if plan.approved and plans.is_named(plan, approval.plan_hash):
        return
    instead = f"Or approve the plan first: `bms-pipeline approve {approval.plan_hash}`, then launch this again."
    with pipeline.vouched(home, approval.by, instead) as by:
        planning.approve(home.settings, home.warehouse, home.target, approval.plan_hash, by)


def _handed_over(handed_over: ImportFile | None) -> Metadata:
    if handed_over is None or handed_over.file is None:
        return {}
    return {
        "handed over": handed_over.records,
        "file to import": dg.MetadataValue.path(handed_over.file),
        "next": dg.MetadataValue.md(
            "Import that file once in Passportal (Settings > Import / Export); the next sync adopts what it lists then."
        ),
    }


def _outcomes(home: Home, entity: Entity, plan: Plan) -> Metadata:
    counts = planning.count_results(home.warehouse).get(entity.name, {})
    with home.warehouse.open() as connection:
        linked = count(connection, f"SELECT count(*) FROM sync.base_{entity.name}")
        _, refused = sample(
            connection,
            "SELECT bms_id, operation, client_id, passportal_id, detail FROM sync.journal"
            " WHERE entity = $entity AND plan_id = $plan_id AND outcome = 'refused' ORDER BY bms_id",
            {"entity": entity.name, "plan_id": plan.plan_id},
        )
    return {"dagster/row_count": linked, **counts, "refused": refused}


def _state(at_hand: PlanAtHand, pending: int) -> str:
    if at_hand.plan.loaded_at is not None:
        when = at_hand.plan.loaded_at
        return f"Plan {at_hand.plan.hash[:12]} was loaded already, at {when:%Y-%m-%d %H:%M} UTC. Nothing is left to do."
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


def _decide(waiting: int) -> dg.MetadataValue | None:
    if not waiting:
        return None
    plan = links.asset_link(PLAN_KEY)
    return dg.MetadataValue.md(f"{waiting:,} records wait for a decision, in the console or by a job: {plan} says why.")


def _closed(home: Home, at_hand: PlanAtHand, results: dict[EntityName, dict[str, int]], pending: int) -> Metadata:
    status = figures.status(home.settings, home.warehouse)
    totals = {name: sum(counts[name] for counts in results.values()) for name in ("read", *OUTCOMES)}
    return {
        "state": _state(at_hand, pending),
        "next": _decide(sum(totals[disposition] for disposition in WAITS_FOR_DECISION)),
        **links.console_metadata(home.settings, "/runs"),
        "plan hash": at_hand.plan.hash,
        "plan number": at_hand.plan.plan_id,
        "initial sync finished": status.initial_sync_finished,
        **totals,
        "orphaned": sum(counts["orphaned"] for counts in status.entities.values()),
        "results": table(
            ("entity", "read", *OUTCOMES, "orphaned"),
            [
                (name, *(counts[outcome] for outcome in ("read", *OUTCOMES)), status.entities[name]["orphaned"])
                for name, counts in results.items()
            ],
        ),
        "gone from BMS": table(
            ("entity", "bms_id", "name", "client", "passportal_id", "days"),
            [
                tuple(orphan[column] for column in ("entity", "bms_id", "name", "client", "passportal_id", "days"))
                for orphan in figures.orphans(home.warehouse)[:SAMPLE]
            ],
        ),
        "calls this hour": table(
            ("endpoint", "used", "left"),
            [(endpoint, usage["used"], usage["left"]) for endpoint, usage in status.budget.items()],
        ),
    }


ASSETS = (*(build_loaded(entity) for entity in ENTITIES), sync_result)
