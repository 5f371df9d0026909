"""Sensors: runs and notifications started by events. Each tick fetches, lets ``ticks`` decide, and acts.

No tick opens the warehouse. It has the state file of the last run, Dagster's own instance, and a call or two to BMS.
"""

import contextlib
import hashlib
import inspect
import time
from collections.abc import Callable, Mapping, Sequence
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
from bms_pipeline.defs import links, names, ticks
from bms_pipeline.defs.assets.by_client import CLIENTS
from bms_pipeline.defs.failures import FINISH, told_to_the_operator
from bms_pipeline.defs.jobs import ASSET_DETAILS, INCREMENTAL_SYNC, scheduled
from bms_pipeline.defs.schedules import WHY_TAG, unfinished
from bms_pipeline.state.opening import open_state
from bms_pipeline.sync.enrichment import DETAILED
from bms_pipeline.sync.state_file import PipelineState, read_state

_Options = dict[str, Any]
NOTIFIED_TAG = names.tag("notified")
"""The tag of a failed run with its failure and the time when people were notified of it."""
NOTIFIED_FOR_SECONDS = 24 * 3600
MOST_LOCATIONS = 50
"""Runs of the same job name to look through for the one before."""
REFUSED_LOGIN_RESTS_SECONDS = 6 * 3600


def _described(function: Callable[..., Any]) -> _Options:
    """Return the options of every sensor: its name, and its docstring, which Dagster does not take by itself."""
    return {
        "name": function.__name__,
        "description": inspect.getdoc(function),
        "default_status": dg.DefaultSensorStatus.RUNNING,
    }


def sensor(seconds: int, job: Any = None) -> Callable[[Callable[..., Any]], dg.SensorDefinition]:  # noqa: ANN401  # any job
    """Build a sensor that ticks every ``seconds``, with the name and the docstring of its function."""
    return lambda function: dg.sensor(job=job, minimum_interval_seconds=seconds, **_described(function))(function)


def failure_sensor(seconds: int) -> Callable[[Callable[..., Any]], dg.SensorDefinition]:
    """Build a sensor of failed runs like ``sensor``."""
    return lambda function: dg.run_failure_sensor(minimum_interval_seconds=seconds, **_described(function))(function)


