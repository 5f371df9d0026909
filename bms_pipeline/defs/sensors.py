"""Sensors: runs and notifications started by events. Each tick fetches, lets ``ticks`` decide, and acts.

No tick opens the warehouse. It has the state file of the last run, Dagster's own instance, and a call or two to BMS.
"""

import contextlib
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import dagster as dg
import msgspec
from dagster._core.execution.plan.objects import StepFailureData

from bms_pipeline.bms import asset_detail
from bms_pipeline.bms.budget import Budget
from bms_pipeline.bms.client import BmsClient
from bms_pipeline.core.entities import ListCall
from bms_pipeline.core.errors import LoginRefused
from bms_pipeline.core.notifications import Notice, send
from bms_pipeline.core.settings import Settings, read_settings
from bms_pipeline.defs import ticks
from bms_pipeline.defs.assets.by_client import CLIENTS
from bms_pipeline.defs.failures import told_to_the_operator
from bms_pipeline.defs.jobs import ASSET_DETAILS, INCREMENTAL_SYNC, scheduled
from bms_pipeline.defs.schedules import WHY_TAG, unfinished
from bms_pipeline.sync.enrichment import DETAILED
from bms_pipeline.sync.state_file import Published, read_published

RUNNING = dg.DefaultSensorStatus.RUNNING
REFUSED_LOGIN_RESTS_SECONDS = 6 * 3600


@dg.sensor(name="client_partitions", minimum_interval_seconds=30, default_status=RUNNING)
def client_partitions(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Keep the partitions of `loaded_by_client` in step with the linked clients."""
    changes = ticks.partition_changes(_published(), context.instance.get_dynamic_partitions(str(CLIENTS.name)))
    if not changes.new and not changes.gone:
        return dg.SkipReason("The partitions are the linked clients.")
    requests = [CLIENTS.build_add_request(changes.new)] if changes.new else []
    gone = [CLIENTS.build_delete_request(changes.gone)] if changes.gone else []
    return dg.SensorResult(dynamic_partitions_requests=[*requests, *gone])


@dg.sensor(name="new_records", job=INCREMENTAL_SYNC, minimum_interval_seconds=600, default_status=RUNNING)
def new_records(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Check every ten minutes, with one call a list, whether BMS has new records to be created automatically."""
    published = _published()
    watched = ticks.lists_to_watch(published)
    if isinstance(watched, ticks.Skip) or published is None:
        return dg.SkipReason(watched.why if isinstance(watched, ticks.Skip) else ticks.NEVER)
    refused_at = float(context.cursor or 0)
    if 0 <= time.time() - refused_at < REFUSED_LOGIN_RESTS_SECONDS:  # a clock that was ahead is no reason to rest
        return dg.SkipReason(f"BMS refused the login at {datetime.fromtimestamp(refused_at):%H:%M}; tried again later.")
    try:
        pages, totals = _look(read_settings(), published, watched)
    except LoginRefused as error:  # a few more wrong passwords lock the user out
        context.update_cursor(str(time.time()))
        return dg.SkipReason(str(error))
    decided = ticks.new_records(published, pages, totals)
    if isinstance(decided, ticks.Skip):
        return dg.SkipReason(decided.why)
    return dg.RunRequest(run_key=decided.key, run_config=scheduled(), tags={WHY_TAG: decided.why})


@dg.sensor(name="asset_details", job=ASSET_DETAILS, minimum_interval_seconds=30, default_status=RUNNING)
def asset_details(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Read details in the background, as long as some wait and the hour has calls left for them."""
    settings = read_settings()
    ((entity, call),) = DETAILED
    with contextlib.closing(Budget.of(settings)) as budget:
        left, limit = budget.left(call.endpoint), budget.limit_of(call.endpoint)
    unlanded = asset_detail.unlanded(asset_detail.folder_of(settings.landing_folder, entity))
    decided = ticks.details_due(_published(), unlanded, left, limit, unfinished(context.instance, ASSET_DETAILS.name))
    if isinstance(decided, ticks.Skip):
        return dg.SkipReason(decided.why)
    return dg.RunRequest(tags={WHY_TAG: decided.why})


@dg.sensor(name="decisions_waiting", minimum_interval_seconds=300, default_status=RUNNING)
def decisions_waiting(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """Notify people once when their backlog of decisions grows (by webhook or e-mail, if one is set)."""
    told = msgspec.json.decode(context.cursor, type=ticks.Waiting) if context.cursor else ticks.Waiting({}, 0)
    text, known = ticks.decisions_waiting(_published(), told)
    ways = _tell(Notice("Decisions wait", text)) if text else []
    context.update_cursor(msgspec.json.encode(known).decode())
    return dg.SkipReason(_told(text, ways) if text else "Nothing waits that people do not know of.")


@dg.run_failure_sensor(name="run_failed", minimum_interval_seconds=30, default_status=RUNNING)
def run_failed(context: dg.RunFailureSensorContext) -> dg.SkipReason:
    """Notify people of each failed run: a breaker that opened, a refused login, a process that died."""
    failures = [event.step_failure_data for event in context.get_step_failure_events()]
    run = context.dagster_run
    text = "\n".join(_what_failed(failure) for failure in failures[:3]) or context.failure_event.message or "It failed."
    ways = _tell(Notice(f"{run.job_name} failed", f"{text}\nRun {run.run_id} in Dagster."))
    return dg.SkipReason(_told(text, ways))


def _look(
    settings: Settings, published: Published, watched: Sequence[ListCall]
) -> tuple[dict[ListCall, list[ticks.Listed]], dict[ListCall, int | None]]:
    """Return each list's first page of changes since the newest landed stamp; for a list without stamps, its total."""
    pages: dict[ListCall, list[ticks.Listed]] = {}
    totals: dict[ListCall, int | None] = {}
    with BmsClient(settings) as client:
        for list_call in watched:
            newest = published.lists[list_call.name].newest_modified_on
            if not list_call.modified_since:
                totals[list_call] = client.page(list_call, 1).total
            elif newest:
                page = client.page(list_call, 1, {"ModifiedOnFrom": newest})
                rows = msgspec.json.decode(page.records, type=list[dict[str, Any]])
                pages[list_call] = [
                    ticks.Listed(*found) for found in zip(page.ids, map(_created_on, rows), strict=True)
                ]
    return pages, totals


def _created_on(record: Mapping[str, Any]) -> str | None:
    """Return the creation stamp, however the host spells its keys."""
    return next((text for key, text in record.items() if key.lower() == "createdon" and isinstance(text, str)), None)


def _published() -> Published | None:
    with told_to_the_operator():
        return read_published(read_settings().published_file)


def _what_failed(failure: StepFailureData) -> str:
    """Return the error and its next step, without the lines between, which can name customers."""
    told = failure.user_failure_data.description if failure.user_failure_data else None
    first, *rest = (told or (failure.error.message if failure.error else "A step failed.")).strip().splitlines()
    return "\n".join([first, *(line for line in rest if line.startswith("→"))])


def _tell(notice: Notice) -> list[str]:
    with told_to_the_operator():
        return send(read_settings(), notice)


def _told(text: str, ways: list[str]) -> str:
    how = f"Told by {' and '.join(ways)}" if ways else "No notice is set (NOTICE_WEBHOOK_URL, NOTICE_EMAIL_TO)"
    return f"{how}: {text}"


SENSORS = (client_partitions, new_records, asset_details, decisions_waiting, run_failed)
