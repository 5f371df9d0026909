"""Reconcile and plan: the next operation of every record, saved and shown before anything is loaded."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import astuple

import dagster as dg

from bms_pipeline.core.entities import BY_NAME, ENTITIES, Entity, EntityName
from bms_pipeline.core.errors import Stage
from bms_pipeline.core.reasons import Reason
from bms_pipeline.core.vocabulary import Operation
from bms_pipeline.defs import links, names
from bms_pipeline.defs.assets.extract import POOL, bms_key, passportal_key
from bms_pipeline.defs.metadata import (
    OWNERS,
    SAMPLE,
    Metadata,
    changes,
    column_schema,
    facts,
    narrow,
    seconds_since,
    table,
    tag_run,
)
from bms_pipeline.defs.resources import Home, Pipeline, ScopeOfRun
from bms_pipeline.plan.operations import Plan
from bms_pipeline.reports import figures, plan_preview
from bms_pipeline.reports.read_models import Example
from bms_pipeline.sync import loading, planning
from bms_pipeline.warehouse import schema

GROUP = names.shared("reconcile")
READ = (Stage.BMS, Stage.PASSPORTAL)
"""The stages that must be read before anything may be concluded about an entity."""
INPUTS_KEY = "sync_inputs"
INPUTS_COLUMNS = {"name": "VARCHAR", "version": "BIGINT", "changed_at": "TIMESTAMP"}
PLAN_KEY = "sync_plan"
PLAN_COLUMNS = {
    "entity": "VARCHAR",
    "bms_id": "BIGINT",
    "account_id": "BIGINT",
    "client_id": "VARCHAR",
    "passportal_id": "VARCHAR",
    "name": "VARCHAR",
    "disposition": "VARCHAR",
    "operation": "VARCHAR",
    "reason": "VARCHAR",
    "changes": "STRUCT(field, before, after)[]",
    "kept": "STRUCT(field, bms, passportal)[]",
    "no_place": "STRUCT(field, bms)[]",
    "needs": "VARCHAR[]",
    "unlinked": "STRUCT(field, bms, reason)[]",
    "template": "VARCHAR",
    "template_id": "VARCHAR",
    "unmark_id": "VARCHAR",
    "needs_approval": "BOOLEAN",
    "held_back": "BOOLEAN",
    "unproved": "BOOLEAN",
}


def reconciled_key(name: EntityName) -> str:
    """Return the name of the Dagster asset for the dispositions of an entity's records."""
    return f"reconciled_{name}"


@dg.asset(
    key=names.asset_key(INPUTS_KEY),
    group_name=GROUP,
    deps=[names.asset_key(name(entity.name)) for entity in ENTITIES for name in (bms_key, passportal_key)],
    output_required=False,
    description=(
        "What changed since the last plan. In a scheduled run nothing below it runs where nothing did.\n\n"
        + facts(
            source="what the `bms_*` and `passportal_*` of the same run found, decisions, settings",
            table="`sync.input_versions`, a version for each input of a plan",
        )
    ),
    metadata={"dagster/table_name": "sync.input_versions", "dagster/column_schema": column_schema(INPUTS_COLUMNS)},
    kinds={"sql", "duckdb"},
    owners=OWNERS,
    pool=POOL,
)
def sync_inputs(
    context: dg.AssetExecutionContext, pipeline: Pipeline, scope: ScopeOfRun
) -> Iterator[dg.MaterializeResult[None]]:
    """Report the changed inputs. Report nothing, and so end the run, where it is incremental and nothing changed.

    An approved plan with an interrupted load is finished first, because the next plan would replace it.
    """
    with pipeline.locked() as home:
        planning.check_stages(home.warehouse, [(stage, entity) for entity in ENTITIES for stage in READ])
        if loading.resume(home.settings, wait=False, progress=pipeline.progress(context.log)):
            context.log.info("An approved plan whose load was interrupted was taken up first.")
        changed = planning.changed_inputs(home.warehouse)
        if scope.only_what_is_new and not planning.is_anything_new(home.warehouse):
            context.log.info("Nothing is new since the last plan: there is nothing to reconcile, to plan or to load.")
            return
        yield dg.MaterializeResult(metadata={"changed since the last plan": ", ".join(changed) or "nothing"})


