"""Schedules of the sync: every hour, and once a night with a full sweep."""

import dagster as dg

from bms_pipeline.core.errors import SettingsError
from bms_pipeline.core.settings import read_schedule_settings, read_settings
from bms_pipeline.defs import names, ticks
from bms_pipeline.defs.failures import told_to_the_operator
from bms_pipeline.defs.jobs import INCREMENTAL_SYNC, scheduled
from bms_pipeline.state.opening import open_state
from bms_pipeline.sync.state_file import read_state

WHY_TAG = names.tag("why")
"""The tag with the reason a run started."""
UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
WHEN = read_schedule_settings()


def build_schedule(name: str, setting: str, describe: str, *, full_sweep: bool) -> dg.ScheduleDefinition:
    """Build a schedule of the incremental sync: one run for each tick, none while another is active.

    ``setting`` names the setting with its cron. Raises ``SettingsError`` where its value is no cron expression.
    """
    cron: str = getattr(WHEN, setting.lower())

    def schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        with told_to_the_operator():
            published = read_state(open_state(read_settings()))
        decided = ticks.scheduled_sync(published, unfinished(context.instance, "incremental_sync", "initial_sync"))
        if isinstance(decided, ticks.Skip):
            return dg.SkipReason(decided.why)
        return dg.RunRequest(run_config=scheduled(full_sweep=full_sweep), tags={WHY_TAG: f"{decided.why} {name}"})

    try:
        return dg.schedule(
            name=name,
            cron_schedule=cron,
            execution_timezone=WHEN.bms_pipeline_time_zone,
            job=INCREMENTAL_SYNC,
            description=describe,
            default_status=dg.DefaultScheduleStatus.RUNNING,
        )(schedule)
    except dg.DagsterInvalidDefinitionError:
        raise SettingsError(
            f"{setting} is {cron!r}, and no cron expression that Dagster knows.",
            "Write minute, hour, day, month and weekday, as in `0 * * * *`: every hour.",
        ) from None


def unfinished(instance: dg.DagsterInstance, *jobs: str) -> int:
    """Count this tenant's queued and running runs of these jobs. Other tenants' jobs have the same names."""
    runs = [run for job in jobs for run in instance.get_runs(dg.RunsFilter(job_name=job, statuses=UNFINISHED))]
    return sum(map(names.is_ours, runs))


SCHEDULES = (
    build_schedule(
        "hourly_sync",
        "BMS_PIPELINE_SYNC_CRON",
        "Reads what changed and loads what the settings allow. Waits until the initial sync is finished.",
        full_sweep=False,
    ),
    build_schedule(
        "nightly_full_sync",
        "BMS_PIPELINE_FULL_SYNC_CRON",
        "The same with a full sweep of every list: it finds what watermarks miss, and what is gone from BMS.",
        full_sweep=True,
    ),
)
