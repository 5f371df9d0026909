"""When a sync starts by itself: every hour, and once a night with a full sweep."""

import os

import dagster as dg

from bms_pipeline.defs import ticks
from bms_pipeline.defs.failures import told_to_the_operator
from bms_pipeline.defs.jobs import INCREMENTAL_SYNC, scheduled
from bms_pipeline.published import read_published
from bms_pipeline.settings import read_settings

WHY_TAG = "bms_pipeline/why"
"""The tag of a run that says why it started."""
UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
HOURLY = os.environ.get("BMS_PIPELINE_SYNC_CRON", "0 * * * *")
NIGHTLY = os.environ.get("BMS_PIPELINE_FULL_SYNC_CRON", "30 2 * * *")
TIME_ZONE = os.environ.get("BMS_PIPELINE_TIME_ZONE", "UTC")


def build_schedule(name: str, cron: str, describe: str, *, full_sweep: bool) -> dg.ScheduleDefinition:
    """A schedule of the incremental sync: one run for each tick, none while another is at work."""

    @dg.schedule(
        name=name,
        cron_schedule=cron,
        execution_timezone=TIME_ZONE,
        job=INCREMENTAL_SYNC,
        description=describe,
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        with told_to_the_operator():
            published = read_published(read_settings().published_file)
        decided = ticks.scheduled_sync(published, unfinished(context.instance, "incremental_sync", "initial_sync"))
        if isinstance(decided, ticks.Skip):
            return dg.SkipReason(decided.why)
        return dg.RunRequest(run_config=scheduled(full_sweep=full_sweep), tags={WHY_TAG: f"{decided.why} {name}"})

    return schedule


def unfinished(instance: dg.DagsterInstance, *jobs: str) -> int:
    """How many runs of these jobs are queued or running."""
    return sum(instance.get_runs_count(dg.RunsFilter(job_name=each, statuses=UNFINISHED)) for each in jobs)


SCHEDULES = (
    build_schedule(
        "hourly_sync",
        HOURLY,
        "Reads what changed and loads what the settings allow. Waits until the initial sync is finished.",
        full_sweep=False,
    ),
    build_schedule(
        "nightly_full_sync",
        NIGHTLY,
        "The same with a full sweep of every list: it finds what watermarks miss, and what is gone from BMS.",
        full_sweep=True,
    ),
)