def build_reconciled(entity: Entity) -> dg.AssetsDefinition:
    """Build the asset of the disposition of every record of ``entity``, with its reason."""
    inputs = [bms_key(entity.name), passportal_key(entity.name)]
    clients = [reconciled_key("clients")] if entity.has_client else []

    @dg.asset(
        key=names.asset_key(reconciled_key(entity.name)),
        group_name=GROUP,
        deps=[names.asset_key(name) for name in (*inputs, INPUTS_KEY, *clients)],
        description=(
            f"One row for each {entity.singular} that BMS has now: its disposition and the reason.\n\n"
            + facts(
                source=", ".join(f"`{key}`" for key in inputs),
                table=f"`sync.reconciled_{entity.name}`, replaced each time",
                do="the console's page of a record tells its story",
            )
        ),
        metadata={
            "dagster/table_name": f"sync.reconciled_{entity.name}",
            "dagster/column_schema": column_schema(schema.reconciled_columns()),
        },
        kinds={"sql", "duckdb"},
        owners=OWNERS,
        pool=POOL,
    )
    def reconciled(pipeline: Pipeline, scope: ScopeOfRun) -> dg.MaterializeResult[None]:
        with pipeline.locked() as home:
            started = time.monotonic()
            above = [(Stage.RECONCILED, BY_NAME["clients"])] if entity.has_client else []
            planning.check_stages(home.warehouse, [*((stage, entity) for stage in READ), *above])
            counts = planning.reconcile(home.warehouse, entity, scope.value)
            return dg.MaterializeResult(
                metadata=narrow(
                    {
                        "next": dg.MetadataValue.md(f"{links.asset_link(PLAN_KEY)} shows what will be done."),
                        **links.console_metadata(home.settings, f"/review/{entity.name}"),
                        "dagster/row_count": sum(counts.values()),
                        **counts,
                        "seconds": seconds_since(started),
                    }
                )
            )

    return reconciled


@dg.asset(
    key=names.asset_key(PLAN_KEY),
    group_name=GROUP,
    deps=[names.asset_key(reconciled_key(entity.name)) for entity in ENTITIES],
    description=(
        "One row for each record read: what load will do with it, field by field, and why. Saved under a hash.\n\n"
        + facts(
            source="the `reconciled_*` of the same run; run alone, of all entities",
            table="`sync.operations`, the plan itself `sync.plans`",
            do="look at the operations below; load it with the job `finish` and the hash, as `next` links to it",
        )
    ),
    metadata={"dagster/table_name": "sync.operations", "dagster/column_schema": column_schema(PLAN_COLUMNS)},
    kinds={"sql", "duckdb"},
    owners=OWNERS,
    pool=POOL,
)
def sync_plan(context: dg.AssetExecutionContext, pipeline: Pipeline, scope: ScopeOfRun) -> dg.MaterializeResult[None]:
    """Save the current plan: the operations a load would apply."""
    with pipeline.locked() as home:
        started = time.monotonic()
        entities = _reconciled_in(context)
        planning.check_stages(
            home.warehouse, [(stage, entity) for entity in entities for stage in (*READ, Stage.RECONCILED)]
        )
        plan = planning.make_plan(home.warehouse, entities, scope.value)
        pipeline.keep_to(plan)
        waits = planning.waits_for_person(home.warehouse)
        if is_for_finish(plan, waits=waits):
            launchpad = links.on_dagster(home.settings, links.finish_launchpad(plan.hash))
            context.log.info(f"Load plan {plan.hash[: links.SHORT]} once you have looked at it: {launchpad}")
        tag_run(context, plan.hash)
        metadata = _planned(home, plan, waits) | {"seconds": seconds_since(started)}
        return dg.MaterializeResult(metadata=narrow(metadata))


def _reconciled_in(context: dg.AssetExecutionContext) -> Sequence[Entity]:
    """Return the entities reconciled in this run, or all of them where it reconciles none."""
    selected = {names.asset_name(key) for key in context.job_def.asset_layer.executable_asset_keys}
    return [entity for entity in ENTITIES if reconciled_key(entity.name) in selected] or ENTITIES


