"""Extract: one Dagster asset for each entity of BMS and of Passportal."""

import time
from collections.abc import Iterator
from datetime import timedelta

import dagster as dg

from bms_pipeline.core.entities import ENTITIES, LIST_CALLS, DetailCall, Entity, EntityName, ListCall
from bms_pipeline.core.errors import Stage
from bms_pipeline.defs import links, names
from bms_pipeline.defs.metadata import OWNERS, Metadata, column_schema, count, facts, narrow, seconds_since
from bms_pipeline.defs.resources import Home, Pipeline, ScopeOfRun
from bms_pipeline.sync import extraction, fetch_details, passportal_snapshot, planning
from bms_pipeline.sync.enrichment import DETAILED
from bms_pipeline.warehouse import schema

GROUP = names.shared("extract")
POOL = names.shared("warehouse")
FRESH = dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=6), warn_window=timedelta(hours=3))
"""Read every hour. Dagster's daemon alerts people when runs no longer start."""


def bms_key(name: EntityName) -> str:
    """Return the name of the Dagster asset for the records listed by BMS."""
    return f"bms_{name}"


def passportal_key(name: EntityName) -> str:
    """Return the name of the Dagster asset for the records in Passportal."""
    return f"passportal_{name}"


def details_key(entity: Entity) -> str:
    """Return the name of the Dagster asset for the details, which BMS gives one record at a time."""
    return f"bms_{entity.singular}_details"


def build_sweep(list_call: ListCall) -> dg.AssetsDefinition:
    """Build the assets of one sweep, which lands every entity in the list: no list is read twice."""

    @dg.multi_asset(
        name=f"sweep_{list_call.name}",
        specs=[_bms_spec(entity) for entity in _entities(list_call)],
        pool=POOL,
        # A list is read and landed whole: selecting any of its entities updates all of them.
        can_subset=True,
    )
    def sweep(
        context: dg.AssetExecutionContext, pipeline: Pipeline, scope: ScopeOfRun
    ) -> Iterator[dg.MaterializeResult[None]]:
        with pipeline.locked() as home, pipeline.bms(home.settings) as client:
            started = time.monotonic()
            planned = extraction.planned_calls(home.warehouse, client, list_call, full=scope.full_sweep)
            context.log.info(f"{list_call.name}: {planned}")
            extracted = extraction.extract(
                home.settings,
                home.warehouse,
                client,
                list_call,
                full=scope.full_sweep,
                in_instalments=scope.only_what_is_new,
                progress=pipeline.progress(context.log),
            )
            seconds = seconds_since(started)
            left = client.budget.left(f"GET {list_call.path}")
            for entity in _entities(list_call):
                swept = (
                    {"sweep": "still being read", "next": extracted.why}
                    if isinstance(extracted, extraction.Unfinished)
                    else _swept(context, home, entity, extracted)
                )
                metadata = narrow(swept | {"seconds": seconds, "calls left this hour": left})
                key = names.asset_key(bms_key(entity.name))
                if key in context.selected_asset_keys:
                    yield dg.MaterializeResult(asset_key=key, metadata=metadata)
                else:
                    context.log_event(dg.AssetMaterialization(key, metadata=metadata))

    return sweep


def build_snapshot(entity: Entity) -> dg.AssetsDefinition:
    """Build the asset of the records of ``entity`` in Passportal now."""

    @dg.asset(
        key=names.asset_key(passportal_key(entity.name)),
        group_name=GROUP,
        description=(
            f"One row for each {entity.singular} that Passportal has now.\n\n"
            + facts(
                source="the target that `PASSPORTAL_TARGET` names",
                table=f"`passportal.{entity.name}`, replaced each time",
                also="settles what an interrupted load left unknown, by reading instead of sending again",
            )
        ),
        metadata={
            "dagster/table_name": f"passportal.{entity.name}",
            "dagster/column_schema": column_schema(schema.passportal_columns(entity), entity),
        },
        kinds={"parquet", "duckdb"},
        owners=OWNERS,
        pool=POOL,
    )
    def snapshot(pipeline: Pipeline) -> dg.MaterializeResult[None]:
        with pipeline.locked() as home:
            started = time.monotonic()
            records = passportal_snapshot.snapshot(home.settings, home.warehouse, home.target, entity)
            return dg.MaterializeResult(
                metadata=narrow({"dagster/row_count": records, "seconds": seconds_since(started)})
            )

    return snapshot


