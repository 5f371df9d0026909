"""Read the details of assets, one call each."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from bms_pipeline.bms import asset_detail as answers
from bms_pipeline.bms.asset_detail import Patience
from bms_pipeline.core.entities import Entity
from bms_pipeline.core.settings import Settings
from bms_pipeline.state.opening import open_state
from bms_pipeline.state.protocol import LockName
from bms_pipeline.sync import enrichment, run_lock, services
from bms_pipeline.sync.progress import Progress, silent
from bms_pipeline.warehouse.connection import now, open_warehouse
from bms_pipeline.warehouse.stored_mapping import mapped

LANDING_WAITS_SECONDS = 900.0
"""How long the details wait for the run at work, where they have to land at once: longer than a whole sync."""


def read_details(
    settings: Settings, *, limit: int | None = None, patience: Patience | None = None, progress: Progress = silent
) -> enrichment.DetailsRead:
    """Read details of records in Passportal, ``limit`` at most, as far as the hour's calls go.

    This runs next to any other run: it holds no run lock and opens the warehouse once for a moment. The details land
    with the next sync; where runs share no disk they land at once, after the run at work. Raises ``RunLocked`` while
    another process reads details, and the errors of ``bms.details.read``.
    """
    patience = patience or Patience()
    ((entity, call),) = enrichment.DETAILED
    folder = answers.details_folder(settings.landing_folder, entity)
    state = open_state(settings)
    with (
        state.locked(LockName.DETAILS, "A run that reads details", now()),
        services.open_bms(settings, patience) as client,
    ):
        answers.finish_parts(folder)
        known = enrichment.unlanded_ids(settings, entity)
        with open_warehouse(settings).open() as connection:
            tenant = services.known_tenant(connection)
            call = mapped(connection, entity).details or call
            queue = enrichment.waiting_details(connection, entity, known)
        read = answers.DetailProgress(0, 0)
        wanted = queue[:limit]
        if wanted:
            services.check_same_tenant(client.identity(), tenant)
            progress("details", 0, len(wanted))
            with _landing_at_once(settings, entity) if state.is_shared else contextlib.nullcontext():
                read = answers.read_all(
                    client,
                    call,
                    wanted,
                    folder,
                    connections=settings.bms_connections,
                    patience=patience,
                    on_progress=lambda done: progress("details", done, len(wanted)),
                )
        left = len(queue) - read.read - read.problems
        endpoint, budget = call.endpoint, client.budget
        return enrichment.DetailsRead(read.read, read.problems, left, budget.left(endpoint), budget.limit_of(endpoint))


@contextlib.contextmanager
def _landing_at_once(settings: Settings, entity: Entity) -> Iterator[None]:
    """Land the details at the end, also those read before an error: the folder they lie in ends with this run."""
    with contextlib.ExitStack() as at_the_end:
        at_the_end.callback(_land, settings, entity)
        yield


def _land(settings: Settings, entity: Entity) -> None:
    with run_lock.running(settings, "A run that lands details", LANDING_WAITS_SECONDS):
        enrichment.land_details(settings, open_warehouse(settings), entity.list_call)