def _planned(home: Home, plan: Plan, waits: bool) -> Metadata:
    shown = plan_preview.overview(home.warehouse, examples=SAMPLE)
    status = figures.status(home.settings, home.warehouse)
    by_operation = {
        name.value: sum(row.records for row in shown.reasons if row.operation == name) for name in Operation
    }
    undecided = sum(counts["needs a decision"] + counts["blocked"] for counts in shown.totals.values())
    in_order = sorted(shown.reasons, key=lambda each: list(BY_NAME).index(each.entity))
    return {
        "next": dg.MetadataValue.md(what_next(plan, waits=waits, undecided=undecided)),
        **_launchpads(plan, waits, is_initial=not status.initial_sync_finished),
        **links.console_metadata(home.settings, "/preview"),
        "plan hash": plan.hash,
        "operations": plan.operations,
        "held back": plan.held_back,
        "unproved": plan.unproved,
        "rest on people's decisions": plan.needs_approval,
        "dagster/row_count": sum(by_operation.values()),
        **by_operation,
        "clients": None if plan.clients is None else ", ".join(map(str, plan.clients)),
        "entities": None if len(plan.entities) == len(ENTITIES) else ", ".join(plan.entities),
        "dispositions": table(
            ("entity", "disposition", "operation", "reason", "records"),
            [astuple(row) for row in in_order],
        ),
        "examples": _examples(shown.examples),
        "kept in Passportal": _kept(shown.examples),
        "without a place": table(
            ("entity", "template", "field", "records"),
            [(row.entity, row.template, row.field, row.records) for row in shown.no_place],
        ),
        "orphaned": sum(counts["orphaned"] for counts in status.entities.values()),
        "moved": sum(row.records for row in shown.reasons if row.reason == Reason.MOVED_TO_THIS_CLIENT),
    }


def is_for_finish(plan: Plan, *, waits: bool) -> bool:
    """Return whether a person's launch of `finish` would load something of the plan that no rule loads."""
    is_open = bool(plan.operations) and not plan.loaded and not plan.discarded
    return is_open and (waits or plan.approved or plan.held_back + plan.unproved > 0)


def _launchpads(plan: Plan, waits: bool, *, is_initial: bool) -> Metadata:
    """Return the links to the launchpads that load the plan, filled in with its hash."""
    if not is_for_finish(plan, waits=waits):
        return {}
    found = {"finish": dg.MetadataValue.url(links.finish_launchpad(plan.hash))}
    if is_initial and plan.clients is None and plan.undoes is None and "clients" in plan.entities:
        found["finish clients first"] = dg.MetadataValue.url(links.finish_launchpad(plan.hash, links.FINISH_CLIENTS))
    return found


def what_next(plan: Plan, *, waits: bool, undecided: int = 0) -> str:
    """Return what the plan needs next from a person, and how to give it.

    ``undecided`` counts its records waiting for a decision.
    """
    if not plan.operations:
        waiting = f"; {undecided:,} records wait for a decision in the console" if undecided else ""
        return f"Nothing to load{waiting}."
    short = plan.hash[: links.SHORT]
    if plan.loaded or plan.discarded:
        was_discarded = f"was discarded by {plan.discarded_by}: the next sync makes a new plan"
        return f"Plan {short} {was_discarded if plan.discarded else 'is loaded'}."
    if plan.approved:
        return f"Plan {short} is approved and not loaded whole: launch the job {links.finish_link(plan.hash)}."
    if (plan.held_back or plan.unproved) and not waits:
        held_back = f"{plan.held_back:,} operations, because most of a client would change or vanished at once"
        unproved = f"{plan.unproved:,} new matches and creates, because their list was not read to a provable end"
        listed = [text for count, text in ((plan.held_back, held_back), (plan.unproved, unproved)) if count]
        return (
            f"Plan {short} may be loaded but for what is held back: {'; '.join(listed)}. Launch the job"
            f" {links.finish_link(plan.hash)} once you have looked at them."
        )
    if waits:
        what = f"takes back plan {plan.undoes} and waits" if plan.undoes is not None else "waits"
        return (
            f"**Plan {short} {what} for a person.** Look at it here, then launch the job"
            f" {links.finish_link(plan.hash)}."
        )
    return f"Plan {short} may be loaded: see {links.asset_link('sync_result')}."


def _examples(operations: Sequence[Example]) -> dg.TableMetadataValue:
    """Return a few operations of each kind, with their changes."""
    columns = ("operation", "entity", "bms_id", "name", "reason")
    return table(
        (*columns, "changes"),
        [
            (*(getattr(operation, column) for column in columns), changes(operation.changes))
            for operation in operations
            if operation.operation != Operation.SKIP
        ],
    )


def _kept(operations: Sequence[Example]) -> dg.TableMetadataValue:
    """Return a few values a person entered in Passportal, which stay although BMS has another value."""
    return table(
        ("entity", "bms_id", "name", "field", "bms", "passportal"),
        [
            (row.entity, row.bms_id, row.name, value["field"], value["bms"], value["passportal"])
            for row in operations
            for value in row.kept or []
        ],
    )


ASSETS = (sync_inputs, *(build_reconciled(entity) for entity in ENTITIES), sync_plan)