def build_details(entity: Entity, call: DetailCall) -> dg.AssetsDefinition:
    """Build the asset of the details of ``entity``, read with one call each, in parallel to everything else."""

    @dg.asset(
        key=names.asset_key(details_key(entity)),
        group_name=GROUP,
        description=(
            f"The details of each {entity.singular} that is in Passportal, read in the background as far as the hour's"
            " calls go: those never read first, then those whose listed row changed, then the oldest.\n\n"
            + facts(
                source=f"`GET {call.path}`, one call each",
                table=f"`bms.{entity.name}`, with the next sync; until then `landing/{entity.singular}_details/`",
                also="in no pool: no load waits for it",
            )
        ),
        metadata={
            "dagster/table_name": f"bms.{entity.name}",
            "dagster/column_schema": column_schema({field.name: "VARCHAR" for field in entity.detail_fields}, entity),
        },
        kinds={"json", "duckdb"},
        owners=OWNERS,
    )
    def read_details(context: dg.AssetExecutionContext, pipeline: Pipeline) -> dg.MaterializeResult[None]:
        with pipeline.read_only() as home:
            started = time.monotonic()
            planning.check_stages(home.warehouse, [(Stage.BMS, entity), (Stage.PASSPORTAL, entity)])
            read = fetch_details.read_details(home.settings, progress=pipeline.progress(context.log))
            context.log.info(f"{read.read:,} details read, {read.waiting:,} wait: {read.estimate}.")
            return dg.MaterializeResult(
                metadata=narrow(
                    {
                        "read": read.read,
                        "problems": read.problems,
                        "waiting": read.waiting,
                        "calls left this hour": read.calls_left,
                        "time to finish": read.estimate,
                        "seconds": seconds_since(started),
                    }
                )
            )

    return read_details


def _entities(list_call: ListCall) -> list[Entity]:
    return [entity for entity in ENTITIES if entity.list_call == list_call]


def _bms_spec(entity: Entity) -> dg.AssetSpec:
    together = [f"`{bms_key(sibling.name)}`" for sibling in _entities(entity.list_call) if sibling != entity]
    return dg.AssetSpec(
        names.asset_key(bms_key(entity.name)),
        group_name=GROUP,
        description=(
            f"One row for each {entity.singular} that BMS ever listed; `missing_since` says since when it is gone.\n\n"
            + facts(
                source=f"`GET {entity.list_call.path}`" + (f", array `{entity.array_in}`" if entity.array_in else ""),
                table=f"`bms.{entity.name}`; the pages as they came are in `landing/{entity.list_call.name}/`",
                sweep=f"shared with {', '.join(together)}" if together else "its own",
                incremental="what changed since the last one" if entity.list_call.modified_since else "no: always full",
            )
        ),
        metadata={
            "dagster/table_name": f"bms.{entity.name}",
            "dagster/column_schema": column_schema(schema.bms_columns(entity), entity),
        },
        kinds={"json", "duckdb"},
        owners=OWNERS,
        freshness_policy=FRESH,
    )


def _swept(context: dg.AssetExecutionContext, home: Home, entity: Entity, extracted: extraction.Extracted) -> Metadata:
    manifest, landed = extracted.manifest, extracted.landed[entity.name]
    if landed.unknown_fields:
        context.log.warning(f"{entity.name}: BMS sends undeclared fields: {', '.join(landed.unknown_fields)}")
    with home.warehouse.open() as connection:
        present = count(connection, f"SELECT count(*) FROM bms.{entity.name} WHERE missing_since IS NULL")
    return {
        "next": dg.MetadataValue.md(f"{links.asset_link(f'reconciled_{entity.name}')} decides on them."),
        "dagster/row_count": present,
        "read": landed.read,
        "added": landed.added,
        "changed": landed.changed,
        "gone": landed.gone,
        "sweep": f"{manifest.mode}, {'complete' if manifest.complete else f'incomplete: {manifest.reason}'}",
        "sweep seconds": round(manifest.seconds, 1),
        "calls made": manifest.calls_made,
        "calls necessary": manifest.calls_necessary,
        "unknown fields": len(landed.unknown_fields),
        "schema drift": ", ".join(landed.unknown_fields) or None,
        **({"details landed": extracted.details.read} if entity.details else {}),
    }


ASSETS = (
    *(build_sweep(list_call) for list_call in LIST_CALLS),
    *(build_snapshot(entity) for entity in ENTITIES),
    *(build_details(entity, call) for entity, call in DETAILED),
)
