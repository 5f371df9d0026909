"""Load client by client: a partition for each linked client, for the initial bulk import and for importing one again.

One run loads a whole range of partitions, because starting a run takes seconds and a client takes milliseconds.
"""

import warnings
from collections.abc import Iterator, Mapping

import dagster as dg

from bms_pipeline.defs import names
from bms_pipeline.defs.assets.extract import POOL
from bms_pipeline.defs.assets.load import (
    BY_CLIENT_KEY,
    GROUP,
    client_event,
    client_names,
    loaded_key,
    still_unknown,
    wait_for_unknown,
)
from bms_pipeline.defs.metadata import OWNERS, column_schema, facts, tag_run
from bms_pipeline.defs.resources import Pipeline
from bms_pipeline.load.apply import ClientLoaded
from bms_pipeline.sync import loading, planning, whole_sync

CLIENTS = dg.DynamicPartitionsDefinition(name=names.shared("clients"))
"""A partition is a client's BMS account id. The sensor ``client_partitions`` keeps the partitions in step with the
links.
"""

OUTCOME_COLUMNS = {
    "entity": "VARCHAR",
    "bms_id": "BIGINT",
    "account_id": "BIGINT",
    "outcome": "VARCHAR",
    "is_operation": "BOOLEAN",
    "waits_for_person": "BOOLEAN",
    "detail": "VARCHAR",
    "reason": "VARCHAR",
}

with warnings.catch_warnings():
    warnings.simplefilter("ignore", dg.BetaWarning)  # of backfill_policy

    @dg.asset(
        key=names.asset_key(BY_CLIENT_KEY),
        group_name=GROUP,
        partitions_def=CLIENTS,
        backfill_policy=dg.BackfillPolicy.single_run(),
        # Each loaded client gets an event of its own at once; a failed client gets none.
        output_required=False,
        deps=[names.asset_key(loaded_key("clients"))],
        description=(
            "The locations, contacts and assets inside each linked client, as loaded: a partition for each client.\n\n"
            + facts(
                first="after the job `finish_clients`: the initial bulk import, as a backfill of all partitions",
                later="a client again: read alone, about ten calls, planned anew, and loaded as the settings allow",
                table="`sync.outcomes`, for the current plan; `sync.journal` has all plans",
                partitions="a client's BMS account id; each event names the client, and an observation lists all",
                scheduled="a sync that changed something inside a client tells it here too",
            )
        ),
        metadata={"dagster/table_name": "sync.outcomes", "dagster/column_schema": column_schema(OUTCOME_COLUMNS)},
        kinds={"sql", "duckdb"},
        owners=OWNERS,
        pool=POOL,
    )
    def loaded_by_client(context: dg.AssetExecutionContext, pipeline: Pipeline) -> Iterator[dg.MaterializeResult[None]]:
        """Load the clients of this run's partitions."""
        if not context.has_partition_key and not context.has_partition_key_range:
            raise dg.Failure(
                "This run names no client.\n→ Choose partitions: open the asset"
                f" `{BY_CLIENT_KEY}`, press Materialize, and select clients there.",
                allow_retries=False,
            )
        failed: list[ClientLoaded] = []
        clients = [int(key) for key in context.partition_keys]
        with pipeline.locked() as home:
            known = client_names(home, clients)
            for group in whole_sync.import_clients(home.settings, clients, progress=pipeline.progress(context.log)):
                for client in group:
                    if client.failed_because:
                        failed.append(client)
                    elif not client.counts.get("pending"):
                        context.log_event(client_event(home, client, known.get(client.client)))
            plan = planning.current_plan(home.warehouse)
            tag_run(context, plan.hash)
            finished = loading.close(home.warehouse, plan)
            wait_for_unknown(context, pipeline, home, finished)
        if failed:
            raise _failure(failed, known)
        if finished.unknown:
            raise still_unknown(finished)
        yield from ()


def _failure(failed: list[ClientLoaded], known: Mapping[int, str]) -> dg.Failure:
    """Return the failure to show when some clients could not be loaded whole."""
    told = "\n".join(
        f"  client {client.client} {known.get(client.client, '')}: {client.failed_because}" for client in failed[:20]
    )
    more = f"\n  and {len(failed) - 20:,} more" if len(failed) > 20 else ""
    return dg.Failure(
        f"{len(failed):,} clients were not loaded whole; all others were.\n{told}{more}\n"
        "→ Correct the cause, then materialize these partitions again.",
        allow_retries=False,
    )


ASSETS = (loaded_by_client,)