@sensor(seconds=30)
def client_partitions(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Keep the partitions of `loaded_by_client` in step with the linked clients."""
    changes = ticks.partition_changes(_published(), context.instance.get_dynamic_partitions(str(CLIENTS.name)))
    if not changes.new and not changes.gone:
        return dg.SkipReason("The partitions are the linked clients.")
    requests = [CLIENTS.build_add_request(changes.new)] if changes.new else []
    gone = [CLIENTS.build_delete_request(changes.gone)] if changes.gone else []
    return dg.SensorResult(dynamic_partitions_requests=[*requests, *gone])


@sensor(seconds=600, job=INCREMENTAL_SYNC)
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


@sensor(seconds=30, job=ASSET_DETAILS)
def asset_details(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Read details in the background, as long as some wait and the hour has calls left for them."""
    settings = read_settings()
    ((entity, call),) = DETAILED
    with contextlib.closing(Budget.of(settings)) as budget:
        left, limit = budget.left(call.endpoint), budget.limit_of(call.endpoint)
    unlanded = asset_detail.unlanded(asset_detail.details_folder(settings.landing_folder, entity))
    decided = ticks.details_due(_published(), unlanded, left, limit, unfinished(context.instance, ASSET_DETAILS.name))
    if isinstance(decided, ticks.Skip):
        return dg.SkipReason(decided.why)
    return dg.RunRequest(tags={WHY_TAG: decided.why})


@sensor(seconds=300)
def decisions_waiting(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """Notify people once when their backlog of decisions grows (by webhook or e-mail, if one is set)."""
    told = msgspec.json.decode(context.cursor, type=ticks.Waiting) if context.cursor else ticks.Waiting({}, 0)
    grown = ticks.decisions_waiting(_published(), told)
    link = _on_dagster(links.finish_launchpad(grown.plan_hash)) if grown.plan_hash else ""
    ways = _tell(Notice("Decisions wait", grown.text, link)) if grown.text else []
    context.update_cursor(msgspec.json.encode(grown.known).decode())
    return dg.SkipReason(_told(grown.text, ways) if grown.text else "Nothing waits that people do not know of.")


@failure_sensor(seconds=30)
def run_failed(context: dg.RunFailureSensorContext) -> dg.SkipReason:
    """Notify people of each failed run: a breaker that opened, a refused login, a process that died.

    A run that fails as the one before it did is not notified again for a day.
    """
    failures = [event.step_failure_data for event in context.get_step_failure_events()]
    run = context.dagster_run
    causes = list(dict.fromkeys(map(_what_failed, failures)))  # several steps can fail for one cause
    causes = causes or [context.failure_event.message or "It failed."]
    failure = hashlib.sha256("\n".join(causes).encode()).hexdigest()[:12]
    known = _notified_before(context.instance, run, failure)
    if known:
        context.instance.add_run_tags(run.run_id, {NOTIFIED_TAG: known})
        return dg.SkipReason("The run before failed for the same cause, and people were notified of that.")
    more = f"\nAnd {len(causes) - 3:,} more causes." if len(causes) > 3 else ""
    finish = next(filter(None, map(_launchpad, failures)), None)
    load = f"\nLook at the plan, then load it: {_on_dagster(finish)}" if finish else ""
    page = _on_dagster(f"/runs/{run.run_id}")
    text = "\n".join(causes[:3])
    ways = _tell(Notice(f"{run.job_name} failed", f"{text}{more}{load}", f"The run in Dagster: {page}"))
    if ways:
        context.instance.add_run_tags(run.run_id, {NOTIFIED_TAG: f"{failure} {int(time.time())}"})
    return dg.SkipReason(_told(text, ways))


def _notified_before(instance: dg.DagsterInstance, run: dg.DagsterRun, failure: str) -> str | None:
    """Return the tag of the job's run before this one, if people were notified of the same failure within a day."""
    record = instance.get_run_record_by_id(run.run_id)
    if record is None:
        return None
    ended = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]
    wanted = dg.RunsFilter(job_name=run.job_name, statuses=ended, created_before=record.create_timestamp)
    earlier = (found.dagster_run for found in instance.get_run_records(wanted, limit=MOST_LOCATIONS))
    before = next((found for found in earlier if _location(found) == _location(run)), None)
    if before is None or not before.is_failure:  # a retry that succeeded has the tags of the run that failed
        return None
    tag = before.tags.get(NOTIFIED_TAG, "")
    what, _, at = tag.partition(" ")
    is_known = what == failure and at.isdecimal() and 0 <= time.time() - int(at) < NOTIFIED_FOR_SECONDS
    return tag if is_known else None


def _location(run: dg.DagsterRun) -> str | None:
    """Return the code location of a run: jobs of other tenants in this Dagster have the same names."""
    return run.remote_job_origin.location_name if run.remote_job_origin else None


def _launchpad(failure: StepFailureData) -> str | None:
    """Return the path of the launchpad that the failure links to, if any."""
    metadata = failure.user_failure_data.metadata if failure.user_failure_data else {}
    found = metadata.get(FINISH)
    return found.url if isinstance(found, dg.UrlMetadataValue) else None


def _look(
    settings: Settings, published: PipelineState, watched: Sequence[ListCall]
) -> tuple[dict[ListCall, list[ticks.ListSize]], dict[ListCall, int | None]]:
    """Return each list's first page of changes since the newest landed stamp; for a list without stamps, its total."""
    pages: dict[ListCall, list[ticks.ListSize]] = {}
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
                    ticks.ListSize(*found) for found in zip(page.ids, map(_created_on, rows), strict=True)
                ]
    return pages, totals


def _created_on(record: Mapping[str, Any]) -> str | None:
    """Return the creation stamp, however the host spells its keys."""
    return next((text for key, text in record.items() if key.lower() == "createdon" and isinstance(text, str)), None)


def _published() -> PipelineState | None:
    with told_to_the_operator():
        return read_state(open_state(read_settings()))


def _what_failed(failure: StepFailureData) -> str:
    """Return the error and its next step, without the lines between, which can name customers."""
    told = failure.user_failure_data.description if failure.user_failure_data else None
    first, *rest = (told or (failure.error.message if failure.error else "A step failed.")).strip().splitlines()
    return "\n".join([first, *(line for line in rest if line.startswith("→"))])


def _on_dagster(path: str) -> str:
    with told_to_the_operator():
        return links.on_dagster(read_settings(), path)


def _tell(notice: Notice) -> list[str]:
    with told_to_the_operator():
        return send(read_settings(), notice)


def _told(text: str, ways: list[str]) -> str:
    how = f"Told by {' and '.join(ways)}" if ways else "No notice is set (NOTICE_WEBHOOK_URL, NOTICE_EMAIL_TO)"
    return f"{how}: {text}"


SENSORS = (client_partitions, new_records, asset_details, decisions_waiting, run_failed)
