"""The nightly maintenance of a lake: in Dagster only where the warehouse is one."""

from __future__ import annotations

import dagster as dg

from bms_pipeline.core.settings import read_schedule_settings
from bms_pipeline.defs.jobs import JobStage, stage
from bms_pipeline.defs.resources import Pipeline
from bms_pipeline.warehouse.connection import now

AT_NIGHT = "15 4 * * *"
"""Between the nightly full sync and the working day (cron)."""
_SETTINGS = read_schedule_settings()
_WHAT = "Writes tables of many small files again, and removes earlier states of the tables after a week."


@dg.op
def maintain_lake(pipeline: Pipeline) -> dg.Output[None]:
    """Maintain the lake under the run lock."""
    with pipeline.locked() as home:
        done = home.warehouse.maintain(now())
    if done is None:
        return dg.Output(None)
    metadata = {
        "tables written again": done.tables,
        "earlier states removed": done.snapshots,
        "files removed": done.files,
    }
    return dg.Output(None, metadata=metadata)


LAKE_MAINTENANCE = dg.GraphDefinition(name="lake_maintenance", node_defs=[maintain_lake], description=_WHAT).to_job(
    name="lake_maintenance", description=_WHAT, executor_def=dg.in_process_executor, tags=stage(JobStage.REPAIR)
)
NIGHTLY = dg.ScheduleDefinition(
    name="nightly_lake_maintenance",
    job=LAKE_MAINTENANCE,
    cron_schedule=AT_NIGHT,
    execution_timezone=_SETTINGS.bms_pipeline_time_zone,
    description=_WHAT,
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
JOBS = (LAKE_MAINTENANCE,) if _SETTINGS.bms_pipeline_lake else ()
SCHEDULES = (NIGHTLY,) if _SETTINGS.bms_pipeline_lake else ()
